"""What a look at the data of a training says before its first step."""

from __future__ import annotations

from img2img.data.checks import check_data
from img2img.errors import DataError, UsageError
from img2img.training.config import TrainConfig
from img2img.training.run_folder import states_of

SECONDS = 20.0  # for decoding


def data_warnings(config: TrainConfig, seconds: float = SECONDS) -> list[str]:
    """What does not stop the training but may spoil it, in words; pictures are decoded for at most
    `seconds`. Nothing for a run that resumes; what stops a training is said by its data set.
    """
    if states_of(config.out):
        return []
    settings = [f"{name}={value}" for name, value in config.settings.items()]
    settings += ["side_by_side=true"] if config.side_by_side else []
    try:
        report = check_data(config.data, config.method, seconds, settings=settings).report
    except (DataError, UsageError):  # which the data set will raise
        return []
    texts = [f"data: {finding}" for finding in report.findings if not finding.stops]
    if texts and report.examined < report.total:
        texts.append(
            f"data: {report.examined} of {report.total} pictures were checked; img2img data "
            f"check checks all of them"
        )
    return texts

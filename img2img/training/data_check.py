"""What a look at the data of a training says before its first step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from img2img.data.checks import Report, check_data
from img2img.data.dataset import Wanted
from img2img.data.store import Progress
from img2img.errors import DataError, UsageError
from img2img.methods import method_named
from img2img.training.config import TrainConfig
from img2img.training.presets import presets_of
from img2img.training.run_folder import states_of

SECONDS = 20.0  # for decoding


def wanted(method: str) -> Wanted:
    """What the method of that name needs of its data. Raises ConfigError for an unknown one."""
    kind = method_named(method)
    return Wanted(method, kind.Data.kind, frozenset(presets_of(kind)))


def look_at_data(
    config: TrainConfig, seconds: float = SECONDS, on_progress: Progress | None = None
) -> Report | None:
    """What a look at the training data finds; pictures are decoded for at most `seconds`.
    `on_progress` gets how many of how many. None where there is no such folder, which the data set
    says."""
    settings = [f"{name}={value}" for name, value in config.settings.items()]
    settings += ["side_by_side=true"] if config.side_by_side else []
    try:
        checked = check_data(config.data, wanted(config.method), seconds, on_progress, settings)
    except (DataError, UsageError):
        return None
    return checked.report


def data_warnings(config: TrainConfig, report: Report | None = None) -> list[str]:
    """What does not stop the training but may spoil it, in words, of a `report` or else of a look.
    Nothing for a run that resumes."""
    if states_of(config.out):
        return []
    report = report or look_at_data(config)
    if report is None:
        return []
    texts = [f"data: {finding}" for finding in report.findings if not finding.stops]
    if texts and report.examined < report.total:
        texts.append(
            f"data: {report.examined} of {report.total} pictures were checked; img2img data "
            "check checks all of them"
        )
    return texts


@contextlib.contextmanager
def all_at_once(config: TrainConfig, report: Report | None = None) -> Iterator[None]:
    """Where the data set refuses the folder, which it does for the first fault that it meets, say
    all that stop the training, each with what to do. `report`: of the look at it, which is else
    taken then. Whether a folder is refused is decided by the data set alone.

    Raises:
        DataError: the data set's own, or all findings that stop a training in one line.
    """
    try:
        yield
    except DataError as error:
        report = report or look_at_data(config)
        stops = [str(finding) for finding in report.findings if finding.stops] if report else []
        if not stops or report is None:
            raise
        # The folder of a style is not looked at, and of a large folder not every picture.
        if str(config.data) not in str(error) or report.examined < report.total:
            stops.append(str(error))
        lines = stops
        if len(stops) > 1:
            lines = [f"{len(stops)} problems stop the training"]
            lines += [f"({k}) {text}" for k, text in enumerate(stops, 1)]
        said = DataError(f"{config.data}: {' '.join(lines)}")
        said.everywhere = error.everywhere
        raise said from None

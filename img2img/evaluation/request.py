"""The request for an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from img2img.errors import ConfigError, UsageError, proposal
from img2img.evaluation.sources import folder_of
from img2img.features import FEATURES
from img2img.inference.translator import model_path
from img2img.metrics import METRICS

MOST = 5000


@dataclass(frozen=True)
class EvaluateRequest:
    """What to judge, and how.

    Attributes:
        model, data: a model (name, run folder or file) and a folder in a layout of training, of
            which the held-out part is used; or fake, real: translated pictures and real ones, from
            any tool.
        paired: whether pictures of the same name belong together; None: where all names agree, and
            where `metrics` of pairs or `labels` are asked for.
        metrics: of pairs, names in METRICS; empty: all whose networks are there.
        networks: for sets; empty: the default ones that are found, with a warning for each missing
            one that says what to install; `none`: none.
        size: long side in pixels to which pictures are reduced; None: what the model states, for
            folders their own size; 0: their own size.
        most: maximum number of pictures of each set, chosen by the seed; 0: all.
        seed: for every choice and interval.
        direction: AtoB or BtoA, for a run folder of both.
        backwards: the data's B is the model's input; None: as the model file says.
        critic: train a critic from scratch to tell real from translated pictures.
        labels: the outputs are label maps of plain colours: score their classes.
        training: folder of real training pictures of the target domain, to look for copies of them.
        runner, device, precision: as for `Translator`.
    """

    model: str | Path | None = None
    data: str | Path | None = None
    fake: str | Path | None = None
    real: str | Path | None = None
    paired: bool | None = None
    metrics: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    size: int | None = None
    most: int = MOST
    seed: int = 0
    direction: str | None = None
    backwards: bool | None = None
    critic: bool = False
    labels: bool = False
    training: str | Path | None = None
    runner: str = "auto"
    device: str = "auto"
    precision: str = "auto"

    def check(self) -> None:
        """Raise UsageError for contradictory values, ConfigError for unknown names."""
        folders = self.fake is not None or self.real is not None
        if folders and (self.model is not None or self.data is not None):
            raise UsageError("give a model and its data, or `fake` and `real`, not both")
        if folders and (self.fake is None or self.real is None):
            raise UsageError("`fake` and `real` belong together: translated and real pictures")
        if not folders and (self.model is None or self.data is None):
            raise UsageError("give a model and a folder of data, or the folders `fake` and `real`")
        for name in self.metrics:
            if name not in METRICS:
                raise ConfigError(f"unknown metric '{name}'.{proposal(name, METRICS)}")
        if "none" in self.networks and len(self.networks) > 1:
            raise UsageError("give either none or names of feature networks, not both")
        for name in self.networks:
            if name != "none" and name not in FEATURES:
                raise ConfigError(f"unknown feature network '{name}'.{proposal(name, FEATURES)}")
        if folders and self.direction is not None:
            raise UsageError("`direction` is for models; folders have none")
        if not folders and self.paired is not None:
            raise UsageError(
                "`paired` is for `fake` and `real`; a data folder already determines this"
            )
        if self.training is not None:
            folder_of(Path(self.training))
            if self.networks == ("none",):
                raise UsageError("`training` compares features of a network; remove none")
        if self.most < 0:
            raise UsageError(f"at most {self.most} pictures; give 0 (all) or more")


def requests_of(request: EvaluateRequest, others: Sequence[str]) -> list[EvaluateRequest]:
    """`request` and the same of each of the `others`, models to compare its model with.

    Raises UsageError for a model that is not found, before the first one is judged.
    """
    requests = [request]
    for other in others:
        direction = request.direction if Path(other).is_dir() else None
        requests.append(replace(request, model=other, direction=direction))
    for each in requests:
        if each.model is not None:
            model_path(each.model, each.runner, each.direction)
    return requests

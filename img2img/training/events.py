"""What a training reports while it runs. `as_row` gives the row of metrics.jsonl and `--json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class TrainingEvent:
    """The base of all events; `kind` is the value of `event` in a row."""

    kind: ClassVar[str]

    def as_row(self) -> dict[str, Any]:
        """Plain data: `event` and the fields."""
        return {"event": self.kind, **asdict(self)}


@dataclass(frozen=True)
class DataExamined(TrainingEvent):
    """`done` of `total` pictures were checked for problems; the time limit may end this early."""

    kind = "examined"
    done: int
    total: int


@dataclass(frozen=True)
class DataRead(TrainingEvent):
    """`done` of `total` pictures of a data set are decoded."""

    kind = "data"
    done: int
    total: int


@dataclass(frozen=True)
class Fetching(TrainingEvent):
    """`done` of `total` files of a remote folder have been fetched, `bytes` of `total_bytes`."""

    kind = "fetching"
    address: str
    done: int
    total: int
    bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Fetched(TrainingEvent):
    """The copy of a remote folder is up to date: it has `files` files, of which `fetched` were
    fetched now; `removed` others were removed."""

    kind = "fetched"
    address: str
    files: int
    fetched: int
    removed: int
    bytes: int


@dataclass(frozen=True)
class Warned(TrainingEvent):
    """Something that the user should know but that does not stop the run."""

    kind = "warning"
    text: str


@dataclass(frozen=True)
class Started(TrainingEvent):
    """A run begins, or resumes at `step`.

    Attributes:
        steps: of the whole run; None if it ends after a time, `minutes`.
        pictures, held_out: samples (pictures or pairs) to learn from and to validate on.
        pictures_from: `memory`, `mapped`, `decoded` or `device`.
        parameters: of each network, by name.
        batch_reason: why this batch size; empty if the settings give the number.
    """

    kind = "start"
    step: int
    steps: int | None
    minutes: float | None
    pictures: int
    held_out: int
    domains: list[str]
    device: str
    processes: int
    precision: str
    reason: str
    memory_format: str
    memory_format_reason: str
    compile: str
    compile_reason: str
    threads: int
    threads_reason: str
    pictures_from: str
    workers: int
    parameters: dict[str, int]
    batch_size: int = 1
    batch_reason: str = ""


@dataclass(frozen=True)
class StepDone(TrainingEvent):
    """`step` of `steps` is done; `losses` are means since the event before, `lr_factor` is the
    schedule's factor on the learning rate."""

    kind = "step"
    step: int
    steps: int
    epoch: int
    lr_factor: float
    steps_per_second: float
    eta_seconds: float
    losses: dict[str, float]


@dataclass(frozen=True)
class Progress(TrainingEvent):
    """How far the run is, for people: after the first step and about every second, not in
    metrics.jsonl.

    Attributes:
        steps: of the whole run; an estimate if it ends after a given time.
        losses: smoothed.
        pictures_per_second: of late.
        memory_bytes: the peak so far, of the device, or of this process on the CPU.
        best, best_value, best_step: the best validation so far by the figure that the run follows,
            or by its first one; an empty name before there is one.
        health: the last problem found, in a few words; empty if there was none.
    """

    kind = "progress"
    step: int
    steps: int
    losses: dict[str, float]
    pictures_per_second: float
    eta_seconds: float
    memory_bytes: int
    best: str = ""
    best_value: float | None = None
    best_step: int | None = None
    health: str = ""


@dataclass(frozen=True)
class HealthFigures(TrainingEvent):
    """What the detectors of `img2img.training.health` measured at a validation, by name."""

    kind = "health-figures"
    step: int
    figures: Mapping[str, float] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        return {"event": self.kind, "step": self.step, **self.figures}


@dataclass(frozen=True)
class HealthNote(TrainingEvent):
    """A failure known from the literature was detected.

    Attributes:
        problem: its name, such as `mode-collapse`.
        text: what was seen and what to change, in plain words.
        value: the measured figure.
    """

    kind = "health"
    step: int
    problem: str
    text: str
    value: float


@dataclass(frozen=True)
class Validated(TrainingEvent):
    """Mean `figures` over the held-out pictures, by name; the sample sheet is written."""

    kind = "validation"
    step: int
    figures: Mapping[str, float] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        return {"event": self.kind, "step": self.step, **self.figures}


@dataclass(frozen=True)
class Saved(TrainingEvent):
    """The state of `step` and the models are in the run folder."""

    kind = "saved"
    step: int


@dataclass(frozen=True)
class Stopped(TrainingEvent):
    """The run ended before its last step, saved; the same command resumes it."""

    kind = "stopped"
    step: int
    steps: int | None
    time_is_up: bool


@dataclass(frozen=True)
class Finished(TrainingEvent):
    """The run has finished; `figures` are those of the last validation."""

    kind = "done"
    step: int
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        row = {"event": self.kind, "step": self.step, "seconds": self.seconds}
        return {**row, **self.figures}


@dataclass(frozen=True)
class DryRun(TrainingEvent):
    """What a run would cost. `memory_bytes` is the peak of a few steps, 0 if unknown;
    `config` is the resolved configuration."""

    kind = "dry-run"
    steps: int
    seconds_per_step: float
    seconds: float
    memory_bytes: int
    parameters: dict[str, int]
    config: dict[str, Any]


Listener = Callable[[TrainingEvent], None]

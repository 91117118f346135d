"""What lies in run folders, read back: settings, log, record and samples of one, and many beside
each other."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from img2img.errors import UsageError, describe_os_error
from img2img.system.atomic import lock_file
from img2img.training.run_folder import Row
from img2img.training.validation import is_better

State = Literal["running", "finished", "stopped"]
RECORD = "run.json"
_DEPTH = 2  # folders below the given one in which runs are looked for


@dataclass(frozen=True)
class RunFiles:
    """One run folder.

    Attributes:
        config: as config.toml has it.
        rows: of metrics.jsonl, in order; a line cut short is left out.
        record: as run.json has it; empty for a run of an older version.
        sheets: sample sheets by step, in order.
        state: `running` while a process trains there, `finished` after the last step.
    """

    folder: Path
    config: dict[str, Any]
    rows: list[Row]
    record: dict[str, Any]
    sheets: dict[int, Path]
    state: State

    @property
    def name(self) -> str:
        """As the model file has it."""
        return self.config.get("name") or self.folder.resolve().name

    @property
    def step(self) -> int:
        """The last one that is known to be done."""
        return max([int(row["step"]) for row in self.rows] + [int(self.record.get("step", 0))])

    @property
    def steps(self) -> int | None:
        """How many there will be; of a run that ends by the clock an estimate."""
        planned = [row["steps"] for row in self.rows if row["event"] == "step"]
        return int(planned[-1]) if planned else self.config.get("steps")

    @property
    def minutes(self) -> float | None:
        """Of training in all; None if unknown."""
        return self.record.get("minutes")

    def best(self) -> Best | None:
        """The best validation by the figure that the run follows, else by its first figure."""
        followed = self.config.get("best")
        rows = [row for row in self.rows if row["event"] == "validation"]
        names = [n for row in rows for n in row if n not in ("event", "step")]
        name = next((n for n in names if n.rpartition(": ")[2] == followed), None)
        name = name or next(iter(names), None)
        if name is None:
            return None
        found: Best | None = None
        for row in rows:
            value = row.get(name)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            if found is None or is_better(name, value, found.value):
                found = Best(name, float(value), int(row["step"]))
        return found


@dataclass(frozen=True)
class Best:
    """The best value of a figure and its step."""

    name: str
    value: float
    step: int


@dataclass(frozen=True)
class RunSummary:
    """A run in one row; `seconds` is None if unknown."""

    run: str
    method: str
    state: State
    step: int
    steps: int | None
    best: str
    best_value: float | None
    best_step: int | None
    seconds: float | None


def read_run(folder: Path, state: State | None = None) -> RunFiles:
    """Read the run folder `folder`. `state` is what its own process knows of it.

    Raises:
        UsageError: no run folder, or its config.toml cannot be read.
    """
    path = folder / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        words = describe_os_error(error)
        raise UsageError(f"{folder}: not a run folder: config.toml: {words}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    rows = _rows(folder / "metrics.jsonl")
    record = _record(folder / RECORD)
    sheets = {int(p.stem[5:]): p for p in folder.glob("samples/step-*.jpg") if p.stem[5:].isdigit()}
    return RunFiles(
        folder, config, rows, record, dict(sorted(sheets.items())),
        state or _state(folder, rows, record),
    )  # fmt: skip


def find_runs(folder: Path) -> list[Path]:
    """`folder` where it is a run, else the run folders up to two levels below, by name.

    Raises:
        UsageError: there are none.
    """
    if (folder / "config.toml").is_file():
        return [folder]
    levels = ["*/" * depth + "config.toml" for depth in range(1, _DEPTH + 1)]
    found = sorted(path.parent for level in levels for path in folder.glob(level))
    if not found:
        raise UsageError(
            f"{folder}: contains no run folder; give the folder that contains your runs"
        )
    return found


def summarize(run: RunFiles) -> RunSummary:
    """One row of a table of runs."""
    best, minutes = run.best(), run.minutes
    return RunSummary(
        run=str(run.folder),
        method=str(run.config.get("method", "")),
        state=run.state,
        step=run.step,
        steps=run.steps,
        best=best.name if best else "",
        best_value=best.value if best else None,
        best_step=best.step if best else None,
        seconds=None if minutes is None else 60 * minutes,
    )


def summaries(folders: Sequence[Path]) -> list[RunSummary]:
    """The rows of `folders`. Raises UsageError as `read_run` does."""
    return [summarize(read_run(folder)) for folder in folders]


def _rows(path: Path) -> list[Row]:
    rows = []
    for line in _text(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut short by a crash
        if isinstance(row, dict) and isinstance(row.get("step"), int) and "event" in row:
            rows.append(row)
    return rows


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _state(folder: Path, rows: Sequence[Row], record: dict[str, Any]) -> State:
    if _held(folder / "run.lock"):
        return "running"
    if record:
        return "finished" if record.get("state") == "finished" else "stopped"
    steps = [row for row in rows if row["event"] == "step"]
    return "finished" if steps and steps[-1]["step"] >= steps[-1]["steps"] else "stopped"


def _held(path: Path) -> bool:
    """Whether a process trains in the folder of this lock file."""
    try:
        with open(path, "rb") as lock:
            lock_file(lock.fileno())
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False

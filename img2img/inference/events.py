"""What a translation reports while it runs, as data. `row` returns the fields of the JSON lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from img2img.model_format.info import ModelInfo

Row = dict[str, object]
Status = Literal["done", "skipped", "ignored", "failed"]


@dataclass(frozen=True, slots=True)
class Started:
    """The model is open and the inputs are known.

    Attributes:
        model: the metadata of the model file.
        runner: what runs it, e.g. `onnxruntime cpu fp32`; `reason`: why `auto` chose it.
        working_size: long side in pixels at which the network works; 0: each picture's own size.
        inputs: files found, including those that will be ignored.
        pictures: files to translate.
    """

    model: ModelInfo
    runner: str
    reason: str
    working_size: int
    inputs: int
    pictures: int

    @property
    def foreign(self) -> bool:
        """True for an .onnx file made elsewhere, of which little is known."""
        return self.model.method == "foreign"

    @property
    def row(self) -> Row:
        """The event as plain JSON types."""
        return {
            "event": "start",
            "model": self.model.name,
            "runner": self.runner,
            "reason": self.reason,
            "trained_size": None if self.foreign else self.model.size,
            "working_size": self.working_size,
            "upsampling": self.model.upsampling,
            "scale": self.model.scale,
            "inputs": self.inputs,
        }


@dataclass(frozen=True, slots=True)
class PictureEvent:
    """One file is finished.

    Attributes:
        source, target: the files, as addresses if they are not on this machine; `target` exists
            when `status` is `done` or `skipped`.
        status: `done`, `skipped` (the output exists), `ignored` (no picture) or `failed`.
        domain: name of the target domain, where the model has domains.
        reason: of every status but `done`, in words.
        width, height: of the output in pixels, when `done`.
        notes: conversions that lost something, and how a picture differs from those that the model
            learned from, in words.
        salvaged: only a part of a damaged file could be decoded.
        redone: an older output was replaced.
    """

    source: Path | str
    target: Path | str
    status: Status
    domain: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0
    notes: tuple[str, ...] = ()
    salvaged: bool = False
    redone: bool = False

    @property
    def row(self) -> Row:
        """The event as plain JSON types."""
        row: Row = {"event": "picture", "input": str(self.source), "output": str(self.target)}
        if self.domain:
            row["domain"] = self.domain
        row["status"] = self.status
        if self.status != "done":
            return row | {"reason": self.reason}
        row |= {"width": self.width, "height": self.height, "notes": list(self.notes)}
        if self.salvaged:
            row["salvaged"] = True
        if self.redone:
            row["redone"] = True
        return row


@dataclass(frozen=True, slots=True)
class TileProgress:
    """How far a picture is that is translated in tiles: `done` of `total` steps of about equal
    length."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing, in one line."""

    text: str


@dataclass(frozen=True, slots=True)
class Watching:
    """What was there is translated; new and changed pictures of `inputs` follow until the end."""

    inputs: tuple[str, ...]


@dataclass
class Summary:
    """The outcome of the jobs: counts, and (file, reason) for each that failed, in the order of
    the inputs.

    `redone` are those among `done` whose older output was replaced. `not_reached` were not started
    because of a stop; `seconds` is the total time.
    """

    done: int = 0
    redone: int = 0
    skipped: int = 0
    ignored: int = 0
    failed: list[tuple[Path | str, str]] = field(default_factory=list)
    not_reached: int = 0
    seconds: float = 0.0

    @property
    def seen(self) -> int:
        """How many jobs are finished."""
        return self.done + self.skipped + self.ignored + len(self.failed)

    def count(self, event: PictureEvent) -> None:
        """Add one picture."""
        if event.status == "failed":
            self.failed.append((event.source, event.reason))
        elif event.status == "done":
            self.done += 1
            self.redone += event.redone
        elif event.status == "skipped":
            self.skipped += 1
        else:
            self.ignored += 1

    def add(self, part: Summary) -> None:
        """Add the counts of another summary."""
        self.done += part.done
        self.redone += part.redone
        self.skipped += part.skipped
        self.ignored += part.ignored
        self.failed += part.failed
        self.not_reached += part.not_reached

    @property
    def row(self) -> Row:
        """The event as plain JSON types."""
        return {
            "event": "summary",
            "done": self.done,
            "redone": self.redone,
            "skipped": self.skipped,
            "ignored": self.ignored,
            "failed": len(self.failed),
            "not_reached": self.not_reached,
            "seconds": round(self.seconds, 3),
        }


JobEvent = PictureEvent | TileProgress | Note
Event = Started | PictureEvent | TileProgress | Note | Watching | Summary

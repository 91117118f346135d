"""What is asked of a translation of clips, and what it reports; `row` gives the fields of the JSON
lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from img2img.errors import UsageError
from img2img.inference.events import Note, Row, Status
from img2img.inference.video.blending import Blend
from img2img.model_format.info import ModelInfo

Stage = Literal["reading", "translating"]


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How clips are translated, beside what a TranslateRequest says.

    Attributes:
        codec: h264, hevc, vp9 or av1; None: vp9 for WebM, else h264, and hevc for more than 8 bits
            (av1 in WebM).
        temporal_blend: 0 to below 1: how much of the frame before stays where the clip hardly
            changed; 0 translates each frame for itself.
        hold: whether a model that normalises by each picture's own statistics uses those of the
            whole shot.
        segment: frames that are written at a time; a job that is killed loses at most so many.
    """

    codec: str | None = None
    temporal_blend: float = 0.5
    hold: bool = True
    segment: int = 120

    def check(self) -> None:
        """Raise UsageError for a value out of range."""
        Blend(self.temporal_blend)
        if self.segment < 1:
            raise UsageError(f"segment {self.segment}: needs at least 1 frame")


@dataclass(frozen=True, slots=True)
class ClipsStarted:
    """The model is open and the clips are known.

    Attributes:
        model: the metadata of the model file.
        runner: what runs it; `reason`: why `auto` chose it.
        working_size: long side in pixels at which the network works; 0: each clip's own size.
        clips: to translate.
    """

    model: ModelInfo
    runner: str
    reason: str
    working_size: int
    clips: int

    @property
    def row(self) -> Row:
        """The event as plain JSON types."""
        return {
            "event": "start",
            "model": self.model.name,
            "runner": self.runner,
            "reason": self.reason,
            "working_size": self.working_size,
            "scale": self.model.scale,
            "clips": self.clips,
        }


@dataclass(frozen=True, slots=True)
class ClipProgress:
    """`done` of about `total` frames of the clip `source` are read or translated; `before`: how
    many an earlier run translated."""

    source: Path
    stage: Stage
    done: int
    total: int
    before: int = 0


@dataclass(frozen=True, slots=True)
class ClipEvent:
    """One clip is finished.

    Attributes:
        source, target: the files; `target` exists when `status` is `done` or `skipped`.
        status: `done`, `skipped` (the output exists) or `failed`.
        domain: name of the target domain, where the model has domains.
        reason: of every status but `done`, in words.
        frames, width, height, seconds: of the output.
        resumed: frames that an earlier run had translated.
        shots: how many were told apart.
        lost_from: second from which on the source could not be decoded; None: all of it could.
        gap: frames after it could be decoded again.
        notes: what is not kept, in words.
        redone: an older output was replaced.
    """

    source: Path
    target: Path
    status: Status
    domain: str = ""
    reason: str = ""
    frames: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    resumed: int = 0
    shots: int = 0
    lost_from: float | None = None
    gap: bool = False
    notes: tuple[str, ...] = ()
    redone: bool = False

    @property
    def loss(self) -> str:
        """What was lost, in words; empty where nothing was."""
        if self.lost_from is None:
            return ""
        if self.gap:
            return (
                f"damaged at second {self.lost_from:.2f}: what could not be decoded there is left "
                "out"
            )
        return (
            f"lost from second {self.lost_from:.2f} on: the file is damaged or cut off there; what "
            "comes before is translated"
        )

    @property
    def row(self) -> Row:
        """The event as plain JSON types."""
        row: Row = {"event": "clip", "input": str(self.source), "output": str(self.target)}
        if self.domain:
            row["domain"] = self.domain
        row["status"] = self.status
        if self.status != "done":
            return row | {"reason": self.reason}
        row |= {
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "shots": self.shots,
            "resumed": self.resumed,
            "notes": list(self.notes),
        }
        if self.lost_from is not None:
            row["lost_from"] = round(self.lost_from, 3)
        if self.redone:
            row["redone"] = True
        return row


@dataclass
class ClipSummary:
    """What became of the clips: counts, (file, reason) of those that failed, and (file, what was
    lost) of those of which a part is missing, which count among `done` too. `not_reached` were left
    because of a stop; `seconds` is the time that all took."""

    done: int = 0
    skipped: int = 0
    frames: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    not_reached: int = 0
    seconds: float = 0.0

    def count(self, event: ClipEvent) -> None:
        """Add one clip."""
        if event.status == "failed":
            self.failed.append((event.source, event.reason))
        elif event.status == "skipped":
            self.skipped += 1
        else:
            self.done += 1
            self.frames += event.frames
            if event.loss:
                self.damaged.append((event.source, event.loss))

    @property
    def row(self) -> Row:
        """The event as plain JSON types."""
        return {
            "event": "summary",
            "done": self.done,
            "skipped": self.skipped,
            "failed": len(self.failed),
            "damaged": len(self.damaged),
            "not_reached": self.not_reached,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
        }


ClipsEvent = ClipsStarted | ClipProgress | ClipEvent | Note | ClipSummary

"""`img2img translate` of video clips: what it prints while it works and at its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from img2img.cli.console import (
    duration,
    escaped,
    is_quiet,
    note,
    one_line,
    say,
    say_json,
    stop_flag,
)
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.inference import TranslateRequest
    from img2img.inference.video import (
        ClipEvent,
        ClipProgress,
        ClipsEvent,
        ClipsStarted,
        ClipSummary,
        VideoOptions,
    )

_SECONDS = 10.0  # between two lines of progress where there is no terminal


def run(request: TranslateRequest, options: VideoOptions, json: bool) -> None:
    """Translate the clips of `request`."""
    from img2img.inference.video import ClipSummary, translate_clips

    if request.out == "-":
        raise UsageError("a video clip is written to a file or a folder, not to standard output")
    summary = ClipSummary()
    with stop_flag() as stop, _Listener(json) as listen:
        for event in translate_clips(request, options, stop):
            if isinstance(event, ClipSummary):
                summary = event
            else:
                listen(event)
        listen.close()
        if json:
            say_json(summary.row)
        else:
            say(in_words(summary, Path(request.out)))
        stop.leave()
    if summary.failed or summary.damaged:
        raise typer.Exit(1)


def in_words(summary: ClipSummary, out: Path) -> str:
    """The summary as one line."""
    clips = f"{summary.done} clip{'s' * (summary.done != 1)}"
    parts = [f"{clips} translated into {escaped(str(out))}"]
    if summary.done:
        parts[0] += f" ({summary.frames} frames) in {duration(summary.seconds)}"
    if summary.damaged:
        parts.append(f"{len(summary.damaged)} of them incomplete because the source is damaged")
    if summary.skipped:
        parts.append(f"{summary.skipped} already there (--overwrite translates them again)")
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    if summary.not_reached:
        parts.append(f"{summary.not_reached} not finished; the same command resumes")
    return ", ".join(parts)


class _Listener:
    """Prints events as they come: JSON lines, a progress bar on a terminal, or plain lines."""

    def __init__(self, json: bool):
        self._json = json
        self._bar: Any = None
        self._printed = time.monotonic()
        self._began: tuple[Path, float] | None = None  # the clip in translation, and since when

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: ClipsEvent) -> None:
        from img2img.inference import Note
        from img2img.inference.video import ClipEvent, ClipProgress, ClipsStarted

        if isinstance(event, Note):
            note(event.text)
        elif isinstance(event, ClipsStarted):
            self._started(event)
        elif isinstance(event, ClipProgress):
            self._progress(event)
        elif isinstance(event, ClipEvent):
            self._clip(event)

    def _started(self, event: ClipsStarted) -> None:
        if self._json:
            say_json(event.row)
            return
        model = event.model
        plain = event.runner.startswith("onnxruntime cpu")
        why = f" ({event.reason})" if event.reason and not plain else ""
        clips = f"{event.clips} clip{'s' * (event.clips != 1)}"
        note(f"{clips}, model {model.name} ({model.direction}), {event.runner}{why}")
        working = f"{event.working_size}" if event.working_size else "each frame's own size"
        if model.scale > 1:
            note(f"enlarging each frame {model.scale} times per side")
        else:
            note(f"working at {working}; --size changes it")
        if is_quiet() or sys.stderr is None or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def _progress(self, event: ClipProgress) -> None:
        if self._json:
            return
        now = time.monotonic()
        if event.stage == "translating" and (self._began is None or self._began[0] != event.source):
            self._began = event.source, now
            if event.before:
                note(
                    f"{event.source}: {event.before} of {event.total} frames are done already; "
                    f"resuming"
                )
        if self._bar:
            self._bar.update(
                self._task,
                description=f"{event.stage} {event.source.name}",
                completed=event.done,
                total=event.total,
            )
        elif now - self._printed > _SECONDS:
            self._printed = now
            left = ""
            if event.stage == "translating" and self._began is not None:
                rate = (event.done - event.before) / max(now - self._began[1], 1e-3)
                remaining = duration((event.total - event.done) / max(rate, 1e-6))
                left = f", {rate:.1f} frames/s, {remaining} left"
            note(f"{event.stage} {event.source}: {event.done}/{event.total}{left}")

    def _clip(self, event: ClipEvent) -> None:
        if self._json:
            say_json(event.row)
            return
        if event.status == "failed":
            one_line(f"failed: {event.source}: {event.reason}")
        if event.loss:
            one_line(f"damaged: {event.source}: {event.loss}")
        for text in event.notes:
            note(f"note: {event.source}: {text}")

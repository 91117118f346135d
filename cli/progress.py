"""What `img2img translate` prints while it works and at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.cli.console import duration, escaped, is_quiet, note, one_line, say_json

if TYPE_CHECKING:
    from img2img.inference import Event, PictureEvent, Started, Summary, TileProgress, Watching

_QUIET = ("hidden", "not a picture")
_SECONDS = 10.0  # between two lines of progress where there is no terminal


@contextmanager
def counting(what: str, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Yield a function (done, total) that shows on stderr how many pictures were `what`: a bar on a
    terminal, which is taken away at the end, or a line every ten seconds; nothing with --quiet."""
    if not shown or is_quiet() or sys.stderr is None:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        printed = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal printed
            if time.monotonic() - printed >= _SECONDS:
                printed = time.monotonic()
                note(f"{what} {done} of {total} pictures")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def in_words(summary: Summary, out: Path | str) -> str:
    """The summary as one line, and of a cluster a second one."""
    parts = [f"{summary.done} translated into {escaped(str(out))}"]
    if summary.done:
        parts[0] += f" in {duration(summary.seconds)}"
    if summary.redone:
        parts.append(f"{summary.redone} updated because the source or the settings changed")
    if summary.skipped:
        parts.append(f"{summary.skipped} already there (--overwrite translates them again)")
    if summary.ignored:
        parts.append(f"{summary.ignored} other files ignored")
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    if summary.not_reached:
        parts.append(f"{summary.not_reached} not reached; the same command resumes")
    return ", ".join(parts) + _of_actors(summary)


def _of_actors(summary: Summary) -> str:
    actors = getattr(summary, "actors", None)
    if not actors or not summary.seconds:
        return ""
    rates = sorted(count / summary.seconds for count, _ in actors.values())
    each = f"{rates[0]:.2g}" if len(rates) == 1 else f"{rates[0]:.2g} to {rates[-1]:.2g}"
    one = "1 actor" if len(rates) == 1 else f"{len(rates)} actors"
    return f"\n{one}, {each} pictures/s each, {sum(rates):.3g} in all"


class Listener:
    """Prints events as they come: JSON lines, a progress bar on a terminal, or plain lines."""

    def __init__(self, json: bool):
        self.json, self.total, self.seen = json, 0, 0
        self.part = 0.0  # of the picture in work, where it is translated in tiles
        self.began = self.printed = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the progress bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def __call__(self, event: Event) -> None:
        from img2img.inference import Note, PictureEvent, Started, TileProgress, Watching

        if isinstance(event, Note):
            note(event.text)
        elif isinstance(event, Started):
            self._started(event)
        elif isinstance(event, PictureEvent):
            self._picture(event)
        elif isinstance(event, TileProgress):
            self._tiles(event)
        elif isinstance(event, Watching):
            self._watching(event)

    def _started(self, event: Started) -> None:
        self.total = event.inputs
        self.began = self.printed = time.monotonic()
        if self.json:
            say_json(event.row)
        else:
            model = event.model
            # Why another runner was chosen is worth a line; why none was is not.
            plain = event.runner.startswith("onnxruntime cpu")
            why = f" ({event.reason})" if event.reason and not plain else ""
            many = f"{event.pictures} picture{'s' * (event.pictures != 1)}"
            note(f"{many}, model {model.name} ({model.direction}), {event.runner}{why}")
            trained = "" if event.foreign else f"trained at {model.size} px, "
            working = f"{event.working_size}" if event.working_size else "each picture's own size"
            if model.scale > 1:
                note(f"{trained}enlarging each picture {model.scale} times per side")
            else:
                note(f"{trained}working at {working}; --size changes it")
        if event.foreign:
            name = event.model.name
            note(
                f"note: model {name} was not made by img2img; its licence and training are unknown"
            )
        self._open_bar()

    def _open_bar(self) -> None:
        if self.json or is_quiet() or sys.stderr is None or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[seen]}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task("", total=self.total, seen=0)
        self.bar.start()

    def _picture(self, event: PictureEvent) -> None:
        self.seen += 1
        self.part = 0.0
        if self.json:
            say_json(event.row)
            return
        source = _named(event.source)
        if event.status == "failed":
            one_line(f"failed: {source}: {event.reason}")
        if event.status == "ignored" and event.reason not in _QUIET:
            note(f"ignored: {source}: {event.reason}")
        for text in event.notes:
            note(f"note: {source}: {text}")
        self._show()

    def _tiles(self, event: TileProgress) -> None:
        # The last steps may come after the picture's end was reported.
        self.part = event.done / event.total if event.done < event.total else 0.0
        if not self.json:
            self._show()

    def _show(self) -> None:
        reached = self.seen + self.part
        if self.bar:
            self.bar.update(self.task, completed=reached, seen=self.seen)
        elif self.total and reached and time.monotonic() - self.printed > _SECONDS:
            self.printed = time.monotonic()
            rate = reached / (self.printed - self.began)
            left = duration(max(0.0, self.total - reached) / rate)
            within = f" and {self.part:.0%} of a picture" if self.part else ""
            note(f"{self.seen}/{self.total}{within}, {rate:.1f} pictures/s, {left} left")

    def _watching(self, event: Watching) -> None:
        self.close()
        self.total = 0
        inputs = ", ".join(event.inputs)
        note(
            f"watching {inputs}: new and changed pictures are translated as they arrive; press "
            f"Ctrl-C to stop"
        )


def _named(source: Path | str) -> str:
    if isinstance(source, str):
        return source
    return (
        "standard input" if source.name.startswith("stdin.") and _temporary(source) else str(source)
    )


def _temporary(source: Path) -> bool:
    return source.parent.name.startswith("img2img-")

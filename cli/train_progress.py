"""Prints the events of a training."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from img2img.cli.console import duration, is_quiet, note, say, say_json
from img2img.training.events import (
    DataExamined,
    DataRead,
    DryRun,
    Fetched,
    Fetching,
    Finished,
    HealthNote,
    Progress,
    Started,
    Stopped,
    TrainingEvent,
    Validated,
    Warned,
)

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_SECONDS = 10.0  # between two lines of progress where there is no terminal
_SOURCES = {
    "memory": "from memory",
    "mapped": "from a file in cache/",
    "decoded": "decoded each time",
    "device": "on the device",
}
_NAMES = {"l1": "L1 (levels)", "psnr": "PSNR (dB)", "ssim": "SSIM"}


def _as_toml(table: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps({k: v for k, v in table.items() if v is not None})


def _sizes(parameters: dict[str, int]) -> str:
    return ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in parameters.items())


class Reporter:
    """Prints the events of a training: JSON lines, a live panel on a terminal, or plain lines.

    Progress is printed after the first step and then every 10 seconds, pictures read at most every
    5; each kind of health note once.
    """

    def __init__(self, json: bool):
        self.json = json
        self._panel: Live | None = None
        self._printed: dict[str, float] = {}
        self._noted: set[str] = set()
        self._last: Progress | None = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *details: object) -> None:
        self._close()

    def __call__(self, event: TrainingEvent) -> None:
        some = isinstance(event, (DataExamined, DataRead, Fetching)) and event.done < event.total
        if some and not self._due(event.kind, 5):
            return
        if self.json:
            if not isinstance(event, Progress) or self._due("progress", _SECONDS):
                say_json(event.as_row())
            return
        if isinstance(event, DryRun):
            say(_as_toml(event.config))
        if isinstance(event, Progress):
            self._last = event
            self._show(event)
            return
        if isinstance(event, HealthNote):
            if event.problem in self._noted:
                return
            self._noted.add(event.problem)
        if isinstance(event, (Finished, Stopped)):
            self._close()
        text = _in_words(event)
        if text:
            note(text)

    def _due(self, what: str, seconds: float) -> bool:
        """Whether `what` is to be printed again; then it counts as printed."""
        now = time.monotonic()
        if now - self._printed.get(what, -seconds) < seconds:
            return False
        self._printed[what] = now
        return True

    def _show(self, event: Progress) -> None:
        if is_quiet():
            return
        if sys.stderr is None or not sys.stderr.isatty():
            if event.step >= event.steps or self._due("progress", _SECONDS):
                note(progress_line(event))
            return
        if self._panel is None:
            from rich.console import Console
            from rich.live import Live

            self._panel = Live(
                console=Console(stderr=True), auto_refresh=False, transient=True,
                redirect_stdout=False,
            )  # fmt: skip
            self._panel.start()
        self._panel.update(panel(event), refresh=True)

    def _close(self) -> None:
        """Take the panel away; what it showed last stays as a line."""
        if self._panel is not None:
            self._panel.stop()
            self._panel = None
            if self._last is not None:
                note(progress_line(self._last))


def progress_line(e: Progress) -> str:
    """Progress as one line."""
    parts = [f"step {e.step}/{e.steps}", *(f"{n} {v:.4f}" for n, v in e.losses.items())]
    parts.append(f"{e.pictures_per_second:.3g} pictures/s")
    if e.health:
        parts.append(e.health)
    parts.append(f"{duration(e.eta_seconds)} left")
    return "  ".join(parts)


def panel(e: Progress) -> Table:
    """Progress as a small table for rich."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    done = Table.grid(padding=(0, 2))
    part = f"{e.step}/{e.steps}"
    done.add_row(part, ProgressBar(e.steps, e.step, width=24), f"{duration(e.eta_seconds)} left")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("step", done)
    table.add_row("losses", Text("  ".join(f"{n} {v:.4g}" for n, v in e.losses.items())))
    memory = f", {e.memory_bytes / 2**30:.1f} GiB of memory at most" if e.memory_bytes else ""
    table.add_row("speed", f"{e.pictures_per_second:.3g} pictures/s{memory}")
    if e.best_value is not None:
        table.add_row("best", Text(f"{_figure(e.best, e.best_value)} at step {e.best_step}"))
    table.add_row("health", Text(e.health or "nothing found", style="bold red" if e.health else ""))
    return table


def _figure(name: str, value: float) -> str:
    return f"{_NAMES.get(name, name)} {value:.4g}"


def _in_words(event: TrainingEvent) -> str:
    match event:
        case DataExamined(done, total):
            return f"looked at {done} of {total} pictures"
        case DataRead(done, total):
            return f"read {done} of {total} pictures"
        case Fetching(address, done, total, came, amount):
            return f"{address}: fetched {done} of {total} files, {_megabytes(came, amount)}"
        case Fetched(address, files, fetched, removed):
            gone = f", {removed} removed" if removed else ""
            return f"{address}: {files} files, {fetched} of them fetched now{gone}"
        case Warned(text):
            return f"warning: {text}"
        case Started():
            return _start(event)
        case HealthNote():
            return f"step {event.step}: {event.text}"
        case Validated(step, figures):
            if not figures:
                return f"samples of step {step} written"
            return "held-out pictures: " + ", ".join(_figure(k, v) for k, v in figures.items())
        case Stopped(step, steps, time_is_up):
            why = "time is up" if time_is_up else "stopped"
            of = f" of {steps}" if steps else ""
            return f"{why} at step {step}{of}; the same command resumes"
        case DryRun():
            return _dry_run(event)
        case Finished(_, seconds):
            return f"done after {duration(seconds)}"
    return ""


def _megabytes(done: int, total: int) -> str:
    return f"{done / 2**20:.1f} of {total / 2**20:.1f} MB"


def _start(e: Started) -> str:
    how = f"resumed at step {e.step}" if e.step else "new run"
    domains = f" of {len(e.domains)} domains" if e.domains else ""
    workers = f" by {e.workers} workers" if e.workers else ""
    many = f"{e.processes} processes, " if e.processes > 1 else ""
    chosen = f" ({e.threads_reason})" if e.threads_reason else ""
    batch = f"{e.batch_size} at once ({e.batch_reason}), " if e.batch_reason else ""
    length = f"{e.minutes:g} minutes" if e.steps is None else f"{e.steps} steps"
    return (
        f"{how}: {e.pictures} pictures or pairs{domains}, {e.held_out} held out, "
        f"{length}, {batch}{e.device}, {many}{e.precision} ({e.reason}), "
        f"{e.memory_format} ({e.memory_format_reason}), "
        f"{e.compile} ({e.compile_reason}), "
        f"{e.threads} thread{'s' if e.threads > 1 else ''}{chosen}, "
        f"pictures {_SOURCES[e.pictures_from]}{workers}, "
        f"parameters: {_sizes(e.parameters)}"
    )


def _dry_run(e: DryRun) -> str:
    memory = f", about {e.memory_bytes / 2**30:.1f} GiB of memory" if e.memory_bytes else ""
    return (
        f"dry run: {e.steps} steps of {e.seconds_per_step:.3g} s, about "
        f"{duration(e.seconds)} in total{memory}, parameters: {_sizes(e.parameters)}; "
        "nothing was written"
    )

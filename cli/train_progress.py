"""Prints the events of a training."""

from __future__ import annotations

import time
from typing import Any

from img2img.cli.console import duration, note, say, say_json
from img2img.training.events import (
    DataRead,
    DryRun,
    Finished,
    Listener,
    Started,
    StepDone,
    Stopped,
    TrainingEvent,
    Validated,
    Warned,
)

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


def reporter(json: bool) -> Listener:
    """A listener that prints the events of a training; pictures read at most every 5 seconds."""
    last = 0.0

    def report(event: TrainingEvent) -> None:
        nonlocal last
        if isinstance(event, DataRead) and event.done < event.total:
            if time.monotonic() - last < 5:
                return
            last = time.monotonic()
        if json:
            say_json(event.as_row())
            return
        if isinstance(event, DryRun):
            say(_as_toml(event.config))
        text = _in_words(event)
        if text:
            note(text)

    return report


def _in_words(event: TrainingEvent) -> str:
    match event:
        case DataRead(done, total):
            return f"read {done} of {total} pictures"
        case Warned(text):
            return f"warning: {text}"
        case Started():
            return _start(event)
        case StepDone():
            losses = "  ".join(f"{n} {v:.4f}" for n, v in event.losses.items())
            return (
                f"step {event.step}/{event.steps}  epoch {event.epoch + 1}  {losses}  "
                f"{event.steps_per_second:.2f} steps/s  {duration(event.eta_seconds)} left"
            )
        case Validated(step, figures):
            if not figures:
                return f"samples of step {step} written"
            named = (f"{_NAMES.get(k, k)} {v:.4g}" for k, v in figures.items())
            return "held-out pictures: " + ", ".join(named)
        case Stopped(step, steps, time_is_up):
            why = "time is up" if time_is_up else "stopped"
            of = f" of {steps}" if steps else ""
            return f"{why} at step {step}{of}; the same command resumes"
        case DryRun():
            return _dry_run(event)
        case Finished(_, seconds):
            return f"done after {duration(seconds)}"
    return ""


def _start(e: Started) -> str:
    how = f"resumed at step {e.step}" if e.step else "new run"
    domains = f" of {len(e.domains)} domains" if e.domains else ""
    workers = f" by {e.workers} workers" if e.workers else ""
    many = f"{e.processes} processes, " if e.processes > 1 else ""
    chosen = f" ({e.threads_reason})" if e.threads_reason else ""
    length = f"{e.minutes:g} minutes" if e.steps is None else f"{e.steps} steps"
    return (
        f"{how}: {e.pictures} pictures or pairs{domains}, {e.held_out} held out, "
        f"{length}, {e.device}, {many}{e.precision} ({e.reason}), "
        f"{e.memory_format} ({e.memory_format_reason}), "
        f"{e.compile} ({e.compile_reason}), "
        f"{e.threads} thread{'s' if e.threads > 1 else ''}{chosen}, "
        f"pictures {_SOURCES[e.pictures_from]}{workers}, "
        f"parameters: {_sizes(e.parameters)}"
    )


def _dry_run(e: DryRun) -> str:
    memory = f", about {e.memory_bytes / 2**30:.1f} GiB of memory" if e.memory_bytes else ""
    return (
        f"dry run: {e.steps} steps of {e.seconds_per_step:.3g} s, in all about "
        f"{duration(e.seconds)}{memory}, parameters: {_sizes(e.parameters)}; "
        "nothing was written"
    )

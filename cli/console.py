"""Printing and signals: what every command shares."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


class Stopped(Exception):
    """The command was asked to stop by a signal and has put its work in order."""

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


class PipeClosed(Exception):
    """Whoever read our standard output has gone; the exit code is the shell's for SIGPIPE."""

    exit_code = 141


class StopFlag:
    """Remembers SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        # Not `note`: the signal may have come amid a print to the same stream.
        with suppress(OSError):
            os.write(2, b"stopping at the next safe point; once more stops at once\n")

    def leave(self) -> None:
        """Raise Stopped when a signal came."""
        if self.number is not None:
            raise Stopped(self.number)


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Install a StopFlag for SIGINT and SIGTERM inside the block."""
    flag = StopFlag()
    before = {n: signal.signal(n, flag._take) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def one_line(text: str) -> None:
    """Print `text` to stderr with control characters escaped, so that it stays one line."""
    if sys.stderr is None:  # closed; print would take stdout instead
        return
    try:
        print(escaped(text), file=sys.stderr)
    except BrokenPipeError:  # whoever read the messages has left; the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def escaped(text: str) -> str:
    """`text` with control characters, and what else cannot be printed, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


note = one_line


def say(text: str) -> None:
    """Print a result to stdout."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise PipeClosed from None


def say_json(row: dict[str, Any]) -> None:
    """Print one JSON object as one line to stdout."""
    say(json.dumps(row))


def duration(seconds: float) -> str:
    """`75 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"

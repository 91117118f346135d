"""Printing and signals: what every command shares."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from img2img.cli.spelling import as_typed
from img2img.errors import MissingExtra


class Stopped(Exception):
    """A signal asked the command to stop, and it has stopped in a state that can be resumed."""

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


class PipeClosed(Exception):
    """The reader of our standard output has closed it; the exit code is the shell's for SIGPIPE."""

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
        # Not `note`: the signal may have interrupted a print to the same stream.
        with suppress(OSError):
            os.write(2, b"stopping at the next safe point; press Ctrl-C again to stop at once\n")

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


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Imports of the extra `name` stand inside: where a package of it is missing, MissingExtra says
    that `what` needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "img2img":
            raise
        raise MissingExtra(what, name) from None


def one_line(text: str) -> None:
    """Print `text` to stderr, options named as flags, with control characters escaped, so that it
    stays one line."""
    if sys.stderr is None:  # closed; print would take stdout instead
        return
    try:
        print(escaped(as_typed(text)), file=sys.stderr)
    except BrokenPipeError:  # nobody reads the messages any more; the work continues
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def escaped(text: str) -> str:
    """`text` with control and other unprintable characters as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_quiet = False


def set_quiet(value: bool) -> None:
    """With True, `note` prints nothing: the option --quiet."""
    global _quiet
    _quiet = value


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return _quiet


def note(text: str) -> None:
    """Print what is neither a result nor an error to stderr, as `one_line`, unless --quiet."""
    if not _quiet:
        one_line(text)


def say(text: str) -> None:
    """Print a result to stdout, options named as flags."""
    try:
        print(as_typed(text), flush=True)
    except BrokenPipeError:
        raise PipeClosed from None


def say_json(row: Mapping[str, object]) -> None:
    """Print one JSON object as one line to stdout."""
    say(json.dumps(row))


def duration(seconds: float) -> str:
    """`75 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"

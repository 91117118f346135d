"""Standard input and output as files."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from img2img.cli.console import PipeClosed
from img2img.errors import EnvironmentFault, PictureError, UsageError, describe_os_error

if TYPE_CHECKING:
    from img2img.inference import TranslateRequest

_STDIN_LIMIT = 2**31
_EXAMPLE = "send one picture: img2img translate - -o new.jpg < old.jpg"


@contextmanager
def standard_streams(
    request: TranslateRequest,
) -> Iterator[tuple[list[str | Path], Path, Callable[[], None]]]:
    """The inputs and the output as files, where `-` stands for a standard stream; and what sends
    the result on its way."""
    inputs: list[str | Path] = list(request.inputs)
    if "-" not in inputs and request.out != "-":
        yield inputs, Path(request.out), lambda: None
        return
    if "-" in inputs and (len(inputs) > 1 or request.watch):
        raise UsageError("- (standard input) must be the only input, without --watch")
    if request.out == "-" and len(inputs) > 1:
        raise UsageError("-o - takes one picture")
    with _temporary_folder() as folder:
        out = Path(request.out)
        if inputs == ["-"]:
            inputs = [_from_stdin(Path(folder))]
        if request.out == "-":
            if Path(inputs[0]).is_dir() or glob.has_magic(str(inputs[0])):
                raise UsageError("-o - takes one picture, not a folder")
            out = Path(folder) / f"out{_suffix_for(request.format, Path(inputs[0]))}"
        yield inputs, out, lambda: _to_stdout(out) if request.out == "-" else None


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="img2img-")
    except OSError as error:
        words = describe_os_error(error)
        raise EnvironmentFault(f"no temporary folder can be made: {words}; set TMPDIR") from None


def _from_stdin(folder: Path) -> Path:
    from img2img.images import FORMATS, sniff

    if sys.stdin is None:
        raise UsageError(f"standard input is closed; {_EXAMPLE}")
    if sys.stdin.isatty():
        raise UsageError(f"- reads a picture from standard input; {_EXAMPLE}")
    try:
        data = sys.stdin.buffer.read(_STDIN_LIMIT + 1)
    except OSError as error:
        words = describe_os_error(error)
        raise UsageError(f"standard input: cannot be read: {words}; {_EXAMPLE}") from None
    if not data:
        raise UsageError(f"standard input is empty; {_EXAMPLE}")
    if len(data) > _STDIN_LIMIT:
        raise UsageError("standard input holds more than 2 GiB")
    format = sniff(data[:64])
    if format is None:
        raise PictureError(f"standard input: not a picture, or damaged; {_EXAMPLE}")
    suffixes = [suffix for name, suffix in FORMATS.values() if name == format]
    path = folder / f"stdin{suffixes[0] if suffixes else '.' + format.lower()}"
    try:
        path.write_bytes(data)
    except OSError as error:
        raise EnvironmentFault(f"{path}: not written: {describe_os_error(error)}") from None
    return path


def _suffix_for(format: str | None, source: Path) -> str:
    from img2img.images import encode_format, written_format

    if format:
        return encode_format(format)[1]
    return source.suffix if written_format(source) else ".png"


def _to_stdout(path: Path) -> None:
    if sys.stdout is None:
        raise EnvironmentFault("standard output: is closed")
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise PipeClosed from None
    except OSError as error:
        raise EnvironmentFault(f"standard output: {describe_os_error(error)}") from None

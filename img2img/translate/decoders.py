"""Decoding in processes that can be killed: a picture that hangs or crashes its decoder costs
itself and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from img2img.errors import EnvironmentFault, PictureError, describe_os_error
from img2img.images import Picture, Reading
from img2img.translate.decoding import picture_of, send

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from img2img.translate.decoding import main; main(float(sys.argv[2]))"
)
_TRIES = 2


@dataclass(frozen=True)
class Decoded:
    """A picture and the digest of the file that it came from."""

    picture: Picture
    digest: str


class Ended(Exception):
    """The decoder was ended from another thread."""


class Decoder:
    """One decoding process, started when first needed and again after it died.

    `seconds`: how long one picture may take. Used by one thread; `Watch` kills from another.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline: float | None = None
        self._late = self._stopped = self._ended = False

    def read(self, path: Path, reading: Reading) -> Decoded:
        """Decode `path`.

        Raises PictureError without the path in it: whatever is wrong with the file, it took too
        long, or its decoder died twice; EnvironmentFault when no process can be started; Ended.
        """
        for _ in range(_TRIES):
            self._late = self._stopped = False
            try:
                return self._try(path, reading)
            except (OSError, EOFError, ValueError):
                self.close()
                if self._ended:
                    raise Ended from None
                if self._late and not self._stopped:
                    raise PictureError(
                        f"decoding took more than {self.seconds:g} s; given up"
                    ) from None
        raise PictureError(f"its decoder died {_TRIES} times; given up")

    def _try(self, path: Path, reading: Reading) -> Decoded:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        request = {"path": os.fsencode(path).hex(), **vars(reading)}
        self._deadline = time.monotonic() + self.seconds
        try:
            send(process.stdin, request)  # type: ignore[arg-type]
            header = json.loads(_read(process.stdout, int.from_bytes(_read(process.stdout, 4))))
            if "error" in header:
                raise PictureError(header["error"])
            arrays = []
            for kind, shape in header["arrays"]:
                array = np.empty(shape, np.dtype(kind))
                _read_into(process.stdout, array)
                arrays.append(array)
        finally:
            self._deadline = None
        return Decoded(picture_of(header, arrays), header["digest"])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _CODE, json.dumps(sys.path), str(self.seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                )
            except OSError as error:
                raise EnvironmentFault(
                    f"no decoding process can be started: {describe_os_error(error)}"
                ) from None
        return self._process

    def check(self) -> None:
        """Kill the process when its picture is overdue."""
        process, deadline = self._process, self._deadline
        if process is not None and deadline is not None and time.monotonic() > deadline:
            self._late, self._stopped = True, _is_stopped(process.pid)
            process.kill()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()

    def end(self) -> None:
        """End the process from another thread; `read` then raises Ended."""
        self._ended = True
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()


class Watch:
    """A thread that looks after the time of several decoders."""

    def __init__(self, decoders: list[Decoder]):
        self._decoders = decoders
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            for decoder in self._decoders:
                decoder.check()

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()


def _is_stopped(pid: int) -> bool:
    """True for a process that somebody has stopped: it is not the picture that takes long."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def _read(file: BinaryIO | object, size: int) -> bytes:
    data = bytearray(size)
    _fill(file, memoryview(data))
    return bytes(data)


def _read_into(file: BinaryIO | object, array: np.ndarray) -> None:
    if array.size:
        _fill(file, array.data.cast("B"))


def _fill(file: BinaryIO | object, view: memoryview) -> None:
    while view:
        count = file.readinto(view)  # type: ignore[union-attr]
        if not count:
            raise EOFError
        view = view[count:]

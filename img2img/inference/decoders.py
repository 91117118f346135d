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
from typing import Any, BinaryIO

import numpy as np

from img2img.errors import EnvironmentFault, PictureError, describe_os_error
from img2img.images import Picture, Reading
from img2img.inference.decoding import picture_of, send

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from img2img.inference.decoding import main; main(float(sys.argv[2]))"
)
_TRIES, _STARTS = 2, 5
_START = 120.0  # seconds that a process may take to start, on a busy machine
_LOOK = 0.1  # seconds between two looks at the time


@dataclass(frozen=True)
class Decoded:
    """A picture and the digest of the file that it came from."""

    picture: Picture
    digest: str


class Ended(Exception):
    """The decoder was ended from another thread."""


class Decoder:
    """One decoding process, started when first needed and again after it died.

    `seconds`: how long one picture may take, the start of the process not counted. Used by one
    thread; `Watch` kills from another.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._left: float | None = None  # seconds until the process is killed
        self._late = self._stopped = self._ended = False

    def read(self, path: Path, reading: Reading) -> Decoded:
        """Decode `path`.

        Raises PictureError without the path in it: whatever is wrong with the file, it took too
        long, or its decoder died twice; EnvironmentFault when no process can be started; Ended.
        """
        for _ in range(_TRIES):
            process = self._running()
            self._late = self._stopped = False
            try:
                return self._try(process, path, reading)
            except MemoryError:
                self.close()
                raise PictureError("does not fit in memory") from None
            except (OSError, EOFError, ValueError):
                self.close()
                if self._ended:
                    raise Ended from None
                if self._late and not self._stopped:
                    raise PictureError(
                        f"decoding took more than {self.seconds:g} s; given up"
                    ) from None
        raise PictureError(f"its decoder died {_TRIES} times; given up")

    def _try(self, process: subprocess.Popen[bytes], path: Path, reading: Reading) -> Decoded:
        assert process.stdin is not None and process.stdout is not None
        request = {"path": os.fsencode(path).hex(), **vars(reading)}
        self._allow(self.seconds)
        try:
            send(process.stdin, request)  # type: ignore[arg-type]
            header = _read_header(process)
            if "error" in header:
                raise PictureError(header["error"])
            arrays = []
            for kind, shape in header["arrays"]:
                array = np.empty(shape, np.dtype(kind))
                _read_into(process.stdout, array)
                arrays.append(array)
        finally:
            self._allow(None)
        return Decoded(picture_of(header, arrays), header["digest"])

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, which has said that it is ready."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        for _ in range(_STARTS):
            self.close()
            self._process = process = _start(self.seconds)
            # `end` sets the flag first and kills then: one of the two threads sees the other.
            if self._ended:
                self.close()
                raise Ended
            self._allow(_START)
            try:
                _read_header(process)
                return process
            except (OSError, EOFError, ValueError):
                if self._ended:
                    raise Ended from None
            finally:
                self._allow(None)
        self.close()
        raise EnvironmentFault(
            f"the decoding process died at its start {_STARTS} times; see img2img doctor"
        )

    def _allow(self, seconds: float | None) -> None:
        with self._lock:
            self._left = seconds

    def check(self, passed: float) -> None:
        """Kill the process when its picture is overdue, now that this many seconds have passed."""
        with self._lock:
            process = self._process
            if process is None or self._left is None:
                return
            self._left -= passed
            if self._left < 0:
                self._late, self._stopped = True, _is_stopped(process.pid)
                with contextlib.suppress(OSError):
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
        # One that waits for a dead network drive cannot be ended; we need not wait with it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)

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
        before = time.monotonic()
        while not self._end.wait(_LOOK):
            now = time.monotonic()
            # Longer only when this process was stopped, too (Ctrl-Z): nobody is late then.
            passed, before = min(now - before, 10 * _LOOK), now
            for decoder in self._decoders:
                decoder.check(passed)

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()


def _start(seconds: float) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    except OSError as error:
        raise EnvironmentFault(
            f"no decoding process can be started: {describe_os_error(error)}"
        ) from None


def _read_header(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    size = int.from_bytes(_read(process.stdout, 4), "big")
    header: dict[str, Any] = json.loads(_read(process.stdout, size))
    return header


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

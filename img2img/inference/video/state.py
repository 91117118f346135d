"""What is kept of a clip in work, so that the same job resumes after it was killed."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from img2img.errors import EnvironmentFault, PictureError, describe_os_error
from img2img.inference.manifest import FOLDER
from img2img.inference.video.blending import Before
from img2img.inference.video.survey import Survey
from img2img.system.atomic import lock_file, sweep_stale, write_atomic

_SEGMENT = re.compile(r"^(\d{9})-(\d{9})\.nut$")
_KEY, _SURVEY, _LOCK = "key", "survey.npz", "lock"


class InUse(PictureError):
    """Another process works on the same output."""


class State:
    """The folder of a clip in work, `.img2img/clip-...` beside its output.

    Args:
        target: the output.
        key: names all that decides how the output looks, the clip's bytes among it; what another
            key left is removed.

    Attributes:
        segments: the finished ones in order, each with the number of its first and its last frame.
        survey: of the clip; None: not made yet.

    Raises InUse while another process works on the same output, EnvironmentFault where
    nothing can be written.
    """

    def __init__(self, target: Path, key: str):
        mark = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
        self.folder = target.parent / FOLDER / f"clip-{mark}"
        self._lock: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT)
            try:
                lock_file(self._lock)
            except OSError:
                self.close()
                raise InUse(f"another img2img is translating into {target}") from None
            if self._read(_KEY) != key.encode():
                self._clear()
                write_atomic(self.folder / _KEY, key.encode(), durable=True)
            sweep_stale(self.folder)
            self.segments = self._found()
        except OSError as error:
            self.close()
            raise EnvironmentFault(f"{self.folder}: {describe_os_error(error)}") from None
        self.survey = self._surveyed()

    @property
    def done(self) -> int:
        """How many frames are finished, from the first on."""
        return self.segments[-1][1] + 1 if self.segments else 0

    def keep(self, survey: Survey) -> None:
        """Write the survey. Raises EnvironmentFault."""
        self._write(_SURVEY, survey.to_bytes())
        self.survey = survey

    def segment(self, first: int, last: int) -> Path:
        """Where the segment of these frames goes."""
        return self.folder / f"{first:09}-{last:09}.nut"

    def keep_before(self, last: int, before: Before | None) -> None:
        """Write the frame that the next segment blends with, `last` by its number; to be called
        before that segment takes its name. Raises EnvironmentFault."""
        if before is None:
            return
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, source=before.source, answer=before.answer)
        self._write(_before(last), file.getvalue())
        for path in self.folder.glob("before-*.npz"):
            if path.name not in (_before(last), _before(self.done - 1)):
                path.unlink(missing_ok=True)

    def before(self) -> Before | None:
        """The frame that the next segment blends with, where it was kept."""
        data = self._read(_before(self.done - 1))
        with suppress(ValueError, KeyError, OSError, EOFError):
            if data:
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    return Before(arrays["source"], arrays["answer"])
        return None

    def remove(self) -> None:
        """The output is there: nothing is kept."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()  # where nothing else is kept there

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_atomic(self.folder / name, data, durable=True)
        except OSError as error:
            raise EnvironmentFault(f"{self.folder / name}: {describe_os_error(error)}") from None

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return b""

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink()

    def _found(self) -> list[tuple[int, int]]:
        named = [m for path in self.folder.iterdir() if (m := _SEGMENT.match(path.name))]
        found: list[tuple[int, int]] = []
        for match in sorted(named, key=lambda m: m[0]):
            first, last = int(match[1]), int(match[2])
            if first == (found[-1][1] + 1 if found else 0):
                found.append((first, last))
        return found

    def _surveyed(self) -> Survey | None:
        try:
            data = self._read(_SURVEY)
            return Survey.from_bytes(data) if data else None
        except (ValueError, KeyError, OSError, EOFError):
            return None


def _before(last: int) -> str:
    return f"before-{last:09}.npz"

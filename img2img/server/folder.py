"""The folder in which uploads lie, and those that killed servers left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from img2img.system.atomic import lock_file

_PREFIX = "img2img-serve-"
_NAME = re.compile(re.escape(_PREFIX) + r"\d+-\w+")
_LOCK = "lock"
_TRIES = 3


class UploadFolder:
    """A folder of this server alone in the system's folder for temporary files; created anew, after
    those of servers that were killed are removed.

    Its name has the number of the process, for people. Whether its server lives is told by a lock
    on a file in it, which ends with the process: in containers that share the folder for temporary
    files, every server may have the same number.

    Attributes:
        path: where uploads lie.
    """

    def __init__(self) -> None:
        sweep()
        for _ in range(_TRIES):
            self._root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            self._lock = _locked(self._root / _LOCK, os.O_CREAT)
            if self._lock is not None and (self._root / _LOCK).exists():
                break
            # A server that started at this moment took it for one that was left. Where files cannot
            # be locked at all, no server takes it, and the last one is kept.
        self.path = self._root / "uploads"
        self.path.mkdir()

    def close(self) -> None:
        """Remove it, with what is in it."""
        _remove(self._root, self._lock)
        self._lock = None


def sweep() -> int:
    """Remove the folders of this user whose server is no more; return how many."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if not _NAME.fullmatch(entry.name) or not _ours(entry):
                    continue
                lock = _locked(Path(entry.path) / _LOCK)
                if lock is not None:
                    _remove(Path(entry.path), lock)
                    removed += 1
    return removed


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)  # Windows keeps a file while it is open


def _ours(entry: os.DirEntry[str]) -> bool:
    """Others may write there too: a link, or a folder of theirs, is none of ours."""
    if not entry.is_dir(follow_symlinks=False):
        return False
    return os.name != "posix" or entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def _locked(path: Path, create: int = 0) -> int | None:
    """The opened lock file, or None where another process holds it or it is not there."""
    try:
        descriptor = os.open(path, os.O_RDWR | create | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError:
        return None
    try:
        lock_file(descriptor)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor

"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PATTERN = re.compile(r"^\.i2i-(\d+)-[0-9a-f]{8}\.tmp$")


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _current_umask()
_writing: set[str] = set()  # names of the temporary files of this process


@contextlib.contextmanager
def atomic_path(path: Path | str, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it becomes `path`, on any error
    it is removed and an older `path` stays as it was.

    `durable` also waits until the bytes and the folder entry are on the disk, so that a power cut
    leaves the old file or the new one.
    """
    path = Path(path)
    temporary = path.parent / f".i2i-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    _writing.add(temporary.name)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable and os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        _writing.discard(temporary.name)


def write_atomic(path: Path | str, data: bytes, durable: bool = False) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data)


def sweep_stale(folder: Path) -> int:
    """Remove our own temporary files that a killed process left in `folder`; return how many.

    A file whose process is alive on this machine stays. That a number is this process's own says
    nothing: in a container every process may have the same.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _PATTERN.match(entry.name)
            if match is None or entry.name in _writing:
                continue
            if int(match[1]) == os.getpid() or not process_alive(int(match[1])):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def process_alive(pid: int) -> bool:
    """True when a process of this number runs on this machine (or cannot be asked about)."""
    if pid == os.getpid():
        return True
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def lock_file(descriptor: int, wait: bool = False) -> None:
    """Lock an open file for this process until it is closed.

    Raises OSError when another process holds it and `wait` is not asked for.
    """
    if sys.platform == "win32":
        import msvcrt

        # One byte far behind the text, so that the refused process can still read who holds it.
        os.lseek(descriptor, 2**20, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                if not wait:
                    raise
                time.sleep(0.2)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; wait for whoever has it."""
    with open(path, "a+") as file:
        lock_file(file.fileno(), wait=True)
        yield

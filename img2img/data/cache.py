"""Pictures decoded once into one file of uint8 rows, which every process maps for itself.

RUN/cache/NAME-KEY.u8      the rows, one a sample
RUN/cache/NAME-KEY.json    what they are; written last, so its presence makes the rows whole
RUN/cache/lock             held while one process decodes; others wait and then find the file

KEY is a hash of every file's path, size and time of change and of the loading settings: what
changed is decoded again under another name, and the old file is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import EnvironmentFault, describe_os_error
from img2img.images import Pixels
from img2img.system.atomic import atomic_path, locked, sweep_stale, write_atomic

FORMAT = 1


def content_key(root: Path, files: Sequence[Path], settings: Sequence[object]) -> str:
    """What identifies decoded pictures: `files` by path below `root`, size and time of change in
    nanoseconds, and the settings they are loaded with."""
    sha = hashlib.sha256(json.dumps([FORMAT, *settings]).encode())
    for path in files:
        stat = path.stat()
        row = [path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns]
        sha.update(json.dumps(row).encode())
    return sha.hexdigest()[:16]


def decoded_once(
    folder: Path, name: str, key: str, shape: tuple[int, int], rows: Iterable[Pixels]
) -> Path:
    """The file of `shape` (samples, bytes each) uint8 for `key`; made of `rows` where it is not
    there yet. `rows` is not touched otherwise.

    Raises:
        EnvironmentFault: the folder cannot be written or has too little room.
    """
    path, index = folder / f"{name}-{key}.u8", folder / f"{name}-{key}.json"
    expected = {"format": FORMAT, "key": key, "samples": shape[0], "bytes_each": shape[1]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            if not _whole(path, index, expected):
                _remove_stale(folder, name)
                _require_room(folder, shape[0] * shape[1])
                with atomic_path(path) as temporary, open(temporary, "wb") as file:
                    for row in rows:
                        file.write(row.data)
                write_atomic(index, json.dumps(expected, indent=1).encode())
    except OSError as error:
        raise EnvironmentFault(_words(folder, shape, describe_os_error(error))) from None
    return path


def open_rows(path: Path, shape: tuple[int, int]) -> Pixels:
    """The file, mapped read-only into this process.

    Raises:
        EnvironmentFault: it is gone.
    """
    try:
        return np.memmap(path, np.uint8, "r", shape=shape)
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"{path}: the decoded pictures are gone ({describe_os_error(error)}); "
            "the same command makes them again"
        ) from None


def _whole(path: Path, index: Path, expected: dict[str, Any]) -> bool:
    length = expected["samples"] * expected["bytes_each"]
    try:
        return json.loads(index.read_bytes()) == expected and path.stat().st_size == length
    except (OSError, ValueError):
        return False


def _remove_stale(folder: Path, name: str) -> None:
    sweep_stale(folder)
    # The index goes first: rows without one are never taken for whole.
    for old in (*folder.glob(f"{name}-*.json"), *folder.glob(f"{name}-*.u8")):
        if len(old.stem) == len(name) + 17:
            with contextlib.suppress(OSError):  # another process may still map it on Windows
                old.unlink()


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFault(
            f"{folder}: {needed / 2**20:.0f} MB are needed for decoded pictures and "
            f"{free / 2**20:.0f} MB are free; make room, choose another `out`, or raise cache_mb"
        )


def _words(folder: Path, shape: tuple[int, int], what: str) -> str:
    needed = shape[0] * shape[1] / 2**20
    return (
        f"{folder}: {what} while {needed:.0f} MB of decoded pictures were being written; make "
        "room, choose another `out`, or raise cache_mb"
    )

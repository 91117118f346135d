"""What is refused before a decoder sees it: no regular file, too many pixels, scan bombs, files
without an end."""

from __future__ import annotations

import math
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from img2img.errors import PictureError
from img2img.images.values import MAX_PIXELS
from img2img.system import memory

MAX_SCANS = 100
# Measured: what decoding takes for each pixel. 8 bits: 11 to 22 bytes, 16 bits with alpha: 32.
BYTES_PER_PIXEL = 32
_SHARE = 4  # a picture may take the fourth part of the machine's memory
# A marker inside entropy-coded data; stuffed zeros, restarts and fill bytes are none.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for reading; a FIFO, a device or a folder is never opened.

    Raises PictureError for those and for an empty file, OSError as `open` does.
    """
    _check(os.stat(path))
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    number = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        _check(os.fstat(number))  # it may have been exchanged since
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("not a regular file")
    if status.st_size == 0:
        raise PictureError("empty file")


def most_pixels() -> int:
    """How many pixels a picture may have where nothing else is asked for: as many as are decoded in
    a quarter of this machine's memory, and at most `MAX_PIXELS`."""
    return min(MAX_PIXELS, memory.total_memory() // _SHARE // BYTES_PER_PIXEL)


def check_size(width: int, height: int, limit: int | None) -> None:
    """Raise PictureError for a picture of more than `limit` pixels; None stands for
    `most_pixels`."""
    most = most_pixels() if limit is None else limit
    if width * height <= most:
        return
    why = ""
    if limit is None and most < MAX_PIXELS:
        why = f" for the {memory.total_memory() / 2**30:.1f} GiB of memory here"
    raise PictureError(
        f"{width}x{height} is more than the limit of {most / 10**6:.4g} megapixels{why}; "
        f"`max_megapixels` {math.ceil(width * height / 10**6)} lifts it"
    )


def check_structure(file: BinaryIO, format: str, salvage: bool) -> str | None:
    """Refuse a JPEG of more than `MAX_SCANS` scans, which can take minutes to decode, and a PNG
    without an end, which may have lost its metadata. Returns what `salvage` forgave, or None."""
    if format == "JPEG":
        scans = count_scans(file.read())
        if scans > MAX_SCANS:
            raise PictureError(f"a JPEG of {scans} scans; more than {MAX_SCANS} are refused")
    elif format == "PNG" and not _png_has_end(file):
        if not salvage:
            raise PictureError("truncated: the PNG has no end")
        return "the PNG has no end"
    return None


def count_scans(data: bytes) -> int:
    """How many scans the first picture of a JPEG file has (ITU-T T.81, B.1)."""
    place, scans = 2, 0
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return scans
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        place += 2
        if marker == 0xD9:
            return scans
        if marker in _ALONE or marker == 0:
            continue
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
        if marker == 0xDA:
            scans += 1
            found = _MARKER.search(data, place)
            if found is None:
                return scans
            place = found.start()


def _png_has_end(file: BinaryIO) -> bool:
    place, size = 8, file.seek(0, os.SEEK_END)
    while place + 12 <= size:
        file.seek(place)
        head = file.read(8)
        if head[4:] == b"IEND":
            return True
        place += 12 + int.from_bytes(head[:4], "big")
    return False

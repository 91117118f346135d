"""TIFF, written by numpy and zlib: 16-bit colours, and EXIF beside compression, neither of which
Pillow writes. Baseline TIFF 6.0, strips, Deflate with horizontal differencing."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from img2img.images.values import Pixels

_STRIP = 256 << 10
_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 3, 4, 5, 7
_SUBDIRECTORIES = (0x8769, 0x8825)


def write_tiff(
    file: BinaryIO,
    samples: Pixels,
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    dpi: tuple[float, float] | None = None,
) -> None:
    """Write uint8 or uint16 samples (H, W, C): grey, grey + alpha, RGB or RGBA; alpha is marked as
    not premultiplied."""
    height, width, channels = samples.shape
    many = max(1, _STRIP // (width * channels * samples.dtype.itemsize))
    strips = [_strip(samples[k : k + many]) for k in range(0, height, many)]
    sizes = [len(s) for s in strips]
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif:
        _add_exif(directory, exif)

    def put(tag: int, kind: int, value: object) -> None:
        directory.tagtype[tag] = kind
        directory[tag] = value

    put(256, _LONG, width)
    put(257, _LONG, height)
    put(258, _SHORT, (8 * samples.dtype.itemsize,) * channels)
    put(259, _SHORT, 8)
    put(262, _SHORT, 2 if channels > 2 else 1)
    put(273, _LONG, tuple(int(n) for n in np.cumsum([0, *sizes[:-1]])))
    put(277, _SHORT, channels)
    put(278, _LONG, many)
    put(279, _LONG, tuple(sizes))
    put(284, _SHORT, 1)
    put(317, _SHORT, 2)
    if channels in (2, 4):
        put(338, _SHORT, 2)
    if dpi:
        put(282, _RATIONAL, dpi[0])
        put(283, _RATIONAL, dpi[1])
        put(296, _SHORT, 2)
    if xmp:
        put(700, _BYTE, xmp)
    if icc:
        put(34675, _UNDEFINED, icc)
    file.write(struct.pack("<2sHI", b"II", 42, 8))
    file.write(directory.tobytes(8))
    for strip in strips:
        file.write(strip)


def _strip(rows: Pixels) -> bytes:
    little = rows.astype("<u2") if rows.dtype == np.uint16 else rows
    differences = np.array(little)
    differences[:, 1:] -= little[:, :-1]
    return zlib.compress(differences.tobytes(), 1)


def _add_exif(directory: TiffImagePlugin.ImageFileDirectory_v2, data: bytes) -> None:
    exif = Image.Exif()
    exif.load(data)
    for tag in exif:
        directory[tag] = dict(exif.get_ifd(tag)) if tag in _SUBDIRECTORIES else exif[tag]
        if tag in _SUBDIRECTORIES:
            directory.tagtype[tag] = _LONG

"""PNG, written by numpy and zlib: 16 bits, which Pillow cannot, and several times as fast.

The speed is that of one row filter for the whole picture (`sub` or `up`, ISO/IEC 15948, 9) and of
zlib's run-length strategy; the cost is a file some 10 to 20 % larger than Pillow's.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from img2img.images.values import Pixels

_SUB, _UP = 1, 2
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_BLOCK = 4 << 20


def write_png(
    file: BinaryIO,
    samples: Pixels,
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    dpi: tuple[float, float] | None = None,
    software: str = "",
) -> None:
    """Write uint8 or uint16 samples (H, W, C): grey, grey + alpha, RGB or RGBA.

    `exif` may start with the `Exif` header of JPEG, which PNG does not have.
    """
    height, width, channels = samples.shape
    bits = 8 * samples.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    _chunk(file, b"IHDR", header)
    if icc:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if dpi:
        metre = [max(1, min(2**31 - 1, round(v / 0.0254))) for v in dpi]
        _chunk(file, b"pHYs", struct.pack(">IIB", *metre, 1))
    if software:
        _chunk(file, b"tEXt", b"Software\0" + software.encode("latin-1", "replace"))
    if xmp:
        _chunk(file, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    if exif:
        _chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    _pixels(file, samples)
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def _pixels(file: BinaryIO, samples: Pixels) -> None:
    height, _, channels = samples.shape
    wide = samples.astype(">u2") if samples.dtype == np.uint16 else samples
    rows = np.ascontiguousarray(wide).view(np.uint8).reshape(height, -1)
    step = channels * samples.dtype.itemsize
    filter = _better_filter(rows, step)
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    many = max(1, _BLOCK // rows.shape[1])
    for start in range(0, height, many):
        part = rows[start : start + many]
        out = np.empty((len(part), rows.shape[1] + 1), np.uint8)
        out[:, 0] = filter
        if filter == _UP:
            out[:, 1:] = part
            out[1:, 1:] -= part[:-1]
            if start:
                out[0, 1:] -= rows[start - 1]
        else:
            out[:, 1:] = part
            out[:, 1 + step :] -= part[:, :-step]
        data = packer.compress(out.data)
        if start + many >= height:
            data += packer.flush()
        if data:
            _chunk(file, b"IDAT", data)


def _better_filter(rows: Pixels, step: int) -> int:
    """The one of smaller differences over at most 64 pairs of rows."""
    if len(rows) < 2 or rows.shape[1] <= step:
        return _SUB if len(rows) < 2 else _UP
    chosen = np.unique(np.linspace(1, len(rows) - 1, 64).astype(int))
    here = rows[chosen]
    up, sub = here - rows[chosen - 1], here[:, step:] - here[:, :-step]
    sizes = [int(np.abs(d.view(np.int8).astype(np.int16)).mean(1).sum() * 16) for d in (sub, up)]
    return _SUB if sizes[0] < sizes[1] else _UP

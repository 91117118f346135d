"""Encoders of the tests' own, so that what reads a file is not judged by what wrote it."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint16]
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: NDArray, interlaced: bool = False, more: bytes = b"") -> bytes:
    """PNG without row filters of (H, W, C) uint8 or uint16; `more` stands before the pixels."""
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    wide = samples.astype(">u2") if bits == 16 else samples
    parts = [wide[y::dy, x::dx] for x, y, dx, dy in _PASSES] if interlaced else [wide]
    raw = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = struct.pack(
        ">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, interlaced
    )
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more
        + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )  # fmt: skip


def tiff(
    samples: NDArray, order: str = "<", photometric: int | None = None, format: int = 1
) -> bytes:
    """Uncompressed TIFF of one strip; (H, W, C) of any numeric type."""
    height, width, channels = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = samples.dtype.itemsize * 8
    if photometric is None:
        photometric = 2 if channels > 2 else 1
    end = 8 + len(data)
    count = 11 + (channels in (2, 4))
    aside = end + 2 + 12 * count + 4
    rows = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, aside if channels > 2 else bits),
        (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, channels),
        (278, 4, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1),
        *([(338, 3, 1, 2)] if channels in (2, 4) else []), (339, 3, 1, format),
    ]  # fmt: skip
    table = b""
    for tag, kind, many, value in rows:
        short = kind == 3 and many == 1
        packed = struct.pack(order + "HH", value, 0) if short else struct.pack(order + "I", value)
        table += struct.pack(order + "HHI", tag, kind, many) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", end)
    return (
        head + data + struct.pack(order + "H", count) + table + bytes(4)
        + struct.pack(order + f"{channels}H", *(bits,) * channels)
    )  # fmt: skip


def profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile, version 2.1."""
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    white = struct.pack(">3i", 63190, 65536, 54061)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"test", 0x02100000, kind, space, connection
    )
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))


# Adobe RGB (1998), its primaries adapted to D50.
ADOBE = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
ADOBE_GAMMA = 563 / 256
_TEXT = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)


def adobe_rgb() -> bytes:
    tags = {b"desc": _TEXT, b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    for k, letter in enumerate(b"rgb"):
        tags[bytes([letter]) + b"XYZ"] = xyz(*ADOBE[:, k])
        tags[bytes([letter]) + b"TRC"] = gamma(ADOBE_GAMMA)
    return profile(b"RGB ", tags)


def grey_profile(value: float) -> bytes:
    tags = {b"desc": _TEXT, b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": gamma(value)}
    return profile(b"GRAY", tags)


def cmyk_profile() -> bytes:
    """CMYK by a table of two points an ink: cyan is a printer's, not (0, 255, 255)."""
    inks = np.array([[55, -37, -50], [48, 74, -3], [89, -5, 93]], float)  # Lab of C, M, Y
    nodes = []
    for node in range(16):
        c, m, y, k = (node >> 3) & 1, (node >> 2) & 1, (node >> 1) & 1, node & 1
        lab = np.array([100.0, 0, 0])
        for amount, ink in zip((c, m, y), inks, strict=True):
            lab = lab + amount * (ink - [100, 0, 0])
        lab = np.array([0.0, 0, 0]) if k else lab
        nodes += [round(max(lab[0], 0) * 2.55), round(lab[1]) + 128, round(lab[2]) + 128]
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(65536 if k % 4 == 0 else 0 for k in range(9)))
    table += identity * 4 + bytes(max(0, min(255, v)) for v in nodes) + identity * 3
    return profile(b"CMYK", {b"desc": _TEXT, b"wtpt": xyz(0.96, 1, 0.82), b"A2B0": table}, b"Lab ")

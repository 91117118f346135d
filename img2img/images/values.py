"""The value ranges of pixels and of networks, and what a decoded picture is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# uint8 everywhere in training; uint16 (full range) only where `Reading.deep` asked for it.
Pixels = NDArray[Any]
Values = TypeVar("Values", NDArray[Any], "Tensor")
MetadataChoice = Literal["keep", "no-gps", "strip"]
MAX_PIXELS = 400_000_000
_ROWS = 64
# ITU-R BT.601 luma, as Pillow's conversion to "L".
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def to_network(pixels: Values) -> Values:
    """Values 0..255 -> [-1, 1]; arrays and tensors of a floating type."""
    return pixels / 127.5 - 1.0


def from_network(values: NDArray[np.floating], bits: int = 8) -> Pixels:
    """[-1, 1] -> uint8 0..255 or, with `bits` 16, uint16 0..65535; clipped, rounded once to
    nearest."""
    if bits == 16:
        wide = (values.astype(np.float64) + 1.0) * 32767.5
        return np.clip(np.rint(wide), 0, 65535).astype(np.uint16)
    return np.clip(np.rint((values + 1.0) * 127.5), 0, 255).astype(np.uint8)


def planes_to_pixels(y: NDArray[np.float32], dtype: np.dtype) -> Pixels:
    """(C, H, W) in [-1, 1] -> uint8 or uint16 (H, W, C)."""
    channels, height, width = y.shape
    out = np.empty((height, width, channels), dtype)
    for top in range(0, height, _ROWS):  # the steps between would be copies of the whole
        rows = slice(top, top + _ROWS)
        out[rows] = from_network(y[:, rows].transpose(1, 2, 0), 8 * dtype.itemsize)
    return out


def as_values(pixels: Pixels) -> NDArray[np.float32]:
    """uint8 or uint16 pixels -> float32 0..255 of the same shape."""
    values = pixels.astype(np.float32)
    return values / np.float32(257.0) if pixels.dtype == np.uint16 else values


def to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """uint16 0..65535 -> uint8 0..255, rounded to nearest; uint8 as it is."""
    if pixels.dtype != np.uint16:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    Attributes:
        deep: pictures of 16 bits stay uint16; otherwise they are reduced to 8 bits, and said so.
        salvage: what can be decoded of a damaged or truncated file is taken, and said so.
        max_pixels: larger pictures are refused before they are decoded; None for what the memory
            of this machine allows, see `guard.most_pixels`.
        metadata: `keep` EXIF and XMP, `no-gps` without the place, `strip` without any.
    """

    deep: bool = False
    salvage: bool = False
    max_pixels: int | None = None
    metadata: MetadataChoice = "keep"


@dataclass
class Picture:
    """A decoded picture and what must survive its translation.

    Attributes:
        pixels: uint8 or uint16 (H, W, 3) RGB, upright, sRGB; (H, W, 1) is written as grey.
        alpha: (H, W) of the same type, or None for an opaque picture; never premultiplied.
        exif: EXIF block as bytes, orientation already corrected, or b"".
        xmp: XMP packet as bytes, corrected likewise, or b"".
        icc: True when the file carried a colour profile (the output is then tagged sRGB).
        dpi: pixels per inch, horizontal and vertical, where the file said so.
        format: name of the file format, as in `FORMATS`.
        software: named in the metadata as what made the picture, or "".
        salvaged: True when the file was damaged and `pixels` are what could be decoded.
        notes: conversions that lost something, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes = b""
    xmp: bytes = b""
    icc: bool = False
    dpi: tuple[float, float] | None = None
    format: str = "PNG"
    software: str = ""
    salvaged: bool = False
    notes: list[str] = field(default_factory=list)

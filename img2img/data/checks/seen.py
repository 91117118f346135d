"""What is kept of a picture that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from img2img.images import Pixels


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a picture.

    Attributes:
        width, height: upright, in pixels; 0 where it is unreadable.
        mode: in words: RGB, grey, CMYK, palette, with alpha, 16 bits.
        format: of the file, by its content.
        digest: of its pixels and size; equal for equal pictures.
        hash: perceptual hash, 64 values -1 or 1.
        thumb: uint8 (THUMB, THUMB, 3).
        grey, left, right: as `small_grey`, of the picture and of its halves, where it could be two
            pictures side by side.
        seam: `halves.seam`, or 0.
        spread: the largest standard deviation of a channel of the thumb, 0..127; 0 for a picture of
            one colour.
        notes: what the reader of pictures says.
        error: why it cannot be read, without its name, or "".
    """

    path: Path
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    digest: bytes = b""
    hash: Pixels | None = None
    thumb: Pixels | None = None
    grey: Pixels | None = None
    left: Pixels | None = None
    right: Pixels | None = None
    seam: float = 0.0
    spread: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def wide(self) -> bool:
        """It could be two pictures side by side."""
        return self.left is not None

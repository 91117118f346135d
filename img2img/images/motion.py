"""How a frame follows from the one before it: the shift of the whole picture, and where it hardly
changed. No flow of single pixels is estimated."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from img2img.images.values import Pixels, to_8_bits

Grey = NDArray[np.uint8]
_SIDE = 512  # pixels of the window in which the shift is looked for
_LEAST = 128  # pixels of a side of the window, below which it is not halved
_SAMPLES = 128  # of each side, by which two frames are compared
_BETTER = 0.9  # a shift must lower the difference to this part of it
Shift = tuple[int, int]


class Motion:
    """Follows the frames of a clip and finds by how much each is shifted against the one before it:
    by phase correlation (Kuglin and Hines 1975) within the middle of the picture, at half the
    size, and then to the pixel by comparison."""

    def __init__(self) -> None:
        self._luma: Grey | None = None
        self._spectrum: NDArray[np.complex64] | None = None

    def __call__(self, pixels: Pixels) -> Shift:
        """uint8 or uint16 (H, W, 3) -> (down, right) in pixels: what is at (y, x) in this frame was
        at (y + down, x + right) in the one before. (0, 0) for the first frame, for one of another
        size, and where no shift of the whole makes them more alike."""
        luma = np.asarray(Image.fromarray(to_8_bits(pixels)).convert("L"))
        window, step = _window(luma)
        window -= window.mean()
        spectrum: Any = np.fft.rfft2(window * _hann(*window.shape))
        before, old = self._luma, self._spectrum
        self._luma, self._spectrum = luma, spectrum
        if before is None or old is None or before.shape != luma.shape:
            return 0, 0
        cross = old * spectrum.conj()
        peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=window.shape)
        place = np.unravel_index(int(peaks.argmax()), peaks.shape)
        down, right = (
            step * (int(at) - side if at > side // 2 else int(at))
            for at, side in zip(place, window.shape, strict=True)
        )
        near = range(1 - step, step)
        found = {(down + y, right + x) for y in near for x in near}
        best = min(found, key=lambda shift: (_apart(before, luma, shift), shift))
        still = _apart(before, luma, (0, 0))
        return best if _apart(before, luma, best) <= _BETTER * still and still > 0 else (0, 0)


@dataclass(frozen=True)
class Overlap:
    """The part of a frame that was in the one before too, as (top, bottom, left, right) in either,
    in pixels of a picture of `scale` times the size."""

    now: tuple[slice, slice]
    before: tuple[slice, slice]

    @staticmethod
    def of(height: int, width: int, shift: Shift, scale: int = 1) -> Overlap:
        """Of frames of `height` x `width` pixels that are shifted by `shift`."""
        now, before = [], []
        for side, moved in ((height, shift[0]), (width, shift[1])):
            first, last = max(-moved, 0), side - max(moved, 0)
            now.append(slice(scale * first, scale * last))
            before.append(slice(scale * (first + moved), scale * (last + moved)))
        return Overlap((now[0], now[1]), (before[0], before[1]))


def change(before: Pixels, now: Pixels) -> Image.Image:
    """How much each pixel changed: two uint8 or uint16 (H, W, 3) of one size -> an 8-bit grey
    image of the largest change of a channel, averaged over 3x3 pixels."""
    pair = [Image.fromarray(np.ascontiguousarray(to_8_bits(each))) for each in (before, now)]
    red, green, blue = ImageChops.difference(*pair).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue).filter(ImageFilter.BoxBlur(1))


def _window(luma: Grey) -> tuple[NDArray[np.float32], int]:
    """The middle of the picture, and how many pixels make one of its sides."""
    rows, columns = (
        slice((side - min(side, _SIDE)) // 2, (side + min(side, _SIDE)) // 2) for side in luma.shape
    )
    window = luma[rows, columns]
    step = 2 if min(window.shape) >= 2 * _LEAST else 1
    if step == 1:
        return window.astype(np.float32), 1
    height, width = (side // 2 * 2 for side in window.shape)
    parts = window[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return parts.sum((1, 3), dtype=np.uint16).astype(np.float32), 2


@functools.lru_cache(4)
def _hann(height: int, width: int) -> NDArray[np.float32]:
    return np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)


def _apart(before: Grey, now: Grey, shift: Shift) -> float:
    part = Overlap.of(now.shape[0], now.shape[1], shift)
    step = max(1, min(now.shape) // _SAMPLES)
    a, b = before[part.before][::step, ::step], now[part.now][::step, ::step]
    return float(np.abs(a.astype(np.int16) - b).mean()) if a.size else float("inf")

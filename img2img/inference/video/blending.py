"""Frames that follow each other, blended where the clip hardly changed, so that what the network
makes of the same content stays the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from img2img.errors import UsageError
from img2img.images import Pixels
from img2img.images.motion import Motion, Overlap, change

# The largest change of a channel, in 8-bit levels: up to the first it is the same content, from the
# second on another; noise and compression stay below the first.
_SAME, _OTHER = 6, 16


@dataclass
class Before:
    """The frame before: what the clip showed and what was written for it."""

    source: Pixels
    answer: Pixels


class Blend:
    """Mixes each translated frame with the one before.

    No flow is computed. The shift of the whole picture is found first, so that a panning camera is
    followed; the frame before counts with the weight `amount` where the source, so shifted, has
    hardly changed, with less where it changed more, and not at all where it shows something else.

    Args:
        amount: 0 to 1, without 1; 0 leaves every frame as it is.

    Attributes:
        before: the frame before, None at the start of a shot; to be kept for resuming.

    Raises UsageError for an amount out of range.
    """

    def __init__(self, amount: float):
        if not 0.0 <= amount < 1.0:
            raise UsageError(f"`temporal_blend` {amount:g}: needs a number from 0 to below 1")
        self._amount = amount
        self._motion = Motion()
        self.before: Before | None = None
        levels = np.arange(256)
        weights = amount * np.clip((_OTHER - levels) / (_OTHER - _SAME), 0, 1)
        self._weights = [round(255 * w) for w in weights]

    def __call__(self, source: Pixels, answer: Pixels) -> Pixels:
        """A frame of the clip, uint8 or uint16 (H, W, 3), and its translation, of the same type and
        a whole multiple of the size -> what is written for it."""
        if self._amount == 0:
            return answer
        before = self.before
        if before is None or before.source.shape != source.shape:
            self._motion = Motion()
            self._motion(source)
            mixed = answer
        else:
            mixed = self._mixed(before, source, answer)
        self.before = Before(source, mixed)
        return mixed

    def cut(self) -> None:
        """Another shot begins."""
        self.before = None

    def resume(self, before: Before | None) -> None:
        """The next frame follows `before`."""
        self.before = before
        self._motion = Motion()
        if before is not None:
            self._motion(before.source)

    def _mixed(self, before: Before, source: Pixels, answer: Pixels) -> Pixels:
        height, width = source.shape[:2]
        scale = answer.shape[0] // height
        shift = self._motion(source)
        small = Overlap.of(height, width, shift)
        large = Overlap.of(height, width, shift, scale)
        mask = change(before.source[small.before], source[small.now]).point(self._weights)
        old, new = before.answer[large.before], answer[large.now]
        if scale > 1:
            mask = mask.resize((new.shape[1], new.shape[0]), Image.Resampling.BILINEAR)
        mixed = answer.copy()
        mixed[large.now] = _composite(old, new, mask)
        return mixed


def _composite(old: Pixels, new: Pixels, mask: Image.Image) -> Pixels:
    """`old` by the weight of `mask` / 255 and the rest of `new`, rounded; both (H, W, 1 or 3)."""
    weights = np.asarray(mask)
    if new.dtype == np.uint16:
        weight = (weights.astype(np.float32) / 255)[:, :, None]
        both = new + (old.astype(np.float32) - new) * weight
        return np.rint(both).astype(np.uint16)
    pair = [Image.fromarray(np.ascontiguousarray(p.squeeze(2) if p.shape[2] == 1 else p))
            for p in (old, new)]  # fmt: skip
    return np.asarray(Image.composite(pair[0], pair[1], mask)).reshape(new.shape)

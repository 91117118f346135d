"""Augmentation on the device. What is given in one call moves together; two calls move apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from img2img.errors import ConfigError


class Augment:
    """Random crop and horizontal flip, the second half of the pix2pix jitter (arXiv 1611.07004,
    sec. 6.2); the first half, the resize to the load size, is done once when a picture is read.

    The draw for each picture is a function of (seed, step, its index, number of the call in the
    step) and of nothing else, so that a resumed run repeats it.
    """

    def __init__(self, crop_size: int, flip: bool, seed: int):
        self.crop_size, self.flip, self.seed = crop_size, flip, seed
        self._step, self._calls = 0, 0
        self._indices: Sequence[int] = ()

    def begin(self, step: int, indices: Sequence[int]) -> None:
        """Tell which step and which pictures the following calls belong to."""
        self._step, self._indices, self._calls = step, list(indices), 0

    def __call__(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Crop and flip float (N, C, H, W) tensors of equal N, H, W alike.

        Returns tensors of (N, C, crop_size, crop_size).
        Raises ConfigError when the crop is larger than the pictures.
        """
        n, _, h, w = images[0].shape
        size = self.crop_size
        if h < size or w < size:
            raise ConfigError(f"crop_size {size} is larger than the loaded pictures ({w}x{h})")
        call, self._calls = self._calls, self._calls + 1
        boxes = []
        for i in range(n):
            seed = [self.seed, self._step, self._indices[i], call]
            top, left, flip = np.random.default_rng(seed).random(3)
            boxes.append((int(top * (h - size + 1)), int(left * (w - size + 1)), flip < 0.5))
        return tuple(self._apply(x, boxes) for x in images)

    def _apply(self, x: Tensor, boxes: list[tuple[int, int, bool]]) -> Tensor:
        out = []
        for picture, (top, left, flip) in zip(x, boxes, strict=True):
            part = picture[:, top : top + self.crop_size, left : left + self.crop_size]
            out.append(part.flip(-1) if self.flip and flip else part)
        return torch.stack(out)

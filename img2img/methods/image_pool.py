"""The history of generated pictures (arXiv 1703.10593, sec. 4, after arXiv 1612.07828)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ImagePool:
    """Keeps up to `size` pictures. Until full, a picture is stored and returned; then, with
    probability one half, a random stored picture is returned and replaced by the new one.
    """

    def __init__(self, size: int, seed: int = 0):
        self.size, self.seed, self.count = size, seed, 0
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in, as many pictures out; no gradient passes."""
        if self.size == 0:
            return images.detach()
        out = []
        for image in images.detach():
            self.count += 1
            if len(self.images) < self.size:
                self.images.append(image.clone())
                out.append(image)
                continue
            # A draw is a function of (seed, number of the picture), so a resume repeats it.
            keep, place = np.random.default_rng([self.seed, 4, self.count]).random(2)
            if keep < 0.5:
                index = int(place * self.size)
                out.append(self.images[index])
                self.images[index] = image.clone()
            else:
                out.append(image)
        return torch.stack(out)

    def state_dict(self) -> dict[str, Any]:
        """The stored pictures and the number of draws."""
        return {"count": self.count, "images": [x.cpu() for x in self.images]}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore `state_dict`."""
        self.count = int(state["count"])
        self.images = [x.to(device) for x in state["images"]]

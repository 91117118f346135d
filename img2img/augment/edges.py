"""`Edges`: a line drawing of a photograph."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.augment import tone
from img2img.augment.degrade import Drawn

_SIGMA = (0.7, 1.4)
_RATIO, _TAU, _THRESHOLD, _SHARPNESS = 1.6, 0.98, 0.01, 40.0


class Edges(Drawn):
    """Dark lines on white by a difference of two Gaussians of the luma, softly thresholded
    (Winnemoeller, Kyprianidis and Olsen, XDoG, Computers & Graphics 36(6), 2012, sec. 2.2). The
    width of the lines, 0.7 to 1.4 pixels of sigma, is drawn for each picture from (seed, step, its
    index).

    Float (N, 3, H, W) in [-1, 1] in and out, three equal channels.
    """

    def __call__(self, clean: Tensor) -> Tensor:
        """The drawings; `begin` was given the indices of their pictures."""
        seeds = self.seeds(len(clean))
        low, high = _SIGMA
        with torch.no_grad(), torch.autocast(clean.device.type, enabled=False):
            return torch.stack(
                [
                    draw_lines(x, low + float(np.random.default_rng(seed).random()) * (high - low))
                    for x, seed in zip(clean.float(), seeds, strict=True)
                ]
            )


def draw_lines(x: Tensor, sigma: float) -> Tensor:
    """The drawing of one picture, (3, H, W) in [-1, 1]; `sigma` in pixels."""
    light = (tone.luma(x)[:1] + 1) / 2
    difference = _gaussian(light, sigma) - _TAU * _gaussian(light, sigma * _RATIO)
    below = (difference + _THRESHOLD).clamp_max(0)
    return (1 + 2 * torch.tanh(_SHARPNESS * below)).expand(3, -1, -1)


def _gaussian(x: Tensor, sigma: float) -> Tensor:
    """(1, H, W), mirrored at the edge."""
    reach = min(math.ceil(3 * sigma), min(x.shape[1:]) - 1)
    places = torch.arange(-reach, reach + 1, dtype=x.dtype)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    weights = (weights / weights.sum()).to(x.device)[None, None]
    padded = F.pad(x[None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights[..., None]), weights[:, :, None])[0]

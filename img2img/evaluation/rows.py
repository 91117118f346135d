"""Figures of one picture: against its truth, and against what it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from img2img.images import Pixels, resize_pixels
from img2img.metrics import METRICS, faithful
from img2img.metrics.edits import changed_outside
from img2img.metrics.paired import ssim_and_ms_ssim

BICUBIC = "bicubic_"


def paired(fake: Pixels, truth: Pixels, names: Sequence[str]) -> dict[str, float]:
    """Those of `names` in METRICS that a picture of this size has."""
    x, y = (planes(pixels).float() for pixels in (fake, truth))
    fitting = [name for name in names if min(x.shape[2:]) >= METRICS[name].least_side]
    row = {}
    if {"ssim", "ms_ssim"} <= {*fitting}:
        row = dict(zip(("ssim", "ms_ssim"), map(float, ssim_and_ms_ssim(x, y)), strict=True))
    return {n: row[n] if n in row else float(METRICS[n].of(x, y)) for n in fitting}


def plainly_enlarged(source: Pixels, truth: Pixels, names: Sequence[str]) -> dict[str, float]:
    """What the bicubic filter alone would reach, for those of `names` that need no network: figures
    named `bicubic_psnr` and so on."""
    height, width = truth.shape[:2]
    made = resize_pixels(source, width, height)
    plain = [name for name in names if not METRICS[name].networks]
    return {BICUBIC + name: value for name, value in paired(made, truth, plain).items()}


def planes(pixels: Pixels) -> Tensor:
    """uint8 (H, W, 3) as a tensor (1, 3, H, W) of its own."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]


def faithfulness(source: Pixels, fake: Pixels) -> dict[str, float]:
    """`structure`, `change` and `unchanged` of an output and its input: see
    `img2img.metrics.faithful`."""
    found = faithful.faithfulness(planes(source), planes(fake))
    return {name: float(value) for name, value in found.items()}


def edit(source: Pixels, fake: Pixels, truth: Pixels) -> dict[str, float]:
    """What was to change, and what was to stay: see `img2img.metrics.edits.changed_outside`.

    `came_right`: share of the pixels to be changed that are within 16 levels of the truth.
    `spoiled`: share of the pixels to stay that were changed by more. Each is absent where there is
    no such pixel.
    """
    change = changed_outside(planes(source), planes(fake), planes(truth))
    row = {"came_right": change.came_right, "spoiled": change.spoiled}
    return {name: value for name, value in row.items() if not math.isnan(value)}

"""What a model without truths kept of its input, and whether it did anything at all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.images import LUMA
from img2img.metrics.paired import ssim

UNCHANGED = 4.0  # mean difference in 8-bit levels under which a picture counts as left alone
_LEAST = 44  # sides that an SSIM at a quarter of the size needs


def faithfulness(source: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Figures (N,) of each output `fake` beside its input `source`, both (N, 1 or 3, H, W) in
    0..255, of equal size; grey counts as three equal channels.

    `structure`: SSIM of the luminance at a quarter of the size, which looks at shapes and not at
    texture; absent under 44 pixels. `change`: mean absolute difference in 8-bit levels.
    `unchanged`: 1 where that is under 4 levels, else 0.
    """
    x, y = (z.float().expand(-1, 3, -1, -1) for z in (source, fake))
    change = (x - y).abs().flatten(1).mean(1)
    found = {"change": change, "unchanged": (change < UNCHANGED).to(change)}
    if min(x.shape[2:]) >= _LEAST:
        found["structure"] = ssim(*(F.avg_pool2d(_luminance(z), 4) for z in (x, y)))
    return found


def _luminance(x: Tensor) -> Tensor:
    weights = torch.from_numpy(LUMA).to(x.device)[:, None, None]
    return (x * weights).sum(1, keepdim=True)

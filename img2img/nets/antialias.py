"""Halving and doubling without aliasing, by binomial filters (arXiv 1904.11486; sizes and padding
as the generators of CUT have them, arXiv 2007.15651)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DOWN = (1.0, 2.0, 1.0)
_UP = (1.0, 3.0, 3.0, 1.0)


def _square(row: tuple[float, ...], channels: int, total: float) -> Tensor:
    """(channels, 1, k, k): the outer product of `row` with itself, of sum `total`."""
    side = torch.tensor(row)
    kernel = side[:, None] * side[None, :]
    return (kernel * (total / kernel.sum())).repeat(channels, 1, 1, 1)


class BlurDown(nn.Module):
    """Float (N, channels, H, W) -> (N, channels, H/2, W/2), H and W even: every second place after
    a 3x3 binomial filter, edges by reflection. The filter is fixed and not among the weights."""

    blur: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.register_buffer("blur", _square(_DOWN, channels, 1.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, self.blur.to(x.dtype), stride=2, groups=self.channels)


class BlurUp(nn.Module):
    """Float (N, channels, H, W) -> (N, channels, 2H, 2W): places apart, a 4x4 binomial filter
    between them, edges by replication. The filter is fixed and not among the weights."""

    blur: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        # Each place of the result sees a quarter of the filter.
        self.register_buffer("blur", _square(_UP, channels, 4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        # The padding of a transposed convolution crops: what the replicated places added.
        return F.conv_transpose2d(
            x, self.blur.to(x.dtype), stride=2, padding=3, groups=self.channels
        )

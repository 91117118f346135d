"""How far a translated picture is from the true one: L1, PSNR, SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of each picture in 8-bit levels; inputs (N, C, H, W) in 0..255.
    Returns (N,)."""
    return (x - y).abs().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in dB, peak 255, over all channels together;
    inputs (N, C, H, W) in 0..255. Infinite for equal pictures. Returns (N,)."""
    mse = ((x.double() - y.double()) ** 2).flatten(1).mean(1)
    return 10 * torch.log10(255.0**2 / mse)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each picture, -1..1; inputs (N, C, H, W) in 0..255, sides >= 11.

    Gaussian window 11x11 of sigma 1.5, K1 0.01, K2 0.03, averaged over the channels and the
    pixels whose window lies inside (Wang et al., "Image quality assessment", 2004). Returns (N,).
    """
    channels = x.shape[1]
    offsets = torch.arange(11, dtype=torch.float64, device=x.device) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    line = line / line.sum()

    def smooth(z: Tensor) -> Tensor:
        z = F.conv2d(z, line.view(1, 1, 11, 1).repeat(channels, 1, 1, 1), groups=channels)
        return F.conv2d(z, line.view(1, 1, 1, 11).repeat(channels, 1, 1, 1), groups=channels)

    x, y = x.double(), y.double()
    mx, my = smooth(x), smooth(y)
    vx, vy, vxy = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return score.flatten(1).mean(1)

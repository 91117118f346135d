"""How far a translated picture is from the true one: L1, PSNR, SSIM, MS-SSIM."""

from __future__ import annotations

import math

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
    return _ssim(similarities(x, y))


def ms_ssim(x: Tensor, y: Tensor, first: Similarities | None = None) -> Tensor:
    """Multi-scale structural similarity of each picture, 0..1; inputs (N, C, H, W) in 0..255, sides
    >= 176: contrast and structure at five scales, halved by averaging, luminance at the last.

    Weights of Wang et al., "Multiscale structural similarity", 2003; a negative contrast counts as
    0. Channels are combined before the scales are. `first`: what `similarities` gave for x and y.
    Returns (N,).
    """
    found = torch.ones(len(x), dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale:
            x, y = (F.avg_pool2d(z, 2) for z in (x, y))
        luminance, contrast = similarities(x, y) if scale or first is None else first
        last = scale == len(_SCALE_WEIGHTS) - 1
        part = luminance * contrast if last else contrast
        found = found * part.double().flatten(1).mean(1).clamp(min=0) ** weight
    return found


Similarities = tuple[Tensor, Tensor]
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim_and_ms_ssim(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`ssim` and `ms_ssim`, whose first scale is the work of the other: both in little more than
    half the time. Sides >= 176."""
    first = similarities(x, y)
    return _ssim(first), ms_ssim(x, y, first)


def _ssim(terms: Similarities) -> Tensor:
    luminance, contrast = terms
    return (luminance * contrast).double().flatten(1).mean(1)


def similarities(x: Tensor, y: Tensor) -> Similarities:
    """The luminance term and the product of contrast and structure, each (N, C, H - 10, W - 10).

    Values are taken relative to mid-grey: the squares that are subtracted from each other stay
    small enough for float32, which is three times as fast here.
    """
    x, y = x.float() - 127.5, y.float() - 127.5
    mx, my = _smooth(x), _smooth(y)
    vx, vy, vxy = _smooth(x * x) - mx * mx, _smooth(y * y) - my * my, _smooth(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = mx + 127.5, my + 127.5
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1), (2 * vxy + c2) / (vx + vy + c2)


def _smooth(z: Tensor) -> Tensor:
    """The Gaussian mean where the window lies inside. Sums of shifted pictures: a convolution of so
    few channels takes ten times as long on a CPU."""
    for dim in (2, 3):
        length = z.shape[dim] - len(_WINDOW) + 1
        total = z.narrow(dim, 0, length) * _WINDOW[0]
        for place, weight in enumerate(_WINDOW[1:], 1):
            total.add_(z.narrow(dim, place, length), alpha=weight)
        z = total
    return z


def _gaussian(width: int, sigma: float) -> list[float]:
    values = [math.exp(-((k - width // 2) ** 2) / (2 * sigma**2)) for k in range(width)]
    return [value / sum(values) for value in values]


_WINDOW = _gaussian(11, 1.5)

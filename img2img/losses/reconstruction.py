"""Terms that compare pixels: pure functions, tensors in, scalar out, computed in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# ITU-R BT.601: luma from R, G, B.
_LUMA = (0.299, 0.587, 0.114)
# Rows: Cb and Cr of ITU-R BT.601 (JFIF) from R, G, B.
_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def wide(x: Tensor) -> Tensor:
    """At least float32; float64 stays, so that gradients can be checked in it."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def l1_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference, in the pictures' units (range 2), in float32."""
    return (wide(x) - wide(y)).abs().mean()


def saturation_weighted_l1(x: Tensor, y: Tensor, by: float) -> Tensor:
    """`l1_loss` in which a pixel counts 1 + `by` times the saturation of the truth `y`, its largest
    less its smallest channel in parts of the range, so that a colouring does not settle for grey.
    Divided by the mean weight of each picture: the scale stays and neighbours do not matter.
    Float (N, C, H, W) in [-1, 1]."""
    x, y = wide(x), wide(y)
    weight = 1 + by * (y.amax(1, keepdim=True) - y.amin(1, keepdim=True)) / 2
    return ((x - y).abs() * (weight / weight.mean((2, 3), keepdim=True))).mean()


def total_variation_loss(x: Tensor) -> Tensor:
    """Mean absolute difference between neighbours in a column plus that between neighbours in a row
    (the anisotropic total variation of Rudin, Osher and Fatemi 1992, as in arXiv 1603.08155,
    sec. 3.2, by means instead of sums). Float (N, C, H, W), H and W at least 2."""
    x = wide(x)
    return (x[:, :, 1:] - x[:, :, :-1]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()


def chroma(x: Tensor) -> Tensor:
    """Cb and Cr (N, 2, H, W) of RGB (N, 3, H, W), both in [-1, 1]; grey gives 0."""
    weights = torch.tensor(_CHROMA, dtype=x.dtype, device=x.device)
    return F.conv2d(x, weights[:, :, None, None])


def low_frequency_colour_loss(fake: Tensor, real: Tensor, cell: int = 16) -> Tensor:
    """Mean absolute difference between the chroma of the means over `cell` x `cell` pixels: hue and
    saturation stay where they were while texture and lightness may change (after the colour
    reconstruction loss of AnimeGAN, Chen et al. 2020, by cells instead of pixels).

    Float (N, 3, H, W) RGB in [-1, 1]; H and W at least `cell`, what is left over is not looked at.
    """
    a, b = (F.avg_pool2d(wide(x), cell) for x in (fake, real))
    return (chroma(a) - chroma(b)).abs().mean()


def low_frequency_light_loss(fake: Tensor, real: Tensor, cell: int = 16) -> Tensor:
    """Mean absolute difference between the luma of the means over `cell` x `cell` pixels: what was
    light stays light and what was dark stays dark, however it is drawn. Float (N, 3, H, W) RGB in
    [-1, 1]; H and W at least `cell`. As `low_frequency_colour_loss`, for the third component."""
    weights = torch.tensor(_LUMA, device=fake.device)[:, None, None]
    a, b = (F.avg_pool2d(wide(x), cell) for x in (fake, real))
    return ((a - b) * weights).sum(1).abs().mean()

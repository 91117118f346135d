"""Light and colour of one picture: float (3, H, W) in [-1, 1] in and out, clamped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# What a wholly faded print has for black and white: lifted, lowered, and warm.
_BLACK, _WHITE = (0.25, 0.20, 0.14), (0.97, 0.91, 0.80)


def linear(x: Tensor) -> Tensor:
    """sRGB in [-1, 1] -> linear light in [0, 1] (IEC 61966-2-1)."""
    v = (x + 1) / 2
    return torch.where(v <= 0.04045, v / 12.92, ((v.clamp_min(0) + 0.055) / 1.055) ** 2.4)


def encoded(light: Tensor) -> Tensor:
    """Linear light, clamped to [0, 1] -> sRGB in [-1, 1]."""
    x = light.clamp(0, 1)
    v = torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(1e-8) ** (1 / 2.4) - 0.055)
    return v * 2 - 1


def exposure(x: Tensor, stops: float) -> Tensor:
    """Twice the light for every stop."""
    return encoded(linear(x) * 2.0**stops)


def cast(x: Tensor, gains: Sequence[float]) -> Tensor:
    """The light of each channel times its gain: a wrong white balance."""
    return encoded(linear(x) * _column(gains, x))


def contrast(x: Tensor, factor: float) -> Tensor:
    """Distance from middle grey (0) times `factor`."""
    return (x * factor).clamp(-1, 1)


def gamma(x: Tensor, exponent: float) -> Tensor:
    """Values in [0, 1] to the power of `exponent`; black and white stay."""
    return ((x + 1) / 2).clamp(0, 1) ** exponent * 2 - 1


def luma(x: Tensor) -> Tensor:
    """BT.601 luma as three equal channels."""
    return (x * _column(LUMA, x)).sum(0, keepdim=True).expand(3, -1, -1)


def saturation(x: Tensor, factor: float) -> Tensor:
    """Distance from luma times `factor`."""
    grey = luma(x)
    return (grey + (x - grey) * factor).clamp(-1, 1)


def fade(x: Tensor, amount: float) -> Tensor:
    """A faded print: at `amount` 1 black is (0.25, 0.20, 0.14) and white (0.97, 0.91, 0.80) of the
    range, a straight line between; at 0 nothing changes."""
    low = _column(_BLACK, x) * amount
    high = 1 - (1 - _column(_WHITE, x)) * amount
    return (low + (high - low) * (x + 1) / 2) * 2 - 1


def vignette(x: Tensor, amount: float) -> Tensor:
    """The light falls with the square of the distance from the centre; corners keep 1 - `amount`
    of it."""
    h, w = x.shape[1:]
    across = torch.linspace(-1, 1, w, device=x.device)[None]
    down = torch.linspace(-1, 1, h, device=x.device)[:, None]
    return encoded(linear(x) * (1 - amount * (across**2 + down**2) / 2))


def _column(values: Sequence[float], x: Tensor) -> Tensor:
    return torch.tensor(values, dtype=x.dtype).to(x.device)[:, None, None]

"""Matrices that move and recolour pictures, and the two functions that apply them.

Where a picture is moved by several operations, their matrices are multiplied and the picture is
sampled once: faster than one operator after the other, and blurred by interpolation once only. The
same for colours. Matrices are numpy, float64, one for each picture; they are made on the CPU, so
that a draw is the same on every device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.augment.tone import LUMA

Matrix = npt.NDArray[np.float64]
Mode = Literal["bilinear", "nearest"]

_GREY = np.full((3, 3), 1 / 3)  # projection on the grey axis
_LUMA = np.tile(np.array(LUMA), (3, 1))
_TURN = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)

# --- where an output pixel comes from: (3, 3), coordinates x to the right, y down, the picture is
# [-1, 1] both ways with its pixels' outer edges at -1 and 1 (align_corners=False).


def rotation(degrees: float) -> Matrix:
    """The picture turns counter-clockwise."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def scaling(x: float, y: float) -> Matrix:
    """The picture grows by `x` and `y`; -1 mirrors it."""
    return np.diag([1 / x, 1 / y, 1])


def translation(x: float, y: float) -> Matrix:
    """The picture moves right by `x` and down by `y`, in half sides."""
    return np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])


def shear(degrees: float) -> Matrix:
    """Rows slide over each other, upright lines lean by `degrees`."""
    return np.array([[1, math.tan(math.radians(degrees)), 0], [0, 1, 0], [0, 0, 1.0]])


def tilt(x: float, y: float) -> Matrix:
    """Perspective: the picture leans back by `x`, `y`; |x| + |y| < 1 keeps the horizon outside."""
    return np.array([[1, 0, 0], [0, 1, 0], [x, y, 1.0]])


def window(top: float, left: float, side: float, height: int, width: int) -> Matrix:
    """A square of `side` pixels out of a picture, e.g. a crop."""
    return np.array(
        [
            [side / width, 0, (2 * left + side) / width - 1],
            [0, side / height, (2 * top + side) / height - 1],
            [0, 0, 1],
        ]
    )


def warp(
    x: Tensor,
    matrices: Sequence[Matrix],
    size: tuple[int, int],
    mode: Mode = "bilinear",
) -> Tensor:
    """Sample float (N, C, H, W) once, at N matrices' places; beyond the edge it is mirrored.

    Returns (N, C, *size) within the range of `x`. No low-pass filter: shrinking by far more than
    a factor of two would alias.
    """
    h, w = size
    m = torch.from_numpy(np.stack(matrices)).to(x.dtype).to(x.device)[..., None, None]
    xs = (torch.arange(w, dtype=x.dtype, device=x.device) * 2 + 1) / w - 1
    ys = ((torch.arange(h, dtype=x.dtype, device=x.device) * 2 + 1) / h - 1)[:, None]
    # Element by element and not as a product of matrices: the same for every batch size to the bit.
    u, v, d = (m[:, k, 0] * xs + (m[:, k, 1] * ys + m[:, k, 2]) for k in range(3))
    grid = torch.stack((u / d, v / d), -1)
    return F.grid_sample(x, grid, mode=mode, padding_mode="reflection", align_corners=False)


# --- colours: (3, 4), a linear map of (R, G, B) in [-1, 1] and an offset.


def brightness(by: float) -> Matrix:
    """Add `by` half ranges."""
    return np.hstack([np.eye(3), np.full((3, 1), by)])


def contrast(factor: float) -> Matrix:
    """Spread about middle grey."""
    return np.hstack([np.eye(3) * factor, np.zeros((3, 1))])


def saturation(factor: float) -> Matrix:
    """Spread about the grey of the same luma; 0 is a grey picture."""
    return np.hstack([_LUMA + (np.eye(3) - _LUMA) * factor, np.zeros((3, 1))])


def hue(degrees: float) -> Matrix:
    """Turn about the grey axis, red towards green: linear, unlike the hue of HSV, and it keeps the
    mean of the channels."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.hstack([_GREY + (np.eye(3) - _GREY) * c + _TURN * s, np.zeros((3, 1))])


def luma_flip() -> Matrix:
    """Light becomes dark, colours keep their hue (arXiv 2006.06676, app. B)."""
    return np.hstack([np.eye(3) - 2 * _GREY, np.zeros((3, 1))])


def after(second: Matrix, first: Matrix) -> Matrix:
    """One (3, 4) map that does `first`, then `second`."""
    return np.hstack([second[:, :3] @ first[:, :3], second[:, :3] @ first[:, 3:] + second[:, 3:]])


def in_turn(steps: Sequence[Matrix]) -> Matrix | None:
    """One map that does all `steps`, the first one first; None of none."""
    return functools.reduce(lambda done, step: after(step, done), steps) if steps else None


def recolour(x: Tensor, matrices: Sequence[Matrix]) -> Tensor:
    """Apply N maps to (N, C, H, W); the result is not clamped.

    Where C is not 3 there is neither hue nor saturation; brightness and contrast still act.
    """
    m = torch.from_numpy(np.stack(matrices)).to(x.dtype).to(x.device)
    if x.shape[1] == 3:
        return torch.baddbmm(m[:, :, 3:], m[:, :, :3], x.flatten(2)).view_as(x)
    # All maps above send greys to greys, so what they do to grey is one factor and one offset.
    return x * m[:, :1, :3].sum(2)[..., None, None] + m[:, 0, 3, None, None, None]

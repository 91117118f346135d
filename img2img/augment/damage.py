"""What a lens, a sensor, a file and time do to a picture: float (3, H, W) in [-1, 1] in and out."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Filter = Literal["bilinear", "bicubic", "area"]


def blur(x: Tensor, along: float, across: float, angle: float) -> Tensor:
    """Gaussian of sigma `along` and `across` (pixels) an axis turned by `angle` (radians), mirrored
    at the edge."""
    reach = min(math.ceil(3 * max(along, across)), min(x.shape[1:]) - 1)
    if reach < 1:
        return x
    # A sigma of 0 would divide by 0; below a tenth of a pixel all is in the centre.
    a, b = max(along, 0.1), max(across, 0.1)
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    p, q = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
    kernel = np.exp(-0.5 * ((p / a) ** 2 + (q / b) ** 2))
    weights = torch.from_numpy((kernel / kernel.sum()).astype(np.float32)).to(x.device)
    padded = F.pad(x[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(padded, weights[None, None])[:, 0]


def reduce_and_enlarge(x: Tensor, part: float, down: Filter, up: Filter) -> Tensor:
    """To `part` of the side and back."""
    h, w = x.shape[1:]
    small = _resized(x, max(1, round(h * part)), max(1, round(w * part)), down)
    return _resized(small, h, w, up).clamp(-1, 1)


def _resized(x: Tensor, h: int, w: int, how: Filter) -> Tensor:
    if how == "area":
        return F.interpolate(x[None], (h, w), mode="area")[0]
    return F.interpolate(x[None], (h, w), mode=how, align_corners=False, antialias=True)[0]


def noise(x: Tensor, sd: float, shot: float, grey: bool, rng: np.random.Generator) -> Tensor:
    """Gaussian noise of `sd` levels of 255, and of `shot` levels times the root of the value (in
    [0, 1]), as photons arrive; the same in all channels where `grey`."""
    shape = (1 if grey else x.shape[0], *x.shape[1:])
    field = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(x.device)
    spread = (sd**2 + shot**2 * (x + 1).clamp_min(0) / 2) ** 0.5 if shot else sd
    return (x + field * spread * (2 / 255)).clamp(-1, 1)


def jpeg(x: Tensor, quality: int, halved: bool, top: int = 0, left: int = 0) -> Tensor:
    """Through Pillow's JPEG encoder, with chroma 4:2:0 where `halved`, else 4:4:4. The first block
    begins `top` and `left` pixels (0 to 15) outside of the picture."""
    levels = ((x + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    pixels = np.pad(levels, ((top, 0), (left, 0), (0, 0)), mode="edge")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2 if halved else 0)
    file.seek(0)
    with Image.open(file) as picture:
        decoded = np.array(picture.convert("RGB"))[top:, left:]
    back = torch.from_numpy(decoded).to(x.device).permute(2, 0, 1)
    return back.to(x.dtype) / 127.5 - 1


def scratches(x: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """So many straight lines, 0.5 to 1.6 pixels wide and a fifth of the side to 1.2 sides long,
    mostly upright as from a transport, lighter or darker than the picture."""
    h, w = x.shape[1:]
    down, across = _grid(x)
    for _ in range(count):
        u = rng.random(7).tolist()
        angle = math.pi / 2 + (u[0] - 0.5) * (0.5 if u[1] < 0.6 else 2 * math.pi)
        half = (0.1 + 0.5 * u[2]) * max(h, w)
        # Coordinates along the line and across it, from its middle.
        dx, dy = across - u[3] * w, down - u[4] * h
        along = dx * math.cos(angle) + dy * math.sin(angle)
        aside = dy * math.cos(angle) - dx * math.sin(angle)
        distance = torch.hypot((along.abs() - half).clamp_min(0), aside)
        x = _paint(x, distance, 0.25 + 0.55 * u[5], u[6], rng)
    return x


def dust(x: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """So many round or oval spots of 0.5 to 2.5 pixels, lighter or darker than the picture."""
    h, w = x.shape[1:]
    down, across = _grid(x)
    for _ in range(count):
        u = rng.random(5).tolist()
        squeeze = 1 + u[2]
        distance = torch.hypot((across - u[0] * w) * squeeze, (down - u[1] * h) / squeeze)
        x = _paint(x, distance, 0.5 + 2 * u[3] ** 2, u[4], rng)
    return x


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the pixels' centres, (H, 1) and (1, W)."""
    h, w = (torch.arange(n, device=x.device, dtype=x.dtype) + 0.5 for n in x.shape[1:])
    return h[:, None], w[None]


def _paint(
    x: Tensor, distance: Tensor, radius: float, tone: float, rng: np.random.Generator
) -> Tensor:
    """Cover what lies within `radius`, with soft edges; two in three are light."""
    value = 0.5 + 0.5 * tone * 3 / 2 if tone < 2 / 3 else -1 + 1.5 * (tone - 2 / 3)
    cover = (radius + 0.5 - distance).clamp(0, 1) * float(0.4 + 0.6 * rng.random())
    return x + (value - x) * cover

"""What a lens, a sensor, a file and time do to a picture: float (3, H, W) in [-1, 1] in and out."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Samples = NDArray[np.float32]
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


def reduce(x: Tensor, by: int, how: Filter) -> Tensor:
    """To one part in `by` of the sides, (3, H / by, W / by); H and W are multiples of `by`."""
    return _resized(x, x.shape[1] // by, x.shape[2] // by, how).clamp(-1, 1)


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
    h, w = levels.shape[:2]
    pixels = np.empty((top + h, left + w, 3), np.uint8)
    pixels[top:, left:] = levels
    pixels[top:, :left] = levels[:, :1]
    pixels[:top] = pixels[top]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2 if halved else 0)
    file.seek(0)
    with Image.open(file, formats=["JPEG"]) as picture:
        decoded = np.array(picture)[top:, left:]
    back = torch.from_numpy(decoded).to(x.device).permute(2, 0, 1)
    return back.to(x.dtype) / 127.5 - 1


def scratches(x: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """So many straight lines, 0.5 to 1.6 pixels wide and a fifth of the side to 1.2 sides long,
    mostly upright as from a transport, lighter or darker than the picture."""
    h, w = x.shape[1:]
    layer = _Layer(h, w)
    for _ in range(count):
        u = rng.random(9).tolist()
        angle = math.pi / 2 + (u[0] - 0.5) * (0.5 if u[1] < 0.6 else 2 * math.pi)
        half = (0.1 + 0.5 * u[2]) * max(h, w)
        # Coordinates along the line and across it, from its middle.
        dx, dy = layer.across - u[3] * w, layer.down - u[4] * h
        along = dx * math.cos(angle) + dy * math.sin(angle)
        aside = dy * math.cos(angle) - dx * math.sin(angle)
        distance = np.hypot(np.maximum(np.abs(along) - half, 0), aside)
        layer.paint(distance, 0.25 + 0.55 * u[5], u[6], 0.4 + 0.6 * u[7])
    return layer.over(x)


def dust(x: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """So many round or oval spots, mostly of 1 to 4 pixels, lighter or darker than the picture."""
    h, w = x.shape[1:]
    layer = _Layer(h, w)
    for _ in range(count):
        u = rng.random(7).tolist()
        squeeze, radius = 1 + u[2], 0.5 + 1.5 * u[3] ** 2
        # Only where the spot is: there are many.
        reach = math.ceil((radius + 0.5) * squeeze)
        rows, columns = _around(u[1] * h, reach), _around(u[0] * w, reach)
        across, down = layer.across[:, columns] - u[0] * w, layer.down[rows] - u[1] * h
        distance = np.hypot(across * squeeze, down / squeeze)
        layer.paint(distance, radius, u[4], 0.4 + 0.6 * u[5], (rows, columns))
    return layer.over(x)


def _around(place: float, reach: int) -> slice:
    return slice(max(0, int(place) - reach), int(place) + reach + 1)


class _Layer:
    """What lies on a picture of (h, w): drawn on the CPU, laid over the picture at once.

    Attributes:
        down, across: places of the pixels' centres, (h, 1) and (1, w).
    """

    def __init__(self, h: int, w: int):
        self.down = np.arange(h, dtype=np.float32)[:, None] + 0.5
        self.across = np.arange(w, dtype=np.float32)[None] + 0.5
        self._values = np.zeros((h, w), np.float32)
        self._seen = np.ones((h, w), np.float32)  # the part of the picture that is still seen

    def paint(
        self,
        distance: Samples,
        radius: float,
        draw: float,
        opacity: float,
        where: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> None:
        """Cover what lies within `radius`, with soft edges; `draw` in [0, 1) chooses light grey to
        white (two in three) or black to dark grey. `distance` is that of the part `where`."""
        value = 0.5 + 0.75 * draw if draw < 2 / 3 else -1 + 1.5 * (draw - 2 / 3)
        cover = np.clip(radius + 0.5 - distance, 0, 1) * opacity
        self._values[where] += (value - self._values[where]) * cover
        self._seen[where] *= 1 - cover

    def over(self, x: Tensor) -> Tensor:
        """The picture (3, h, w) with this on it."""
        values, seen = (torch.from_numpy(m).to(x.device) for m in (self._values, self._seen))
        return x * seen + values

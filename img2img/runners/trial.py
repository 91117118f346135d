"""Made pictures, on which precisions and runners are compared before a photograph is at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2img.images import LUMA, Pixels, as_values, from_network, to_network
from img2img.model_format.info import ModelInfo
from img2img.runners.base import Float


def made_pictures(height: int, width: int, count: int) -> list[Pixels]:
    """`count` uint8 (H, W, 3) pictures, always the same: surfaces of 1/f noise with hard-edged
    shapes, as photographs have them, and dark lines on white, in turn."""
    return [
        (_drawing if k % 2 else _surface)(height, width, np.random.default_rng(k))
        for k in range(count)
    ]


def made_batch(info: ModelInfo, height: int, width: int, count: int) -> tuple[Float, Float | None]:
    """`made_pictures` as a model's input in [-1, 1], (N, C, H, W), and its domain vectors, of which
    the first domain holds, or None."""
    x = to_network(as_values(np.stack(made_pictures(height, width, count))))
    if info.in_channels == 1:
        x = (x @ LUMA)[..., None]
    domain = None
    if info.domains:
        domain = np.zeros((count, len(info.domains)), np.float32)
        domain[:, 0] = 1
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), domain


def decibels(a: Float, b: Float) -> float:
    """PSNR in dB between two outputs in [-1, 1] as 8-bit pictures, that of the worst of the batch;
    120 where they are the same."""
    squares = _levels(a, b).astype(np.float64) ** 2
    worst = float(squares.reshape(len(squares), -1).mean(1).max())
    return min(120.0, 10 * float(np.log10(255**2 / max(worst, 1e-12))))


def max_levels(a: Float, b: Float) -> int:
    """The largest difference between two outputs in [-1, 1], in 8-bit levels."""
    return int(np.abs(_levels(a, b)).max())


def _levels(a: Float, b: Float) -> NDArray[np.int32]:
    return from_network(a).astype(np.int32) - from_network(b).astype(np.int32)


def _surface(height: int, width: int, random: np.random.Generator) -> Pixels:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)

    def noise() -> NDArray[np.float64]:
        phases = random.standard_normal(frequency.shape) + 1j * random.standard_normal(
            frequency.shape
        )
        values = np.fft.irfft2(phases / frequency, (height, width))
        return (values - values.mean()) / max(float(values.std()), 1e-9)

    light = noise()
    picture = np.stack([0.85 * light + 0.5 * noise() for _ in range(3)], -1) * 0.25 + 0.5
    y, x = _grid(height, width)
    for _ in range(6):
        angle = random.uniform(0, np.pi)
        across = (x - random.uniform(0.2, 0.8)) * np.cos(angle) + (y - 0.5) * np.sin(angle)
        along = (x - 0.5) * np.sin(angle) - (y - random.uniform(0.2, 0.8)) * np.cos(angle)
        half = random.uniform(0.05, 0.2)
        inside = (np.abs(across) < half) & (np.abs(along) < 2 * half)
        picture[inside] = picture[inside] / 2 + random.uniform(0, 0.5, 3)
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def _drawing(height: int, width: int, random: np.random.Generator) -> Pixels:
    picture = np.full((height, width, 3), 255, np.uint8)
    y, x = _grid(height, width)
    for _ in range(8):
        stretched = (y - random.uniform(0.2, 0.8)) * random.uniform(0.6, 1.6)
        distance = np.hypot(x - random.uniform(0.2, 0.8), stretched)
        line = np.abs(distance - random.uniform(0.05, 0.35)) < 1.2 / max(height, width)
        picture[line] = random.integers(0, 100)
    return picture


def _grid(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return y / height, x / width

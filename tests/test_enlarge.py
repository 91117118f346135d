"""Pictures reduced to the working size of a network, and its answers enlarged again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from img2img.images import Pixels, enlarge, enlarge_guided, resize_pixels, scale_pixels
from img2img.images import working_shape as shape_of

KINDS = pytest.mark.parametrize("kind", [np.uint8, np.uint16])
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def photograph(height: int, width: int, kind: type = np.uint8, seed: int = 0) -> Pixels:
    """Straight edges that the working size cannot hold, and texture: (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    values = np.where(3 * x + y > 1.7 * width, 0.8, 0.3) - 0.15 * (x + 2 * y > 1.9 * width)
    values = values + np.random.default_rng(seed).normal(0, 0.01, values.shape)
    top = np.iinfo(kind).max
    return (np.stack([values, 0.9 * values, 1 - values], 2).clip(0, 1) * top).astype(kind)


def levels(a: Pixels, b: Pixels) -> np.ndarray:
    unit = 257.0 if a.dtype == np.uint16 else 1.0
    return np.abs(a.astype(float) - b.astype(float)) / unit


@pytest.mark.parametrize(
    ("given", "size", "seen"),
    [
        ((3000, 4000), 640, (480, 640)),
        ((4000, 3000), 640, (640, 480)),
        ((480, 640), 640, (480, 640)),
        ((30, 20), 640, (30, 20)),
        ((3000, 4000), 0, (3000, 4000)),
        ((1, 60000), 128, (1, 128)),
    ],
)
def test_the_long_side_is_reduced_and_nothing_enlarged(
    given: tuple[int, int], size: int, seen: tuple[int, int]
) -> None:
    assert shape_of(*given, size) == seen


@KINDS
@CHANNELS
def test_scaling_is_that_of_the_whole_picture(
    kind: type, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = photograph(300, 211, kind)[:, :, :channels]
    for width, height in ((64, 90), (400, 570), (211, 300)):
        whole = resize_pixels(pixels, width, height)
        monkeypatch.setattr(enlarge, "_STRIP", 1)  # strips of 32 rows
        parts = scale_pixels(pixels, width, height)
        assert parts.dtype == kind and parts.shape == (height, width, channels)
        assert levels(parts, whole).max() <= 1


@KINDS
@CHANNELS
def test_strips_leave_no_seam(kind: type, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source = photograph(333, 250, kind)
    seen = scale_pixels(source, 61, 81)
    answer = np.ascontiguousarray((np.iinfo(kind).max - seen)[:, :, :channels])
    whole = enlarge_guided(answer, source, seen)
    monkeypatch.setattr(enlarge, "_STRIP", 1)
    parts = enlarge_guided(answer, source, seen)
    assert parts.dtype == kind and parts.shape == (333, 250, channels)
    assert levels(parts, whole).max() <= 1
    assert np.array_equal(enlarge_guided(source, source, source), source)


@KINDS
def test_edges_that_the_answer_shares_are_the_photographs(kind: type) -> None:
    source = photograph(360, 480, kind)
    top = np.iinfo(kind).max
    recoloured = (0.2 * top + 0.7 * (top - source.astype(float))).astype(kind)
    seen = scale_pixels(source, 80, 60)
    answer = scale_pixels(recoloured, 80, 60)
    guided = levels(enlarge_guided(answer, source, seen), recoloured)
    plain = levels(scale_pixels(answer, 480, 360), recoloured)
    edge = plain > 12  # levels; the rest is texture, which stays out
    assert edge.mean() > 0.01 and guided[edge].mean() < 0.6 * plain[edge].mean()


def test_texture_that_the_answer_left_out_does_not_return() -> None:
    random = np.random.default_rng(1)
    source = random.integers(60, 190, (320, 320, 3), np.uint8, endpoint=True)
    seen = scale_pixels(source, 80, 80)
    flat = np.full_like(seen, 120)
    assert levels(enlarge_guided(flat, source, seen), np.full_like(source, 120)).max() <= 1
    # Strokes that follow nothing in the photograph stay what the bicubic filter makes of them.
    strokes = np.asarray(
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((80, 80), 0)
    )
    plain = scale_pixels(strokes, 320, 320)
    assert levels(enlarge_guided(strokes, source, seen), plain).mean() < 4

"""Label maps as pictures: the palette is found, classes and scores against values by hand."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from img2img.errors import DataError
from img2img.metrics.labels import (
    class_scores,
    confusion,
    palette_of,
    score_intervals,
    scores_of,
    to_classes,
)
from tests.conftest import picture

PALETTE = torch.tensor(
    [[0, 0, 222], [0, 48, 255], [0, 128, 255], [255, 80, 0], [192, 255, 64], [172, 0, 0]],
    dtype=torch.uint8,
)


def class_map(seed: int, side: int = 64, classes: int = 6) -> Tensor:
    """(1, side, side): rectangles of classes upon class 0."""
    draw = np.random.default_rng(seed)
    classes_at = np.zeros((side, side), np.int64)
    for k in range(1, 3 * classes):
        top, left = draw.integers(0, side - 16, 2)
        height, width = draw.integers(10, 24, 2)
        classes_at[top : top + height, left : left + width] = k % classes
    return torch.from_numpy(classes_at)[None]


def painted(classes: Tensor) -> Tensor:
    return PALETTE[classes].permute(0, 3, 1, 2)


def as_jpeg(pictures: Tensor, quality: int = 90) -> Tensor:
    out = []
    for x in pictures:
        file = io.BytesIO()
        Image.fromarray(x.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        out.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(out)


def jpegs(count: int = 12) -> Iterator[Tensor]:
    for k in range(count):
        yield as_jpeg(painted(class_map(k, 64 + 8 * (k % 2))))


def test_colours_become_the_nearest_class() -> None:
    x = torch.tensor([[0, 0, 222], [0, 20, 230], [9, 120, 250], [140, 10, 20], [255, 255, 255]])
    pictures = x.to(torch.uint8).T.reshape(1, 3, 1, 5)
    assert to_classes(pictures, PALETTE).tolist() == [[[0, 0, 2, 5, 4]]]
    # Of two equally near colours the first.
    middle = torch.full((1, 3, 1, 1), 10, dtype=torch.uint8)
    both = torch.tensor([[12, 10, 10], [8, 10, 10]])
    assert to_classes(middle, both).item() == to_classes(middle, both.flip(0)).item() == 0


def test_classes_survive_painting() -> None:
    # More pixels than one distance computation takes.
    true = torch.cat([class_map(k, 256) for k in range(5)])
    assert torch.equal(to_classes(painted(true), PALETTE), true)


def test_the_palette_is_found_in_spite_of_jpeg() -> None:
    found = palette_of(jpegs())
    assert len(found) == len(PALETTE) and found.dtype == torch.uint8
    far = (found.float()[:, None] - PALETTE.float()).norm(dim=2)
    assert sorted(far.argmin(1).tolist()) == list(range(len(PALETTE)))
    assert far.amin(1).max() < 6
    assert far.argmin(1)[0] == 0  # the background is the most frequent


def test_a_palette_without_noise_is_exact() -> None:
    found = palette_of([painted(class_map(k)) for k in range(12)])
    assert sorted(found.tolist()) == sorted(PALETTE.tolist())


def test_photographs_have_no_palette() -> None:
    noise = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    with pytest.raises(DataError, match="only 0% of the pixels lie in areas"):
        palette_of([noise])
    # Flat as skies are, but of no one colour.
    soft = [np.array(picture(256, 256, k)) for k in range(8)]
    sky = [torch.from_numpy(x // 2 + 64).permute(2, 0, 1)[None] for x in soft]
    with pytest.raises(DataError, match="colours cover only"):
        palette_of(sky)
    with pytest.raises(DataError, match="not label maps"):
        palette_of([])
    levels = torch.arange(0, 256, 32, dtype=torch.uint8)
    many = torch.cartesian_prod(levels, levels, levels)  # 512 plain colours
    plain = many[:, :, None, None].expand(-1, -1, 8, 8)
    with pytest.raises(DataError, match="more than 256 colours"):
        palette_of([plain])


def test_scores_by_hand() -> None:
    true = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 2]])
    predicted = torch.tensor([[0, 0, 1, 0], [1, 1, 0, 1]])
    scores = class_scores(predicted, true, 4)
    assert scores.pixels.tolist() == [4, 3, 1, 0]
    # Class 0: 3 right, 4 true, 4 predicted. Class 1: 2, 3, 4. Class 2: 0, 1, 0. Class 3: none.
    assert scores.iou[:3].tolist() == [3 / 5, 2 / 5, 0] and math.isnan(scores.iou[3])
    assert scores.mean_iou == pytest.approx(1 / 3)
    assert scores.class_accuracy[:3].tolist() == pytest.approx([3 / 4, 2 / 3, 0])
    assert scores.pixel_accuracy == 5 / 8


def test_matrices_of_batches_add_up() -> None:
    true, other = (torch.cat([class_map(k + j) for k in range(4)]) for j in (0, 50))
    whole = confusion(other, true, 6)
    assert torch.equal(
        whole, sum(confusion(o[None], t[None], 6) for o, t in zip(other, true, strict=True))
    )
    assert whole.sum() == true.numel() and torch.equal(
        whole.sum(1), true.flatten().bincount(minlength=6)
    )
    assert scores_of(confusion(true, true, 6)).mean_iou == 1
    assert 0 < scores_of(whole).mean_iou < 0.6


def test_intervals_by_hand() -> None:
    right, wrong = torch.tensor([[4, 0], [0, 4]]), torch.tensor([[0, 4], [4, 0]])
    same = score_intervals(torch.stack([right] * 5))
    assert same["mean_iou"].tolist() == [1, 1] and same["iou"].tolist() == [[1, 1], [1, 1]]
    two = score_intervals(torch.stack([right, wrong]))
    assert two["pixel_accuracy"].tolist() == [0, 1]
    # The share of the right one among 400 pictures, half of them: 0.5 +- 1.96 * 0.5 / 20.
    many = score_intervals(torch.stack([right, wrong] * 200), times=2000)
    assert many["pixel_accuracy"].tolist() == pytest.approx([0.451, 0.549], abs=0.004)
    unseen = score_intervals(torch.tensor([[[4, 0], [0, 0]]]))
    assert unseen["iou"][:, 1].isnan().all() and unseen["mean_iou"].tolist() == [1, 1]


def test_what_does_not_fit_is_refused() -> None:
    classes = class_map(0)
    with pytest.raises(ValueError, match="differ"):
        confusion(classes[:, :32], classes, 6)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        confusion(classes, classes.clamp(max=4), 5)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        confusion(-classes, classes.clamp(max=4), 5)


def test_what_jpeg_costs_is_little() -> None:
    true = class_map(3, 128)
    scores = class_scores(to_classes(as_jpeg(painted(true)), PALETTE), true, 6)
    assert scores.pixel_accuracy > 0.97

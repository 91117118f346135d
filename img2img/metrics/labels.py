"""Label maps as pictures: colours to classes, and how well the classes agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import DataError

# 8-bit levels per channel of one bin of `palette_of`.
_BIN = 8
# Label maps have at least this share of pixels in areas of one colour (facades as JPEG 0.59), and
# their colours cover at least this share of those (facades 0.9997, photographs 0.8).
_PLAIN, _COVERED = 0.2, 0.95
_NO_MAPS = (
    "these are not label maps of plain colours; give the palette, or leave out the scores of "
    "classes"
)
# Pixels of one distance computation in `to_classes`.
_PIXELS = 1 << 18


def to_classes(pictures: Tensor, palette: Tensor) -> Tensor:
    """The nearest colour of the palette for each pixel, by the Euclidean distance in RGB; of
    equally near ones the first.

    Args:
        pictures: uint8 (N, 3, H, W).
        palette: (C, 3) in 0..255.

    Returns:
        int64 (N, H, W), 0..C-1.
    """
    pixels = pictures.permute(0, 2, 3, 1).reshape(-1, 3)
    colours = palette.to(pixels.device, torch.float32)
    parts = [
        # Whole levels squared are exact in float32, so that ties are ties.
        ((part.float()[:, None] - colours) ** 2).sum(2).argmin(1)
        for part in pixels.split(_PIXELS)
    ]
    return torch.cat(parts).reshape(len(pictures), *pictures.shape[2:])


def palette_of(
    pictures: Iterable[Tensor],
    *,
    flat: int = 16,
    apart: float = 24.0,
    least_share: float = 0.0005,
    most: int = 256,
) -> Tensor:
    """The colours of true label maps, in spite of JPEG noise: the peaks of a histogram.

    Only pixels count whose 3x3 neighbourhood is nearly of one colour, so that the blends along
    edges do not. They are counted in bins of 8 levels per channel; a peak is the bin with the most
    pixels in itself and its 26 neighbours. From the most to the least frequent, a peak becomes a
    colour where it is far enough from the colours found before and frequent enough; its colour is
    the mean of the pixels in those 27 bins, rounded.

    Args:
        pictures: uint8 batches (N, 3, H, W), of any and of different sizes; read once, one at a
            time. Sides of at least 3.
        flat: most 8-bit levels by which a channel may vary within the 3x3 neighbourhood.
        apart: least Euclidean distance in RGB between two colours, in 8-bit levels.
        least_share: least share of the counted pixels that a colour must have.
        most: more colours than this mean that these are not label maps.

    Returns:
        uint8 (C, 3), the most frequent colour first.

    Raises:
        DataError: these are not label maps of plain colours: less than a fifth of the pixels count,
            the colours cover less than 95 % of those, or there are more than `most`.
    """
    side = 256 // _BIN
    counts = torch.zeros(side**3, dtype=torch.float64)
    sums = torch.zeros(side**3, 3, dtype=torch.float64)
    total = 0
    for batch in pictures:
        total += batch.numel() // 3
        pixels = _flat_pixels(batch, flat)
        index = ((pixels // _BIN) * torch.tensor([side * side, side, 1])).sum(1)
        counts += torch.bincount(index, minlength=side**3)
        sums.index_add_(0, index, pixels.double())
    counted = counts.sum().item()
    near, near_sums = _with_neighbours(counts, side), _with_neighbours(sums, side)
    colours = torch.empty(0, 3, dtype=torch.float64)
    covered = 0.0
    for place in near.argsort(descending=True, stable=True).tolist():
        weight = near[place].item()
        if weight < max(least_share * counted, 1):
            break
        colour = near_sums[place] / weight
        if bool(((colours - colour).norm(dim=1) >= apart).all()):
            colours = torch.cat([colours, colour[None]])
            covered += weight
        if len(colours) > most:
            raise DataError(f"more than {most} colours: {_NO_MAPS}")
    if counted < _PLAIN * total or not counted:
        share = counted / max(total, 1)
        raise DataError(f"only {share:.0%} of the pixels lie in areas of one colour: {_NO_MAPS}")
    if covered < _COVERED * counted:
        share = covered / counted
        raise DataError(f"{len(colours)} colours cover only {share:.0%} of the areas: {_NO_MAPS}")
    return colours.round().to(torch.uint8)


@dataclass(frozen=True)
class ClassScores:
    """How well classes agree (arXiv 1411.4038, sec. 5, there for semantic segmentation).

    Attributes:
        iou: (C,) intersection over union of each class, 0..1; NaN where neither side has it.
        mean_iou: mean over the classes that are not NaN.
        class_accuracy: (C,) share of each class's true pixels that were found; NaN where the truth
            lacks it.
        pixel_accuracy: share of all pixels with the true class.
        pixels: (C,) true pixels of each class.
    """

    iou: Tensor
    mean_iou: float
    class_accuracy: Tensor
    pixel_accuracy: float
    pixels: Tensor


def confusion(predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    """Counts of pixels, int64 (C, C): row the true class, column the predicted one. The matrices of
    batches add up.

    Args:
        predicted, true: int64 of the same shape, 0..classes-1.

    Raises:
        ValueError: shapes that differ, or a class outside 0..classes-1.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {tuple(predicted.shape)} and true {tuple(true.shape)} differ")
    for part in (predicted, true):
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < classes:
            raise ValueError(f"classes must lie in 0..{classes - 1}")
    index = true.flatten() * classes + predicted.flatten()
    return torch.bincount(index, minlength=classes * classes).reshape(classes, classes)


def scores_of(matrix: Tensor) -> ClassScores:
    """The scores of a confusion matrix (C, C) as `confusion` counts it."""
    counts = matrix.double()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    iou = right / (true + predicted - right)  # 0 / 0 is NaN
    return ClassScores(
        iou=iou,
        mean_iou=iou.nanmean().item(),
        class_accuracy=right / true,
        pixel_accuracy=(right.sum() / counts.sum()).item(),
        pixels=matrix.sum(1),
    )


def score_intervals(matrices: Tensor, seed: int = 0, times: int = 200) -> dict[str, Tensor]:
    """95 % intervals of the scores of pictures drawn again with replacement (percentiles of the
    bootstrap, Efron 1979).

    Args:
        matrices: (N, C, C), the `confusion` of each picture.

    Returns:
        `iou` (2, C), `mean_iou` and `pixel_accuracy` (2,): low and high. NaN for a class that
        neither side has.
    """
    n = len(matrices)
    drawn = torch.Generator().manual_seed(seed)
    counts = matrices.flatten(1).double()
    scores = []
    for _ in range(times):
        chosen = torch.randint(n, (n,), generator=drawn)
        weights = torch.bincount(chosen, minlength=n).double()
        scores.append(scores_of((weights @ counts).reshape(matrices.shape[1:])))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)

    def between(values: Tensor) -> Tensor:
        return values.nanquantile(ends, dim=0)

    return {
        "iou": between(torch.stack([s.iou for s in scores])),
        "mean_iou": between(torch.tensor([s.mean_iou for s in scores], dtype=torch.float64)),
        "pixel_accuracy": between(
            torch.tensor([s.pixel_accuracy for s in scores], dtype=torch.float64)
        ),
    }


def class_scores(predicted: Tensor, true: Tensor, classes: int) -> ClassScores:
    """The scores of one batch; over several, `scores_of` the sum of their `confusion`."""
    return scores_of(confusion(predicted, true, classes))


def _flat_pixels(batch: Tensor, flat: int) -> Tensor:
    """int64 (pixels, 3): inner pixels whose 3x3 neighbourhood varies by at most `flat` levels in
    each channel."""
    x = batch.float()
    high, low = F.max_pool2d(x, 3, 1), -F.max_pool2d(-x, 3, 1)
    calm = (high - low).amax(1) <= flat
    return batch[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1)[calm].long()


def _with_neighbours(values: Tensor, side: int) -> Tensor:
    """Each bin's value plus that of its up to 26 neighbours; (side^3,) or (side^3, K)."""
    cube = values.reshape(side**3, -1).T.reshape(1, -1, side, side, side)
    return (F.avg_pool3d(cube, 3, 1, 1) * 27).reshape(-1, side**3).T.reshape(values.shape)

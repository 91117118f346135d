"""Do the outputs vary as the inputs do, and are they new? Distances between feature vectors.

Features are rows (N, D) of any network or of pixels; distances are Euclidean, in their units. The
memory of every function is that of its arguments and one block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from img2img.errors import DataError
from img2img.metrics.intervals import Z95
from img2img.metrics.sets import Estimate

# Rows and columns of one block of distances: 32 MiB of float64.
_ROWS, _COLUMNS = 1024, 4096


def diversity(features: Tensor) -> float:
    """Mean distance over all pairs of different rows of (N, D).

    Raises:
        DataError: fewer than two rows.
    """
    return _mean_distances(features).mean().item()


def diversity_ratio(outputs: Tensor, inputs: Tensor) -> Estimate:
    """The diversity of the outputs divided by that of the inputs, (N, D) and (N, E), row k of the
    one made from row k of the other, in features of the same network: near 0 where a generator has
    collapsed; infinite (or NaN) for inputs that are all the same, then without an interval.

    The interval is 1.96 standard deviations of a ratio of U-statistics (Hoeffding 1948): each
    picture counts by its mean distance to the others, an output together with its input.

    Raises:
        DataError: fewer than two rows.
        ValueError: numbers of rows that differ.
    """
    if len(outputs) != len(inputs):
        raise ValueError(f"{len(outputs)} outputs and {len(inputs)} inputs; one each is needed")
    above, below = _mean_distances(outputs), _mean_distances(inputs)
    if below.mean() == 0:
        value = math.nan if above.mean() == 0 else math.inf
        return Estimate(value, math.nan, math.nan)
    ratio = (above.mean() / below.mean()).item()
    pull = 2 * (above - ratio * below) / below.mean()
    error = Z95 * (pull.std() / math.sqrt(len(pull))).item()
    return Estimate(ratio, max(0.0, ratio - error), ratio + error)


def _mean_distances(features: Tensor) -> Tensor:
    """(N,) the mean distance of each row of (N, D) to the others."""
    n = _at_least(2, features, "the diversity of pictures")
    x = _centred(features, features)
    sums = []
    for a in x.split(_ROWS):
        all_rows = sum((_distances(a, b).sum(1) for b in x.split(_COLUMNS)), torch.zeros(len(a)))
        # A row's distance to itself is not quite 0 in floating point.
        sums.append(all_rows - _distances(a, a).diagonal())
    return torch.cat(sums) / (n - 1)


def duplicates(outputs: Tensor, inputs: Tensor, fraction: float = 0.1) -> float:
    """The share of outputs whose nearest other output is nearer than `fraction` times the distance
    of the two inputs they were made from: different inputs, the same answer.

    Args:
        outputs, inputs: (N, D) and (N, E), row k of the one made from row k of the other, in
            features of comparable distances (the same network).

    Raises:
        DataError: fewer than two rows.
        ValueError: numbers of rows that differ.
    """
    n = _at_least(2, outputs, "a search for duplicates")
    if len(inputs) != n:
        raise ValueError(f"{n} outputs and {len(inputs)} inputs; one output per input is needed")
    places, distances = _nearest(outputs, outputs, 1, exclude_own=True)
    between = (inputs.double() - inputs.double()[places[:, 0]]).norm(dim=1)
    return (distances[:, 0] < fraction * between).double().mean().item()


def nearest(outputs: Tensor, training: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The `k` nearest training rows of each output, nearest first.

    Args:
        outputs: (N, D).
        training: (M, D).

    Returns:
        indices, int64 (N, k), and distances, float64 (N, k), exact for the rows found.

    Raises:
        DataError: fewer than `k` training rows.
    """
    _at_least(k, training, f"a search for {k} neighbours")
    return _nearest(outputs, training, k, exclude_own=False)


@dataclass(frozen=True)
class Memorising:
    """Whether outputs lie nearer to the training set than pictures do that were held out.

    Attributes:
        nearer: probability that a random output is nearer to its nearest training picture than a
            random held-out real picture is to its own, ties counted half: 0.5 where outputs are
            as new as real pictures, 1 where all of them are nearer.
        z: the test statistic Z_U for it; standard normal under equality, copying below -2 or so.
        copies: share of outputs nearer than all but `rate` of the held-out real pictures.
        rate: the share that would be so by chance.
        outputs, held_out: numbers of pictures.
    """

    nearer: float
    z: float
    copies: float
    rate: float
    outputs: int
    held_out: int


def memorising(
    outputs: Tensor, held_out: Tensor, training: Tensor, rate: float = 0.05
) -> Memorising:
    """The data-copying test of arXiv 2004.05675 (sec. 3.1: Mann and Whitney's U of the distances to
    the nearest training row, as Z_U) over the whole space at once, without its cells.

    Outputs of little detail (blur) or little variety lie near to everything, so that a low Z_U
    calls for a look at the neighbours; it does not prove copying.

    Args:
        outputs, held_out, training: (N, D), (M, D), (T, D) in the same features; `held_out` are
            real pictures of the same kind as `training` and none of them.
        rate: quantile of the held-out distances below which an output counts as a copy.

    Raises:
        DataError: fewer than 20 outputs or held-out pictures, or no training picture.
    """
    m = _at_least(20, outputs, "the test for memorising")
    n = _at_least(20, held_out, "the test for memorising")
    made = nearest(outputs, training)[1][:, 0]
    real = nearest(held_out, training)[1][:, 0].sort().values
    below = torch.searchsorted(real, made)
    up_to = torch.searchsorted(real, made, right=True)
    # Of the pairs (output, held-out), those with the output farther, ties half.
    farther = (below + up_to).double().sum().item() / 2
    nearer = 1 - farther / (m * n)
    z = (farther - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)
    limit = torch.quantile(real, rate)
    copies = (made < limit).double().mean().item()
    return Memorising(nearer, z, copies, rate, outputs=m, held_out=n)


def _at_least(least: int, features: Tensor, what: str) -> int:
    if len(features) < least:
        raise DataError(f"{what} needs at least {least} pictures, {len(features)} were given")
    return len(features)


def _centred(x: Tensor, by: Tensor) -> Tensor:
    """float64, and near 0, where differences of squares lose least."""
    return x.double() - by.double().mean(0)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) by |a|^2 + |b|^2 - 2 ab, which is one matrix product."""
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    return squares.clamp_min_(0).sqrt_()


def _nearest(a: Tensor, b: Tensor, k: int, exclude_own: bool) -> tuple[Tensor, Tensor]:
    found = []
    centre = b.double().mean(0)
    for first, rows in enumerate(a.split(_ROWS)):
        rows = rows.double()
        best = torch.full((len(rows), k), math.inf, dtype=torch.float64)
        places = torch.zeros(len(rows), k, dtype=torch.int64)
        for start in range(0, len(b), _COLUMNS):
            part = b[start : start + _COLUMNS].double()
            far = _distances(rows - centre, part - centre)
            if exclude_own:
                own = torch.arange(len(rows)) + first * _ROWS - start
                inside = (own >= 0) & (own < len(part))
                far[inside, own[inside]] = math.inf
            far, near = far.topk(min(k, len(part)), largest=False)
            best, order = torch.cat([best, far], 1).topk(k, largest=False)
            places = torch.cat([places, near + start], 1).gather(1, order)
        # The block's distances are off by 1e-8 of the vectors' length; the few that stay are not.
        exact = torch.stack([(rows - b[places[:, j]].double()).norm(dim=1) for j in range(k)], 1)
        exact, order = exact.sort(dim=1, stable=True)
        found.append((places.gather(1, order), exact))
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])

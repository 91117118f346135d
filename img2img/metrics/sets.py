"""How far two sets of pictures are apart, from their features: Frechet and kernel distances,
precision and recall, density and coverage, Inception score.

Features are float tensors (N, D), one row for each picture. A distance depends on the network that
made them and falls with N: two figures compare only where both agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from img2img.errors import DataError
from img2img.metrics.intervals import Z95, wilson

DRAWN = 2000  # pictures of each set that a kernel distance looks at
_BLOCK = 2**22  # numbers in a part of what is never whole in memory


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the unbiased covariances of the rows
    (arXiv 1706.08500; with Inception's features it is the FID).

    The trace of the root is the nuclear norm of X_a X_b^T / sqrt((n_a - 1)(n_b - 1)), X the centred
    features: with fewer pictures than features that matrix is the small one.

    Raises:
        DataError: fewer than two pictures in a set.
    """
    _need(2, a, b)
    mu_a, mu_b = (z.mean(0, dtype=torch.float64) for z in (a, b))
    if max(len(a), len(b)) <= a.shape[1]:
        x, y = ((z - mu) / (len(z) - 1) ** 0.5 for z, mu in ((a, mu_a), (b, mu_b)))
        spread = x.square().sum() + y.square().sum()
        root = torch.linalg.svdvals(x @ y.T).sum()
    else:
        A, B = _covariance(a, mu_a), _covariance(b, mu_b)
        spread = A.trace() + B.trace()
        values, vectors = torch.linalg.eigh(A)
        half = vectors * values.clamp(min=0).sqrt()
        root = torch.linalg.eigvalsh(half.T @ B @ half).clamp(min=0).sqrt().sum()
    return max(0.0, float((mu_a - mu_b).square().sum() + spread - 2 * root))


def _covariance(x: Tensor, mu: Tensor) -> Tensor:
    """Of the rows, unbiased, in double precision."""
    total = x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for part in x.split(_rows(x.shape[1])):
        centred = part - mu
        total += centred.T @ centred
    return total / (len(x) - 1)


def _rows(width: int) -> int:
    """How many rows of `width` numbers are computed at once."""
    return max(1, _BLOCK // width)


def kernel_distance(a: Tensor, b: Tensor, seed: int = 0, most: int = DRAWN) -> Estimate:
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 of up to `most`
    rows of each set, drawn by the seed (arXiv 1801.01401; with Inception's features it is the KID,
    whose mean over random subsets has the same expectation). May be negative for equal sets.

    The interval is that of the jackknife: each picture is left out once. Resampling with repetition
    would bias the kernel of a picture with itself.

    Raises:
        DataError: fewer than 4 pictures in a set.
    """
    _need(4, a, b)
    drawn = torch.Generator().manual_seed(seed)
    x, y = (z[torch.randperm(len(z), generator=drawn)[:most]].double() for z in (a, b))
    n, m = len(x), len(y)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    # Of each row: the sum over the others of its set, and over the other set.
    own_x, own_y = (k.sum(1) - k.diagonal() for k in (xx, yy))
    cross_x, cross_y = xy.sum(1), xy.sum(0)
    in_x, in_y, across = own_x.sum(), own_y.sum(), xy.sum()
    whole = in_x / (n * (n - 1)) + in_y / (m * (m - 1)) - 2 * across / (n * m)
    without_x = (
        (in_x - 2 * own_x) / ((n - 1) * (n - 2))
        + in_y / (m * (m - 1))
        - 2 * (across - cross_x) / ((n - 1) * m)
    )
    without_y = (
        in_x / (n * (n - 1))
        + (in_y - 2 * own_y) / ((m - 1) * (m - 2))
        - 2 * (across - cross_y) / (n * (m - 1))
    )
    variance = (n - 1) / n * (without_x - without_x.mean()).square().sum()
    variance = variance + (m - 1) / m * (without_y - without_y.mean()).square().sum()
    # With more pictures than were looked at, the figure is still that of those.
    value, error = float(whole), Z95 * float(variance**0.5)
    return Estimate(value, value - error, value + error)


def _kernel(u: Tensor, v: Tensor) -> Tensor:
    return (u @ v.T / u.shape[1] + 1) ** 3


def inception_score(logits: Tensor, seed: int = 0, splits: int = 10) -> Estimate:
    """exp E KL(p(y|x) | p(y)) of a classifier's logits (N, classes): high where each picture is of
    one class for certain and all classes occur (arXiv 1606.03498). Mean over `splits` random parts
    and the interval of that mean. It knows nothing of the real pictures.

    Raises:
        DataError: fewer than two pictures a part.
    """
    splits = min(splits, len(logits) // 2)
    if splits < 2:
        raise DataError(f"{len(logits)} pictures are too few for an Inception score; 4 are needed")
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    scores = []
    for rows in order.tensor_split(splits):
        log_p = logits[rows].double().log_softmax(1)
        p = log_p.exp()
        scores.append((p * (log_p - p.mean(0).log())).sum(1).mean().exp())
    values = torch.stack(scores)
    mean, error = float(values.mean()), Z95 * float(values.std() / splits**0.5)
    return Estimate(mean, mean - error, mean + error)


@dataclass(frozen=True)
class Manifolds:
    """Quality and diversity apart, all in 0..1 (density may exceed 1).

    Attributes:
        precision: share of fakes within the reach of a real picture: quality.
        recall: share of reals within the reach of a fake one: diversity (arXiv 1904.06991).
        density: how many reals' reaches hold a fake picture, over k: quality, less swayed by
            outliers.
        coverage: share of reals whose reach holds a fake: diversity (arXiv 2002.09797).
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def manifolds(real: Tensor, fake: Tensor, k: int = 5) -> Manifolds:
    """Compare the neighbourhoods: a picture's reach is the distance to its k-th neighbour among its
    own set. The intervals are those of a mean over the pictures.

    Raises:
        DataError: a set has no more than k pictures.
    """
    _need(k + 1, real, fake)
    reach_real, reach_fake = _reach(real, k), _reach(fake, k)
    counts, held, covered = [], [], torch.zeros(len(real), dtype=torch.bool)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for part in fake.split(_rows(len(real))):
        distances = _distances(part, real)
        within = distances <= reach_real
        counts.append(within.sum(1))
        held.append(within.any(1))
        covered |= within.any(0)
        start = sum(map(len, counts)) - len(part)
        recalled |= (distances <= reach_fake[start : start + len(part), None]).any(0)
    return Manifolds(
        precision=share_of(torch.cat(held)),
        recall=share_of(recalled),
        density=mean_of(torch.cat(counts).double() / k),
        coverage=share_of(covered),
    )


def _reach(x: Tensor, k: int) -> Tensor:
    parts = [_distances(part, x).kthvalue(k + 1, dim=1).values for part in x.split(_rows(len(x)))]
    return torch.cat(parts)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Of each row of `x` from each of `y`, in double precision."""
    x, parts = x.double(), y.split(_rows(y.shape[1]))
    return torch.cat([torch.cdist(x, part.double()) for part in parts], 1)


def share_of(hits: Tensor) -> Estimate:
    """The share of (N,) that are true, with Wilson's 95 % interval."""
    right, n = int(hits.sum()), len(hits)
    low, high = wilson(right, n)
    return Estimate(right / n, low, high)


def mean_of(values: Tensor) -> Estimate:
    """The mean of (N,) values and its 95 % interval by the central limit theorem."""
    values = values.double()
    mean = float(values.mean())
    error = Z95 * float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("inf")
    return Estimate(mean, mean - error, mean + error)


def bootstrap(
    figure: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor, seed: int = 0, times: int = 20
) -> Estimate:
    """`figure(a, b)` with the interval of 1.96 standard deviations over resampled pictures.

    The interval is centred on the figure itself: resampling repeats pictures, which raises a
    Frechet distance, so the resampled values' own quantiles would lie beside it.
    """
    drawn = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(times):
        x = a[torch.randint(len(a), (len(a),), generator=drawn)]
        y = b[torch.randint(len(b), (len(b),), generator=drawn)]
        values.append(figure(x, y))
    value, error = figure(a, b), Z95 * float(torch.tensor(values, dtype=torch.float64).std())
    return Estimate(value, value - error, value + error)


def halves(x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two random halves of the rows, as equal as can be."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[: len(x) // 2]], x[order[len(x) // 2 :]]


def _need(count: int, *sets: Tensor) -> None:
    least = min(map(len, sets))
    if least < count:
        raise DataError(f"{least} pictures are too few; each set needs at least {count}")

"""Distances between sets of features: closed forms, an independent computation, the obvious order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from img2img.errors import DataError
from img2img.evaluation.figures import figures_of
from img2img.evaluation.gather import Collected, Gathered
from img2img.metrics.set_figures import SET_METRICS, SetMetric, Sets
from img2img.metrics.sets import (
    DRAWN,
    Estimate,
    bootstrap,
    frechet_distance,
    halves,
    inception_score,
    kernel_distance,
    manifolds,
    mean_of,
)


def normal(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale + shift


def whitened(n: int, d: int, seed: int) -> Tensor:
    """Rows of mean exactly 0 and covariance exactly 1."""
    x = normal(n, d, seed).double()
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / (n - 1))
    return x @ vectors / values.sqrt() @ vectors.T


def test_the_frechet_distance_of_known_normals() -> None:
    x = whitened(400, 6, 0)
    scale = torch.tensor([1.0, 2.0, 3.0, 0.5, 1.0, 4.0], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    expected = float(shift.square().sum() + (scale - 1).square().sum())
    assert frechet_distance(x, whitened(300, 6, 1) * scale + shift) == pytest.approx(expected)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_both_ways_to_the_root_agree() -> None:
    """With more features than pictures the Gram matrix is used: padding features with zeros changes
    the way and not the distance."""
    a, b = normal(60, 20, 2), normal(50, 20, 3, 0.4, 1.7)
    wide = [torch.cat((x, torch.zeros(len(x), 80)), 1) for x in (a, b)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_an_independent_computation_agrees() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from torchmetrics.image.fid import _compute_fid
    from torchmetrics.image.kid import poly_mmd

    a, b = normal(200, 24, 4).double(), normal(150, 24, 5, 0.3, 1.2).double()
    theirs = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-6)
    ours = kernel_distance(a[:80], b[:80])
    assert ours.value == pytest.approx(float(poly_mmd(a[:80], b[:80])), rel=1e-9)


def test_the_kernel_distance_of_equal_sets_is_nothing() -> None:
    same = kernel_distance(normal(500, 16, 6), normal(400, 16, 7))
    other = kernel_distance(normal(500, 16, 6), normal(400, 16, 7, 0.5))
    assert same.low < 0 < same.high
    assert other.low > same.high
    assert kernel_distance(normal(50, 4, 0), normal(50, 4, 1)) == kernel_distance(
        normal(50, 4, 0), normal(50, 4, 1)
    )


def test_the_interval_of_the_kernel_distance_holds_what_it_says() -> None:
    """Over 200 drawings of equal sets, 0 lies outside the interval about once in twenty, and the
    interval is about as wide as the figure really varies."""
    found = [kernel_distance(normal(60, 8, 2 * k), normal(60, 8, 2 * k + 1)) for k in range(200)]
    outside = sum(not f.low <= 0 <= f.high for f in found)
    assert 1 <= outside <= 30
    spread = torch.tensor([f.value for f in found]).std() * 1.96
    width = torch.tensor([f.high - f.value for f in found]).mean()
    assert 0.8 * spread < width < 1.8 * spread


def test_the_inception_score_of_certain_and_uncertain_classifiers() -> None:
    classes = torch.arange(1000) % 10
    certain = torch.nn.functional.one_hot(classes, 10) * 1000.0
    assert inception_score(certain).value == pytest.approx(10, rel=0.05)
    assert inception_score(torch.zeros(1000, 10)).value == pytest.approx(1)
    assert inception_score(torch.eye(10)[[3]].repeat(100, 1) * 99).value == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`:UserWarning")
def test_the_inception_score_is_that_of_torchmetrics() -> None:
    inception = pytest.importorskip("torchmetrics.image.inception", reason="no torchmetrics")
    logits = normal(300, 12, 14, scale=2.0)
    theirs = inception.InceptionScore(feature=torch.nn.Identity(), splits=10)
    theirs.update(logits)
    torch.manual_seed(3)  # of the order, which the parts follow
    mean, deviation = map(float, theirs.compute())
    ours = inception_score(logits, seed=3)
    assert ours.value == pytest.approx(mean, rel=1e-5)
    assert ours.high - ours.value == pytest.approx(1.96 * deviation / 10**0.5, rel=1e-4)


def test_precision_is_quality_and_recall_is_diversity() -> None:
    real = normal(600, 8, 8)
    alike = manifolds(real, normal(500, 8, 9))
    narrow = manifolds(real, normal(500, 8, 9, scale=0.3))
    noisy = manifolds(real, normal(500, 8, 9, scale=3.0))
    assert narrow.precision.value > alike.precision.value > noisy.precision.value
    assert narrow.recall.value < alike.recall.value and narrow.coverage.value < 0.5
    assert narrow.density.value > alike.density.value > noisy.density.value
    assert alike.coverage.value > 0.8


def test_manifolds_in_one_dimension() -> None:
    """Reals at 0, 1, 2, 3 and k = 1: each reaches 1; fakes at 0.5 and 9, which reach 8.5."""
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[0.5], [9.0]])
    found = manifolds(real, fake, k=1)
    assert found.precision.value == 0.5  # 9 lies beyond every real's reach
    assert found.density.value == 1.0  # 0.5 lies within two, 9 within none
    assert found.coverage.value == 0.5  # the reaches of 0 and 1 hold a fake
    assert found.recall.value == 1.0


def test_distances_do_not_depend_on_the_parts_they_are_computed_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, fake = normal(40, 5, 10), normal(30, 5, 11, 0.2)
    whole, distance = manifolds(real, fake), frechet_distance(real, fake)
    monkeypatch.setattr("img2img.metrics.sets._BLOCK", 7 * 40)
    assert manifolds(real, fake) == whole
    monkeypatch.setattr("img2img.metrics.sets._BLOCK", 7 * 5)
    assert frechet_distance(real, fake) == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("name", SET_METRICS)
def test_the_contract_of_every_figure_of_sets(name: str) -> None:
    metric, real = SET_METRICS[name], normal(60, 8, 20)
    near, far = (Sets(real, normal(50, 8, 21, shift)) for shift in (0.1, 3.0))
    found = metric.estimate(near)
    assert found.value == metric.value(near) and found.low <= found.value <= found.high
    assert (metric.value(near) > metric.value(far)) == metric.higher_is_better
    assert metric.value(near) != metric.value(far)
    assert metric.n(near) in (50, 60) and metric.about
    few = Sets(real[: metric.least], real[-metric.least :])
    assert math.isfinite(metric.value(few))
    assert metric.estimate(Sets(real, near.fake, 5)) == metric.estimate(Sets(real, near.fake, 5))


def test_a_kernel_distance_says_over_how_many_pictures_it_is() -> None:
    many = torch.zeros(DRAWN + 5, 1)
    assert SET_METRICS["kd"].n(Sets(many, many)) == DRAWN
    assert SET_METRICS["fd"].n(Sets(many, many)) == DRAWN + 5


def test_a_further_figure_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate` reports it, with its floor; its established name is for Inception alone."""

    def apart(sets: Sets) -> float:
        return float((sets.real.mean() - sets.fake.mean()).abs())

    row = SetMetric(
        lambda sets: Estimate(apart(sets), 0, 9), apart, lambda sets: sets.fewer, "how far",
        floor=True, established="gap",
    )  # fmt: skip
    monkeypatch.setitem(SET_METRICS, "apart", row)
    for network, named in (("lite0", "apart_lite0"), ("inception", "gap")):
        sets = (Collected(features={network: normal(9, 4, k, k)}) for k in (0, 2))
        reals, fakes = sets
        figures, _ = figures_of(Gathered(fakes=fakes, reals=reals))
        found = figures[named]
        assert found.value == pytest.approx(2, abs=0.9) and found.n == 9
        assert found.better == "lower" and 0 < found.floor < 1.5 and found.about == "how far"
        established = {"fid", "kid", "gap"}
        assert (established <= set(figures)) == (network == "inception")
        assert not established & set(figures) or network == "inception"


def test_intervals() -> None:
    ones = mean_of(torch.tensor([0.0, 1.0] * 50))
    assert ones.value == 0.5 and ones.high - ones.value == pytest.approx(1.96 * 0.5025 / 10, 1e-3)
    found = bootstrap(
        lambda a, b: float(a.mean() - b.mean()), normal(400, 1, 12), normal(400, 1, 13)
    )
    assert found.low < 0 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(2 / 400), rel=0.5)


def test_halves_hold_every_picture_once() -> None:
    a, b = halves(torch.arange(9.0)[:, None])
    assert sorted(torch.cat((a, b)).flatten().tolist()) == list(range(9)) and len(a) == 4


def test_too_few_pictures_are_refused() -> None:
    one = torch.zeros(1, 3)
    for figure in (frechet_distance, kernel_distance, manifolds):
        with pytest.raises(DataError, match="1 pictures are too few; each set needs at least"):
            figure(one, one)
    with pytest.raises(DataError, match="too few for an Inception score"):
        inception_score(torch.zeros(3, 10))

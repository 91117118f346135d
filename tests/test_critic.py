"""The independent critic: what it must find, what it must not, and that it repeats itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import DataError
from img2img.metrics import critic as module
from img2img.metrics.critic import CriticScore, judge_apart
from img2img.metrics.intervals import wilson
from img2img.metrics.small_nets import SmallNet, batches, moved, new_net, one_thread


def scenes(count: int, seed: int = 0, side: int = 32) -> Tensor:
    """uint8 (count, 3, side, side): smooth colours with fine noise on them."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=draw) * 180 + 30
    noise = torch.randn(count, 3, side, side, generator=draw) * 12
    return (F.interpolate(coarse, size=side, mode="bicubic") + noise).clamp(0, 235).to(torch.uint8)


def blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x.float(), [1] * 4, mode="reflect"), 3, 1).round().to(torch.uint8)


def score(real: Tensor, fake: Tensor, steps: int = 100, seed: int = 0) -> CriticScore:
    return judge_apart(real, fake, seed=seed, steps=steps)


def test_wilson_by_hand() -> None:
    # Brown, Cai and DasGupta's formula with z = 1.96 for 8 of 10.
    low, high = wilson(8, 10, 1.96)
    middle, half = (8 + 1.96**2 / 2) / (10 + 1.96**2), 1.96 * math.sqrt(10) / (10 + 1.96**2)
    half *= math.sqrt(0.16 + 1.96**2 / 40)
    assert (low, high) == pytest.approx((middle - half, middle + half))
    assert wilson(0, 10) == pytest.approx((0, 0.27753), abs=1e-5)
    assert wilson(10, 10) == pytest.approx((1 - 0.27753, 1), abs=1e-5)
    assert wilson(50, 100)[0] == pytest.approx(1 - wilson(50, 100)[1])
    assert wilson(0, 0) == (0, 1)


def test_equal_distributions_are_indistinguishable() -> None:
    found = score(scenes(80, 0), scenes(80, 1), steps=30)
    assert found.n == 80
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.interval == wilson(round(found.accuracy * 80), 80)
    assert abs(found.wasserstein) < 3 * found.wasserstein_error


@pytest.mark.slow
def test_blur_is_found() -> None:
    real = scenes(80)
    found = score(real, blurred(real))
    assert found.accuracy > 0.9 and found.interval[0] > 0.5


def test_the_figures_repeat() -> None:
    """Whatever random numbers the caller has drawn, and with whatever number of threads."""
    real = scenes(80)
    found = score(real, blurred(real), steps=10)
    threads = torch.get_num_threads()
    state = torch.manual_seed(77).get_state()
    torch.set_num_threads(2)
    again = score(real, blurred(real), steps=10)
    assert torch.get_num_threads() == 2 and torch.equal(torch.get_rng_state(), state)
    torch.set_num_threads(threads)
    assert again == found
    other = score(real, blurred(real), steps=10, seed=1)
    assert other.seed == 1 and other.wasserstein != found.wasserstein


@pytest.mark.slow
def test_a_shift_of_levels_has_its_distance() -> None:
    """Every value 20 levels higher: the Wasserstein distance is 20, and the estimate no more."""
    real = scenes(80)
    found = score(real, real + 20, steps=50)
    assert 8 < found.wasserstein < 20.001
    assert 0 < found.wasserstein_error < 5
    # The other way round it is the same distance, not its negative.
    assert score(real + 20, real, steps=50).wasserstein > 8


class Mean(SmallNet):
    """Scores the mean of all values, times 7."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * 7


def test_the_distance_of_a_known_critic() -> None:
    real = scenes(40)
    with one_thread():
        # The mean is 1-Lipschitz for the root mean square, and the shift is its steepest direction.
        gap, error = module._distance(Mean(1), real + 20, real, paired=True)
        assert gap == pytest.approx(20, rel=1e-4) and error == pytest.approx(0, abs=1e-3)
        wide = module._distance(Mean(1), real + 20, real, paired=False)[1]
        means = real.double().mean((1, 2, 3))
        assert wide == pytest.approx(math.sqrt(2 * means.var().item() / 40), rel=1e-3)
        assert module._distance(Mean(1), real, real, paired=True) == (0, 0)


def test_the_steepest_slope_by_hand() -> None:
    # Two pictures 10 levels apart, a third equal to the first: its distance of 0 is no slope.
    x = torch.full((3, 3, 4, 4), 50, dtype=torch.uint8)
    x[1] += 10
    assert module._steepest(x, torch.tensor([1.0, 4.0, 1.0])) == pytest.approx(0.3)
    # More pictures than one block has.
    x = torch.arange(130).to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    scores = torch.zeros(130)
    scores[129] = 5
    assert module._steepest(x, scores) == pytest.approx(5)


def test_pairs_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Picture k and its counterpart are both learned from or both tested on."""
    real = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
    learned: list[tuple[list[int], list[int]]] = []

    def spy(x: Tensor, y: Tensor, seed: int, steps: int) -> SmallNet:
        learned.append((x[:, 0, 0, 0].tolist(), y[:, 0, 0, 0].tolist()))
        return new_net(1, seed)

    monkeypatch.setattr(module, "_classifier", spy)
    monkeypatch.setattr(module, "_critic", spy)
    score(real, real + 100)
    ours, theirs = learned[0]
    assert [k + 100 for k in ours] == theirs and len(set(ours)) == 20
    assert learned[0] == learned[1] and ours != sorted(ours)
    # Of unequal counts as many as the fewer, drawn from all.
    found = score(real, (real + 100)[:34])
    assert found.n == 34
    ours, theirs = learned[2]
    assert len(ours) == len(theirs) == 17
    assert [k + 100 for k in ours] != theirs and max(learned[2][0]) > 33


def test_too_few_or_too_small_is_reported() -> None:
    x = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(
        DataError, match="at least 32 real and 32 fake pictures, 40 and 31 were given"
    ):
        judge_apart(x, x[:31])
    with pytest.raises(DataError, match="sides of at least 32, 32x31 were given"):
        judge_apart(x[:, :, :31], x[:, :, :31])
    with pytest.raises(ValueError, match="differ in size"):
        judge_apart(x, x[:, :, :31])
    with pytest.raises(ValueError, match="uint8"):
        judge_apart(x.float(), x)


def test_moves_are_small_and_keep_the_values() -> None:
    column = torch.arange(32, dtype=torch.uint8) * 8
    x = column.expand(64, 3, 32, 32).contiguous()
    out = (moved(x, torch.Generator().manual_seed(0)) + 1) * 127.5
    assert out.shape == x.shape
    steps = out[:, 0, 16, 17] - out[:, 0, 16, 16]
    assert set(steps.round().tolist()) == {-8, 8}  # mirrored or not
    plain = (moved(x, torch.Generator().manual_seed(0), flips=False) + 1) * 127.5
    shifts = ((plain[:, 0, 16, 16] - 128) / 8).round()
    assert set(shifts.tolist()) == set(range(-4, 5))


def test_every_place_comes_once_before_any_comes_again() -> None:
    draws = batches(10, 4, torch.Generator().manual_seed(0))
    taken = np.concatenate([next(draws).numpy() for _ in range(5)])
    assert sorted(taken[:10]) == sorted(taken[10:]) == list(range(10))
    # More than there are.
    assert len(next(batches(3, 8, torch.Generator()))) == 8


@pytest.mark.slow
def test_what_is_worse_is_judged_so() -> None:
    """The order of the damage is that of the figures."""
    real = scenes(160)
    twice = blurred(blurred(blurred(real)))
    half = ((real.short() + blurred(real).short()) // 2).to(torch.uint8)
    found = [score(real, fake, steps=200) for fake in (scenes(160, 5), half, twice)]
    accuracy = [f.accuracy for f in found]
    assert accuracy[0] < 0.65 and accuracy[0] < accuracy[1] <= accuracy[2]

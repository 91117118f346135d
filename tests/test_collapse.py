"""Diversity, duplicates, neighbours and memorising against values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from img2img.errors import DataError
from img2img.metrics import collapse
from img2img.metrics.collapse import diversity, diversity_ratio, duplicates, memorising, nearest


def test_diversity_by_hand() -> None:
    # Sides 3, 4 and 5, far from the origin.
    triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]) + 1000
    assert diversity(triangle) == pytest.approx(4)
    assert diversity(triangle[:2]) == pytest.approx(3)
    assert diversity(torch.ones(5, 7)) == 0
    with pytest.raises(DataError, match="at least 2 pictures, 1 were given"):
        diversity(triangle[:1])


def test_diversity_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(37, 5)
    expected = torch.pdist(x.double()).mean().item()
    assert diversity(x) == pytest.approx(expected)
    monkeypatch.setattr(collapse, "_ROWS", 8)
    monkeypatch.setattr(collapse, "_COLUMNS", 10)
    assert diversity(x) == pytest.approx(expected)


def test_the_ratio_shows_a_collapse() -> None:
    x = torch.randn(20, 4)
    half = diversity_ratio(x / 2 + 7, x)  # of any pictures, so that the interval has no width
    assert [half.value, half.low, half.high] == pytest.approx([0.5] * 3)
    assert diversity_ratio(torch.ones(20, 4), x).value == 0
    assert math.isinf(diversity_ratio(x, torch.ones(20, 4)).value)
    assert math.isnan(diversity_ratio(torch.ones(20, 4), torch.ones(20, 4)).value)
    with pytest.raises(ValueError, match="20 outputs and 19 inputs"):
        diversity_ratio(x, x[1:])


def test_the_interval_of_the_ratio_is_that_of_new_pictures() -> None:
    drawn = torch.Generator().manual_seed(3)
    sets = torch.randn(300, 2, 60, 3, generator=drawn)
    found = [diversity_ratio(*pair) for pair in sets]
    spread = torch.tensor([each.value for each in found]).std().item()
    claimed = sum(each.high - each.low for each in found) / len(found) / 2 / 1.96
    assert claimed == pytest.approx(spread, rel=0.15)
    assert sum(each.low <= 1 <= each.high for each in found) / len(found) > 0.9


def test_duplicates_are_counted() -> None:
    inputs = torch.arange(6.0)[:, None] * 10
    assert duplicates(inputs, inputs) == 0
    outputs = inputs.clone()
    outputs[3:5] = 77  # two different inputs, one answer
    assert duplicates(outputs, inputs) == pytest.approx(2 / 6)
    outputs[4] += 0.9  # 0.9 between the outputs, 10 between the inputs
    assert duplicates(outputs, inputs) == pytest.approx(2 / 6)
    assert duplicates(outputs, inputs, fraction=0.05) == 0
    # The same input twice may well have the same answer.
    same = inputs.clone()
    same[1] = same[0]
    assert duplicates(same, same) == 0
    assert duplicates(torch.zeros(6, 3), inputs) == 1
    with pytest.raises(ValueError, match="6 outputs and 5 inputs"):
        duplicates(outputs, inputs[:5])


@pytest.mark.parametrize("block", [(1024, 4096), (4, 7)])
def test_neighbours_are_those_of_the_full_table(
    block: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "_ROWS", block[0])
    monkeypatch.setattr(collapse, "_COLUMNS", block[1])
    a, b = torch.randn(11, 6) + 100, torch.randn(23, 6) + 100
    indices, distances = nearest(a, b, 5)
    full = (a.double()[:, None] - b.double()).norm(dim=2)
    expected = full.sort(dim=1)
    assert torch.equal(indices, expected.indices[:, :5])
    assert torch.allclose(distances, expected.values[:, :5], rtol=1e-12)
    # More neighbours than a block has columns.
    assert torch.equal(nearest(a, b, 9)[0], expected.indices[:, :9])
    # What is there itself has a distance of exactly 0.
    indices, distances = nearest(b, b)
    assert indices[:, 0].tolist() == list(range(23)) and distances.max() == 0
    # Without itself.
    own = duplicates(b, b * 1e9, 1.0)
    assert own == 1
    with pytest.raises(DataError, match="at least 24"):
        nearest(a, b, 24)


def test_memorising_by_hand() -> None:
    training = torch.zeros(1, 1)
    real = torch.arange(1.0, 21)[:, None]
    same = memorising(real, real, training)
    assert same.nearer == 0.5 and same.z == 0 and same.rate == 0.05
    assert same.copies == pytest.approx(0.05)
    copied = memorising(torch.full((30, 1), 0.5), real, training)
    assert copied.nearer == 1 and copied.copies == 1
    # U = 0, mean 300, variance 20 30 51 / 12.
    assert copied.z == pytest.approx(-300 / math.sqrt(20 * 30 * 51 / 12))
    assert (copied.outputs, copied.held_out) == (30, 20)
    far = memorising(torch.full((30, 1), 99.0), real, training)
    assert far.nearer == 0 and far.copies == 0 and far.z == -copied.z
    with pytest.raises(DataError, match="at least 20 pictures, 19 were given"):
        memorising(real, real[1:], training)


def test_copies_of_the_training_set_are_found() -> None:
    training, held_out, new = torch.randn(3, 200, 8).unbind()
    honest = memorising(new, held_out, training)
    assert abs(honest.z) < 2.5 and honest.copies < 0.12
    copied = memorising(training + 0.05 * new, held_out, training)
    assert copied.z < -10 and copied.copies > 0.9

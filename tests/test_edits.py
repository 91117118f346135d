"""Edits: the classifier of labels, the success it reads, and pixels changed outside the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import DataError
from img2img.metrics import edits
from img2img.metrics.edits import (
    Change,
    Classifier,
    changed_outside,
    edit_success,
    train_classifier,
)
from img2img.metrics.small_nets import SmallNet

RED, GREEN, BLUE, STRIPED = range(4)
COLOURS = (RED, GREEN, BLUE)


def faces(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """uint8 pictures and their labels: one of three colours or none (grey), striped or not."""
    draw = torch.Generator().manual_seed(seed)
    colour = torch.randint(0, 4, (count,), generator=draw)
    striped = torch.randint(0, 2, (count,), generator=draw)
    x = torch.full((count, 3, 32, 32), 90.0) + torch.randn(count, 3, 32, 32, generator=draw) * 10
    for k in range(count):
        if colour[k] < 3:
            x[k, colour[k]] += 100
        if striped[k]:
            x[k, :, ::4] -= 60
    labels = torch.cat([F.one_hot(colour, 4)[:, :3], striped[:, None]], 1)
    return x.clamp(0, 255).to(torch.uint8), labels


@pytest.fixture(scope="module")
def learned() -> Classifier:
    torch.set_num_threads(1)
    return train_classifier(*faces(240), groups=[COLOURS], seed=3, steps=100)


def test_the_classifier_reads_what_it_learned(learned: Classifier) -> None:
    assert (
        learned.held_out == 48 and learned.groups == (COLOURS,) and learned.may_be_none == (True,)
    )
    assert learned.accuracy.min() > 0.9
    assert learned.majority.min() >= 0.5 and learned.majority.max() < 0.9
    pictures, labels = faces(60, seed=9)
    found = learned.read(pictures)
    assert found.dtype == torch.bool and found.shape == (60, 4)
    assert (found[:, list(COLOURS)].sum(1) <= 1).all()
    assert (found == labels.bool()).double().mean() > 0.9


def test_the_same_seed_reads_the_same() -> None:
    state = torch.get_rng_state()
    data = faces(64)
    a, b = (train_classifier(*data, groups=[COLOURS], seed=1, steps=3) for _ in range(2))
    assert all(
        torch.equal(x, y) for x, y in zip(a.net.parameters(), b.net.parameters(), strict=True)
    )
    assert torch.equal(a.accuracy, b.accuracy) and torch.equal(torch.get_rng_state(), state)


class Known(SmallNet):
    """Logits are the values of the first pixels, 0..255 shifted to -1..1."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :4] + x.flip(3)[:, 0, 0, :4]


def known(may_be_none: bool) -> Classifier:
    nothing = torch.zeros(4)
    return Classifier(Known(4), (COLOURS,), (may_be_none,), nothing, nothing, 0)


def as_pictures(rows: list[list[int]]) -> Tensor:
    x = torch.full((len(rows), 3, 32, 32), 127, dtype=torch.uint8)
    values = torch.tensor(rows, dtype=torch.uint8)
    x[:, :, :, :4] = values[:, None, None]
    x[:, :, :, -4:] = values.flip(1)[:, None, None]
    return x


def test_a_group_has_one_or_none() -> None:
    pictures = as_pictures([[200, 240, 10, 255], [10, 5, 0, 0], [10, 5, 20, 255]])
    assert known(True).read(pictures).int().tolist() == [[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert known(False).read(pictures).int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]]


def test_success_by_hand() -> None:
    edited = as_pictures([[255, 0, 0, 0], [255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 0]])
    targets = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]])
    before = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]])
    found = edit_success(known(True), edited, targets, before)
    assert found.count.tolist() == [3, 2, 1, 1] and found.pictures == 4
    # To change: red in 0, 1, 2 (fails in 2); green in 1, 2 (fails in 2); blue in 0; stripes in 3.
    assert found.changed.tolist() == pytest.approx([2 / 3, 1 / 2, 1, 1])
    assert found.kept.tolist() == pytest.approx([1, 1, 1, 2 / 3])
    assert found.all_right == 0.5
    whole = edit_success(known(True), edited, targets)
    assert whole.changed.tolist() == [0.75, 0.75, 1, 0.75] and whole.kept.isnan().all()
    with pytest.raises(ValueError, match="a row for each"):
        edit_success(known(True), edited, targets[:3])


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0], [0.0, 0.0, 0.0, 3.0]])
    labels = torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0]])
    alone = (math.log(1 + math.e) + math.log(1 + math.e**3)) / 2
    total = math.e + math.e**2 + math.e**0.5 + 1
    group = (math.log(total) - 2 + math.log(4)) / 2
    found = edits._loss(logits, labels, (COLOURS,), (True,))
    assert found.item() == pytest.approx((alone + group) / 2)
    # Where one always holds, "none" is no answer.
    found = edits._loss(logits[:1], labels[:1], (COLOURS,), (False,))
    expected = (math.log(total - 1) - 2 + math.log(1 + math.e)) / 2
    assert found.item() == pytest.approx(expected)


def blank() -> Tensor:
    return torch.full((2, 3, 10, 10), 100, dtype=torch.uint8)


def test_changes_by_hand() -> None:
    before, truth = blank(), blank()
    truth[0, 0, :4] = 200  # 40 pixels of the first picture are to become redder
    after = truth.clone()
    after[0, 0, :1] = 100  # 10 of them do not
    after[0, 0, 1] = 184  # 16 levels off is near enough
    after[0, 2, 9] = 117  # 10 others change by 17
    after[1, 1, 0, 0] = 83
    after[1, 1, 0, 1] = 84  # 16 levels are no change
    found = changed_outside(before, after, truth)
    assert found.threshold == 16 and found.to_change == 0.2
    assert found.came_right == 0.75 and found.spoiled == pytest.approx(11 / 160)
    assert found.came_right_each[0] == 0.75 and found.came_right_each[1].isnan()
    assert found.spoiled_each.tolist() == pytest.approx([10 / 60, 1 / 100])
    strict = changed_outside(before, after, truth, threshold=15)
    assert strict.came_right == 0.5 and strict.spoiled == pytest.approx(12 / 160)


def test_the_truth_is_right_and_doing_nothing_is_not() -> None:
    before, truth = blank(), blank()
    truth[:, :, 3:6] = 250
    right: Change = changed_outside(before, truth, truth)
    assert right.came_right == 1 and right.spoiled == 0
    lazy = changed_outside(before, before, truth)
    assert lazy.came_right == 0 and lazy.spoiled == 0
    assert math.isnan(changed_outside(before, before, before).came_right)
    with pytest.raises(ValueError, match="same shape"):
        changed_outside(before, before[:1], truth)


def test_what_cannot_be_learned_is_reported() -> None:
    pictures, labels = faces(70)
    with pytest.raises(DataError, match="at least 64 labelled pictures, 63 were given"):
        train_classifier(pictures[:63], labels[:63])
    with pytest.raises(DataError, match="sides of at least 32"):
        train_classifier(pictures[:, :, :31], labels)
    same = labels.clone()
    same[:, 2] = 1
    with pytest.raises(DataError, match="label 2 is 1 in every picture"):
        train_classifier(pictures, same)
    two = labels.clone()
    two[0, :2] = 1
    with pytest.raises(ValueError, match="two labels of the group"):
        train_classifier(pictures, two, [COLOURS])
    with pytest.raises(ValueError, match="each at most once"):
        train_classifier(pictures, labels, [(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="each at most once"):
        train_classifier(pictures, labels, [(0, 4)])
    with pytest.raises(ValueError, match="a row for each"):
        train_classifier(pictures, labels[:60])

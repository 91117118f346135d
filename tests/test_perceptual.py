"""Content, style, smoothness and colour terms against values computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from img2img.losses import (
    chroma,
    content_loss,
    gram_matrix,
    gram_style_loss,
    low_frequency_colour_loss,
    low_frequency_light_loss,
    total_variation_loss,
)


def test_content_is_relative_to_each_pictures_magnitude() -> None:
    real = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).reshape(2, 1, 1, 2)
    fake = torch.tensor([[2.0, 3.0], [10.0, 20.0]]).reshape(2, 1, 1, 2)
    # (1/2)/2 and (10/2)/20, averaged
    assert float(content_loss(fake, real)) == pytest.approx((0.25 + 0.25) / 2)
    assert float(content_loss(7 * fake, 7 * real)) == pytest.approx(0.25)
    assert float(content_loss(real, real)) == 0
    target = real.clone().requires_grad_()
    content_loss(fake.requires_grad_(), target).backward()
    assert target.grad is None


def test_gram_matrix_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, -1.0]]).reshape(1, 2, 1, 2)
    # rows (1, 2) and (3, -1): products 5, 1, 1, 10, divided by 2 channels * 2 places
    expected = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]]) / 4
    assert torch.equal(gram_matrix(features), expected)
    # Repeating the picture changes no statistic of it.
    assert torch.equal(gram_matrix(features.repeat(1, 1, 3, 2)), expected)


def test_gram_matrix_is_exact_under_mixed_precision() -> None:
    features = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)) + 1
    with torch.autocast("cpu", torch.bfloat16):
        mixed = gram_matrix(features)
    assert torch.equal(mixed, gram_matrix(features))


def test_style_compares_the_mean_over_the_batch() -> None:
    one = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
    other = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)
    mixture = {"a": torch.eye(2)}  # ([[4,0],[0,0]]/2 + [[0,0],[0,4]]/2) / 2
    assert float(gram_style_loss({"a": torch.cat([one, other])}, mixture)) == 0
    # Alone: |2 - 1| + |0 - 1| over four places, by a mean magnitude of 1/2.
    assert float(gram_style_loss({"a": one}, mixture)) == pytest.approx(0.5 / 0.5)


def test_style_weighs_layers_and_ignores_their_scale() -> None:
    maps = {"a": torch.ones(1, 1, 1, 1), "b": torch.ones(1, 1, 1, 1)}
    target = {"a": torch.full((1, 1), 2.0), "b": torch.full((1, 1), 4.0)}
    assert float(gram_style_loss(maps, target)) == pytest.approx((0.5 + 0.75) / 2)
    weights = {"a": 3.0, "b": 1.0}
    assert float(gram_style_loss(maps, target, weights)) == pytest.approx((1.5 + 0.75) / 4)


def test_style_of_the_processes_together() -> None:
    one = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)

    def across(mean: Tensor) -> Tensor:  # the other process saw the other picture
        return (mean + torch.tensor([[0.0, 0.0], [0.0, 2.0]])) / 2

    assert float(gram_style_loss({"a": one}, {"a": torch.eye(2)}, across=across)) == 0


def test_total_variation_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0], [3.0, 3.0]]).reshape(1, 1, 2, 2)
    assert float(total_variation_loss(x)) == pytest.approx((3 + 2) / 2 + (1 + 0) / 2)
    assert float(total_variation_loss(torch.full((2, 3, 5, 4), 0.3))) == 0


def test_chroma_is_that_of_jpeg() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert chroma(red).flatten().tolist() == pytest.approx([-0.168736, 0.5])
    assert float(chroma(torch.full((1, 3, 2, 2), 0.7)).abs().max()) < 1e-6


def test_colour_keeping_sees_hue_and_not_lightness_or_texture() -> None:
    photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5
    assert float(low_frequency_colour_loss(photo + 0.3, photo)) < 1e-6
    checks = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1) * 0.2
    texture = torch.stack([checks, -checks, checks * 0])[None]
    assert float(low_frequency_colour_loss(photo + texture, photo)) < 1e-6
    shift = torch.tensor([0.2, 0.0, 0.0]).reshape(1, 3, 1, 1)
    expected = 0.2 * (0.168736 + 0.5) / 2
    assert float(low_frequency_colour_loss(photo + shift, photo)) == pytest.approx(expected, 1e-4)


def test_light_keeping_sees_lightness_and_not_hue_or_texture() -> None:
    photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5
    assert float(low_frequency_light_loss(photo - 0.3, photo)) == pytest.approx(0.3, 1e-4)
    checks = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1) * 0.2
    assert float(low_frequency_light_loss(photo + checks, photo)) < 1e-6
    hue = torch.tensor([0.1, -0.1 * 0.299 / 0.587, 0.0]).reshape(1, 3, 1, 1)
    assert float(low_frequency_light_loss(photo + hue, photo)) < 1e-6

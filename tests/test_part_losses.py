"""Style statistics, sliced distances, several perceptual layers, patches and spectra against values
computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from img2img.losses import (
    channel_statistics,
    focal_frequency_loss,
    multilayer_nce_loss,
    patch_nce_loss,
    perceptual_loss,
    sliced_quantiles,
    sliced_style_loss,
    statistics_style_loss,
    style_directions,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_statistics_by_hand() -> None:
    features = torch.tensor([[1.0, 3.0], [5.0, 5.0]]).reshape(1, 2, 1, 2)
    root = 1e-5**0.5
    expected = torch.tensor([[[2.0, 5.0], [(1 + 1e-5) ** 0.5, root]]])
    assert torch.allclose(channel_statistics(features), expected)
    # |2 - 3|, 0, 0, 0 over four numbers, by the target's mean magnitude
    target = expected[0].clone()
    target[0, 0] = 3.0
    loss = statistics_style_loss({"a": features}, {"a": target})
    assert float(loss) == pytest.approx(1 / (3 + 5 + 1 + root), rel=1e-4)


def test_statistics_of_a_flat_channel_have_a_finite_gradient() -> None:
    features = torch.ones(1, 2, 3, 3, requires_grad=True)
    statistics_style_loss({"a": features}, {"a": torch.ones(2, 2)}).backward()
    assert features.grad is not None and bool(features.grad.isfinite().all())


def test_statistics_compare_the_mean_over_batch_and_processes() -> None:
    maps = noise(4, 3, 5, 5)
    target = {"a": channel_statistics(maps).mean(0)}
    assert float(statistics_style_loss({"a": maps}, target)) == pytest.approx(0, abs=1e-6)
    other = channel_statistics(maps[2:]).mean(0)
    half = statistics_style_loss({"a": maps[:2]}, target, across=lambda own: (own + other) / 2)
    assert float(half) == pytest.approx(0, abs=1e-6)


def test_quantiles_are_sorted_projections() -> None:
    features = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 0.0, 1.0, 1.0]]).reshape(1, 2, 2, 2)
    directions = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    expected = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [-1.0, -1.0, 0.0, 0.0]]])
    assert torch.equal(sliced_quantiles(features, directions, 4), expected)
    halves = torch.tensor([[[1.5, 3.5], [-1.0, 0.0]]])
    assert torch.equal(sliced_quantiles(features, directions, 2), halves)
    # Where the places are does not matter, nor how often the whole repeats.
    moved = features.flip(3).repeat(1, 1, 2, 3)
    assert torch.allclose(sliced_quantiles(moved, directions, 2), halves)


def test_directions_are_unit_vectors_of_a_seed() -> None:
    directions = style_directions(8)
    assert torch.allclose(directions.norm(dim=1), torch.ones(8))
    assert torch.equal(directions, style_directions(8))
    assert not torch.equal(directions, style_directions(8, seed=1))


def test_sliced_distance_of_a_shift_and_of_the_same() -> None:
    features = noise(2, 1, 6, 6)
    (sign,) = style_directions(1).flatten().tolist()  # +1 or -1 in one dimension
    directions = torch.tensor([[sign]])
    target = sliced_quantiles(features, directions, 9).mean(0)
    assert float(sliced_style_loss({"a": features}, {"a": target})) == pytest.approx(0, abs=1e-6)
    shifted = sliced_style_loss({"a": features + 0.5}, {"a": target})
    assert float(shifted) == pytest.approx(0.5 / float(target.abs().mean()), rel=1e-4)


def test_sliced_sees_what_mean_and_deviation_miss() -> None:
    two = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(1, 1, 2, 2)
    # The same mean and deviation, another shape.
    three = torch.tensor([-(2**0.5), 0.0, 0.0, 2**0.5]).reshape(1, 1, 2, 2)
    statistics = {"a": channel_statistics(two)[0]}
    assert float(statistics_style_loss({"a": three}, statistics)) == pytest.approx(0, abs=1e-6)
    target = {"a": sliced_quantiles(two, style_directions(1), 4)[0]}
    assert float(sliced_style_loss({"a": three}, target)) > 0.5


def test_layers_are_weighed() -> None:
    fake = {"a": torch.full((1, 1, 2, 2), 2.0), "b": torch.full((1, 1, 2, 2), 3.0)}
    real = {"a": torch.ones(1, 1, 2, 2), "b": torch.full((1, 1, 2, 2), 2.0)}
    # Relative differences 1 and 1/2.
    assert float(perceptual_loss(fake, real)) == pytest.approx(0.75)
    assert float(perceptual_loss(fake, real, {"a": 3.0, "b": 1.0})) == pytest.approx(3.5 / 4)
    assert float(perceptual_loss(fake, {"b": real["b"]})) == pytest.approx(0.5)
    target = {n: channel_statistics(x)[0] for n, x in real.items()}
    whole = [float(statistics_style_loss({n: fake[n]}, {n: target[n]})) for n in "ab"]
    both = statistics_style_loss(fake, target, {"a": 3.0, "b": 1.0})
    assert float(both) == pytest.approx((3 * whole[0] + whole[1]) / 4)


def test_patches_that_tell_nothing_and_everything() -> None:
    same = torch.ones(2, 5, 3)
    assert float(patch_nce_loss(same, same)) == pytest.approx(math.log(5), rel=1e-5)
    apart = torch.eye(4)[None]
    # Cosine 1 for the right one, 0 for three others.
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 3))
    assert float(patch_nce_loss(7 * apart, apart, tau=0.5)) == pytest.approx(expected, rel=1e-5)


def test_negatives_are_of_the_same_picture_and_keys_take_no_gradient() -> None:
    query, key = noise(2, 6, 4), noise(2, 6, 4, seed=1).requires_grad_()
    each = [patch_nce_loss(query[k : k + 1], key[k : k + 1]) for k in range(2)]
    query.requires_grad_()
    both = patch_nce_loss(query, key)
    assert float(both.detach()) == pytest.approx(float(sum(each)) / 2, rel=1e-5)  # type: ignore[arg-type]
    both.backward()
    assert key.grad is None and query.grad is not None
    with pytest.raises(ValueError, match="must both be"):
        patch_nce_loss(query, key[:, :3])


def test_layers_of_patches_are_averaged() -> None:
    one, other = torch.ones(1, 4, 2), torch.ones(1, 16, 2)
    expected = (math.log(4) + math.log(16)) / 2
    loss = multilayer_nce_loss([one, other], [one, other])
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_spectrum_of_a_shift_and_of_two_waves() -> None:
    real = noise(2, 3, 8, 8)
    assert float(focal_frequency_loss(real, real)) == 0
    # All of a shift by d is in one frequency, of weight 1: Parseval gives d^2.
    assert float(focal_frequency_loss(real + 0.3, real)) == pytest.approx(0.09, rel=1e-4)
    # The mean squared difference of the pixels where all weights are 1.
    fake = noise(2, 3, 8, 8, seed=1)
    mse = float(((fake - real) ** 2).mean())
    assert float(focal_frequency_loss(fake, real, alpha=0)) == pytest.approx(mse, rel=1e-4)
    # A constant 0.2 and a wave of half its amplitude: squares s and s/4, weights 1 and 1/2.
    wave = 0.1 * (-1.0) ** torch.arange(8).expand(1, 1, 8, 8)
    loss = focal_frequency_loss(0.2 + wave, torch.zeros(1, 1, 8, 8))
    assert float(loss) == pytest.approx(0.04 + 0.5 * 0.01, rel=1e-4)


def test_what_is_equal_has_a_finite_gradient_in_the_spectrum() -> None:
    fake = noise(1, 1, 4, 4).requires_grad_()
    focal_frequency_loss(fake, fake.detach()).backward()
    assert fake.grad is not None and float(fake.grad.abs().max()) == 0


def test_mixed_precision_changes_nothing() -> None:
    fake, real = noise(1, 4, 16, 16), noise(1, 4, 16, 16, seed=1)
    target = sliced_quantiles(real, style_directions(4), 32)[0]
    rows, keys = fake.flatten(2).transpose(1, 2), real.flatten(2).transpose(1, 2)

    def losses() -> list[Tensor]:
        return [
            statistics_style_loss({"a": fake}, {"a": channel_statistics(real)[0]}),
            sliced_style_loss({"a": fake}, {"a": target}),
            patch_nce_loss(rows, keys),
            focal_frequency_loss(fake, real),
        ]

    plain = losses()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses()
    assert all(torch.equal(x, y) for x, y in zip(plain, mixed, strict=True))

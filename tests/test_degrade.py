"""What makes inputs of clean photographs: each operation alone, and what a picture is drawn from."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from img2img.augment import RECIPES, Degrade, DegradeConfig, Edges, damage, recipe, tone
from img2img.augment.edges import draw_lines
from img2img.errors import ConfigError
from tests.conftest import picture


def photographs(count: int = 4, side: int = 32) -> Tensor:
    pixels = np.stack([np.asarray(picture(side, side, k)) for k in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def flat(*rgb: float, side: int = 16) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32)[:, None, None].expand(3, side, side) * 2 - 1


def degraded(x: Tensor, options: dict[str, Any], step: int | None = 0, seed: int = 0) -> Tensor:
    degrade = Degrade(DegradeConfig.parse({"clean": 0} | options), seed)
    degrade.begin(step, range(len(x)))
    return degrade(x)


# --- single operations


def test_a_stop_is_twice_the_light() -> None:
    # 0.5 in sRGB is 0.21404 of the light; twice that is 0.68584 in sRGB (IEC 61966-2-1).
    assert tone.exposure(flat(0.5, 0.5, 0.5), 1)[0, 0, 0] == pytest.approx(
        2 * 0.685836 - 1, abs=1e-5
    )
    x = photographs(1)[0]
    dark = tone.exposure(x, -1)
    assert torch.allclose(tone.linear(dark) * 2, tone.linear(x), atol=1e-5)
    assert torch.allclose(tone.exposure(dark, 1), x, atol=1e-4)
    assert torch.equal(tone.exposure(x, 8).clamp(-1, 1), tone.exposure(x, 8))


def test_tone_by_hand() -> None:
    x = flat(0.25, 0.5, 1.0)
    assert torch.allclose(tone.contrast(x, 0.5), flat(0.375, 0.5, 0.75), atol=1e-6)
    assert torch.allclose(tone.gamma(x, 2.0), flat(0.0625, 0.25, 1.0), atol=1e-6)
    grey = 0.299 * 0.25 + 0.587 * 0.5 + 0.114
    assert torch.allclose(tone.luma(x), flat(grey, grey, grey), atol=1e-6)
    assert torch.allclose(tone.saturation(x, 0.0), tone.luma(x), atol=1e-6)
    assert torch.allclose(tone.saturation(x, 1.0), x, atol=1e-6)
    assert torch.allclose(tone.fade(x, 0.0), x, atol=1e-6)
    assert torch.allclose(tone.fade(flat(0, 0, 0), 1.0), flat(0.25, 0.2, 0.14), atol=1e-6)
    assert torch.allclose(tone.fade(flat(1, 1, 1), 1.0), flat(0.97, 0.91, 0.80), atol=1e-6)
    light = tone.linear(tone.cast(x, (0.5, 1.0, 0.25)))[:, 0, 0] / tone.linear(x)[:, 0, 0]
    assert light.tolist() == pytest.approx([0.5, 1.0, 0.25], rel=1e-4)


def test_a_vignette_takes_light_from_the_corners() -> None:
    x = flat(0.5, 0.5, 0.5, side=17)
    kept = tone.linear(tone.vignette(x, 0.6)) / tone.linear(x)
    assert kept[0, 8, 8] == pytest.approx(1, abs=1e-4)
    assert kept[0, 0, 0] == pytest.approx(0.4, abs=1e-4)
    assert kept[0, 0, 8] == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize("halved", [True, False])
def test_jpeg_is_pillows(halved: bool) -> None:
    x = photographs(1, 40)[0]
    pixels = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(
        file, "JPEG", quality=30, subsampling="4:2:0" if halved else "4:4:4"
    )
    expected = np.asarray(Image.open(file))
    given = ((damage.jpeg(x, 30, halved) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(given, expected) and not np.array_equal(given, pixels)
    moved = damage.jpeg(x, 30, halved, 3, 5)
    assert moved.shape == x.shape and not torch.equal(moved, damage.jpeg(x, 30, halved))


def test_a_blur_has_its_sigma_along_its_axes() -> None:
    x = torch.zeros(3, 41, 41)
    x[:, 20, 20] = 1
    places = torch.arange(41.0) - 20
    wide = damage.blur(x, 3.0, 1.0, 0.0)[0]
    assert wide.sum() == pytest.approx(1, abs=1e-4)
    assert (wide.sum(0) * places**2).sum().sqrt() == pytest.approx(3, abs=0.1)
    assert (wide.sum(1) * places**2).sum().sqrt() == pytest.approx(1, abs=0.05)
    turned = damage.blur(x, 3.0, 1.0, np.pi / 2)[0]
    assert torch.allclose(turned, wide.T, atol=1e-6)
    even = photographs(1)[0]
    assert torch.equal(damage.blur(even, 0.0, 0.0, 0.0), even)
    constant = flat(0.2, 0.4, 0.8)
    assert torch.allclose(damage.blur(constant, 6.0, 2.0, 0.7), constant, atol=1e-5)


@pytest.mark.parametrize("down", ["bilinear", "bicubic", "area"])
def test_reduced_and_enlarged_keeps_size_and_light(down: damage.Filter) -> None:
    x = photographs(1, 33)[0]
    out = damage.reduce_and_enlarge(x, 0.4, down, "bilinear")
    assert out.shape == x.shape and out.mean() == pytest.approx(x.mean().item(), abs=0.03)
    stripes = torch.ones(3, 32, 32)
    stripes[:, :, ::2] = -1
    assert damage.reduce_and_enlarge(stripes, 0.5, down, "bilinear").abs().max() < 0.3


def test_noise_has_its_deviation() -> None:
    def levels(x: Tensor, sd: float, shot: float, grey: bool = False) -> Tensor:
        return (damage.noise(x, sd, shot, grey, np.random.default_rng(0)) - x) * 127.5

    middle = flat(0.25, 0.25, 0.25, side=128)
    assert levels(middle, 10, 0).std() == pytest.approx(10, rel=0.02)
    assert levels(middle, 0, 20).std() == pytest.approx(10, rel=0.02)  # the root of a quarter
    assert levels(middle, 6, 16).std() == pytest.approx(10, rel=0.02)
    field = levels(middle, 10, 0, grey=True)
    assert torch.equal(field[0], field[1]) and torch.equal(field[0], field[2])


def test_scratches_and_dust_cover_a_little_and_none_cover_nothing() -> None:
    x = flat(0.4, 0.4, 0.4, side=64)
    for work, most in ((damage.scratches, 0.1), (damage.dust, 0.02)):
        assert torch.equal(work(x, 0, np.random.default_rng(0)), x)
        one = work(x, 1, np.random.default_rng(1))
        assert 0 < (one != x).any(0).float().mean() < most
        several = work(x, 5, np.random.default_rng(1))
        assert (several != x).sum() > (one != x).sum() and several.abs().max() <= 1


def test_lines_are_drawn_at_edges_only() -> None:
    step = flat(0.2, 0.2, 0.2, side=32).clone()
    step[:, :, 16:] = 0.6
    lines = draw_lines(step, 1.0)
    assert lines.shape == step.shape and torch.equal(lines[0], lines[2])
    assert lines[:, :, 14:18].min() < 0 and torch.equal(lines[:, :, :8], torch.ones(3, 32, 8))
    assert torch.equal(draw_lines(flat(0.1, 0.5, 0.9), 1.0), torch.ones(3, 16, 16))


# --- draws


def test_a_recipe_says_what_it_does() -> None:
    x = photographs()
    assert torch.equal(degraded(x, {}), x)
    assert torch.allclose(degraded(x, {"grey": 1}), torch.stack([tone.luma(p) for p in x]))
    assert torch.allclose(
        degraded(x, {"exposure": 1}), torch.stack([tone.exposure(p, 1) for p in x])
    )
    assert torch.equal(degraded(x, {"noise": 0, "jpeg": []}), x)
    for name in RECIPES:
        out = Degrade(recipe(name, {"clean": 0}), 0)
        out.begin(0, range(4))
        y = out(x)
        assert y.shape == x.shape and y.abs().max() <= 1 and not torch.equal(x, y)
    assert recipe("colour", {}).always_grey and not recipe("colour", {"clean": 0.1}).always_grey


def test_neighbours_batch_and_calls_do_not_matter_step_and_index_do() -> None:
    x, degrade = photographs(6), Degrade(recipe("old", {"blur": [0, 2], "clean": 0}), 7)

    def of(indices: list[int], step: int | None) -> Tensor:
        degrade.begin(step, indices)
        return degrade(x[indices])

    whole = of([0, 1, 2, 3, 4, 5], 3)
    assert torch.equal(of([4, 1], 3), whole[[4, 1]])
    assert torch.equal(of([2], 3), whole[2:3])
    assert not torch.equal(of([2], 4), whole[2:3])
    degrade.begin(3, [9])
    assert not torch.equal(degrade(x[2:3]), whole[2:3])
    assert torch.equal(of([5, 2], None)[1:], of([2], None))  # held-out pictures: always the same
    assert not torch.equal(of([2], None), of([2], 0))
    with pytest.raises(ValueError, match="begin"):
        degrade(x)


def test_turning_one_operation_on_changes_no_others_draw() -> None:
    x = photographs()
    plain = degraded(x, {"exposure": [-1, 1]})
    both = degraded(x, {"exposure": [-1, 1], "contrast": [0.5, 0.5]})
    assert torch.allclose(both, plain * 0.5, atol=1e-6)


def test_the_clean_share_is_that_of_its_draws() -> None:
    x = torch.zeros(200, 3, 2, 2)

    def clean(share: float) -> set[int]:
        degrade = Degrade(DegradeConfig(clean=share, fade=(1, 1)), 0)
        degrade.begin(0, range(200))
        return set((degrade(x) == 0).all(3).all(2).all(1).nonzero().flatten().tolist())

    tenth, half = clean(0.1), clean(0.5)
    assert clean(0) == set() and len(clean(1)) == 200
    assert tenth < half and 10 <= len(tenth) <= 30 and 80 <= len(half) <= 120


def test_the_second_order_repeats_the_first_with_other_draws() -> None:
    x = flat(0.5, 0.5, 0.5, side=64)[None]
    once = (degraded(x, {"noise": 8}) - x) * 127.5
    twice = (degraded(x, {"noise": 8, "order": 2}) - x) * 127.5
    assert once.std() == pytest.approx(8, rel=0.05)
    assert twice.std() == pytest.approx(8 * 2**0.5, rel=0.05)
    again = twice - once
    assert again.std() == pytest.approx(8, rel=0.05)
    assert torch.corrcoef(torch.stack([once.flatten(), again.flatten()]))[0, 1].abs() < 0.05


def test_edges_are_drawn_as_everything_here() -> None:
    x, edges = photographs(), Edges(0)
    edges.begin(2, [0, 1, 2, 3])
    whole = edges(x)
    edges.begin(2, [3])
    assert torch.equal(edges(x[3:]), whole[3:])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("restor", {}, "unknown recipe 'restor'. Did you mean 'restore'"),
        ("restore", {"nois": 3}, "unknown setting 'degrade.nois'. Did you mean 'noise'"),
        ("restore", {"jpeg": [0, 50]}, "jpeg must be 1 <= least <= most <= 100, not 0, 50"),
        ("restore", {"noise": [9, 3]}, "noise must be"),
        ("restore", {"order": 3}, "degrade.order"),
        ("restore", {"blur": "much"}, "degrade.blur"),
    ],
)
def test_what_is_wrong_is_reported(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        recipe(name, options)


def test_blocks_begin_at_the_corner_but_for_a_share() -> None:
    clean = torch.from_numpy(np.random.default_rng(0).random((1, 3, 48, 48), np.float32)) * 2 - 1
    alone = {"clean": 0.0, "jpeg": [20, 20], "noise": 0, "resize": 0}

    def corners(shifted: float) -> list[bool]:
        found = []
        for index in range(40):
            degrade = Degrade(recipe("restore", alone | {"jpeg_shifted": shifted}), 0)
            degrade.begin(0, [index])
            x = degrade(clean)[0]
            known = [damage.jpeg(clean[0], 20, halved) for halved in (False, True)]
            found.append(any(torch.equal(x, y) for y in known))
        return found

    assert all(corners(0.0)) and not all(corners(1.0)) and 8 <= sum(corners(0.5)) <= 32

"""What the last layer means: closed forms, starts, gradients, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError
from img2img.images import enlarge_chroma
from img2img.nets import build_generator
from img2img.nets.outputs import Head
from tests.conftest import small_generator

LUMA = torch.tensor([0.299, 0.587, 0.114])
PICTURE = torch.linspace(-1, 1, 2 * 3 * 9 * 8).reshape(2, 3, 9, 8).sin()


def luminance(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,c->nhw", x, LUMA)


def test_a_mask_blends_colour_and_picture() -> None:
    made = torch.zeros(2, 4, 9, 8)
    made[:, :3], made[:, 3] = 0.5, -2.0
    made[0, 3] = 100.0
    y, mask = Head("mask").with_mask(PICTURE, made)
    assert torch.allclose(y[0], torch.full_like(y[0], 0.5).tanh())
    m = torch.sigmoid(torch.tensor(-2.0))
    assert torch.allclose(y[1], m * torch.tensor(0.5).tanh() + (1 - m) * PICTURE[1], atol=1e-6)
    assert torch.equal(Head("mask")(PICTURE, made), y)
    assert mask.shape == (2, 1, 9, 8)


def test_a_residual_is_added_and_clamped() -> None:
    y = Head("residual")(PICTURE, torch.full_like(PICTURE, 0.3))
    assert torch.equal(y, (PICTURE + 0.3).clamp(-1, 1)) and float(y.max()) == 1.0


@pytest.mark.parametrize("strength", [0.2, 3.0])
def test_chroma_keeps_the_luminance_and_stays_in_the_gamut(strength: float) -> None:
    made = torch.randn(2, 2, 9, 8) * strength
    y = Head("chroma")(PICTURE, made)
    assert (luminance(y) - luminance(PICTURE)).abs().max() < 1e-5
    assert float(y.abs().max()) <= 1
    grey = luminance(PICTURE)[:, None].expand(-1, 3, -1, -1)
    assert torch.allclose(Head("chroma")(PICTURE, torch.zeros(2, 2, 9, 8)), grey, atol=1e-6)


def test_chroma_gives_the_colours_of_the_standard() -> None:
    grey = torch.zeros(1, 3, 1, 1)
    made = torch.tensor([0.2, -0.1]).atanh().reshape(1, 2, 1, 1)
    expected = [-0.1 * 1.402, -0.344136 * 0.2 + 0.714136 * 0.1, 1.772 * 0.2]
    assert torch.allclose(Head("chroma")(grey, made).flatten(), torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("unet", {"depth": 3}), ("resnet", {"blocks": 1}), ("fast", {"blocks": 1}), ("fast", {"shrink": 4}),
     ("fast", {"shrink": 2, "tail": "resize"})],
)  # fmt: skip
@pytest.mark.parametrize("output", ["residual", "chroma", "mask"])
def test_a_fresh_network_begins_near_the_identity_and_learns(
    name: str, options: dict[str, Any], output: str
) -> None:
    torch.manual_seed(0)
    net = build_generator(name, {"width": 4, "output": output} | options)
    x = PICTURE if output != "chroma" else luminance(PICTURE)[:, None].expand(-1, 3, -1, -1)
    y = net(x)
    apart = (y.detach() - x).abs().max()
    limit = 0.4 if output == "mask" else 1e-5
    assert y.shape == x.shape and float(apart) < limit
    y.square().sum().backward()
    moved = [n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()]
    assert moved
    if output == "mask":
        again, mask = net.with_mask(x)
        assert torch.equal(again, y) and abs(float(mask.mean()) - 0.18) < 0.1


def test_a_curve_network_begins_at_the_identity_and_can_brighten() -> None:
    net = build_generator("curve", {})
    x = PICTURE.expand(-1, -1, 9, 8)
    assert torch.equal(net(x), x)
    net.chooses[-1].bias.data[12:15] = 0.5  # the slope from black on
    assert torch.allclose(net(x), (x + 0.5 * (x + 1)).clamp(-1, 1), atol=1e-6)


def test_a_curve_network_moves_every_pixel_of_one_colour_alike() -> None:
    net = small_generator("curve")
    x = torch.rand(1, 3, 40, 33) * 2 - 1
    x[:, :, 30, 5] = x[:, :, 2, 20]
    y = net(x)
    assert torch.allclose(y[:, :, 30, 5], y[:, :, 2, 20], atol=1e-6)
    assert (y - x).abs().max() > 1e-3


def test_a_network_without_a_mask_says_so() -> None:
    with pytest.raises(ConfigError, match=r"generator\.output=mask"):
        small_generator("fast").with_mask(PICTURE)


@pytest.mark.parametrize(
    ("output", "channels", "text"),
    [("chroma", (1, 3), "needs 3 channels in"), ("mask", (3, 1), "use output=direct"),
     ("residual", (1, 3), "use output=direct")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["unet", "resnet", "fast"])
def test_outputs_without_meaning_are_refused(
    name: str, output: str, channels: tuple[int, int], text: str
) -> None:
    given = dict(zip(("in_channels", "out_channels"), channels, strict=True))
    with pytest.raises(ConfigError, match=text):
        build_generator(name, {"output": output} | given)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colour_of_an_answer_on_the_luminance_of_the_picture(kind: type) -> None:
    top = np.iinfo(kind).max
    rng = np.random.default_rng(0)
    source = np.repeat(rng.integers(0, top + 1, (90, 70, 1), kind), 3, 2)
    answer = np.full((30, 23, 3), top // 2, kind)
    answer[:, :, 0] = top // 2 + top // 8
    made = enlarge_chroma(answer, source)
    assert made.dtype == kind and made.shape == source.shape
    luma = np.array([0.299, 0.587, 0.114])
    off = np.abs(made @ luma - source @ luma) * 255 / top
    assert off.max() <= 0.51
    middle = np.abs(source[:, :, 0].astype(float) / top - 0.5) < 0.2
    assert (made[middle][:, 0] > made[middle][:, 1]).all()

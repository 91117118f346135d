"""A doubling and the convolution behind it in one: the same values, where it is used, and where not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from img2img.nets import build_generator, doubling
from img2img.nets.blocks import ReflectPad, upsample_conv
from img2img.nets.doubling import Layers, doubled_conv


def chain(padding: Any, bias: bool = True) -> Layers:
    torch.manual_seed(0)
    return Layers(nn.Tanh(), *upsample_conv(5, 4, "resize", 3, bias, padding), nn.Tanh()).double()


@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2), (8, 7)])
def test_values_and_gradients_are_those_of_one_layer_after_the_other(
    padding: str, bias: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "_PLACES", 0)
    layers = chain(padding, bias)
    x = torch.rand(2, 5, *size, dtype=torch.double, requires_grad=True)
    weights = torch.rand(2, 4, 2 * size[0], 2 * size[1], dtype=torch.double)
    found = []
    for training in (True, False):
        y = layers.train(training)(x)
        found.append([y, *torch.autograd.grad((y * weights).sum(), [x, *layers.parameters()])])
    for ours, plain in zip(*found, strict=True):
        assert ours.shape == plain.shape and torch.allclose(ours, plain, atol=1e-12)


def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    seen: list[bool] = []

    def counted(x: torch.Tensor, conv: nn.Conv2d, mirrored: bool) -> torch.Tensor:
        seen.append(mirrored)
        return doubled_conv(x, conv, mirrored)

    monkeypatch.setattr(doubling, "doubled_conv", counted)
    return seen


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("unet", {"width": 4, "depth": 3, "upsample": "resize", "padding": "reflect"}, 2),
        ("unet", {"width": 4, "depth": 3}, 0),
        ("resnet", {"width": 4, "blocks": 1, "upsample": "resize"}, 1),
        ("resnet", {"width": 4, "blocks": 1, "upsample": "blurred"}, 0),
    ],
)
def test_where_there_is_enough_to_save_and_in_training_alone(
    name: str, options: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two pictures of 64 pixels: a U-Net of depth 3 doubles 8x8, 16x16 and 32x32, a ResNet
    16x16 and 32x32; 1024 places are enough."""
    monkeypatch.setattr(doubling, "_PLACES", 2 * 16 * 16 if name == "unet" else 1024)
    seen = calls(monkeypatch)
    torch.manual_seed(0)
    net = build_generator(name, options | {"dropout": False})
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        y = net.train()(x)
        assert len(seen) == count
        monkeypatch.setattr(doubling, "_PLACES", 10**9)
        assert torch.allclose(y, net(x), atol=1e-4)
        monkeypatch.setattr(doubling, "_PLACES", 0)
        net.eval()(x)
    assert len(seen) == count, "export and tiles see one layer after the other"


def test_other_convolutions_behind_a_doubling_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubling, "_PLACES", 0)
    seen, x = calls(monkeypatch), torch.rand(1, 4, 8, 8)
    up = nn.Upsample(scale_factor=2.0)
    for layers in (
        [up, nn.Conv2d(4, 4, 5, padding=2)],
        [up, nn.Conv2d(4, 4, 3, padding=1, groups=2)],
        [up, nn.Conv2d(4, 4, 3, stride=2, padding=1)],
        [up, nn.Conv2d(4, 4, 3)],
        [up, ReflectPad(2), nn.Conv2d(4, 4, 3)],
        [up, nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)],
        [nn.Upsample(scale_factor=2.0, mode="bilinear"), nn.Conv2d(4, 4, 3, padding=1)],
        [nn.Upsample(scale_factor=4.0), nn.Conv2d(4, 4, 3, padding=1)],
        [nn.ReLU(), up],
    ):
        assert torch.equal(Layers(*layers).train()(x), nn.Sequential(*layers)(x))
    assert seen == []

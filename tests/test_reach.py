"""How far torch layers look: measured, and refused where it is not known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from img2img.errors import ConfigError, UsageError
from img2img.nets.blocks import ReflectPad
from img2img.nets.reach import Look
from img2img.receptive_field import Seen, UnknownReach, widest
from img2img.runners.torch_tiled import TorchTiledModel
from img2img.tiling.tiles import tile_for
from tests.conftest import info_of, small_generator


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(1, 1, 3, padding=2, dilation=2)],
        lambda: [ReflectPad(6), nn.Conv2d(1, 1, 5, dilation=3), nn.ReLU()],
        lambda: [nn.Conv2d(1, 1, 4, 2, 1), nn.Conv2d(1, 1, 3, 1, 4, dilation=4),
                 nn.ConvTranspose2d(1, 1, 4, 2, 1)],
        lambda: [nn.Conv2d(1, 1, 4, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 2, 1, dilation=2)],
        lambda: [nn.Conv2d(1, 1, 4, 2, 1), nn.Upsample(scale_factor=2.0),
                 nn.Conv2d(1, 1, 3, 1, 2, dilation=2)],
    ],
)  # fmt: skip
def test_a_pixel_acts_as_far_as_the_layers_say(layers: Callable[[], list[nn.Module]]) -> None:
    net = nn.Sequential(*layers())
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    seen = Look([]).through(net, Seen())
    assert seen.shrink == 1
    x = torch.zeros(1, 1, 96, 96)
    farthest = 0
    for place in (48, 49):
        bright = x.clone()
        bright[..., place, place] = 1
        rows = (net(bright) - net(x)).abs().amax((0, 1, 3)).nonzero()
        farthest = max(farthest, int((rows - place).abs().max()))
    assert farthest <= seen.reach <= farthest + 2


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.AdaptiveAvgPool2d(1), "its AdaptiveAvgPool2d may look at the whole picture"),
        (nn.Softmax(1), "its Softmax may look"),
        (nn.Conv2d(3, 3, (3, 5)), "its Conv2d is not the same on both axes"),
        (nn.Conv2d(3, 3, 3, padding="same"), "pads in a way"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), "pads in a way"),
        (nn.Upsample(scale_factor=2.0, mode="bilinear"), "not the repetition of pixels"),
        (nn.Upsample(scale_factor=1.5), "leaves the pixels' grid"),
        (nn.ConvTranspose2d(3, 3, 4, 2, 1), "larger pictures than it takes"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(layer: nn.Module, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Look([]).through([nn.ReLU(), layer], Seen())


def test_maps_of_two_sizes_are_not_joined() -> None:
    with pytest.raises(UnknownReach, match="different sizes"):
        widest(Seen(1), Seen(2))


def test_a_generator_with_an_unknown_layer_is_translated_whole() -> None:
    generator = small_generator("resnet")
    generator.layers.append(nn.Softmax(1))  # type: ignore[union-attr,operator]

    def tiled_model() -> TorchTiledModel:
        return TorchTiledModel(generator, torch.device("cpu"), "mine")

    with pytest.raises(UsageError) as caught:
        tiled_model()
    assert str(caught.value) == (
        "mine: cannot be translated in tiles: its Softmax may look at the whole picture; "
        "use `tile` off"
    )
    runner = SimpleNamespace(info=info_of(generator), tiled_model=tiled_model)
    assert tile_for(runner, 9000, 9000, "auto") is None  # type: ignore[arg-type]

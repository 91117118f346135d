"""Networks against the figures of the reference implementations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from img2img.errors import ConfigError
from img2img.nets import (
    GENERATORS,
    PatchConfig,
    PatchDiscriminator,
    build_discriminator,
    build_generator,
)
from img2img.nets.antialias import BlurDown, BlurUp
from img2img.nets.blocks import BatchNorm, InstanceNorm, mirror_to, round_up
from img2img.nets.fast import Level, WholePicture
from img2img.nets.outputs import Head
from tests.conftest import small_generator

STARGAN = {
    "affine": True, "blocks": 6, "kernel": 4, "padding": "zero", "bias": False,
    "head_bias": False, "init": "default",
}  # fmt: skip


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet", {"norm": "instance"}, 11_378_179),
        ("resnet", {"norm": "batch"}, 11_383_427),
        ("resnet", {"norm": "instance", "blocks": 6}, 7_837_699),
        ("resnet", {"norm": "batch", "blocks": 6}, 7_841_411),
        ("unet", {"norm": "instance", "depth": 7}, 41_825_667),
        ("unet", {"norm": "batch", "depth": 7}, 41_828_995),
        ("unet", {"norm": "instance"}, 54_409_603),
        ("unet", {"norm": "batch"}, 54_413_955),
        ("resnet", {**STARGAN, "domains": 5}, 8_430_528),
        ("resnet", {**STARGAN, "domains": 8}, 8_439_936),
        ("resnet", {**STARGAN, "domains": 15}, 8_461_888),
    ],
)
def test_generator_parameters(name: str, options: dict[str, object], expected: int) -> None:
    with torch.device("meta"):
        assert count(build_generator(name, options)) == expected


@pytest.mark.parametrize(
    ("layers", "norm", "three", "six"),
    [
        (3, "instance", 2_764_737, 2_767_809),
        (3, "batch", 2_765_633, 2_768_705),
        (1, "instance", 136_385, 139_457),
        (2, "instance", 662_977, 666_049),
        (4, "instance", 6_959_553, 6_962_625),
        (5, "instance", 11_154_369, 11_157_441),
        (1, "batch", 136_513, 139_585),
        (2, "batch", 663_361, 666_433),
        (4, "batch", 6_960_961, 6_964_033),
        (5, "batch", 11_156_289, 11_159_361),
        (0, "instance", 8_705, 8_897),
        (0, "batch", 8_832, 9_024),
    ],
)
def test_discriminator_parameters(layers: int, norm: str, three: int, six: int) -> None:
    with torch.device("meta"):
        plain = build_discriminator("patch", {"layers": layers, "norm": norm})
        conditional = build_discriminator(
            "patch", {"layers": layers, "norm": norm, "condition_channels": 3}
        )
    assert (count(plain), count(conditional)) == (three, six)


@pytest.mark.parametrize(
    ("layers", "side", "expected"),
    [(3, 64, 6), (3, 128, 14), (3, 256, 30), (3, 270, 31), (3, 286, 33), (3, 512, 62),
     (1, 256, 126), (2, 256, 62), (4, 256, 14), (5, 256, 6), (0, 256, 256)],
)  # fmt: skip
def test_discriminator_output_side(layers: int, side: int, expected: int) -> None:
    with torch.device("meta"):
        net = PatchDiscriminator(PatchConfig(layers=layers))
        assert net(torch.empty(1, 3, side, side)).shape == (1, 1, expected, expected)


@pytest.mark.parametrize(
    ("layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)]
)
def test_receptive_field(layers: int, field: int) -> None:
    """One output logit depends on a square of exactly `field` pixels."""
    torch.manual_seed(0)
    net = build_discriminator(
        "patch", {"layers": layers, "width": 2, "norm": "none", "init_gain": 0.5}
    )
    x = torch.rand(1, 3, 2 * field + 64, 2 * field + 64, requires_grad=True)
    y = net(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    assert x.grad is not None
    touched = x.grad.abs().sum((0, 1)).nonzero()
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [field, field]


def layer_names(net: nn.Module) -> list[str]:
    """Leaf layers in order of execution, with the sizes that matter."""
    names: list[str] = []

    def note(module: nn.Module, args: object, out: object) -> None:
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            kind = "conv" if isinstance(module, nn.Conv2d) else "up"
            k, s = module.kernel_size[0], module.stride[0]
            names.append(f"{kind}{k}s{s} {module.in_channels}>{module.out_channels}")
        else:
            names.append(type(module).__name__)

    for module in net.modules():
        if not list(module.children()) and not isinstance(module, Head):
            module.register_forward_hook(note)
    with torch.no_grad():
        net(torch.empty(1, 3, 256, 256, device="meta"))
    return names


def test_resnet_layer_order() -> None:
    with torch.device("meta"):
        net = build_generator("resnet", {}).eval()
    half = ["ReflectPad", "conv3s1 256>256", "InstanceNorm"]
    block = [*half, "ReLU", *half]
    follow = ["InstanceNorm", "ReLU"]
    assert layer_names(net) == [
        "ReflectPad", "conv7s1 3>64", *follow, "conv3s2 64>128", *follow, "conv3s2 128>256", *follow,
        *(block * 9),
        "up3s2 256>128", *follow, "up3s2 128>64", *follow, "ReflectPad", "conv7s1 64>3", "Tanh",
    ]  # fmt: skip


def test_resnet_block_with_dropout_and_zero_padding() -> None:
    with torch.device("meta"):
        net = build_generator("resnet", {"dropout": True, "padding": "zero", "blocks": 1})
    block = [type(m).__name__ for m in net.layers[9].layers]  # type: ignore[attr-defined, union-attr]
    assert block == ["Conv2d", "InstanceNorm", "ReLU", "Dropout", "Conv2d", "InstanceNorm"]


def test_unet_layer_order() -> None:
    with torch.device("meta"):
        net = build_generator("unet", {}).eval()
    down = [f"conv4s2 {a}>{b}" for a, b in ((3, 64), (64, 128), (128, 256), (256, 512))]
    deep = "conv4s2 512>512"
    expected = [down[0]]
    for name in [*down[1:], deep, deep, deep]:
        expected += ["LeakyReLU", name, "BatchNorm"]
    expected += ["LeakyReLU", deep, "ReLU", "up4s2 512>512", "BatchNorm"]
    for _ in range(3):
        expected += ["ReLU", "up4s2 1024>512", "BatchNorm", "Dropout"]
    for name in ("up4s2 1024>256", "up4s2 512>128", "up4s2 256>64"):
        expected += ["ReLU", name, "BatchNorm"]
    expected += ["ReLU", "up4s2 128>3", "Tanh"]
    assert layer_names(net) == expected


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (7, 5), (64, 64), (65, 31)])
def test_any_size_in_the_same_size_out(name: str, size: tuple[int, int]) -> None:
    net = small_generator(name)
    with torch.no_grad():
        y = net(torch.rand(2, 3, *size) * 2 - 1)
    assert y.shape == (2, 3, *size)
    assert y.isfinite().all() and y.abs().max() <= 1


@pytest.mark.parametrize("name", ["unet", "resnet"])
@pytest.mark.parametrize(
    "options",
    [{"norm": "batch"}, {"norm": "none"}, {"upsample": "resize"}, {"upsample": "resize", "padding": "reflect"},
     {"upsample": "blurred"}, {"padding": "reflect"}, {"padding": "zero"}, {"in_channels": 1, "out_channels": 2},
     {"dropout": True}],
)  # fmt: skip
def test_options_change_the_network_and_train(name: str, options: dict[str, object]) -> None:
    net = small_generator(name, **options).train()
    x = torch.rand(2, net.in_channels, 32, 32)
    net(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@torch.no_grad()
def test_antialiased_sampling_keeps_a_flat_map_and_removes_a_chequered_one() -> None:
    """A binomial filter has a zero at the highest frequency and sums to one."""
    flat = torch.full((1, 2, 8, 6), 0.7)
    chequered = torch.ones(1, 2, 8, 6)
    chequered[:, :, ::2, ::2] = chequered[:, :, 1::2, 1::2] = -1
    down, up = BlurDown(2), BlurUp(2)
    assert torch.allclose(down(flat), flat[:, :, :4, :3]) and up(flat).shape == (1, 2, 16, 12)
    assert torch.allclose(up(flat), torch.full((1, 2, 16, 12), 0.7))
    assert down(chequered)[:, :, 1:, 1:].abs().max() < 1e-6
    # An edge at place 4 of a row, by hand: (1 2 1) / 4 down, (1 3) / 4 and (3 1) / 4 up.
    edge = torch.zeros(1, 2, 8, 8)
    edge[:, :, :, 4:] = 1
    assert down(edge)[0, 0, 1].tolist() == [0, 0, 0.75, 1]
    assert up(edge[:, :, :4])[0, 0, 2].tolist() == [0] * 7 + [0.25, 0.75] + [1] * 7
    assert list(down.state_dict()) == [] == list(up.state_dict())


def test_resnet_paddings_differ_at_the_border_only_in_kind() -> None:
    x = torch.rand(1, 3, 32, 32)
    torch.manual_seed(0)
    with torch.no_grad():
        reflect = small_generator("resnet", norm="none")(x)
        zero = small_generator("resnet", norm="none", padding="zero")(x)
    assert not torch.equal(reflect, zero)


@pytest.mark.parametrize(("name", "options"), [("unet", {}), ("resnet", {"padding": "zero"})])
def test_domains_change_the_picture(name: str, options: dict[str, object]) -> None:
    net = small_generator(name, domains=2, **options)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        a, b = net(x, torch.tensor([[1.0, 0]])), net(x, torch.tensor([[0, 1.0]]))
    assert (a - b).abs().max() > 1e-3
    with pytest.raises(ConfigError, match="needs a domain vector of shape"):
        net(x)
    with pytest.raises(ConfigError, match="no domains"):
        small_generator(name)(x, torch.zeros(1, 2))


def test_reflection_and_domains_are_refused_with_a_proposal() -> None:
    with pytest.raises(ConfigError, match="padding=zero"):
        build_generator("resnet", {"domains": 3})


def test_initialisation_is_that_of_the_references() -> None:
    torch.manual_seed(0)
    net = build_generator("unet", {"width": 32, "depth": 5})
    convs = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    weights = torch.cat([m.weight.flatten() for m in convs])
    assert math.isclose(weights.std().item(), 0.02, rel_tol=0.02)
    assert abs(weights.mean().item()) < 1e-4
    assert all(m.bias is None or m.bias.abs().max() == 0 for m in convs)
    scales = torch.cat([m.weight for m in net.modules() if isinstance(m, BatchNorm)])
    assert math.isclose(scales.mean().item(), 1, abs_tol=0.01)
    assert math.isclose(scales.std().item(), 0.02, rel_tol=0.2)


def test_batch_norm_outside_training_does_not_see_its_neighbours() -> None:
    torch.manual_seed(0)
    net = BatchNorm(3).eval()
    x = torch.rand(4, 3, 8, 8)
    assert torch.allclose(net(x)[:1], net(x[:1]), atol=1e-6)
    alone = nn.BatchNorm2d(3).train()
    assert torch.allclose(net(x[:1]), alone(x[:1]), atol=1e-5)
    net.statistics = "running"
    assert torch.allclose(net(x), x / math.sqrt(1 + 1e-5), atol=1e-6)


def test_instance_norm_has_no_state() -> None:
    assert list(InstanceNorm(3).state_dict()) == []
    x = torch.rand(2, 3, 5, 5)
    y = InstanceNorm(3)(x)
    assert torch.allclose(y.mean((2, 3)), torch.zeros(2, 3), atol=1e-5)
    assert torch.allclose(y.var((2, 3), correction=0), torch.ones(2, 3), atol=1e-3)


def test_tiling_is_declared_truthfully() -> None:
    assert small_generator(norm="instance").tiling == "statistics"
    assert small_generator(norm="none").tiling == "exact"
    net = small_generator(norm="batch")
    assert (net.tiling, net.norm_statistics) == ("statistics", "batch")
    net.use_norm_statistics("running")
    assert (net.tiling, net.norm_statistics) == ("exact", "running")


def test_mirror_to_reflects_as_numpy_does() -> None:
    import numpy as np

    for n in (1, 2, 3, 5):
        x = torch.arange(n, dtype=torch.float32).view(1, 1, 1, n)
        given = mirror_to(x, 1, 12)[0, 0, 0].numpy()
        assert given.tolist() == np.pad(np.arange(n), (0, 12 - n), mode="reflect").tolist()
    assert (round_up(1, 8, 16), round_up(17, 8, 16), round_up(32, 8, 16)) == (16, 24, 32)


def test_spectral_norm_bounds_every_layer() -> None:
    net = build_discriminator("patch", {"width": 8, "spectral": True, "init_gain": 2.0}).train()
    for _ in range(30):
        net(torch.rand(1, 3, 32, 32))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            top = torch.linalg.svdvals(module.weight.detach().flatten(1))[0]
            assert math.isclose(top.item(), 1, rel_tol=0.05)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown generator 'unte'. Did you mean 'unet'"):
        build_generator("unte", {})
    with pytest.raises(
        ConfigError, match=r"unknown setting 'generator.widht'. Did you mean 'width'"
    ):
        build_generator("unet", {"widht": 3})
    with pytest.raises(ConfigError, match="depth"):
        build_generator("unet", {"depth": 1})
    with pytest.raises(ConfigError, match="unknown discriminator 'path'"):
        build_discriminator("path", {})


def test_an_identity_start_gives_the_picture_back() -> None:
    net = build_generator("resnet", {"width": 4, "blocks": 1, "identity_start": True})
    x = torch.rand(2, 3, 13, 18) * 2 - 1
    assert torch.equal(net(x), x)
    net(x).square().mean().backward()
    last = list(net.parameters())[-2]
    assert last.grad is not None and last.grad.abs().sum() > 0  # it can learn from the first step
    with pytest.raises(ConfigError, match="as many channels out as in"):
        small_generator("resnet", identity_start=True, out_channels=1)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_blank_picture_has_no_border_with_reflection_and_resizing(norm: str) -> None:
    """Zeros beside the picture and the overlaps of transposed convolutions are all that varies in
    a blank picture, and a norm by the picture's own statistics blows them up: the patches that a
    U-Net draws along one edge."""
    common = {"width": 8, "depth": 6, "norm": norm, "dropout": False, "init": "default"}
    x = torch.full((1, 3, 128, 128), 0.3)

    def spread(padding: str, upsample: str) -> float:
        torch.manual_seed(0)
        net = build_generator("unet", common | {"padding": padding, "upsample": upsample})
        y = net.train(norm == "batch").requires_grad_(False)(x)
        return float((y.amax((2, 3)) - y.amin((2, 3))).max())

    assert spread("reflect", "resize") < 1e-4
    assert spread("zero", "transposed") > (0.1 if norm == "none" else 1)


@pytest.mark.parametrize("output", ["direct", "mask"])
def test_neighbours_made_by_pixel_shuffling_begin_alike(output: str) -> None:
    """ICNR: no pattern of dots before the first step."""
    options = {"width": 8, "blocks": 1, "levels": 2, "output": output}
    net = build_generator("fast", options).requires_grad_(False).eval()
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    level = next(m for m in net.modules() if isinstance(m, Level))
    assert level.below is not None
    inner = level.below(torch.rand(1, 8, 8, 8))
    for maps in (inner, net.layers_of(x)):
        cells = maps.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        assert torch.equal(cells[:, :, :, :1, :, :1].expand_as(cells), cells) and maps.std() > 1e-3


@pytest.mark.parametrize("levels", [1, 2])
def test_a_fast_network_may_see_the_whole_picture(levels: int) -> None:
    options = {"width": 4, "blocks": 1, "whole": True, "levels": levels, "output": "direct"}
    net = build_generator("fast", options).requires_grad_(False).eval()
    assert net.tiling == "statistics"
    x = torch.rand(1, 3, 128, 128)
    other = x.clone()
    other[..., :8, :8] = -1

    def far() -> bool:
        return not torch.equal(net(x)[..., 100:, 100:], net(other)[..., 100:, 100:])

    assert not far()  # nothing as it begins
    (whole,) = (m for m in net.modules() if isinstance(m, WholePicture))
    torch.nn.init.normal_(whole.layers[-1].weight)
    assert far()


@pytest.mark.parametrize("name", ["resnet", "unet", "fast"])
def test_a_network_without_norms_starts_alive(name: str) -> None:
    """Its output depends on the picture, and is not saturated."""
    more: dict[str, Any] = {"depth": 6, "dropout": False} if name == "unet" else {"blocks": 9}
    more |= {"width": 16, "norm": "none", "output": "direct"}
    torch.manual_seed(0)
    x = torch.rand(4, 3, 64, 64) * 2 - 1
    y = build_generator(name, more).requires_grad_(False).eval()(x)
    assert 0.01 < (y - y.mean(0)).square().mean().sqrt() < 0.7 and y.abs().mean() < 0.9
    if name != "fast":
        dead = build_generator(name, more | {"init": "normal"}).requires_grad_(False).eval()(x)
        assert (dead - dead.mean(0)).square().mean().sqrt() < 1e-2


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("downsample", ["strided", "blurred"])
def test_a_blank_picture_has_no_border_where_a_resnet_halves(norm: str, downsample: str) -> None:
    options = {"width": 8, "blocks": 2, "norm": norm, "upsample": "resize", "init": "default"}
    x = torch.full((1, 3, 128, 128), 0.3)

    def spread(padding: str) -> float:
        torch.manual_seed(0)
        more = {"downsample": downsample, "downsample_padding": padding}
        net = build_generator("resnet", options | more)
        y = net.train(norm == "batch").requires_grad_(False)(x)
        return float((y.amax((2, 3)) - y.amin((2, 3))).max())

    assert spread("reflect") < 1e-4 and spread("zero") > 1

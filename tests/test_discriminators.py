"""The contract of every discriminator, what each adds to it, and self-attention."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.features import Lite0
from img2img.nets import (
    DISCRIMINATORS,
    Discriminator,
    ProjectedDiscriminator,
    build_discriminator,
    build_generator,
)
from img2img.nets.blocks import SelfAttention
from tests.conftest import info_of, small_generator

NAMES = pytest.mark.parametrize("name", DISCRIMINATORS)

ATTENTIVE = ("unet", "resnet")


def small(name: str, **options: object) -> Discriminator:
    """A discriminator of few parameters whose logits differ from 0."""
    torch.manual_seed(0)
    plain = {"width": 4, "init": "default", "layers": 2, "spectral": False}
    if name == "projected":
        plain["projected"] = 4
    net = build_discriminator(name, plain | options)
    if isinstance(net, ProjectedDiscriminator):
        torch.manual_seed(1)  # one feature network for all
        net.look_through(Lite0())  # random, which is enough to judge
    return net


def pictures(net: Discriminator, height: int, width: int, batch: int = 2) -> Tensor:
    channels = net.config.condition_channels + net.config.in_channels
    return torch.rand(batch, channels, height, width) * 2 - 1


def tensors(answer: object) -> list[Tensor]:
    """What `forward` gives, as a flat list."""
    if isinstance(answer, Tensor):
        return [answer]
    assert isinstance(answer, (list, tuple))
    return [t for part in answer for t in tensors(part)]


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# --- the contract, for every name in the table


@NAMES
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("attention", [False, True])
def test_judges_two_sizes_and_every_parameter_learns(name: str, norm: str, attention: bool) -> None:
    net = small(name, norm=norm, attention=attention).train()
    for height, width in ((net.minimum, net.minimum), (net.minimum + 37, net.minimum + 10)):
        # The smallest picture alone is the hardest case for a norm.
        batch = 1 if height == width else 3
        net.zero_grad(set_to_none=True)
        answer = tensors(net(pictures(net, height, width, batch)))
        assert all(t.shape[0] == batch and t.isfinite().all() for t in answer)
        torch.stack([t.square().mean() for t in answer]).sum().backward()
        for key, p in net.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all(), key


@NAMES
def test_features_end_in_the_logits_of_forward(name: str) -> None:
    net = small(name).eval()
    x = pictures(net, net.minimum + 16, net.minimum + 5)
    with torch.no_grad():
        features, answer = net.features(x), tensors(net(x))
    assert len(features[0]) > net.config.layers
    for scale, logits in zip(features, answer, strict=False):
        assert len(scale) > 1
        assert torch.equal(scale[-1], logits)
        assert all(level.shape[0] == 2 and level.shape[1] >= 4 for level in scale[:-1])


@NAMES
def test_unknown_options_are_refused_with_a_proposal(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown setting 'discriminator.widht'. Did you mean 'width'"
    ):
        build_discriminator(name, {"widht": 3})


@NAMES
def test_the_configuration_survives_json(name: str) -> None:
    config = small(name).config
    assert type(config) is DISCRIMINATORS[name].Config
    assert type(config).parse(json.loads(config.model_dump_json())) == config


@NAMES
def test_takes_a_condition_and_other_channels(name: str) -> None:
    channels = 1 if name == "projected" else 2  # a feature network sees grey or colour
    net = small(name, in_channels=channels, condition_channels=5)
    x = pictures(net, net.minimum, net.minimum)
    assert x.shape[1] == 5 + channels
    before = tensors(net.eval()(x))
    x[:, :5] = -x[:, :5]
    assert any(not torch.equal(a, b) for a, b in zip(before, tensors(net(x)), strict=True))


@pytest.mark.parametrize("name", [n for n in DISCRIMINATORS if n != "projected"])  # never below 32
def test_too_small_a_picture_is_refused_with_a_proposal_that_holds(name: str) -> None:
    net = small(name, layers=3)
    side = net.minimum - 1
    with pytest.raises(
        ConfigError, match=f"{net.minimum} pixels; {side + 9}x{side} was"
    ) as reported:
        net(pictures(net, side, side + 9))
    assert "discriminator.layers=2" in str(reported.value)
    better = small(name, layers=2)
    better(pictures(better, side, side + 9))


@pytest.mark.slow
@NAMES
def test_spectral_norm_bounds_every_layer(name: str) -> None:
    net = small(name, spectral=True, attention=True, init="normal", init_gain=2.0).train()
    x = pictures(net, net.minimum, net.minimum)
    with torch.no_grad():
        for _ in range(60):
            net(x)
    layers = [m for m in net.eval().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert layers
    for module in layers:
        top = torch.linalg.svdvals(module.weight.detach().flatten(1))[0]
        assert math.isclose(top.item(), 1, rel_tol=0.05)


@NAMES
@pytest.mark.parametrize("init", ["normal", "xavier", "kaiming", "orthogonal"])
def test_initialises_as_requested(name: str, init: str) -> None:
    options = {"width": 8, "layers": 2, "init": init, "init_gain": 0.3, "spectral": False}
    net = build_discriminator(name, options)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is None or m.bias.abs().max() == 0 for m in convs)
    if init == "normal":
        weights = torch.cat([m.weight.detach().flatten() for m in convs])
        assert math.isclose(weights.std().item(), 0.3, rel_tol=0.1)


@NAMES
@pytest.mark.parametrize("attention", [False, True])
def test_a_gradient_penalty_can_be_taken(name: str, attention: bool) -> None:
    net = small(name, norm="none", attention=attention)
    for module in net.modules():
        if isinstance(module, SelfAttention):
            nn.init.ones_(module.gamma)
    x = pictures(net, net.minimum, net.minimum).requires_grad_(True)
    total = torch.stack([t.sum() for t in tensors(net(x))]).sum()
    (slope,) = torch.autograd.grad(total, x, create_graph=True)
    slope.square().sum().backward()
    first = next(net.parameters())
    assert first.grad is not None and first.grad.isfinite().all() and first.grad.any()


@NAMES
def test_fresh_attention_changes_nothing_and_a_trained_one_does(name: str) -> None:
    plain, attentive = small(name).eval(), small(name, attention=True).eval()
    reported = attentive.load_state_dict(plain.state_dict(), strict=False)
    assert reported.unexpected_keys == [] and all("attention." in k for k in reported.missing_keys)
    x = pictures(plain, plain.minimum + 32, plain.minimum + 16)
    with torch.no_grad():
        before, same = tensors(plain(x)), tensors(attentive(x))
        assert all(torch.equal(a, b) for a, b in zip(before, same, strict=True))
        for module in attentive.modules():
            if isinstance(module, SelfAttention):
                module.gamma.fill_(1.0)
        moved = [not torch.equal(a, b) for a, b in zip(before, tensors(attentive(x)), strict=True)]
        assert moved[0] if name == "projected" else all(moved)  # there beside the features


# --- patch


def test_patch_features_are_its_levels() -> None:
    net = small("patch", layers=3)
    (levels,) = net.features(pictures(net, 64, 64))
    assert [t.shape[1:] for t in levels] == [
        (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 7, 7), (1, 6, 6),
    ]  # fmt: skip
    assert all((t >= 0).any() and (t < 0).any() for t in levels[:-1])


def test_the_pixel_discriminator_judges_one_pixel_and_refuses_attention() -> None:
    net = small("patch", layers=0, norm="none")
    assert net(pictures(net, 1, 1)).shape == (2, 1, 1, 1)
    with pytest.raises(ConfigError, match=r"layers=0.*attention needs layers=1"):
        build_discriminator("patch", {"layers": 0, "attention": True})


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_patch_minimum_is_the_least_that_leaves_a_logit(layers: int) -> None:
    with torch.device("meta"):
        net = small("patch", layers=layers)
        assert net(pictures(net, net.minimum, net.minimum)).shape[2:] == (1, 1)


# --- multiscale


def test_multiscale_judges_pooled_pictures_finest_first() -> None:
    net = small("multiscale", layers=3).eval()
    x = pictures(net, 128, 112)
    with torch.no_grad():
        answer, features = net(x), net.features(x)
        assert [t.shape for t in answer] == [(2, 1, 14, 12), (2, 1, 6, 5), (2, 1, 2, 1)]
        assert [len(levels) for levels in features] == [5, 5, 5]
        half = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        assert torch.equal(answer[1], net.scales[1](half))  # type: ignore[index, operator]
    # A flat picture stays flat: the rim is not mixed with padding.
    flat = net.shrink(torch.full((1, 3, 9, 8), 0.5))  # type: ignore[operator]
    assert flat.shape == (1, 3, 5, 4) and torch.allclose(flat, torch.tensor(0.5))


def test_multiscale_is_patch_discriminators() -> None:
    with torch.device("meta"):
        one = count(build_discriminator("patch", {"norm": "instance"}))
        assert count(build_discriminator("multiscale", {})) == 3 * one == 3 * 2_764_737
        assert count(build_discriminator("multiscale", {"scales": 2})) == 2 * one


def test_multiscale_proposes_fewer_scales() -> None:
    net = small("multiscale", layers=3)
    with pytest.raises(ConfigError, match=r"93 pixels; 64x64 .*\.scales=2 or .*\.layers=2"):
        net(pictures(net, 64, 64))


# --- image


@pytest.mark.parametrize(("layers", "side"), [(6, 256), (5, 128), (4, 64)])
def test_image_ends_in_one_weighted_map_of_4x4(layers: int, side: int) -> None:
    with torch.device("meta"):
        net = small("image", layers=layers)
        x = pictures(net, side, side)
        (levels,) = net.features(x)
        assert len(levels) == layers + 1 and levels[-2].shape[2:] == (4, 4)
        assert net(x).shape == (2, 1, 1, 1)


def test_image_sees_every_pixel() -> None:
    net = small("image", layers=3, norm="none")
    x = pictures(net, 50, 41).requires_grad_(True)
    net(x).sum().backward()
    assert x.grad is not None
    # Halving an odd side leaves its last row out, so the whole is the even part.
    assert x.grad[:, :, :48, :40].ne(0).all()


# --- stargan


@pytest.mark.parametrize(
    ("size", "domains", "expected"),
    [
        (128, 5, 44_762_048), (128, 8, 44_786_624), (128, 13, 44_827_584),
        (256, 5, 44_884_928), (256, 8, 44_983_232), (256, 13, 45_147_072),
        (64, 5, 44_731_328), (64, 8, 44_737_472), (64, 13, 44_747_712),
    ],
)  # fmt: skip
def test_stargan_parameters(size: int, domains: int, expected: int) -> None:
    with torch.device("meta"):
        net = build_discriminator("stargan", {"size": size, "domains": domains})
        assert count(net) == expected
        source, classes = net(torch.empty(2, 3, size, size))
    assert source.shape == (2, 1, size // 64, size // 64) and classes.shape == (2, domains)


def test_stargan_layers_and_keys_are_those_of_the_reference() -> None:
    with torch.device("meta"):
        net = build_discriminator("stargan", {})
    parts = {"weight", "bias"}
    expected = {f"layers.{k}.{part}" for k in (0, 2, 4, 6, 8, 10) for part in parts}
    assert set(net.state_dict()) == expected | {"source.weight", "classes.weight"}
    shapes = [tuple(v.shape) for k, v in net.state_dict().items() if k.endswith("weight")]
    assert shapes == [
        (64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1024, 512, 4, 4),
        (2048, 1024, 4, 4), (1, 2048, 3, 3), (5, 2048, 2, 2),
    ]  # fmt: skip
    slopes = [m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.01] * 6


def test_stargan_at_its_size_is_the_plain_network() -> None:
    net = small("stargan", layers=3, size=32, domains=4)
    x = y = pictures(net, 32, 32)
    for module in net.layers:  # type: ignore[union-attr]
        y = module(y)
    source, classes = net(x)
    parts = dict(net.named_modules())
    assert torch.equal(source, parts["source"](y))
    assert torch.equal(classes, parts["classes"](y)[:, :, 0, 0])


@pytest.mark.parametrize("side", [(8, 8), (32, 48), (65, 130), (16, 9)])
def test_stargan_takes_other_sizes(side: tuple[int, int]) -> None:
    net = small("stargan", layers=3, size=32)
    source, classes = net(pictures(net, *side))
    assert source.shape == (2, 1, side[0] // 8, side[1] // 8) and classes.shape == (2, 5)


def test_stargan_refuses_a_size_without_a_coarsest_pixel() -> None:
    with pytest.raises(ConfigError, match=r"size=32 .*6 halvings; use layers=5 or size=64"):
        build_discriminator("stargan", {"size": 32})
    assert build_discriminator("stargan", {"size": 32, "layers": 5, "width": 2}).minimum == 32
    with pytest.raises(ConfigError, match=r"size=1 .*1 halvings; use size=2"):
        build_discriminator("stargan", {"size": 1, "layers": 1})
    with pytest.raises(ConfigError, match=r"with instance norm; use layers=5 or size=128"):
        build_discriminator("stargan", {"size": 64, "norm": "instance"})


# --- self-attention


@pytest.mark.parametrize("channels", [1, 7, 16, 64])
def test_self_attention_is_the_formula_of_the_paper(channels: int) -> None:
    torch.manual_seed(0)
    block = SelfAttention(channels).double()
    nn.init.constant_(block.gamma, 0.7)
    x = torch.randn(2, channels, 5, 6, dtype=torch.float64)
    inner = max(channels // 8, 1)
    flat = x.flatten(2)
    f, g, h = (
        torch.einsum("oc,ncp->nop", conv.weight[:, :, 0, 0], flat)
        for conv in (block.key, block.query, block.value)
    )
    assert f.shape == (2, inner, 30)
    scores = torch.einsum("nci,ncj->nij", f, g)
    weights = scores.exp() / scores.exp().sum(1, keepdim=True)
    mixed = torch.einsum("nci,nij->ncj", h, weights)
    o = torch.einsum("oc,ncp->nop", block.out.weight[:, :, 0, 0], mixed)
    assert torch.allclose(block(x), x + 0.7 * o.view_as(x), atol=1e-12)
    block.second_order = True
    assert torch.allclose(block(x), x + 0.7 * o.view_as(x), atol=1e-12)


def test_self_attention_starts_as_the_identity_and_learns() -> None:
    block = SelfAttention(16)
    x = torch.randn(1, 16, 8, 8)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.gamma.grad is not None and block.gamma.grad.abs().item() > 0


@pytest.mark.parametrize("second_order", [False, True])
def test_self_attention_gradients(second_order: bool) -> None:
    torch.manual_seed(0)
    block = SelfAttention(8, second_order).double()
    nn.init.ones_(block.gamma)
    x = torch.randn(1, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))
    if second_order:
        assert torch.autograd.gradgradcheck(block, (x,))


def awake(generator: nn.Module) -> nn.Module:
    """Give attention a part in the output: gamma 2, as if trained, and weights of size 1."""
    blocks = [m for m in generator.modules() if isinstance(m, SelfAttention)]
    assert len(blocks) == 1
    nn.init.constant_(blocks[0].gamma, 2.0)
    for conv in (blocks[0].query, blocks[0].key, blocks[0].value, blocks[0].out):
        nn.init.normal_(conv.weight, 0, 0.5)
    return generator


@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("more", [{}, {"padding": "reflect"}, {"upsample": "resize"}])
def test_fresh_attention_leaves_the_generator_as_it_is(name: str, more: dict[str, Any]) -> None:
    more = more | ({"depth": 5} if name == "unet" else {"blocks": 3})
    plain = small_generator(name, **more)
    attentive = small_generator(name, **more, attention=True)
    reported = attentive.load_state_dict(plain.state_dict(), strict=False)
    assert reported.unexpected_keys == []
    assert all(key.startswith("attention.") for key in reported.missing_keys)
    x = torch.rand(2, 3, 33, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(plain(x), attentive(x))
        assert (awake(attentive)(x) - plain(x)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "options", "channels", "places"),
    [("unet", {"depth": 8}, 256, 32), ("unet", {"depth": 4}, 256, 32), ("unet", {"depth": 3}, 128, 64),
     ("unet", {"depth": 2}, 64, 128), ("resnet", {}, 256, 64), ("resnet", {"downs": 3, "blocks": 0}, 512, 32)],
)  # fmt: skip
def test_where_attention_sits(
    name: str, options: dict[str, object], channels: int, places: int
) -> None:
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: object, out: Tensor) -> None:
        shapes.append(tuple(out.shape))

    with torch.device("meta"):
        net = build_generator(name, options | {"attention": True})
        for module in net.modules():
            if isinstance(module, SelfAttention):
                module.register_forward_hook(note)
        net(torch.empty(1, 3, 256, 256))
    assert shapes == [(1, channels, places, places)]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@NAMES
def test_discriminators_attend_at_a_quarter_of_the_sides(name: str, layers: int) -> None:
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: object, out: Tensor) -> None:
        shapes.append(tuple(out.shape))

    with torch.device("meta"):
        net = small(name, layers=layers, attention=True)
        for module in net.modules():
            if isinstance(module, SelfAttention):
                module.register_forward_hook(note)
        net(pictures(net, 256, 256))
    assert shapes[0] == ((2, 8, 64, 64) if layers > 1 else (2, 4, 128, 128))


@pytest.mark.parametrize("name", ATTENTIVE)
def test_attention_forbids_exact_tiling(name: str) -> None:
    assert small_generator(name, norm="none").tiling == "exact"
    net = small_generator(name, norm="none", attention=True)
    assert (net.tiling, net.norm_statistics) == ("statistics", "none")
    net = small_generator(name, norm="batch", attention=True)
    net.use_norm_statistics("running")
    assert (net.tiling, net.norm_statistics) == ("statistics", "running")


@pytest.mark.parametrize("name", ATTENTIVE)
def test_attention_trains(name: str) -> None:
    net = awake(small_generator(name, attention=True)).train()
    net(torch.rand(2, 3, 32, 32)).square().mean().backward()
    for key, p in net.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTENTIVE)
def test_attention_exports_to_onnx(name: str, tmp_path: Path) -> None:
    from img2img.exporting.onnx import export_onnx
    from img2img.model_format.checkpoint import save_model
    from img2img.runners.onnx import OnnxRunner

    net = awake(small_generator(name, attention=True))
    path = tmp_path / "attentive.onnx"
    save_model(tmp_path / "attentive.safetensors", net, info_of(net))  # type: ignore[arg-type]
    export_onnx(tmp_path / "attentive.safetensors", path)
    runner = OnnxRunner(path, "cpu")
    for batch, height, width in ((1, 64, 64), (3, 50, 97)):
        x = torch.rand(batch, 3, height, width) * 2 - 1
        with torch.no_grad():
            expected = net(x).numpy()
        assert expected.std() > 0.01
        assert np.abs(runner.infer(x.numpy()) - expected).max() < 1e-4

"""CUT: its encoder, its patches, its step against the losses, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from img2img.augment import Augment
from img2img.data import UnpairedBatch
from img2img.errors import ConfigError
from img2img.losses import patch_nce_loss
from img2img.methods import CUT, CUTConfig
from img2img.methods.cut import PatchHeads, encoder_features
from img2img.nets import ResNetGenerator, build_generator
from img2img.training import resolve

SMALL: dict[str, Any] = {
    "generator_options": {"width": 4, "blocks": 2},
    "discriminator_options": {"width": 4, "layers": 1},
    "nce_blocks": [1, 2],
    "patches": 16,
    "head_width": 8,
}


def trainer_of(**settings: Any) -> CUT:
    torch.manual_seed(0)
    trainer = CUT(CUTConfig.parse(SMALL | settings))
    trainer.augment = Augment(32, False, 0)
    trainer.augment.begin(0, [0, 1])
    return trainer


def batch_of(seed: int = 1, n: int = 2) -> UnpairedBatch:
    source = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, n, 3, 32, 32, generator=source) * 2 - 1
    return UnpairedBatch(a, b, list(range(n)))


def resnet(**options: Any) -> ResNetGenerator:
    torch.manual_seed(0)
    G = build_generator("resnet", {"width": 4, "blocks": 4} | options)
    assert isinstance(G, ResNetGenerator)
    return G


def test_the_defaults_are_the_references() -> None:
    c = CUTConfig()
    assert (c.generator, c.gan, c.lr, c.beta1, c.beta2) == ("resnet", "lsgan", 2e-4, 0.5, 0.999)
    assert (c.lambda_gan, c.lambda_nce, c.identity_nce, c.flip_equivariance) == (1, 1, True, False)
    assert (c.patches, c.head_width, c.temperature, c.nce_blocks) == (256, 256, 0.07, (1, 5))
    values = {"method": "cut", "data": "d", "out": "o"}
    fast = resolve(values, "fastcut-256")
    f = CUTConfig.parse(fast.settings)
    assert (f.lambda_nce, f.identity_nce, f.flip_equivariance) == (10, False, True)
    assert (fast.epochs, fast.epochs_decay, fast.batch_size, fast.crop_size) == (150, 50, 1, 256)
    narrow = CUT(CUTConfig.parse({"generator_options": {"width": 4}}))
    config = narrow.G.config
    assert (config.blocks, config.norm, config.init) == (9, "instance", "xavier")
    # 3, 8, 16, 16 and 16 channels, each to 256 and to 256 again, with biases.
    heads = sum((channels + 1) * 256 + 257 * 256 for channels in (3, 8, 16, 16, 16))
    assert sum(p.numel() for p in narrow.F.parameters()) == heads


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "zero"},
        {"attention": True},
        {"downsample": "blurred", "upsample": "blurred"},
    ],
)
def test_the_encoder_is_the_first_half_of_the_generator(options: dict[str, Any]) -> None:
    G, x = resnet(**options), batch_of().a
    inside: list[Tensor] = []
    convolutions = [m for m in G.layers if isinstance(m, nn.Conv2d)]
    for module in convolutions[1:3]:  # behind the first one, before the residual blocks
        module.register_forward_hook(lambda m, given, out: inside.append(out))
    # What follows a residual block is what it gave, attention included where it comes before.
    blocks = [m for m in G.layers if type(m).__name__ == "ResidualBlock"]
    for k in (0, 2):
        blocks[k].register_forward_hook(lambda m, given, out: inside.append(out))
    with torch.no_grad():
        G(x)
        expected, count = [x, *inside], len(inside)
        found = encoder_features(G, x, (1, 3))
    # A blurred halving halves behind its convolution, whose output the reference compares too.
    first, second = (32, 16) if "downsample" in options else (16, 8)
    assert [tuple(f.shape[1:]) for f in found] == [
        (3, 32, 32), (8, first, first), (16, second, second), (16, 8, 8), (16, 8, 8),
    ]  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(inside) == 2 * count


def test_the_encoder_stops_behind_its_last_layer_and_takes_any_size() -> None:
    G = resnet()
    blocks = [m for m in G.layers if type(m).__name__ == "ResidualBlock"]
    ran: list[int] = []
    for k, block in enumerate(blocks, 1):
        block.register_forward_hook(lambda m, given, out, k=k: ran.append(k))
    encoder_features(G, batch_of().a, (1,))
    assert ran == [1]
    assert len(encoder_features(G, batch_of().a, ())) == 3 and ran == [1]
    assert encoder_features(G, torch.zeros(1, 3, 30, 21), ())[0].shape == (1, 3, 32, 24)


def test_heads_look_at_the_places_they_are_given() -> None:
    torch.manual_seed(0)
    heads = PatchHeads([3], 5)
    x = batch_of().a
    places = torch.tensor([[0, 33], [1023, 5]])
    (out,) = heads([x], [places])
    assert out.shape == (2, 2, 5)
    alone = heads.heads[0](x[0, :, 1, 1])  # place 33 of 32 a row
    assert torch.allclose(out[0, 1], alone, atol=1e-7)


def test_places_are_a_function_of_seed_step_and_picture() -> None:
    trainer = trainer_of()
    maps = [torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 3, 3)]
    trainer.augment.begin(4, [7, 9])
    first = trainer._places(maps)
    again = trainer._places(maps)
    assert [p.shape for p in first] == [(2, 16), (2, 9)]  # no more places than there are
    assert all(len(set(row.tolist())) == len(row) for p in first for row in p)
    assert not torch.equal(first[0], again[0])
    trainer.augment.begin(4, [9])
    assert torch.equal(trainer._places([m[:1] for m in maps])[0], first[0][1:])


def test_a_picture_and_itself_are_distinguished_from_the_rest() -> None:
    trainer, a = trainer_of(), batch_of().a
    with torch.no_grad():
        same, other = (float(trainer._nce(x, a)) for x in (a, batch_of(2).a))
    assert same < math.log(16) < other


def test_the_features_of_a_mirrored_picture_are_put_back() -> None:
    pixels = {"generator_options": {"width": 4, "blocks": 1, "downs": 0}, "nce_blocks": []}
    trainer, a = trainer_of(**pixels), batch_of().a
    mirrored = torch.tensor([True, False])[:, None, None, None]
    half = torch.stack([a[0].flip(2), a[1]])

    def loss(*given: Tensor) -> float:
        trainer.augment.begin(0, [0, 1])
        with torch.no_grad():
            return float(trainer._nce(*given))

    assert loss(half, a, mirrored) == loss(a, a) < loss(half, a)


def test_the_loss_is_that_of_the_paper_and_sources_take_no_gradient() -> None:
    trainer = trainer_of(nce_blocks=[])
    a, fake = batch_of().a, batch_of(2).a.requires_grad_()
    trainer.augment.begin(0, [0, 1])
    given = trainer._nce(fake, a)
    trainer.augment.begin(0, [0, 1])
    queries, keys = (encoder_features(trainer.G, x, ()) for x in (fake, a))
    places = trainer._places(queries)
    terms = []
    for head, q, k, at in zip(trainer.F.heads, queries, keys, places, strict=True):
        rows = [head(torch.stack([x.flatten(2)[n, :, at[n]].T for n in range(2)])) for x in (q, k)]
        terms.append(patch_nce_loss(rows[0], rows[1].detach(), 0.07))
    assert float(given.detach()) == pytest.approx(
        float(torch.stack(terms).mean().detach()), rel=1e-5
    )
    given.backward()
    assert fake.grad is not None and float(fake.grad.abs().sum()) > 0
    assert all(p.grad is not None for p in trainer.F.parameters())


def test_weights_and_terms_of_cut_and_fastcut() -> None:
    assert set(trainer_of().step(batch_of())) == {"G/gan", "G/nce", "G/identity", "D"}
    fast = trainer_of(identity_nce=False, flip_equivariance=True, lambda_nce=10.0)
    assert set(fast.step(batch_of())) == {"G/gan", "G/nce", "D"}
    alone = trainer_of(lambda_nce=0.0, lambda_tv=1.0)
    assert set(alone.step(batch_of())) == {"G/gan", "G/tv", "D"}
    one, both = (trainer_of(identity_nce=i).step(batch_of())["G/nce"] for i in (False, True))
    assert float(both) == pytest.approx(float(one) / 2, rel=1e-5)


def test_steps_lower_the_contrast_and_move_every_network() -> None:
    trainer = trainer_of(lambda_gan=0.1, lr=2e-3)
    before = {
        n: [p.clone() for p in net.parameters() if p.ndim > 1] for n, net in trainer.nets.items()
    }
    batch, rows = batch_of(), []
    for step in range(12):
        trainer.number = step
        trainer.augment.begin(step, batch.indices)
        rows.append(trainer.step(batch))
    assert not any(value.requires_grad for value in rows[0].values())
    assert float(rows[-1]["G/identity"]) < float(rows[0]["G/identity"])
    for name, net in trainer.nets.items():
        now = [p for p in net.parameters() if p.ndim > 1]
        assert all(not torch.equal(p, q) for p, q in zip(now, before[name], strict=True)), name


def test_columns_have_the_truth_where_it_is_known() -> None:
    trainer, batch = trainer_of(), batch_of()
    assert list(trainer.columns(batch)) == ["A", "A to B", "B"]
    paired = trainer.columns(UnpairedBatch(batch.a, batch.b, [0, 1], paired=True))
    assert torch.equal(paired["truth A to B"], batch.b)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"generator": "unet", "generator_options": {"depth": 3}}, "use generator=resnet"),
        ({"generator_options": {"in_channels": 1}}, "as many channels in A"),
        ({"nce_blocks": [1, 5]}, r"has 2 residual blocks; give `nce_blocks=\[1, 2\]`"),
        ({"gan": "wgan-gp"}, "penalty = gp"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        trainer_of(**settings)

"""CycleGAN against a plain implementation written from the paper, and its history of pictures."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from img2img.augment import Augment
from img2img.data import UnpairedBatch
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.methods import METHODS, CycleGAN, CycleGANConfig
from img2img.methods.image_pool import ImagePool
from img2img.nets import Generator
from img2img.training import resolve

SMALL = {
    "generator_options": {"width": 4, "blocks": 1},
    "discriminator_options": {"width": 4, "layers": 2},
}


def trainer_of(**settings: object) -> CycleGAN:
    torch.manual_seed(0)
    trainer = CycleGAN(CycleGANConfig.parse(SMALL | settings))
    trainer.augment = Augment(32, False, 0)
    return trainer


def batches(count: int, n: int = 1) -> list[UnpairedBatch]:
    source = torch.Generator().manual_seed(1)
    draw = [torch.rand(2, n, 3, 32, 32, generator=source) * 2 - 1 for _ in range(count)]
    return [UnpairedBatch(x[0], x[1], list(range(n))) for x in draw]


def test_the_defaults_are_the_references() -> None:
    c = CycleGANConfig()
    assert (c.generator, c.gan, c.lambda_a, c.lambda_b, c.pool_size) == (
        "resnet", "lsgan", 10, 10, 50,
    )  # fmt: skip
    assert c.lambda_identity * c.lambda_a == 5.0
    with torch.device("meta"):
        nets = CycleGAN(c).nets
    assert sum(p.numel() for net in nets.values() for p in net.parameters()) == 28_285_832


class PlainPool:
    """The reference's rule with the draws given from outside."""

    def __init__(self, size: int, draws: ImagePool):
        self.size, self.images, self.draws = size, [], draws

    def query(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        raise AssertionError("the test stays below the size of the pool")


def test_twenty_steps_agree_with_a_plain_implementation() -> None:
    trainer = trainer_of()
    for net in trainer.nets.values():
        net.double()  # Adam makes whole steps of the rounding noise of gradients that are zero
    G_A, G_B, D_A, D_B = (
        copy.deepcopy(net) for net in (trainer.G_ab, trainer.G_ba, trainer.D_b, trainer.D_a)
    )  # the reference's names: G_A maps A to B, D_A judges pictures of domain B
    g_adam = torch.optim.Adam(
        itertools.chain(G_A.parameters(), G_B.parameters()), lr=2e-4, betas=(0.5, 0.999)
    )
    d_adam = torch.optim.Adam(
        itertools.chain(D_A.parameters(), D_B.parameters()), lr=2e-4, betas=(0.5, 0.999)
    )
    mse, l1 = nn.MSELoss(), nn.L1Loss()

    def judged(D: nn.Module, x: torch.Tensor, real: bool) -> torch.Tensor:
        y = D(x)
        return mse(y, torch.ones_like(y) if real else torch.zeros_like(y))

    for number, batch in enumerate(batches(20)):
        batch = replace(batch, a=batch.a.double(), b=batch.b.double())
        trainer.number = number
        trainer.augment.begin(number, batch.indices)
        given = trainer.step(batch)

        a, b = batch.a, batch.b
        fake_b, fake_a = G_A(a), G_B(b)
        for D in (D_A, D_B):
            D.requires_grad_(False)
        g_adam.zero_grad()
        gan = judged(D_A, fake_b, True) + judged(D_B, fake_a, True)
        cycle = 10 * l1(G_B(fake_b), a) + 10 * l1(G_A(fake_a), b)
        identity = 5 * l1(G_A(b), b) + 5 * l1(G_B(a), a)
        (gan + cycle + identity).backward()
        g_adam.step()
        for D in (D_A, D_B):
            D.requires_grad_(True)
        d_adam.zero_grad()
        d_b = 0.5 * (judged(D_A, b, True) + judged(D_A, fake_b.detach(), False))
        d_b.backward()
        d_a = 0.5 * (judged(D_B, a, True) + judged(D_B, fake_a.detach(), False))
        d_a.backward()
        d_adam.step()

        expected = {"G/gan": gan, "G/cycle": cycle, "G/identity": identity, "D/a": d_a, "D/b": d_b}
        assert set(given) == set(expected)
        for name, value in expected.items():
            assert abs(given[name].item() - value.item()) < 1e-5, (number, name)
            assert not given[name].requires_grad
    for ours, plain in (
        (trainer.G_ab, G_A),
        (trainer.G_ba, G_B),
        (trainer.D_b, D_A),
        (trainer.D_a, D_B),
    ):
        for x, y in zip(ours.parameters(), plain.parameters(), strict=True):
            assert (x - y).abs().max() < 1e-5


def test_the_pool_fills_first_and_then_returns_old_ones_half_the_time() -> None:
    pool = ImagePool(5, seed=3)
    numbered = [torch.full((1, 1, 1, 1), float(k)) for k in range(405)]
    out = [pool(x).item() for x in numbered]
    assert out[:5] == [0, 1, 2, 3, 4]
    old = [k for k in range(5, 405) if out[k] != k]
    assert 160 < len(old) < 240
    assert all(out[k] < k for k in old)
    returned = [out[k] for k in old]
    assert len(set(returned)) == len(returned)  # a picture that was returned has left the pool
    assert len(pool.images) == 5


def test_the_pool_resumes_exactly_and_size_zero_is_no_pool() -> None:
    whole, first = ImagePool(4), ImagePool(4)
    xs = torch.arange(60.0).view(60, 1, 1, 1)
    expected = whole(xs)
    head = first(xs[:25])
    second = ImagePool(4)
    second.load_state_dict(copy.deepcopy(first.state_dict()), torch.device("cpu"))
    assert torch.equal(torch.cat([head, second(xs[25:])]), expected)
    x = torch.rand(2, 1, 3, 3, requires_grad=True)
    assert torch.equal(ImagePool(0)(x), x) and not ImagePool(0)(x).requires_grad


def test_the_two_sets_move_apart() -> None:
    trainer = trainer_of()
    trainer.augment = Augment(16, True, 0)
    seen: list[torch.Tensor] = []
    trainer.G_ab.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    trainer.G_ba.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    x = batches(1, 4)[0].a
    trainer.augment.begin(0, [0, 1, 2, 3])
    trainer.step(UnpairedBatch(x, x, [0, 1, 2, 3]))
    assert seen[0].shape == seen[1].shape == (4, 3, 16, 16)
    assert not torch.equal(seen[0], seen[1])


def test_columns_show_both_directions_and_figures_where_the_truth_is_known() -> None:
    trainer = trainer_of()
    batch = batches(1)[0]
    columns = trainer.columns(batch)
    assert list(columns) == ["A", "A to B", "A to B to A", "B", "B to A", "B to A to B"]
    paired = trainer.columns(UnpairedBatch(batch.a, batch.b, [0], paired=True))
    assert torch.equal(paired["truth A to B"], batch.b)


@pytest.mark.parametrize("generator", ["unet", "resnet"])
@pytest.mark.parametrize(
    "more",
    [{"gan": "hinge"}, {"gan": "wgan-gp", "penalty": "gp"}, {"gan": "vanilla", "penalty": "r1"},
     {"lambda_identity": 0}, {"discriminator": "multiscale", "discriminator_options": {"width": 4, "layers": 1, "scales": 2}},
     {"discriminator": "image", "discriminator_options": {"width": 4, "layers": 2}}],
)  # fmt: skip
def test_any_generator_objective_and_discriminator(generator: str, more: dict[str, object]) -> None:
    options = {"unet": {"width": 4, "depth": 3}, "resnet": {"width": 4, "blocks": 1}}[generator]
    wide = {"discriminator_options": {"width": 4}}
    trainer = trainer_of(generator=generator, generator_options=options, **(wide | more))
    trainer.augment = Augment(32, False, 0)
    batch = batches(1, 2)[0]
    trainer.augment.begin(0, batch.indices)
    assert all(v.isfinite() for v in trainer.step(batch).values())


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="penalty = gp"):
        trainer_of(gan="wgan-gp")
    with pytest.raises(ConfigError, match="lambda_identity=0"):
        trainer_of(generator_options={"width": 4, "blocks": 1, "in_channels": 1})


def vgg19() -> VGG19:
    """Of random weights: the steps below ask only whether the terms are there."""
    torch.manual_seed(5)
    return VGG19("relu4_1").eval()


def test_parts_serve_both_directions_and_survive_a_resume() -> None:
    more = {"lambda_content_ab": 1.0, "lambda_style_ba": 2.0, "lambda_statistics": 0.5}
    torch.manual_seed(0)
    config = CycleGANConfig.parse(SMALL | more)
    trainer = CycleGAN(config, vgg19())
    trainer.augment = Augment(32, False, 0)
    batch = batches(1, 2)[0]
    trainer.style_a = trainer.parts_ba.style_of([batch.a])
    trainer.style_b = trainer.parts_ab.style_of([batch.b])
    # B -> A alone has the Gram matrix of A; both have the statistics of the other side.
    assert (set(trainer.style_a), set(trainer.style_b)) == ({"gram", "statistics"}, {"statistics"})
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for parts in (trainer.parts_ab, trainer.parts_ba):
        plain = parts._style_terms

        def style_terms(maps, style, across, plain=plain):  # type: ignore[no-untyped-def]
            seen.append(style)
            return plain(maps, style, across)

        parts._style_terms = style_terms  # type: ignore[method-assign]
    trainer.augment.begin(0, batch.indices)
    losses = trainer.step(batch)
    assert {"G/content", "G/style", "G/statistics"} < set(losses)
    assert [id(style) for style in seen] == [id(trainer.style_b), id(trainer.style_a)]
    other = CycleGAN(config, trainer.parts_ab.features)
    other.load_state_dict(copy.deepcopy(trainer.state_dict()))
    assert torch.equal(other.style_a["gram"]["relu2_1"], trainer.style_a["gram"]["relu2_1"])
    # A state that an earlier version wrote has no style.
    other.load_state_dict({n: x for n, x in trainer.state_dict().items() if n.startswith("pool")})


def test_the_adversaries_are_weighted_by_direction() -> None:
    batch = batches(1)[0]

    def gan(ab: float, ba: float) -> float:
        trainer = trainer_of(lambda_gan_ab=ab, lambda_gan_ba=ba)
        trainer.augment.begin(0, batch.indices)
        return float(trainer.step(batch)["G/gan"])

    assert gan(0.5, 0.25) == pytest.approx(0.5 * gan(1, 0) + 0.25 * gan(0, 1), rel=1e-5)


def test_what_the_parts_cannot_look_at_is_refused() -> None:
    grey = {"lambda_style_ab": 1, "generator_options": {"in_channels": 1}, "lambda_identity": 0}
    with pytest.raises(ConfigError, match="lambda_style needs colour on both sides"):
        CycleGAN.check(CycleGANConfig.parse(grey))
    with pytest.raises(ConfigError, match="weights of vgg19 cannot be read"):
        CycleGAN.check(CycleGANConfig.parse({"lambda_content_ba": 1, "vgg19": "/no/file"}))


def test_the_laptop_preset_starts_from_a_model_of_stylize() -> None:
    def generator(method: str, **own: Any) -> Generator:
        values = {"method": method, "data": "d", "out": "o", "settings": own}
        kind, settings = METHODS[method], resolve(values, "laptop").settings
        with torch.device("meta"):
            built = kind(kind.Config.parse(settings), VGG19("relu4_1"))  # type: ignore[call-arg]
        return next(iter(built.generators.values()))

    mine = generator("cyclegan")
    style = generator("stylize", generator_options={"width": 20})
    assert mine.state_dict().keys() == style.state_dict().keys()
    shapes = [{n: x.shape for n, x in net.state_dict().items()} for net in (mine, style)]
    assert shapes[0] == shapes[1] and mine.norm_statistics == style.norm_statistics

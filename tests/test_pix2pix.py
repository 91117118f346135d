"""One step of Pix2Pix against a plain implementation written from the paper."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from img2img.augment import Augment
from img2img.data import PairedBatch
from img2img.errors import ConfigError, Diverged
from img2img.losses import focal_frequency_loss, total_variation_loss
from img2img.methods import METHODS, Pix2Pix, Pix2PixConfig

SMALL = {
    "generator_options": {"width": 4, "depth": 4},
    "discriminator_options": {"width": 4, "layers": 2},
}


def trainer_of(**settings: object) -> Pix2Pix:
    torch.manual_seed(0)
    trainer = Pix2Pix(Pix2PixConfig.parse(SMALL | settings))
    trainer.augment = Augment(32, False, 0)
    return trainer


def batches(count: int, side: int = 32) -> list[PairedBatch]:
    source = torch.Generator().manual_seed(1)
    draw = [torch.rand(2, 2, 3, side, side, generator=source) * 2 - 1 for _ in range(count)]
    return [PairedBatch(x[0], x[1], [0, 1]) for x in draw]


def test_the_defaults_are_the_references() -> None:
    c = Pix2PixConfig()
    assert (c.generator, c.gan, c.lambda_l1, c.lr, c.beta1, c.beta2) == (
        "unet", "vanilla", 100, 2e-4, 0.5, 0.999,
    )  # fmt: skip
    with torch.device("meta"):
        nets = Pix2Pix(c).nets
    total = sum(p.numel() for net in nets.values() for p in net.parameters())
    assert total == 57_182_660


@pytest.mark.parametrize("gan", ["vanilla", "lsgan"])
def test_twenty_steps_agree_with_a_plain_implementation(gan: str) -> None:
    trainer = trainer_of(gan=gan)
    G, D = copy.deepcopy(trainer.G), copy.deepcopy(trainer.D)
    g_adam = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_adam = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss() if gan == "vanilla" else nn.MSELoss()
    for number, batch in enumerate(batches(20)):
        torch.manual_seed(number)  # dropout
        trainer.augment.begin(number, batch.indices)
        given = trainer.step(batch)

        torch.manual_seed(number)
        a, b = batch.a, batch.b
        fake = G(a)
        for p in D.parameters():
            p.requires_grad = True
        d_adam.zero_grad()
        on_real = D(torch.cat((a, b), 1))
        on_fake = D(torch.cat((a, fake.detach()), 1))
        d_loss = (
            criterion(on_fake, torch.zeros_like(on_fake))
            + criterion(on_real, torch.ones_like(on_real))
        ) * 0.5
        d_loss.backward()
        d_adam.step()
        for p in D.parameters():
            p.requires_grad = False
        g_adam.zero_grad()
        judged = D(torch.cat((a, fake), 1))
        gan_loss, l1 = criterion(judged, torch.ones_like(judged)), nn.L1Loss()(fake, b)
        (gan_loss + 100 * l1).backward()
        g_adam.step()

        for name, expected in (("D", d_loss), ("G/gan", gan_loss), ("G/l1", l1)):
            assert abs(given[name].item() - expected.item()) < 1e-5, (number, name)
            assert not given[name].requires_grad
    for ours, plain in ((trainer.G, G), (trainer.D, D)):
        for x, y in zip(ours.parameters(), plain.parameters(), strict=True):
            assert (x - y).abs().max() < 1e-5


def test_without_the_gan_term_d_learns_nothing() -> None:
    trainer = trainer_of(lambda_gan=0)
    before = copy.deepcopy(trainer.D.state_dict())
    batch = batches(1)[0]
    trainer.augment.begin(0, batch.indices)
    assert list(trainer.step(batch)) == ["G/l1"]
    assert all(torch.equal(v, before[n]) for n, v in trainer.D.state_dict().items())


def test_the_pair_moves_together() -> None:
    trainer = trainer_of(lambda_gan=0)
    trainer.augment = Augment(16, True, 0)
    seen: list[torch.Tensor] = []
    trainer.G.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    x = batches(1)[0].a
    trainer.augment.begin(3, [4, 5])
    loss = trainer.step(PairedBatch(x, x, [4, 5]))["G/l1"]
    with torch.no_grad():
        torch.manual_seed(0)
    assert seen[0].shape[-1] == 16 and loss.isfinite()
    trainer.augment.begin(3, [4, 5])
    assert torch.equal(trainer.augment(x)[0], seen[0])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_step_is_not_taken(where: str) -> None:
    trainer = trainer_of()
    before = copy.deepcopy(trainer.G.state_dict())
    x = next(iter(trainer.G.parameters()))
    loss = x.sum() * float("nan") if where == "loss" else (x - x.detach()).clamp(min=0).sqrt().sum()
    with pytest.raises(Diverged, match=f"the {where} of G"):
        trainer.descend("G", loss)
    assert all(torch.equal(v, before[n]) for n, v in trainer.G.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_every_trainer_keeps_the_contract(method: str) -> None:
    facts = SimpleNamespace(domains=("x", "y"), one_hot=True)
    trainer = METHODS[method].build(METHODS[method].Config(), facts, 128)
    assert set(trainer.directions) == set(trainer.generators)
    assert trainer.name == method
    assert trainer.optimizers and trainer.nets
    assert trainer.generators and all(
        any(g is net for net in trainer.nets.values()) for g in trainer.generators.values()
    )
    name = next(iter(METHODS[method].Config.model_fields))
    with pytest.raises(ConfigError, match=f"unknown setting '{name}e'. Did you mean '{name}'"):
        METHODS[method].Config.parse({f"{name}e": 3})


@pytest.mark.parametrize("generator", ["unet", "resnet"])
def test_any_generator_and_other_channels(generator: str) -> None:
    options = {"unet": {"width": 4, "depth": 3}, "resnet": {"width": 4, "blocks": 1}}[generator]
    trainer = trainer_of(generator=generator, generator_options=options)
    batch = batches(1)[0]
    trainer.augment.begin(0, batch.indices)
    assert all(v.isfinite() for v in trainer.step(batch).values())
    assert set(trainer.columns(batch)) == {"input", "output", "truth output"}


def test_terms_join_the_l1_distance_and_the_discriminator_comes_in_later() -> None:
    settings = {"lambda_tv": 2.0, "lambda_frequency": 3.0, "pretrain_steps": 2}
    net = {"generator_options": {"width": 4, "depth": 3, "norm": "instance", "dropout": False}}
    judge = {"discriminator_options": {"width": 4, "layers": 2, "norm": "instance"}}
    torch.manual_seed(0)
    trainer = Pix2Pix(Pix2PixConfig.parse(net | judge | settings))
    trainer.augment = Augment(32, False, 0)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    batch = PairedBatch(x, x.flip(1), [0, 1])
    before = [p.clone() for p in trainer.D.parameters()]
    for number in range(3):
        trainer.number = number
        trainer.augment.begin(number, batch.indices)
        with torch.no_grad():
            fake = trainer.G(batch.a)
        losses = trainer.step(batch)
        assert losses["G/tv"] == pytest.approx(2 * float(total_variation_loss(fake)), rel=1e-4)
        expected = 3 * float(focal_frequency_loss(fake, batch.b))
        assert losses["G/frequency"] == pytest.approx(expected, rel=1e-4)
        waits = number < 2
        assert ("D" in losses, "G/gan" in losses) == (not waits, not waits)
        moved = any((a != b).any() for a, b in zip(before, trainer.D.parameters(), strict=True))
        assert moved is not waits


def test_style_terms_are_refused_without_a_style() -> None:
    with pytest.raises(ConfigError, match="use lambda_perceptual"):
        Pix2Pix.check(Pix2PixConfig.parse({"lambda_sliced": 1.0}))

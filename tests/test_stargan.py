"""StarGAN against a plain implementation written from the paper."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from img2img.augment import Augment
from img2img.data import LabelledBatch
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.losses import (
    focal_frequency_loss,
    low_frequency_colour_loss,
    low_frequency_light_loss,
    total_variation_loss,
)
from img2img.methods import StarGAN, StarGANConfig

NAMES = ("Dark", "Fair", "Glasses")
SMALL = {
    "generator_options": {"width": 4, "blocks": 1},
    "discriminator_options": {"width": 4, "layers": 4},
}


def trainer_of(one_hot: bool = False, **settings: object) -> StarGAN:
    torch.manual_seed(0)
    trainer = StarGAN(StarGANConfig.parse(SMALL | settings), NAMES, 32, one_hot)
    trainer.augment = Augment(32, False, 0)
    return trainer


def batches(count: int, n: int = 3, one_hot: bool = False) -> list[LabelledBatch]:
    source = torch.Generator().manual_seed(1)
    out = []
    for _ in range(count):
        x = torch.rand(n, 3, 32, 32, generator=source) * 2 - 1
        label = (torch.rand(n, 3, generator=source) < 0.5).float()
        if one_hot:
            label = torch.eye(3)[torch.randint(3, (n,), generator=source)]
        out.append(LabelledBatch(x, label, label.roll(1, 0), list(range(n))))
    return out


def test_the_defaults_are_the_papers() -> None:
    c = StarGANConfig()
    assert (c.gan, c.penalty, c.lambda_penalty, c.lambda_class, c.lambda_reconstruction) == (
        "wgan-gp", "gp", 10, 1, 10,
    )  # fmt: skip
    assert (c.n_critic, c.lr, c.beta1, c.beta2) == (5, 1e-4, 0.5, 0.999)
    with torch.device("meta"):
        nets = StarGAN(c, ["a", "b", "c", "d", "e"], 128, False).nets
    count = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert count == {"G": 8_430_528, "D": 44_762_048}
    assert StarGAN.defaults == {
        "steps": 200_000, "batch_size": 16, "load_size": 128, "crop_size": 128,
    }  # fmt: skip


@pytest.mark.parametrize("one_hot", [False, True])
def test_twenty_steps_agree_with_a_plain_implementation(one_hot: bool) -> None:
    trainer = trainer_of(one_hot)
    for net in trainer.nets.values():
        net.double()  # Adam makes whole steps of the rounding noise of gradients that are zero
    G, D = copy.deepcopy(trainer.G), copy.deepcopy(trainer.D)
    g_adam = torch.optim.Adam(G.parameters(), lr=1e-4, betas=(0.5, 0.999))
    d_adam = torch.optim.Adam(D.parameters(), lr=1e-4, betas=(0.5, 0.999))

    def named(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if one_hot:
            return nn.CrossEntropyLoss()(logits, label.argmax(1))
        return F.binary_cross_entropy_with_logits(logits, label, reduction="sum") / len(label)

    for number, batch in enumerate(batches(20, one_hot=one_hot)):
        batch = replace(
            batch, x=batch.x.double(), label=batch.label.double(), target=batch.target.double()
        )
        trainer.number = number
        trainer.augment.begin(number, batch.indices)
        given = trainer.step(batch)

        x, label, target = batch.x, batch.label, batch.target
        src, cls = D(x)
        fake = G(x, target).detach()
        trainer.augment.begin(number, batch.indices)
        trainer.augment(x)
        alpha = trainer.augment.uniform(x).view(-1, 1, 1, 1)
        between = (alpha * x + (1 - alpha) * fake).requires_grad_(True)
        answer = D(between)[0]
        (slope,) = torch.autograd.grad(
            answer, between, torch.ones_like(answer), create_graph=True, retain_graph=True
        )
        norm = slope.reshape(len(x), -1).pow(2).sum(1).sqrt()
        penalty = ((norm - 1) ** 2).mean()
        d_gan = -src.mean() + D(fake)[0].mean() + 10 * penalty
        d_class = named(cls, label)
        d_adam.zero_grad()
        (d_gan + d_class).backward()
        d_adam.step()
        expected = {"D/gan": d_gan, "D/class": d_class}
        if (number + 1) % 5 == 0:
            fake = G(x, target)
            src, cls = D(fake)
            g_gan, g_class = -src.mean(), named(cls, target)
            back = (x - G(fake, label)).abs().mean()
            g_adam.zero_grad()
            (g_gan + 10 * back + g_class).backward()
            g_adam.step()
            expected |= {"G/gan": g_gan, "G/class": g_class, "G/reconstruction": back}
        assert set(given) == set(expected)
        for name, value in expected.items():
            assert abs(given[name].item() - value.item()) < 1e-5, (number, name)
    for ours, plain in ((trainer.G, G), (trainer.D, D)):
        for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
            assert (a - b).abs().max() < 1e-5


def test_edits_follow_the_table_of_the_reference() -> None:
    trainer = trainer_of(exclusive=(("Dark", "Fair"),))
    label = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    assert trainer.edit(label, 1).tolist() == [[0, 1, 0], [0, 1, 1]]
    assert trainer.edit(label, 0).tolist() == [[1, 0, 0], [1, 0, 1]]
    assert trainer.edit(label, 2).tolist() == [[1, 0, 1], [0, 0, 0]]
    assert label.tolist() == [[1, 0, 0], [0, 0, 1]]
    folders = trainer_of(one_hot=True)
    assert folders.edit(torch.tensor([[1.0, 0, 0]]), 2).tolist() == [[0, 0, 1]]


def test_unknown_exclusive_names_are_answered_with_the_known() -> None:
    with pytest.raises(ConfigError, match=r"no domain 'Drak'. Did you mean 'Dark'"):
        trainer_of(exclusive=(("Drak", "Fair"),))


def test_columns_hold_every_domain() -> None:
    columns = trainer_of().columns(batches(1)[0])
    assert list(columns) == ["input", *NAMES]
    assert all(x.shape == (3, 3, 32, 32) for x in columns.values())


@pytest.mark.parametrize(
    "more",
    [
        {"generator": "unet", "generator_options": {"width": 4, "depth": 3}},
        {"gan": "hinge", "penalty": "none"},
        {"gan": "vanilla", "penalty": "r1"},
        {"gan": "lsgan", "penalty": "zero-centred"},
    ],
)
def test_either_generator_and_other_objectives(more: dict[str, object]) -> None:
    trainer = trainer_of(**more)
    trainer.number = 4
    batch = batches(1)[0]
    trainer.augment.begin(4, batch.indices)
    losses = trainer.step(batch)
    assert "G/gan" in losses and all(v.isfinite() for v in losses.values())


MASKED: dict[str, object] = {
    "relative": True,
    "generator_options": {"width": 4, "blocks": 1, "output": "mask"},
    "exclusive": (("Dark", "Fair"),),
    "n_critic": 1,
}


def test_a_relative_request_names_only_what_changes() -> None:
    trainer = trainer_of(**MASKED)
    label = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]])
    target = torch.tensor([[0.0, 1, 1], [0, 1, 0], [0, 1, 1]])
    assert trainer.request(label, target).tolist() == [[0, 1, 1], [0, 0, -1], [0, 0, 0]]
    assert trainer_of().request(label, target) is target


def test_what_stays_and_what_the_mask_opens_cost_as_they_are_weighted() -> None:
    trainer = trainer_of(**MASKED, lambda_identity=10, lambda_mask=4, mask_from=10, mask_until=20)
    x = torch.zeros(4, 3, 8, 8)
    fake = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None, None].expand_as(x)
    kept, mask = torch.tensor([1.0, 0, 1, 0]), torch.full((4, 1, 8, 8), 0.5)
    for number, share in ((0, 0.0), (10, 0.0), (15, 0.5), (20, 1.0), (99, 1.0)):
        trainer.number = number
        losses = trainer._restraint(x, fake, mask, kept)
        assert losses["G/identity"].item() == pytest.approx(10 * 0.2)
        assert losses["G/mask"].item() == pytest.approx(4 * 0.5 * share)


def test_the_share_that_stays_is_given_its_own_labels() -> None:
    trainer = trainer_of(**MASKED, lambda_identity=10, identity_share=0.5)
    (batch,) = batches(1, 64)
    trainer.augment.begin(0, batch.indices)
    label, target, kept = trainer._asked(batch.x, batch)
    assert kept is not None and 0.3 < kept.mean() < 0.7
    assert torch.equal(target[kept > 0], label[kept > 0])
    assert torch.equal(target[kept == 0], batch.target[kept == 0])
    trainer.augment.begin(0, batch.indices)
    assert {"G/identity"} <= set(trainer.step(batch))


def test_a_discriminator_with_a_global_head_judges_patches_and_pictures() -> None:
    trainer = trainer_of(discriminator_options={"width": 4, "layers": 3, "global_head": True})
    (batch,) = batches(1)
    patches, whole = trainer.D(batch.x)[0]
    assert patches.shape == (3, 1, 4, 4) and whole.shape == (3, 1)
    trainer.augment.begin(0, batch.indices)
    trainer.number = 4
    before = [p.clone() for p in trainer.D.whole.parameters()]
    losses = trainer.step(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert any((a != b).any() for a, b in zip(before, trainer.D.whole.parameters(), strict=True))


def test_restraints_without_their_means_are_refused() -> None:
    with pytest.raises(ConfigError, match="relative=true"):
        StarGANConfig.parse({"lambda_identity": 10})
    with pytest.raises(ConfigError, match=r"generator\.output=mask"):
        StarGANConfig.parse({"lambda_mask": 1})


PARTS = {"lambda_tv": 2.0, "lambda_frequency": 3.0, "lambda_colour": 4.0, "lambda_light": 5.0}


def test_terms_by_weight_compare_an_output_with_its_source() -> None:
    trainer, plain = trainer_of(n_critic=1, **PARTS), trainer_of(n_critic=1)
    (batch,) = batches(1)
    seen: list[torch.Tensor] = []
    trainer.G.register_forward_hook(lambda m, given, out: seen.append(out.detach()))
    for one in (trainer, plain):
        one.augment.begin(0, batch.indices)
    losses, without = trainer.step(batch), plain.step(batch)
    fake, x = seen[0], batch.x
    expected = {
        "G/tv": 2 * total_variation_loss(fake),
        "G/frequency": 3 * focal_frequency_loss(fake, x),
        "G/colour": 4 * low_frequency_colour_loss(fake, x, 16),
        "G/light": 5 * low_frequency_light_loss(fake, x, 16),
    }
    assert losses.keys() - without.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5), name
        assert value > 0
    moved = zip(trainer.G.parameters(), plain.G.parameters(), strict=True)
    assert any((a != b).any() for a, b in moved), "the terms have a gradient"


def test_features_of_the_source_may_be_kept() -> None:
    torch.manual_seed(0)
    c = StarGANConfig.parse(SMALL | {"lambda_perceptual": 1.0, "perceptual_layers": ["relu1_2"]})
    trainer = StarGAN(c, NAMES, 32, False, VGG19("relu1_2").eval())
    trainer.augment = Augment(32, False, 0)
    assert set(trainer.frozen_nets) == {"vgg19"} and "vgg19" not in trainer.nets
    (batch,) = batches(1)
    trainer.number = 4
    trainer.augment.begin(4, batch.indices)
    assert trainer.step(batch)["G/perceptual"] > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lambda_sliced": 1}, "set lambda_sliced=0, or use lambda_perceptual"),
        ({"lambda_statistics": 1}, "this method has none: set lambda_statistics=0"),
        ({"lambda_colour": 1, "generator_options": {"in_channels": 1, "out_channels": 1}},
         "lambda_colour needs colour on both sides"),
        ({"lambda_perceptual": 1, "vgg19": "/no/file"}, "cannot be read"),
    ],
)  # fmt: skip
def test_terms_without_meaning_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        StarGAN.check(StarGANConfig.parse(settings))

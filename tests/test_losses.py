"""Objectives against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from img2img.losses import (
    discriminator_loss,
    generator_loss,
    l1_loss,
    lsgan_generator,
    lsgan_real_fake,
    vanilla_generator,
    vanilla_real_fake,
)

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_vanilla() -> None:
    expected = (softplus(-2) + softplus(1)) / 2 + (softplus(0.5) + softplus(-3)) / 2
    assert math.isclose(vanilla_real_fake(REAL, FAKE).item(), expected, rel_tol=1e-6)
    expected = (softplus(-0.5) + softplus(3)) / 2
    assert math.isclose(vanilla_generator(FAKE).item(), expected, rel_tol=1e-6)


def test_lsgan() -> None:
    assert math.isclose(lsgan_real_fake(REAL, FAKE).item(), (1 + 4) / 2 + (0.25 + 9) / 2)
    assert math.isclose(lsgan_generator(FAKE).item(), (0.25 + 16) / 2)


def test_l1_is_a_mean_in_float32() -> None:
    x = torch.tensor([1.0, -1.0, 0.5], dtype=torch.bfloat16)
    assert l1_loss(x, torch.zeros(3)).dtype == torch.float32
    assert math.isclose(l1_loss(x, torch.zeros(3)).item(), 2.5 / 3, rel_tol=1e-6)


@pytest.mark.parametrize("gan", ["vanilla", "lsgan"])
def test_the_discriminator_loss_is_halved_and_reaches_d_alone(gan: str) -> None:
    D = nn.Conv2d(1, 1, 1)
    real = torch.rand(1, 1, 4, 4)
    fake = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = discriminator_loss(D, real, fake, gan)  # type: ignore[arg-type]
    full = {"vanilla": vanilla_real_fake, "lsgan": lsgan_real_fake}[gan](D(real), D(fake))
    assert math.isclose(loss.item(), full.item() / 2, rel_tol=1e-6)
    loss.backward()
    assert fake.grad is None and D.weight.grad is not None
    generator_loss(D, fake, gan).backward()  # type: ignore[arg-type]
    assert fake.grad is not None

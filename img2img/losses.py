"""GAN objectives: pure functions, tensors in, scalar out. Logits of any shape; means over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Gan = Literal["vanilla", "lsgan"]


def vanilla_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real) - log(1 - s(fake)) with s the sigmoid (arXiv 1406.2661, eq. 1)."""
    return F.binary_cross_entropy_with_logits(
        real, torch.ones_like(real)
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def vanilla_generator(fake: Tensor) -> Tensor:
    """-log s(fake), the non-saturating form (arXiv 1406.2661, sec. 3)."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def lsgan_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """(real - 1)^2 + fake^2 (arXiv 1611.04076, eq. 9, without its 1/2)."""
    return ((real - 1) ** 2).mean() + (fake**2).mean()


def lsgan_generator(fake: Tensor) -> Tensor:
    """(fake - 1)^2 (arXiv 1611.04076, eq. 9, without its 1/2)."""
    return ((fake - 1) ** 2).mean()


_OBJECTIVES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "vanilla": (vanilla_real_fake, vanilla_generator),
    "lsgan": (lsgan_real_fake, lsgan_generator),
}


def discriminator_loss(D: nn.Module, real: Tensor, fake: Tensor, gan: Gan) -> Tensor:
    """Half the sum of the real and the fake term, as the pix2pix paper slows D (arXiv 1611.07004,
    sec. 3.3). `fake` is detached here. Computed in float32."""
    return 0.5 * _OBJECTIVES[gan][0](D(real).float(), D(fake.detach()).float())


def generator_loss(D: nn.Module, fake: Tensor, gan: Gan) -> Tensor:
    """What G minimises so that D takes `fake` for real. Computed in float32."""
    return _OBJECTIVES[gan][1](D(fake).float())


def l1_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference, in the pictures' units (range 2), in float32."""
    return (x.float() - y.float()).abs().mean()

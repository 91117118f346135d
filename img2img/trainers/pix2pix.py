"""Pix2Pix, arXiv 1611.07004: paired pictures, a conditional PatchGAN and L1."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, cat

from img2img.data import PairedBatch, PairedData
from img2img.losses import Gan, discriminator_loss, generator_loss, l1_loss
from img2img.nets import build_discriminator, build_generator
from img2img.nets.blocks import NormStatistics
from img2img.settings import Settings
from img2img.trainers.base import Trainer, evaluating, frozen


class Pix2PixConfig(Settings):
    """Defaults are those of the PyTorch reference: U-Net of depth 8, 70x70 PatchGAN with batch
    norm, non-saturating BCE, L1 weight 100, Adam(0.5, 0.999) at 2e-4.

    `lambda_gan = 0` trains the plain L1 baseline without a discriminator step.
    """

    generator: str = "unet"
    generator_options: dict[str, Any] = Field(default_factory=dict)
    discriminator: str = "patch"
    discriminator_options: dict[str, Any] = Field(default_factory=dict)
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    norm_statistics: NormStatistics = "batch"
    gan: Gan = "vanilla"
    lambda_gan: float = Field(1.0, ge=0)
    lambda_l1: float = Field(100.0, ge=0)
    lr: float = Field(2e-4, gt=0)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)


class Pix2PixTrainer(Trainer):
    """G: a -> b. D judges (a, b) against (a, G(a))."""

    name = "pix2pix"
    Config = Pix2PixConfig
    Data = PairedData

    def __init__(self, config: Pix2PixConfig):
        self.config = config
        self.G = build_generator(config.generator, config.generator_options)
        options = {"condition_channels": self.G.in_channels, "in_channels": self.G.out_channels}
        self.G.use_norm_statistics(config.norm_statistics)
        self.D = build_discriminator(config.discriminator, options | config.discriminator_options)
        self.nets = {"G": self.G, "D": self.D}
        betas = (config.beta1, config.beta2)
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), lr=config.lr, betas=betas, fused=True)
            for name, net in self.nets.items()
        }
        self.generators = {"model": self.G}

    def step(self, batch: PairedBatch) -> dict[str, Tensor]:
        a, b = self.augment(batch.a, batch.b)
        fake = self.G(a)
        l1 = l1_loss(fake, b)
        if self.config.lambda_gan == 0:
            self.descend("G", self.config.lambda_l1 * l1)
            return {"G/l1": l1.detach()}
        d = discriminator_loss(self.D, cat([a, b], 1), cat([a, fake], 1), self.config.gan)
        self.descend("D", d)
        with frozen(self.D):
            gan = generator_loss(self.D, cat([a, fake], 1), self.config.gan)
            self.descend("G", self.config.lambda_gan * gan + self.config.lambda_l1 * l1)
        return {"D": d.detach(), "G/gan": gan.detach(), "G/l1": l1.detach()}

    def columns(self, batch: PairedBatch) -> dict[str, Tensor]:
        with evaluating(self.G):
            return {"input": batch.a, "output": self.G(batch.a), "truth": batch.b}

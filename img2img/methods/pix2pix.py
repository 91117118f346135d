"""Pix2Pix, arXiv 1611.07004: paired pictures, a conditional PatchGAN and L1."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, cat

from img2img.data import PairedBatch, PairedData
from img2img.losses import feature_matching_loss, generator_loss, l1_loss
from img2img.methods.base import (
    GanSettings,
    Method,
    adam,
    adversary_loss,
    check_adversary,
    clip_critic,
    evaluating,
    frozen,
    undecided,
)
from img2img.nets import build_discriminator, build_generator
from img2img.nets.blocks import NormStatistics


class Pix2PixConfig(GanSettings):
    """Defaults are those of the PyTorch reference: U-Net of depth 8, 70x70 PatchGAN with batch
    norm, non-saturating BCE, L1 weight 100, Adam(0.5, 0.999) at 2e-4.

    `lambda_gan = 0` trains the plain L1 baseline without a discriminator step.
    `lambda_features` weights feature matching (arXiv 1711.11585; its 10 is 40 here, where the
    layers are averaged).
    """

    direction: Literal["AtoB", "BtoA"] = Field("AtoB", description="which side is the input")
    norm_statistics: NormStatistics = Field(
        "batch", description="whether a trained batch norm uses the picture's own statistics"
    )
    lambda_gan: float = Field(1.0, ge=0, description="weight of the adversarial loss; 0: L1 only")
    lambda_l1: float = Field(100.0, ge=0, description="weight of the L1 distance to the truth")
    lambda_features: float = Field(0.0, ge=0, description="weight of feature matching")


class Pix2Pix(Method[Pix2PixConfig, PairedData, PairedBatch]):
    """G: a -> b. D judges (a, b) against (a, G(a))."""

    name = "pix2pix"
    Config = Pix2PixConfig
    Data = PairedData
    compared: ClassVar[dict[str, str]] = {"output": "truth output"}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "pix2pix-256": {"load_size": 286, "crop_size": 256},
        "tiny": {
            "settings": {
                "generator_options": {"width": 16, "depth": 5, "norm": "instance"},
                "discriminator_options": {"width": 16, "norm": "instance"},
            }
        },
    }

    def __init__(self, config: Pix2PixConfig):
        super().__init__()
        self.config = c = config
        self.G = build_generator(c.generator, c.generator_options)
        self.G.use_norm_statistics(c.norm_statistics)
        options = {"condition_channels": self.G.in_channels, "in_channels": self.G.out_channels}
        self.D = build_discriminator(c.discriminator, options | c.discriminator_options)
        check_adversary(c, self.D)
        self.nets = {"G": self.G, "D": self.D}
        self.discriminators = {"D": self.D}
        self.undecided = undecided(c.gan)
        self.optimizers = {
            name: adam([net], c.lr, c.beta1, c.beta2) for name, net in self.nets.items()
        }
        self.generators = {"model": self.G}
        self.directions = {"model": "A -> B" if c.direction == "AtoB" else "B -> A"}

    @classmethod
    def swaps_sides(cls, config: Pix2PixConfig) -> bool:
        return config.direction == "BtoA"

    @classmethod
    def build(cls, config: Pix2PixConfig, data: PairedData, size: int) -> Self:
        return cls(config)

    def step(self, batch: PairedBatch) -> dict[str, Tensor]:
        c = self.config
        a, b = self.augment(batch.a, batch.b)
        fake = self.G(a)
        l1 = l1_loss(fake, b)
        if c.lambda_gan == 0:
            self.descend("G", c.lambda_l1 * l1)
            return {"G/l1": l1.detach()}
        real, made = self._seen(a, b), self._seen(a, fake.detach())
        d = adversary_loss(self.D, real, made, c, self.augment.uniform(a), self.observe_real)
        self.descend("D", d)
        clip_critic(self.D, c)
        with frozen(self.D):
            seen = self._seen(a, fake)
            losses = {"G/gan": generator_loss(self.D, seen, c.gan), "G/l1": l1}
            total = c.lambda_gan * losses["G/gan"] + c.lambda_l1 * l1
            if c.lambda_features:
                # Without the last of each scale: these are the logits, judged above.
                wanted, given = ([scale[:-1] for scale in self.D.features(x)] for x in (real, seen))
                losses["G/features"] = feature_matching_loss(wanted, given)
                total = total + c.lambda_features * losses["G/features"]
            self.descend("G", total)
        return {"D": d.detach()} | {name: loss.detach() for name, loss in losses.items()}

    def _seen(self, a: Tensor, b: Tensor) -> Tensor:
        return self.view(cat([a, b], 1), a.shape[1])

    def columns(self, batch: PairedBatch) -> dict[str, Tensor]:
        with evaluating(self.G):
            return {"input": batch.a, "output": self.G(batch.a), "truth output": batch.b}

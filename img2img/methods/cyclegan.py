"""CycleGAN, arXiv 1703.10593: two unpaired image sets, two generators that invert each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field
from torch import Tensor

from img2img.data import UnpairedBatch, UnpairedData
from img2img.errors import ConfigError
from img2img.losses import Gan, generator_loss, l1_loss
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
from img2img.methods.image_pool import ImagePool
from img2img.nets import build_discriminator, build_generator
from img2img.nets.blocks import NormStatistics


class CycleGANConfig(GanSettings):
    """Defaults are those of the PyTorch reference: ResNet-9, 70x70 PatchGAN, both with instance
    norm, least squares, cycle weights 10, identity weight 0.5 * 10, a pool of 50 pictures.

    `lambda_identity` is relative to `lambda_a` and `lambda_b`, as in the reference.
    """

    generator: str = "resnet"
    norm_statistics: NormStatistics = Field(
        "batch", description="whether a trained batch norm uses the picture's own statistics"
    )
    gan: Gan = "lsgan"
    lambda_a: float = Field(10.0, ge=0, description="weight of the cycle A -> B -> A")
    lambda_b: float = Field(10.0, ge=0, description="weight of the cycle B -> A -> B")
    lambda_identity: float = Field(
        0.5, ge=0, description="weight of the identity loss, relative to lambda_a and lambda_b"
    )
    pool_size: int = Field(50, ge=0, description="earlier outputs shown to the discriminators")


class CycleGAN(Method[CycleGANConfig, UnpairedData, UnpairedBatch]):
    """G_ab: A -> B, G_ba: B -> A. D_a judges pictures of domain A, D_b those of domain B."""

    name = "cyclegan"
    Config = CycleGANConfig
    Data = UnpairedData
    compared: ClassVar[dict[str, str]] = {"A to B": "B", "B to A": "A"}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cyclegan-256": {"load_size": 286, "crop_size": 256},
        "tiny": {
            "settings": {
                "generator_options": {"width": 12, "blocks": 3},
                "discriminator_options": {"width": 16},
            }
        },
    }

    def __init__(self, config: CycleGANConfig):
        super().__init__()
        self.config = c = config
        norm = {"norm": "instance"}
        dropout = {"dropout": False}
        options = norm | dropout | c.generator_options
        back = options | {
            "in_channels": options.get("out_channels", 3),
            "out_channels": options.get("in_channels", 3),
        }
        self.G_ab = build_generator(c.generator, options)
        self.G_ba = build_generator(c.generator, back)
        for G in (self.G_ab, self.G_ba):
            G.use_norm_statistics(c.norm_statistics)
        if c.lambda_identity and self.G_ab.in_channels != self.G_ab.out_channels:
            raise ConfigError(
                "the identity loss needs as many channels in A as in B; use lambda_identity=0"
            )
        self.D_a, self.D_b = (
            build_discriminator(
                c.discriminator, norm | {"in_channels": channels} | c.discriminator_options
            )
            for channels in (self.G_ab.in_channels, self.G_ab.out_channels)
        )
        check_adversary(c, self.D_a)
        self.nets = {"G_ab": self.G_ab, "G_ba": self.G_ba, "D_a": self.D_a, "D_b": self.D_b}
        self.discriminators = {"D_a": self.D_a, "D_b": self.D_b}
        self.undecided = undecided(c.gan)
        self.optimizers = {
            "G": adam([self.G_ab, self.G_ba], c.lr, c.beta1, c.beta2),
            "D": adam([self.D_a, self.D_b], c.lr, c.beta1, c.beta2),
        }
        self.generators = {"AtoB": self.G_ab, "BtoA": self.G_ba}
        self.directions = {"AtoB": "A -> B", "BtoA": "B -> A"}
        self.pool_a, self.pool_b = ImagePool(c.pool_size, 0), ImagePool(c.pool_size, 1)

    @classmethod
    def build(cls, config: CycleGANConfig, data: UnpairedData, size: int) -> Self:
        return cls(config)

    def step(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        c = self.config
        (a,), (b,) = self.augment(batch.a), self.augment(batch.b)
        fake_b, fake_a = self.G_ab(a), self.G_ba(b)
        with frozen(self.D_a, self.D_b):
            gan = generator_loss(self.D_b, self.view(fake_b, 0), c.gan)
            gan = gan + generator_loss(self.D_a, self.view(fake_a, 0), c.gan)
            cycle = c.lambda_a * l1_loss(self.G_ba(fake_b), a)
            cycle = cycle + c.lambda_b * l1_loss(self.G_ab(fake_a), b)
            losses = {"G/gan": gan, "G/cycle": cycle}
            if c.lambda_identity:
                losses["G/identity"] = c.lambda_identity * (
                    c.lambda_b * l1_loss(self.G_ab(b), b) + c.lambda_a * l1_loss(self.G_ba(a), a)
                )
            self.descend("G", sum(losses.values(), start=gan.new_zeros(())))
        old_b, old_a = self.pool_b(fake_b), self.pool_a(fake_a)
        alpha = self.augment.uniform(a)
        d_b = adversary_loss(
            self.D_b, self.view(b, 0), self.view(old_b, 0), c, alpha, self.observe_real
        )
        d_a = adversary_loss(
            self.D_a, self.view(a, 0), self.view(old_a, 0), c, alpha, self.observe_real
        )
        self.descend("D", d_a + d_b)
        clip_critic(self.D_a, c)
        clip_critic(self.D_b, c)
        losses |= {"D/a": d_a, "D/b": d_b}
        return {name: loss.detach() for name, loss in losses.items()}

    def columns(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        a, b = batch.a, batch.b
        with evaluating(self.G_ab, self.G_ba):
            fake_b, fake_a = self.G_ab(a), self.G_ba(b)
            columns = {
                "A": a, "A to B": fake_b, "A to B to A": self.G_ba(fake_b),
                "B": b, "B to A": fake_a, "B to A to B": self.G_ab(fake_a),
            }  # fmt: skip
        if batch.paired:
            columns |= {"truth A to B": b, "truth B to A": a}
        return columns

    def state_dict(self) -> dict[str, Any]:
        return {"pool_a": self.pool_a.state_dict(), "pool_b": self.pool_b.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = next(self.G_ab.parameters()).device
        self.pool_a.load_state_dict(state["pool_a"], device)
        self.pool_b.load_state_dict(state["pool_b"], device)

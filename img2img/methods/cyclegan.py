"""CycleGAN, arXiv 1703.10593: two unpaired image sets, two generators that invert each other.

Beside the paper's terms, each direction may keep the content of its source and take the style of
the other set, as `stylize` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field
from torch import Tensor

from img2img.data import UnpairedBatch, UnpairedData
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.losses import Gan, generator_loss, l1_loss
from img2img.methods.base import (
    LAPTOP,
    GanSettings,
    Method,
    adam,
    adversary_loss,
    clip_critic,
    evaluating,
)
from img2img.methods.image_pool import ImagePool
from img2img.methods.parts import (
    LayerName,
    Parts,
    PartSettings,
    Style,
    Transfer,
    check_parts,
    load_features,
    pictures_of,
    style_on,
)
from img2img.methods.pause import logged
from img2img.methods.tasks import larger
from img2img.nets import build_discriminator, build_generator
from img2img.nets.blocks import NormStatistics
from img2img.nets.modes import frozen

# Two networks of `stylize`, which `--init` of such a model may start. The statistics of
# the batch keep light and colours; the identity loss would mix those of both sets.
_LAPTOP: dict[str, Any] = LAPTOP | {
    "warm_up": 50,
    "batch_size": 2,
    "load_size": 180,
    "crop_size": 160,
    "working_size": 512,
    "ema": 0.99,
    "settings": {
        "generator_options": {
            "width": 20,
            "blocks": 6,
            "norm": "batch",
            "affine": True,
            "downsample_padding": "reflect",
            "upsample": "resize",
        },
        "norm_statistics": "running",
        "discriminator_options": {"width": 32},
        "lr": 5e-4,
        "beta2": 0.99,
        "lambda_a": 2.0,
        "lambda_b": 2.0,
        "lambda_identity": 0.0,
        "lambda_gan_ab": 0.5,
        "lambda_gan_ba": 0.7,
        "lambda_content_ab": 1.0,
        "lambda_content_ba": 1.0,
        "lambda_style_ab": 4.0,
        "lambda_style_ba": 2.0,
    },
}
_GPU = larger(_LAPTOP, 256, 4, 286, judge=64, width=48, blocks=9)


class CycleGANConfig(PartSettings, GanSettings):
    """Defaults are those of the PyTorch reference: ResNet-9, 70x70 PatchGAN, both with instance
    norm, least squares, cycle weights 10, identity weight 0.5 * 10, a pool of 50 pictures.

    `lambda_identity` is relative to `lambda_a` and `lambda_b`, as in the reference. The terms of
    `PartSettings` serve both directions and compare an output with its source; the style of a
    direction is the mean over the whole pictures of the other training set, or over an even choice
    of 300, computed once before the first step.
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
    lambda_gan_ab: float = Field(1.0, ge=0, description="weight of the adversary of A -> B")
    lambda_gan_ba: float = Field(1.0, ge=0, description="weight of the adversary of B -> A")
    lambda_content_ab: float = Field(
        0.0, ge=0, description="weight of A's content (VGG19) in A -> B"
    )
    lambda_content_ba: float = Field(
        0.0, ge=0, description="weight of B's content (VGG19) in B -> A"
    )
    lambda_style_ab: float = Field(
        0.0, ge=0, description="weight of the mean Gram matrix of B in A -> B"
    )
    lambda_style_ba: float = Field(
        0.0, ge=0, description="weight of the mean Gram matrix of A in B -> A"
    )
    content_layer: LayerName = Field("relu4_1", description="layer of VGG19 that keeps the content")
    pool_size: int = Field(50, ge=0, description="earlier outputs shown to the discriminators")


class CycleGAN(Method[CycleGANConfig, UnpairedData, UnpairedBatch]):
    """G_ab: A -> B, G_ba: B -> A. D_a judges pictures of domain A, D_b those of domain B."""

    name = "cyclegan"
    Config = CycleGANConfig
    Data = UnpairedData
    path_settings = ("vgg19",)
    compared: ClassVar[dict[str, str]] = {"A to B": "B", "B to A": "A"}
    made_of: ClassVar[dict[str, str]] = {"A to B": "A", "B to A": "B"}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cyclegan-256": {"load_size": 286, "crop_size": 256},
        "laptop": _LAPTOP,
        "gpu": _GPU,
        "tiny": {
            "settings": {
                "generator_options": {"width": 12, "blocks": 3},
                "discriminator_options": {"width": 16},
            }
        },
    }

    def __init__(self, config: CycleGANConfig, features: VGG19 | None = None):
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
        self.nets = {"G_ab": self.G_ab, "G_ba": self.G_ba, "D_a": self.D_a, "D_b": self.D_b}
        self.judged_by({"D_a": self.D_a, "D_b": self.D_b}, c)
        self.optimizers = {
            "G": adam([self.G_ab, self.G_ba], c.lr, c.beta1, c.beta2),
            "D": adam([self.D_a, self.D_b], c.lr, c.beta1, c.beta2),
        }
        self.generators = {"AtoB": self.G_ab, "BtoA": self.G_ba}
        self.directions = {"AtoB": "A -> B", "BtoA": "B -> A"}
        self.pool_a, self.pool_b = ImagePool(c.pool_size, 0), ImagePool(c.pool_size, 1)
        ab, ba = _transfers(c)
        self.parts_ab, self.parts_ba = Parts(c, features, ab), Parts(c, features, ba)
        self.frozen_nets = self.parts_ab.frozen_nets | self.parts_ba.frozen_nets
        self.style_a: Style = {}
        self.style_b: Style = {}

    @classmethod
    def check(cls, config: CycleGANConfig) -> None:
        for transfer in _transfers(config):
            check_parts(config, cls.channels(config), transfer, styled=True)

    @classmethod
    def build(cls, config: CycleGANConfig, data: UnpairedData, size: int) -> Self:
        ab, ba = _transfers(config)
        both = Transfer(ab.content + ba.content, ab.style + ba.style, ab.layer)
        return cls(config, load_features(config, size, both))

    def prepare(self, data: UnpairedData) -> None:
        """What the style terms compare, averaged over the pictures of each set."""
        device = next(self.G_ab.parameters()).device
        if self.parts_ab.styled:
            self.style_b = self.parts_ab.style_of(pictures_of(data.stores, 1, device))
        if self.parts_ba.styled:
            self.style_a = self.parts_ba.style_of(pictures_of(data.stores, 0, device))

    def step(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        c = self.config
        (a,), (b,) = self.augment(batch.a), self.augment(batch.b)
        fake_b, fake_a = self.G_ab(a), self.G_ba(b)
        with frozen(self.D_a, self.D_b):
            gan = c.lambda_gan_ab * generator_loss(self.D_b, self.view(fake_b, 0), c.gan)
            gan = gan + c.lambda_gan_ba * generator_loss(self.D_a, self.view(fake_a, 0), c.gan)
            cycle = c.lambda_a * l1_loss(self.G_ba(fake_b), a)
            cycle = cycle + c.lambda_b * l1_loss(self.G_ab(fake_a), b)
            losses = {"G/gan": gan, "G/cycle": cycle}
            if c.lambda_identity:
                losses["G/identity"] = c.lambda_identity * (
                    c.lambda_b * l1_loss(self.G_ab(b), b) + c.lambda_a * l1_loss(self.G_ba(a), a)
                )
            there = self.parts_ab(fake_b, a, style=self.style_b, across=self.across)
            back = self.parts_ba(fake_a, b, style=self.style_a, across=self.across)
            for name, loss in (*there.items(), *back.items()):
                losses[name] = losses[name] + loss if name in losses else loss
            self.descend("G", sum(losses.values(), start=gan.new_zeros(())))
        old_b, old_a = self.pool_b(fake_b), self.pool_a(fake_a)
        alpha = self.augment.uniform(a)
        d_b, d_a = (
            adversary_loss(
                self.discriminators[name], self.view(real, 0), self.view(old, 0), c, alpha,
                self.observe_real, self.number, self.pauses.get(name),
            )
            for name, real, old in (("D_b", b, old_b), ("D_a", a, old_a))
        )  # fmt: skip
        self.descend_judge("D", d_a + d_b)
        clip_critic(self.D_a, c)
        clip_critic(self.D_b, c)
        losses |= {"D/a": d_a, "D/b": d_b} | logged(self.pauses)
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

    def judged_real(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        return {"D_a": batch.a, "D_b": batch.b}

    def judged_fake(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"D_a": columns["B to A"], "D_b": columns["A to B"]}

    def state_dict(self) -> dict[str, Any]:
        pools = {"pool_a": self.pool_a.state_dict(), "pool_b": self.pool_b.state_dict()}
        return pools | {"style_a": self.style_a, "style_b": self.style_b}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = next(self.G_ab.parameters()).device
        self.pool_a.load_state_dict(state["pool_a"], device)
        self.pool_b.load_state_dict(state["pool_b"], device)
        # A state from before there were style terms has none.
        self.style_a = style_on(state.get("style_a", {}), device)
        self.style_b = style_on(state.get("style_b", {}), device)


def _transfers(c: CycleGANConfig) -> tuple[Transfer, Transfer]:
    """The weights of A -> B and of B -> A."""
    return (
        Transfer(c.lambda_content_ab, c.lambda_style_ab, c.content_layer),
        Transfer(c.lambda_content_ba, c.lambda_style_ba, c.content_layer),
    )

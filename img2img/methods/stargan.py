"""StarGAN, arXiv 1711.09020: many labelled domains, one generator told where to go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from img2img.data import LabelledBatch, LabelledData
from img2img.data.dataset import Folder
from img2img.data.store import Loading, Progress, Split
from img2img.errors import ConfigError, proposal
from img2img.losses import Gan, Judgement, Penalty, classification_loss, generator_loss, l1_loss
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

# The reference's generator in terms of ours; with the norm that keeps no running statistics.
_GENERATOR = {
    "norm": "instance", "affine": True, "blocks": 6, "kernel": 4, "padding": "zero", "bias": False,
    "head_bias": False, "init": "default",
}  # fmt: skip
_UNET = {"norm": "instance", "dropout": False}


class StarGANConfig(GanSettings):
    """Defaults are those of the paper: WGAN-GP with weight 10, classification 1, reconstruction 10,
    five critic steps for one of the generator, Adam(0.5, 0.999) at 1e-4.

    `attributes` chooses and orders the domains (columns of the table, or folders); `exclusive`
    lists groups of which at most one holds (hair colours): setting one clears the others.
    """

    generator: str = "resnet"
    discriminator: str = "stargan"
    attributes: tuple[str, ...] = Field(
        (), description="domains to learn, in order; columns of the table, or folders; none: all"
    )
    exclusive: tuple[tuple[str, ...], ...] = Field(
        (), description="groups of domains of which at most one holds, such as hair colours"
    )
    gan: Gan = "wgan-gp"
    penalty: Penalty = Field("gp", description="penalty on the critic's gradient")
    lambda_class: float = Field(1.0, ge=0, description="weight of the domain classification")
    lambda_reconstruction: float = Field(
        10.0, ge=0, description="weight of the L1 distance after translating back"
    )
    n_critic: int = Field(5, ge=1, description="critic steps for one generator step")
    lr: float = Field(1e-4, gt=0)


class StarGAN(Method[StarGANConfig, LabelledData, LabelledBatch]):
    """G(x, c): x in the domain c. D tells real from fake and names the domain."""

    name = "stargan"
    Config = StarGANConfig
    Data = LabelledData
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 200_000,
        "batch_size": 16,
        "load_size": 128,
        "crop_size": 128,
    }

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "stargan-128": {"load_size": 128, "crop_size": 128, "batch_size": 16},
        "tiny": {
            "settings": {
                "generator_options": {"width": 12, "blocks": 3},
                "discriminator_options": {"width": 16, "layers": 5},
            }
        },
    }

    def __init__(self, config: StarGANConfig, domains: Sequence[str], size: int, one_hot: bool):
        super().__init__()
        self.config = c = config
        self.period = c.n_critic
        self.domains = tuple(domains)
        # Folders are exclusive by themselves: a picture lies in one.
        self.groups = [list(range(len(domains)))] if one_hot else self._groups(c.exclusive)
        self.one_hot, self.exclusive = one_hot, () if one_hot else c.exclusive
        options = _GENERATOR if c.generator == "resnet" else _UNET
        self.G = build_generator(
            c.generator, options | {"domains": len(domains)} | c.generator_options
        )
        self.D = build_discriminator(
            c.discriminator,
            {"in_channels": self.G.out_channels, "domains": len(domains), "size": size}
            | c.discriminator_options,
        )
        check_adversary(c, self.D)
        self.nets = {"G": self.G, "D": self.D}
        self.discriminators = {"D": self.D}
        self.undecided = undecided(c.gan)
        self.optimizers = {
            name: adam([net], c.lr, c.beta1, c.beta2) for name, net in self.nets.items()
        }
        self.generators = {"model": self.G}
        self.directions = {"model": " | ".join(self.domains)}

    @classmethod
    def build(cls, config: StarGANConfig, data: LabelledData, size: int) -> Self:
        return cls(config, data.domains, size, data.one_hot)

    @classmethod
    def open(
        cls,
        config: StarGANConfig,
        root: Folder,
        split: Split,
        loading: Loading,
        progress: Progress,
    ) -> LabelledData:
        return LabelledData(root, split, loading, progress, config.attributes)

    def _groups(self, exclusive: Sequence[Sequence[str]]) -> list[list[int]]:
        for name in (n for group in exclusive for n in group):
            if name not in self.domains:
                raise ConfigError(f"exclusive: no domain '{name}'.{proposal(name, self.domains)}")
        return [[self.domains.index(name) for name in group] for group in exclusive]

    def step(self, batch: LabelledBatch) -> dict[str, Tensor]:
        c = self.config
        (x,) = self.augment(batch.x)
        label, target = batch.label, batch.target

        with torch.no_grad():
            fake = self.G(x, target)
        classes: list[Tensor] = []

        def source(pictures: Tensor) -> Judgement:
            answer, named = self.D(pictures)
            classes.append(named)
            return answer

        alpha = self.augment.uniform(x)
        d = adversary_loss(source, self.view(x, 0), self.view(fake, 0), c, alpha, self.observe_real)
        # The real pictures are judged first, so their classes need no pass of their own.
        d_class = classification_loss(classes[0], label, self.one_hot)
        self.descend("D", d + c.lambda_class * d_class)
        clip_critic(self.D, c)
        losses = {"D/gan": d, "D/class": d_class}

        if (self.number + 1) % c.n_critic == 0:
            fake = self.G(x, target)
            with frozen(self.D):
                classes.clear()
                gan = generator_loss(source, self.view(fake, 0), c.gan)
                g_class = classification_loss(classes[0], target, self.one_hot)
                back = l1_loss(self.G(fake, label), x)
                self.descend("G", gan + c.lambda_reconstruction * back + c.lambda_class * g_class)
            losses |= {"G/gan": gan, "G/class": g_class, "G/reconstruction": back}
        return {name: loss.detach() for name, loss in losses.items()}

    def edit(self, label: Tensor, domain: int) -> Tensor:
        """Labels (N, domains) with `domain` set where it belongs to an exclusive group (its
        neighbours cleared), else toggled, as the reference samples them."""
        return edited(label, domain, self.groups)

    def columns(self, batch: LabelledBatch) -> dict[str, Tensor]:
        columns = {"input": batch.x}
        with evaluating(self.G):
            for k, name in enumerate(self.domains):
                columns[name] = self.G(batch.x, self.edit(batch.label, k))
        return columns


def edited(label: Tensor, domain: int, groups: Sequence[Sequence[int]]) -> Tensor:
    """Labels (N, domains) with `domain` set where one of the exclusive `groups` holds it, else
    toggled."""
    label = label.clone()
    for group in groups:
        if domain in group:
            label[:, list(group)] = 0
            label[:, domain] = 1
            return label
    label[:, domain] = 1 - label[:, domain]
    return label

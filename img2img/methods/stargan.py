"""StarGAN, arXiv 1711.09020: many labelled domains, one generator that is given the domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from img2img.data import LabelledBatch, LabelledData
from img2img.data.dataset import Folder
from img2img.data.store import Loading, Progress, Split
from img2img.errors import ConfigError, proposal
from img2img.features import VGG19
from img2img.losses import Gan, Judgement, Penalty, classification_loss, generator_loss, l1_loss
from img2img.methods.base import (
    LAPTOP,
    GanSettings,
    Method,
    adam,
    adversary_loss,
    clip_critic,
    evaluating,
)
from img2img.methods.parts import Parts, PartSettings, check_parts, load_features
from img2img.methods.pause import logged
from img2img.methods.tasks import larger
from img2img.nets import build_discriminator, build_generator
from img2img.nets.modes import frozen

# The reference's generator in terms of ours; with the norm that keeps no running statistics.
_GENERATOR: dict[str, Any] = {
    "norm": "instance", "affine": True, "blocks": 6, "kernel": 4, "padding": "zero", "bias": False,
    "head_bias": False, "init": "default",
}  # fmt: skip
_FAST: dict[str, Any] = {"norm": "instance", "padding": "zero"}
_UNET: dict[str, Any] = {"norm": "instance", "dropout": False}
# An hour on two cores: a masked generator that is told the change, and a discriminator that also
# looks at the whole picture (docs/explanation/log.md).
_LAPTOP: dict[str, Any] = LAPTOP | {
    "warm_up": 50,
    "ema": 0.995,
    "batch_size": 8,
    "log_every": 25,
    "settings": {
        "generator": "fast",
        "generator_options": {
            "width": 32, "blocks": 1, "levels": 3, "shrink": 4, "tail": "resize",
            "output": "mask",
        },
        "discriminator_options": {
            "width": 32, "layers": 5, "spectral": True, "global_head": True, "init": "default",
        },
        "relative": True,
        "gan": "hinge",
        "penalty": "none",
        "n_critic": 1,
        "beta1": 0.0,
        "beta2": 0.99,
        "lr": 2e-4,
        "lr_discriminator": 4e-4,
        "lambda_class": 1.5,
        "lambda_identity": 10.0,
        "lambda_mask": 0.05,
    },
}  # fmt: skip
_GPU = larger(_LAPTOP, 128, 32, 128, judge=64, width=64, blocks=2)


class StarGANConfig(PartSettings, GanSettings):
    """Defaults are those of the paper: WGAN-GP with weight 10, classification 1, reconstruction 10,
    five critic steps for one of the generator, Adam(0.5, 0.999) at 1e-4.

    `attributes` chooses and orders the domains (columns of the table, or folders); `exclusive`
    lists groups of which at most one holds (hair colours): setting one clears the others.

    `relative` gives G what to change instead of what shall hold (arXiv 1904.09709, sec. 3.1): 1
    sets an attribute, -1 clears it, 0 leaves it. Of an exclusive group only the 1 is given, so that
    a picture can be translated without knowing its own labels. `lambda_identity` then weights the
    L1 distance to the picture itself where nothing is to change, in `identity_share` of a batch.
    `lambda_mask` weights the mean of the mask of a generator with `output=mask`; it rises from 0
    between `mask_from` and `mask_until` steps.

    The terms of `PartSettings` compare an output with its source. Those of a style are refused: a
    domain is named by its label, and there is no one set in the wanted style.
    """

    names_domains: ClassVar[bool] = True

    generator: str = "resnet"
    discriminator: str = "stargan"
    attributes: tuple[str, ...] = Field(
        (), description="domains to learn, in order: columns of the table, or folders; none: all"
    )
    exclusive: tuple[tuple[str, ...], ...] = Field(
        (), description="groups of domains of which at most one applies, such as hair colours"
    )
    gan: Gan = "wgan-gp"
    penalty: Penalty = Field("gp", description="penalty on the critic's gradient")
    lambda_class: float = Field(1.0, ge=0, description="weight of the domain classification")
    lambda_reconstruction: float = Field(
        10.0, ge=0, description="weight of the L1 distance after translating back"
    )
    n_critic: int = Field(5, ge=1, description="critic steps per generator step")
    relative: bool = Field(False, description="give the generator the change instead of the domain")
    lambda_identity: float = Field(
        0.0, ge=0, description="weight of the L1 distance to the picture if nothing is to change"
    )
    identity_share: float = Field(
        0.15, ge=0, le=1, description="share of pictures whose target is to stay unchanged"
    )
    lambda_mask: float = Field(0.0, ge=0, description="weight of the mean of the generator's mask")
    mask_from: int = Field(500, ge=0, description="step at which lambda_mask begins to rise")
    mask_until: int = Field(2000, ge=1, description="step at which lambda_mask is reached")
    lr: float = Field(1e-4, gt=0)
    lr_discriminator: float = Field(
        0.0, ge=0, description="learning rate of the discriminator; 0: that of the generator"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.lambda_identity and not self.relative:
            raise ValueError("lambda_identity needs relative=true: only then can nothing change")
        if self.lambda_mask and self.generator_options.get("output") != "mask":
            raise ValueError("lambda_mask needs a mask: give `generator.output=mask`")
        return self


class StarGAN(Method[StarGANConfig, LabelledData, LabelledBatch]):
    """G(x, c): x in the domain c. D tells real from fake and names the domain."""

    name = "stargan"
    Config = StarGANConfig
    Data = LabelledData
    path_settings = ("vgg19",)
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 200_000,
        "batch_size": 16,
        "load_size": 128,
        "crop_size": 128,
    }

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "stargan-128": {"load_size": 128, "crop_size": 128, "batch_size": 16},
        "laptop": _LAPTOP,
        "attributes": _LAPTOP,
        "gpu": _GPU,
        "attributes-gpu": _GPU,
        "tiny": {
            "settings": {
                "generator_options": {"width": 12, "blocks": 3},
                "discriminator_options": {"width": 16, "layers": 5},
            }
        },
    }

    def __init__(
        self,
        config: StarGANConfig,
        domains: Sequence[str],
        size: int,
        one_hot: bool,
        features: VGG19 | None = None,
    ):
        super().__init__()
        self.config = c = config
        self.period = c.n_critic
        self.domains = tuple(domains)
        # Folders are exclusive by themselves: a picture lies in one.
        self.groups = [list(range(len(domains)))] if one_hot else self._groups(c.exclusive)
        self.one_hot, self.exclusive = one_hot, () if one_hot else c.exclusive
        self.relative = c.relative
        options = {"resnet": _GENERATOR, "fast": _FAST}.get(c.generator, _UNET)
        self.G = build_generator(
            c.generator, options | {"domains": len(domains)} | c.generator_options
        )
        self.D = build_discriminator(
            c.discriminator,
            {"in_channels": self.G.out_channels, "domains": len(domains), "size": size}
            | c.discriminator_options,
        )
        self.nets = {"G": self.G, "D": self.D}
        self.judged_by({"D": self.D}, c)
        self.optimizers = {
            "G": adam([self.G], c.lr, c.beta1, c.beta2),
            "D": adam([self.D], c.lr_discriminator or c.lr, c.beta1, c.beta2),
        }
        self.generators = {"model": self.G}
        self.directions = {"model": " | ".join(self.domains)}
        self.parts = Parts(c, features)
        self.frozen_nets = self.parts.frozen_nets

    @classmethod
    def check(cls, config: StarGANConfig) -> None:
        """Raises ConfigError for terms without meaning, or where VGG19's weights are missing."""
        check_parts(config, cls.channels(config))

    @classmethod
    def build(cls, config: StarGANConfig, data: LabelledData, size: int) -> Self:
        features = load_features(config, size)
        return cls(config, data.domains, size, data.one_hot, features)

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

    def seen(self, batch: LabelledBatch) -> list[Tensor]:
        return list(self.augment(batch.x))

    def step(self, batch: LabelledBatch) -> dict[str, Tensor]:
        c = self.config
        (x,) = self.augment(batch.x)
        label, target, kept = self._asked(x, batch)

        # G does not change before its own step, so one pass serves both.
        both = (self.number + 1) % c.n_critic == 0
        with torch.set_grad_enabled(both):
            fake, mask = self._translated(x, self.request(label, target))
        classes: list[Tensor] = []

        def source(pictures: Tensor) -> Judgement:
            answer, named = self.D(pictures)
            classes.append(named)
            return answer

        alpha = self.augment.uniform(x)
        old = self.view(fake.detach(), 0)
        d = adversary_loss(
            source, self.view(x, 0), old, c, alpha, self.observe_real, self.number,
            self.pauses.get("D"),
        )  # fmt: skip
        # The real pictures are judged first, so their classes need no pass of their own.
        d_class = classification_loss(classes[0], label, self.one_hot)
        self.descend("D", d + c.lambda_class * d_class)
        clip_critic(self.D, c)
        losses = {"D/gan": d, "D/class": d_class} | logged(self.pauses)
        if both:
            with frozen(self.D):
                classes.clear()
                gan = generator_loss(source, self.view(fake, 0), c.gan)
                g_class = classification_loss(classes[0], target, self.one_hot)
                back = l1_loss(self.G(fake, self.request(target, label)), x)
                total = gan + c.lambda_reconstruction * back + c.lambda_class * g_class
                more = self._restraint(x, fake, mask, kept) | self.parts(fake, x)
                self.descend("G", total + sum(more.values(), start=gan.new_zeros(())))
            losses |= {"G/gan": gan, "G/class": g_class, "G/reconstruction": back} | more
        return {name: loss.detach() for name, loss in losses.items()}

    def request(self, label: Tensor, target: Tensor) -> Tensor:
        """What G is given to bring pictures from `label` to `target`, both (N, domains) of 0 and
        1: the target, or with `relative` the change, of exclusive groups only what is set."""
        if not self.config.relative:
            return target
        change = target - label
        for group in self.groups:
            change[:, group] = change[:, group].clamp(min=0)
        return change

    def _asked(self, x: Tensor, batch: LabelledBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Labels, targets, and which pictures (N,) of 0 and 1 stay what they are, if any do."""
        c = self.config
        if not c.lambda_identity:
            return batch.label, batch.target, None
        stays = (self.augment.uniform(x).flatten() < c.identity_share).to(x.dtype)
        target = torch.where(stays[:, None] > 0, batch.label, batch.target)
        return batch.label, target, stays

    def _translated(self, x: Tensor, request: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.config.lambda_mask:
            return self.G.with_mask(x, request)
        return self.G(x, request), None

    def _restraint(
        self, x: Tensor, fake: Tensor, mask: Tensor | None, kept: Tensor | None
    ) -> dict[str, Tensor]:
        """The weighted losses that keep G from changing more than it must."""
        c, losses = self.config, {}
        if kept is not None:
            apart = (fake.float() - x.float()).abs().mean((1, 2, 3))
            losses["G/identity"] = c.lambda_identity * (apart * kept).sum() / kept.sum().clamp(1)
        if mask is not None:
            risen = (self.number - c.mask_from) / max(1, c.mask_until - c.mask_from)
            losses["G/mask"] = c.lambda_mask * min(1.0, max(0.0, risen)) * mask.float().mean()
        return losses

    def edit(self, label: Tensor, domain: int) -> Tensor:
        """Labels (N, domains) with `domain` set where it belongs to an exclusive group (its
        neighbours cleared), else toggled, as the reference samples them."""
        return edited(label, domain, self.groups)

    def columns(self, batch: LabelledBatch) -> dict[str, Tensor]:
        columns = {"input": batch.x}
        with evaluating(self.G):
            for k, name in enumerate(self.domains):
                wanted = self.edit(batch.label, k)
                columns[name] = self.G(batch.x, self.request(batch.label, wanted))
        return columns

    def judged_real(self, batch: LabelledBatch) -> dict[str, Tensor]:
        return {"D": batch.x}

    def judged_fake(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"D": torch.cat([columns[name] for name in self.domains])}


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

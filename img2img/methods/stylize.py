"""Stylize: photographs take the style of a set of paintings (arXiv 1603.08155, with a PatchGAN).

One feed-forward generator, trained by the features of a frozen VGG19: content of the photograph,
Gram matrices of the paintings (arXiv 1508.06576) averaged over the whole set, a weak least-squares
adversary, smoothness, and the photograph's colours at low frequency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from img2img.data import Loading, StyledData, UnpairedBatch
from img2img.data.dataset import Folder
from img2img.data.store import Progress, Split
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.losses import Gan, generator_loss
from img2img.methods.base import (
    LAPTOP,
    GanSettings,
    Method,
    adam,
    adversary_loss,
    clip_critic,
    evaluating,
)
from img2img.methods.parts import (
    LayerName,
    Parts,
    PartSettings,
    Style,
    Transfer,
    check_parts,
    load_features,
    style_on,
)
from img2img.methods.pause import logged
from img2img.methods.tasks import larger
from img2img.nets import build_discriminator, build_generator
from img2img.nets.blocks import NormStatistics
from img2img.nets.discriminator import Discriminator
from img2img.nets.modes import frozen

_AT_ONCE = 4
_LAPTOP: dict[str, Any] = LAPTOP | {
    "settings": {"generator_options": {"downsample_padding": "reflect"}}
}
_GPU = larger(_LAPTOP, 256, 8, 320, judge=64, width=32, blocks=9)


class StylizeConfig(PartSettings, GanSettings):
    """Weights are relative to losses that are near 1 for an untrained network.

    The generator is normalised over the batch, and by the running averages once trained. Instance
    norm forgets how light and how colourful a picture was: it draws texture on empty skies, turns
    white walls grey and faces green, and no loss term can undo that.

    `style`: a folder of paintings or one picture, beside a folder of photographs alone; without it
    the data folder has both sides. `style_size`: side in pixels that a painting's shorter side is
    brought to, so strokes grow with it; 0 is the crop size. `crops`: how many
    crops of photographs there are at least; fewer photographs give more each. `crop_scale`: their
    sides, relative to the photograph's shorter side. `content_layer`: of VGG19.
    `lambda_adversarial` 0 leaves the discriminator out.
    """

    generator: str = "resnet"
    norm_statistics: NormStatistics = Field(
        "running", description="whether a trained batch norm uses the picture's own statistics"
    )
    lr: float = Field(5e-4, gt=0, description="learning rate of the generator's Adam")
    lr_discriminator: float = Field(4e-4, gt=0, description="learning rate of the discriminator")
    beta2: float = Field(0.99, ge=0, lt=1)
    gan: Gan = "lsgan"
    style: str = Field("", description="folder of paintings, or one picture")
    style_size: int = Field(
        0, ge=0, le=4096, description="shorter side of a painting in pixels; 0: the crop size"
    )
    crops: int = Field(1200, ge=1, description="minimum number of crops of photographs")
    crop_scale: tuple[float, float] = Field(
        (0.3, 1.0), description="smallest and largest side of a crop, relative to the shorter side"
    )
    content_layer: LayerName = Field("relu4_1", description="layer of VGG19 that keeps the content")
    lambda_content: float = Field(1.0, ge=0, description="weight of the photograph's content")
    lambda_style: float = Field(3.0, gt=0, description="weight of the paintings' style")
    lambda_adversarial: float = Field(
        0.5, ge=0, description="weight of the adversarial loss; 0: no discriminator"
    )
    lambda_tv: float = Field(0.1, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale must be 0 < least <= most <= 1, not {low}, {high}")
        return self


class Stylize(Method[StylizeConfig, StyledData, UnpairedBatch]):
    """G: photograph -> painting. D, where used, judges crops of paintings against outputs."""

    name = "stylize"
    Config = StylizeConfig
    Data = StyledData
    working_size = 704
    upsampling = "guided"
    compared: ClassVar[dict[str, str]] = {"output": "style"}
    path_settings = ("style", "vgg19")
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "laptop": _LAPTOP,
        "paint": _LAPTOP,
        "gpu": _GPU,
        "paint-gpu": _GPU,
        "tiny": {
            "settings": {
                "generator_options": {"width": 8, "blocks": 2},
                "discriminator_options": {"width": 8},
            }
        },
    }
    defaults: ClassVar[dict[str, Any]] = {
        "batch_size": 2,
        "load_size": 256,
        "crop_size": 192,
        "ema": 0.99,
        "schedule": "linear",
        "warm_up": 50,
    }

    def __init__(self, config: StylizeConfig, features: VGG19 | None):
        super().__init__()
        self.config = c = config
        options: dict[str, Any] = {"width": 16, "blocks": 6, "norm": "batch", "affine": True}
        options |= {"upsample": "resize", "dropout": False}
        self.G = build_generator(c.generator, options | c.generator_options)
        self.G.use_norm_statistics(c.norm_statistics)
        if self.G.in_channels != 3 or self.G.out_channels != 3:
            raise ConfigError("stylize needs colour on both sides; VGG19 takes RGB")
        self.nets = {"G": self.G}
        self.optimizers = {"G": adam([self.G], c.lr, c.beta1, c.beta2)}
        self.generators = {"model": self.G}
        self.directions = {"model": "photograph -> painting"}
        self.D: Discriminator | None = None
        if c.lambda_adversarial:
            judged = {"width": 32, "layers": 3, "norm": "instance"} | c.discriminator_options
            self.D = build_discriminator(c.discriminator, judged)
            self.nets["D"] = self.D
            self.judged_by({"D": self.D}, c)
            self.optimizers["D"] = adam([self.D], c.lr_discriminator, c.beta1, c.beta2)
        self.parts = Parts(c, features, _transfer(c))
        self.frozen_nets = self.parts.frozen_nets
        self.style: Style = {}

    @classmethod
    def check(cls, config: StylizeConfig) -> None:
        check_parts(config, cls.channels(config), _transfer(config), styled=True)

    @classmethod
    def required_features(cls, config: StylizeConfig) -> tuple[str, ...]:
        return super().required_features(config) if config.lambda_adversarial else ()

    @classmethod
    def open(
        cls,
        config: StylizeConfig,
        root: Folder,
        split: Split,
        loading: Loading,
        progress: Progress,
    ) -> StyledData:
        size = loading.size if split == "train" else 2 * loading.size
        return StyledData(
            root, split, replace(loading, size=size), progress,
            style=config.style, style_size=config.style_size or loading.size,
            crops=config.crops, crop_scale=config.crop_scale,
        )  # fmt: skip

    @classmethod
    def build(cls, config: StylizeConfig, data: StyledData, size: int) -> Self:
        if config.style_size and config.style_size < size:
            raise ConfigError(f"style_size {config.style_size} is below the crop size {size}")
        return cls(config, load_features(config, size, _transfer(config)))

    def prepare(self, data: StyledData) -> None:
        """Average what the style terms compare over the paintings, a few at a time."""
        device, count = next(self.G.parameters()).device, data.paintings
        parts = (range(k, min(k + _AT_ONCE, count)) for k in range(0, count, _AT_ONCE))
        self.style = self.parts.style_of(data.style_batch(part).on(device).b for part in parts)

    def viewed(self, seen: Sequence[Tensor]) -> list[Tensor]:
        return [self.view(seen[1])]  # inputs are not judged

    def step(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        c = self.config
        (a,), (b,) = self.augment(batch.a), self.augment(batch.b)
        fake = self.G(a)
        losses = self.parts(fake, a, style=self.style, across=self.across)
        if self.D is None:
            self._follow(losses)
            return {name: loss.detach() for name, loss in losses.items()}
        with frozen(self.D):
            judged = generator_loss(self.D, self.view(fake, 0), c.gan)
            losses["G/gan"] = c.lambda_adversarial * judged
            self._follow(losses)
        alpha = self.augment.uniform(a)
        real, old = self.view(b, 0), self.view(fake.detach(), 0)
        pause = self.pauses.get("D")
        d = adversary_loss(self.D, real, old, c, alpha, self.observe_real, self.number, pause)
        self.descend_judge("D", d)
        clip_critic(self.D, c)
        losses |= {"D": d} | logged(self.pauses)
        return {name: loss.detach() for name, loss in losses.items()}

    def _follow(self, losses: Mapping[str, Tensor]) -> None:
        self.descend("G", torch.stack(list(losses.values())).sum())

    def columns(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        with evaluating(self.G):
            return {"photograph": batch.a, "output": self.G(batch.a)}

    def reals(self, data: StyledData, index: int) -> dict[str, Tensor]:
        """The painting of the same number, as far as there are any: each counts once."""
        if index >= data.paintings:
            return {}
        device = next(self.G.parameters()).device
        return {"style": data.style_batch([index]).on(device).b}

    def state_dict(self) -> dict[str, Any]:
        # The name that states had before there were other style terms.
        names = {"gram": "target"}
        return {names.get(kind, kind): layers for kind, layers in self.style.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device, names = next(self.G.parameters()).device, {"target": "gram"}
        self.style = style_on({names.get(k, k): layers for k, layers in state.items()}, device)


def _transfer(c: StylizeConfig) -> Transfer:
    return Transfer(c.lambda_content, c.lambda_style, c.content_layer)

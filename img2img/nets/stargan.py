"""Discriminator of StarGAN: a second head names the domain (arXiv 1711.09020, table 5)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.nets.blocks import Init, Norm, norm_layer
from img2img.nets.discriminator import DiscriminatorConfig, LeveledDiscriminator


class StarGANDiscriminatorConfig(DiscriminatorConfig):
    """`layers` halvings, channels doubling from `width` to at most `32 * width`.

    `size` is the side of the training pictures in pixels: the head for the `domains` covers the
    whole coarsest map of such a picture, `size // 2**layers` places square. Defaults are the
    reference's, with its five CelebA attributes. `global_head` adds a judgement of the whole
    picture to that of the patches: each patch of a picture may look real by itself.
    """

    layers: int = Field(6, ge=1, le=8)
    norm: Norm = "none"
    init: Init = "default"
    size: int = Field(128, ge=1)
    domains: int = Field(5, ge=1)
    global_head: bool = False

    @model_validator(mode="after")
    def _size_has_a_coarsest_pixel(self) -> Self:
        if self.size >= self.minimum:
            return self
        fitting = [k for k in range(1, self.layers) if self._least(k) <= self.size]
        other = f"layers={fitting[-1]} or " if fitting else ""
        raise ValueError(
            f"size={self.size} is too small for {self.layers} halvings"
            f"{'' if self.norm == 'none' else f' with {self.norm} norm'}; "
            f"use {other}size={self.minimum} or more"
        )

    def _least(self, layers: int) -> int:
        # A norm needs more than one place to have a variance; the first level has none.
        return 2 ** (layers + (self.norm != "none" and layers > 1))

    @property
    def minimum(self) -> int:
        return self._least(self.layers)


class StarGANDiscriminator(LeveledDiscriminator):
    """Float (N, condition_channels + in_channels, H, W) in [-1, 1] -> (source, classes).

    With `global_head`, `source` is a list of two: that of the patches, and one logit for each
    picture, (N, 1).

    `source`: one logit for each patch, (N, 1, h, w), h = H // 2**layers; StarGAN takes its mean.
    `classes`: one logit for each domain, (N, domains). For pictures of another side than `size`
    the coarsest map is brought to the head's by adaptive average pooling.
    """

    Config = StarGANDiscriminatorConfig
    name = "stargan"
    names_domains = True

    def __init__(self, config: StarGANDiscriminatorConfig):
        super().__init__(config)
        c = config
        channels = c.condition_channels + c.in_channels
        layers: list[nn.Module] = []
        for level in range(c.layers):
            after = c.width * min(2**level, 32)
            plain = level == 0 or c.norm == "none"
            layers.append(nn.Conv2d(channels, after, 4, 2, 1, bias=level == 0 or c.norm != "batch"))
            layers += [] if plain else [norm_layer(c.norm, after)]
            layers.append(nn.LeakyReLU(0.01))
            channels = after
        self.layers = nn.Sequential(*layers)
        self.source = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.covered = c.size // 2**c.layers
        self.classes = nn.Conv2d(channels, c.domains, self.covered, bias=False)
        side = self.covered // 2 if self.covered > 1 else 1
        self.whole = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, 2 if self.covered > 1 else 1, 1),
                nn.LeakyReLU(0.01),
                nn.AdaptiveAvgPool2d(side),
                nn.Flatten(),
                nn.Linear(channels * side**2, 128),
                nn.LeakyReLU(0.01),
                nn.Linear(128, 1),
            )
            if c.global_head
            else None
        )
        self.complete()

    def forward(self, x: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        coarsest = self.activations(x)[-1]
        pooled = F.adaptive_avg_pool2d(coarsest, self.covered)
        source = self.source(coarsest)
        classes = self.classes(pooled).flatten(1)
        return (source if self.whole is None else [source, self.whole(pooled)]), classes

    def features(self, x: Tensor) -> list[list[Tensor]]:
        levels = self.activations(x)
        return [[*levels, self.source(levels[-1])]]

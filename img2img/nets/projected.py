"""Discriminator on the frozen features of another network: Projected GAN (arXiv 2111.01007)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from img2img.errors import ConfigError
from img2img.nets.blocks import Norm, initialise
from img2img.nets.discriminator import Discriminator
from img2img.nets.patch import PatchConfig, PatchDiscriminator

_SCALES = 4
_SLOPE = 0.2


class FeatureMaps(Protocol):
    """A frozen network that shows its maps."""

    def maps(self, x: Tensor) -> list[Tensor]:
        """Float (N, 3, H, W) in [-1, 1] -> four maps, at 1/4, 1/8, 1/16 and 1/32 of the sides."""
        ...


class ProjectedConfig(PatchConfig):
    """The options of `patch` are those of the discriminator that sees the pixels. `projected` is
    the width of the projections and of the discriminators that see the features."""

    norm: Norm = "none"
    spectral: bool = True
    projected: int = Field(48, ge=1)

    @property
    def minimum(self) -> int:
        return max(super().minimum, 2 ** (_SCALES + 1))


class ProjectedDiscriminator(Discriminator):
    """Float (N, condition_channels + 3, H, W) in [-1, 1] -> a list of five maps of logits: that of
    a PatchGAN on the pixels, then those on the features of EfficientNet-Lite0 at 1/4, 1/8, 1/16 and
    1/32 of the sides, each (N, 1, H/32, W/32).

    Fixed random convolutions mix the features of a scale across channels (1x1), then, from the
    coarsest scale on, across scales (3x3), as sec. 3.2 there; that keeps a discriminator from
    looking at single channels. The feature network sees the judged picture alone, and has no
    texture finer than its stem; hence the PatchGAN beside it, which sees the condition too.

    `look_through` must be called first. The feature network is no part of the state.
    """

    Config = ProjectedConfig
    name = "projected"
    required_features: ClassVar[tuple[str, ...]] = ("lite0",)
    channels: ClassVar[tuple[int, ...]] = (24, 40, 112, 320)

    def __init__(self, config: ProjectedConfig):
        super().__init__(config)
        c = config
        if c.in_channels not in (1, 3):
            raise ConfigError(
                f"discriminator 'projected' judges pictures of 1 or 3 channels, not "
                f"{c.in_channels}; give `discriminator=patch`"
            )
        self.pixels = PatchDiscriminator(PatchConfig(**c.model_dump(exclude={"projected"})))
        self._seen_through: tuple[FeatureMaps, ...] = ()  # a tuple, so that it is no submodule
        for scale, before in enumerate(self.channels):
            self.register_buffer(f"across{scale}", _random(c.projected, before, 1))
            self.register_buffer(f"between{scale}", _random(c.projected, c.projected, 3))
        self.heads = nn.ModuleList(_head(c.projected, scale) for scale in range(_SCALES))
        initialise(self.heads, c.init, c.init_gain)
        if c.spectral:
            for module in self.heads.modules():
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)

    def look_through(self, net: FeatureMaps) -> None:
        """Use the features of `net`, which stays as it is."""
        self._seen_through = (net,)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [scale[-1] for scale in self.features(x)]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        return self.features_of(x, self.look(x))

    def look(self, x: Tensor) -> list[Tensor]:
        """The projected features of (N, C, H, W), finest scale first."""
        self.refuse_small(x)
        return self._mixed(x[:, self.config.condition_channels :])

    def features_of(self, x: Tensor, looked: Sequence[Tensor]) -> list[list[Tensor]]:
        found = self.pixels.features(x)
        for head, y in zip(self.heads, looked, strict=True):
            levels = []
            for layer in head:  # type: ignore[attr-defined]
                y = layer(y)
                levels.append(y)
            found.append([y for y, layer in zip(levels, head, strict=True) if _ends(layer)])  # type: ignore[call-overload]
        return found

    def _mixed(self, x: Tensor) -> list[Tensor]:
        if not self._seen_through:
            raise ConfigError("discriminator 'projected' was given no feature network")
        maps = self._seen_through[0].maps(x.expand(-1, 3, -1, -1))
        mixed: list[Tensor] = []
        below: Tensor | None = None
        for scale in reversed(range(_SCALES)):
            y = F.conv2d(maps[scale], self.get_buffer(f"across{scale}"))
            if below is not None:
                y = y + F.interpolate(below, y.shape[2:], mode="bilinear", align_corners=False)
            below = F.conv2d(y, self.get_buffer(f"between{scale}"), padding=1)
            mixed.insert(0, below)
        return mixed


def _random(after: int, before: int, kernel: int) -> Tensor:
    """A fixed random convolution that keeps the variance (He, arXiv 1502.01852, without a ReLU)."""
    weight = torch.randn(after, before, kernel, kernel)
    return weight / (before * kernel**2) ** 0.5


def _head(width: int, scale: int) -> nn.Sequential:
    """A discriminator of the features at 1 / 2**(scale + 2): halved down to 1/32, then logits."""
    layers: list[nn.Module] = []
    for _ in range(_SCALES - 1 - scale):
        layers += [nn.Conv2d(width, width, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
    layers += [nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 3, 1, 1))


def _ends(layer: nn.Module) -> bool:
    """Whether the output of `layer` is a level's: an activation, or logits."""
    return isinstance(layer, nn.LeakyReLU) or (
        isinstance(layer, nn.Conv2d) and layer.out_channels == 1
    )

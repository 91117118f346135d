"""A generator for tone and colour cast: it looks at the whole picture and chooses one curve for
each channel, applied to every pixel (curves by a network: arXiv 2001.06826, sec. 3)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.nets.blocks import initialise
from img2img.nets.generator import Generator, Tiling
from img2img.nets.reach import Look
from img2img.receptive_field import Seen
from img2img.settings import Settings

_SLOPE = 0.1


class CurveConfig(Settings):
    """`knots` bends of each curve, closer in the shadows; `width` channels of the network that
    chooses them, which sees the picture at 1/`shrink` of its sides."""

    in_channels: Literal[3] = 3
    out_channels: Literal[3] = 3
    width: int = Field(24, ge=1)
    knots: int = Field(8, ge=1, le=64)
    shrink: int = Field(8, ge=1, le=32)
    domains: Literal[0] = 0


class CurveGenerator(Generator):
    """y = curve(x + M x): a 3x3 matrix M mixes the channels, then each channel goes through a
    piecewise linear curve. A fresh network gives every picture back.

    No convolution runs at full size, and detail, noise and edges stay exactly where they are.
    """

    Config = CurveConfig
    name = "curve"

    def __init__(self, config: CurveConfig):
        c = config
        super().__init__(c)
        wide = [c.width, 2 * c.width, 4 * c.width, 4 * c.width]
        layers: list[nn.Module] = [nn.AvgPool2d(c.shrink)]
        channels = 3
        for level, after in enumerate(wide):
            layers.append(nn.Conv2d(channels, after, 3, stride=1 if level == 0 else 2, padding=1))
            layers.append(nn.LeakyReLU(_SLOPE))
            channels = after
        self.looks = nn.Sequential(*layers)
        self.chooses = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, 9 + 3 + 3 * c.knots, 1),
        )
        initialise(self, "kaiming")
        last = self.chooses[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    @property
    def tiling(self) -> Tiling:
        return "statistics"

    @property
    def multiple_of(self) -> int:
        return self.config.shrink

    @property
    def minimum(self) -> int:
        return self.config.shrink

    def layers_of(self, x: Tensor) -> Tensor:
        seen = self.looks(x).mean((2, 3), keepdim=True)
        chosen = self.chooses(seen)
        mixed = x
        for channel in range(3):
            weights = chosen[:, 3 * channel : 3 * channel + 3]
            mixed = mixed + weights * x[:, channel : channel + 1]
        y = mixed + chosen[:, 9:12]
        for number in range(self.config.knots):
            knot = 2 * (number / self.config.knots) ** 2 - 1
            slope = chosen[:, 12 + 3 * number : 15 + 3 * number]
            y = y + slope * F.relu(mixed - knot)
        return torch.clamp(y, -1, 1)

    def look(self, look: Look) -> Seen:
        raise ConfigError("its curves depend on the whole picture")

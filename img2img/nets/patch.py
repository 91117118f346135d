"""PatchGAN discriminator (arXiv 1611.07004, sec. 3.2.2 and 6.1.2)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.nets.blocks import norm_layer
from img2img.nets.discriminator import DiscriminatorConfig, LeveledDiscriminator


class PatchConfig(DiscriminatorConfig):
    """`layers` strided levels: 3 sees 70x70 pixels, 0 is the pixel discriminator (1x1)."""

    layers: int = Field(3, ge=0, le=8)

    @model_validator(mode="after")
    def _attention_sees_places(self) -> Self:
        if self.attention and self.layers == 0:
            raise ValueError(
                "the pixel discriminator (layers=0) judges each pixel alone; attention needs "
                "layers=1 or more"
            )
        return self

    @property
    def minimum(self) -> int:
        if self.layers == 0:
            # A norm needs more than one place to have a variance.
            return 1 if self.norm == "none" else 2
        # Two unstrided 4x4 convolutions padded by one take a place each and leave one.
        return 3 * 2**self.layers


class PatchDiscriminator(LeveledDiscriminator):
    """Float (N, condition_channels + in_channels, H, W) in [-1, 1] -> one logit for each patch,
    (N, 1, h, w); for H = W = 256 and 3 layers h = w = 30."""

    Config = PatchConfig
    name = "patch"

    def __init__(self, config: PatchConfig):
        super().__init__(config)
        c = config
        bias = c.norm != "batch"
        cin = c.condition_channels + c.in_channels
        if c.layers == 0:
            layers: list[nn.Module] = [
                nn.Conv2d(cin, c.width, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(c.width, c.width * 2, 1, bias=bias),
                norm_layer(c.norm, c.width * 2),
                nn.LeakyReLU(0.2),
                nn.Conv2d(c.width * 2, 1, 1, bias=bias),
            ]
        else:
            layers = [nn.Conv2d(cin, c.width, 4, 2, 1), nn.LeakyReLU(0.2)]
            channels = c.width
            for level in range(1, c.layers + 1):
                after = c.width * min(2**level, 8)
                stride = 2 if level < c.layers else 1
                layers += [
                    nn.Conv2d(channels, after, 4, stride, 1, bias=bias),
                    norm_layer(c.norm, after),
                    nn.LeakyReLU(0.2),
                ]
                channels = after
            layers.append(nn.Conv2d(channels, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)
        self.complete()

    def forward(self, x: Tensor) -> Tensor:
        return self.activations(x)[-1]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        return [self.activations(x)]

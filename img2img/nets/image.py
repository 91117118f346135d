"""Whole-image discriminator after DCGAN (arXiv 1511.06434, sec. 3)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.nets.blocks import norm_layer
from img2img.nets.discriminator import DiscriminatorConfig, LeveledDiscriminator

_COARSEST = 4


class ImageConfig(DiscriminatorConfig):
    """`layers` halvings; those that leave 4x4 are DCGAN's choice: 6 for 256 pixels, 5 for 128,
    4 for 64. Channels double up to `8 * width`; no norm on the first level."""

    layers: int = Field(6, ge=1, le=8)

    @property
    def minimum(self) -> int:
        # A norm needs more than one place to have a variance; the first level has none.
        normed = self.norm != "none" and self.layers > 1
        return 2 ** (self.layers + normed)


class ImageDiscriminator(LeveledDiscriminator):
    """Float (N, condition_channels + in_channels, H, W) in [-1, 1] -> one logit for each picture,
    (N, 1, 1, 1).

    The coarsest map is brought to 4x4 by adaptive average pooling (which leaves a 4x4 map as it
    is), and a weight for each of its values makes the logit.
    """

    Config = ImageConfig
    name = "image"

    def __init__(self, config: ImageConfig):
        super().__init__(config)
        c = config
        channels = c.condition_channels + c.in_channels
        layers: list[nn.Module] = []
        for level in range(c.layers):
            after = c.width * min(2**level, 8)
            plain = level == 0 or c.norm == "none"
            layers.append(nn.Conv2d(channels, after, 4, 2, 1, bias=level == 0 or c.norm != "batch"))
            layers += [] if plain else [norm_layer(c.norm, after)]
            layers.append(nn.LeakyReLU(0.2))
            channels = after
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, 1, _COARSEST)
        self.complete()

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0][-1]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        levels = self.activations(x)
        return [[*levels, self.head(F.adaptive_avg_pool2d(levels[-1], _COARSEST))]]

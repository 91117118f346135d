"""Multi-scale discriminator of pix2pixHD (arXiv 1711.11585, sec. 3.2)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from img2img.nets.blocks import Norm
from img2img.nets.discriminator import Discriminator
from img2img.nets.patch import PatchConfig, PatchDiscriminator


class MultiscaleConfig(PatchConfig):
    """`scales` PatchGANs of one shape: the first judges the picture, each next one half of it."""

    scales: int = Field(3, ge=1, le=6)
    norm: Norm = "instance"

    @property
    def minimum(self) -> int:
        # Each pooling gives ceil(side / 2).
        return (super().minimum - 1) * 2 ** (self.scales - 1) + 1


class MultiscaleDiscriminator(Discriminator):
    """Float (N, condition_channels + in_channels, H, W) in [-1, 1] -> a list of `scales` maps of
    one logit for each patch, (N, 1, h, w), finest first.

    Convolutions are padded by one, as in `PatchDiscriminator`.
    """

    Config = MultiscaleConfig
    name = "multiscale"
    shrinking = ("scales", "layers")

    def __init__(self, config: MultiscaleConfig):
        super().__init__(config)
        patch = PatchConfig(**config.model_dump(exclude={"scales"}))
        self.scales = nn.ModuleList(PatchDiscriminator(patch) for _ in range(config.scales))
        # Pixels outside the picture do not count, else its rim would darken towards grey.
        self.shrink = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [scale[-1] for scale in self.features(x)]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        self.refuse_small(x)
        found: list[list[Tensor]] = []
        for scale in self.scales:
            if found:
                x = self.shrink(x)
            assert isinstance(scale, PatchDiscriminator)
            found += scale.features(x)
        return found

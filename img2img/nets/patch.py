"""PatchGAN discriminator (arXiv 1611.07004, sec. 3.2.2 and 6.1.2)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from img2img.nets.blocks import Init, Norm, initialise, norm_layer
from img2img.settings import Settings


class PatchConfig(Settings):
    """`layers` strided levels: 3 sees 70x70 pixels, 0 is the pixel discriminator (1x1).

    `condition_channels` are those of the picture that the judged one was made from; they are
    concatenated before the judged picture's own.
    """

    in_channels: int = Field(3, ge=1)
    condition_channels: int = Field(0, ge=0)
    width: int = Field(64, ge=1)
    layers: int = Field(3, ge=0, le=8)
    norm: Norm = "batch"
    spectral: bool = False
    init: Init = "normal"
    init_gain: float = Field(0.02, gt=0)


class PatchDiscriminator(nn.Module):
    """Float (N, condition_channels + in_channels, H, W) in [-1, 1] -> one logit for each patch,
    (N, 1, h, w); for H = W = 256 and 3 layers h = w = 30."""

    Config: ClassVar[type[Settings]] = PatchConfig
    name: ClassVar[str] = "patch"

    def __init__(self, config: PatchConfig):
        super().__init__()
        c = config
        self.config = c
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
        initialise(self, c.init, c.init_gain)
        if c.spectral:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

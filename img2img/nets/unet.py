"""U-Net generator of Pix2Pix (arXiv 1611.07004, sec. 3.2.1 and 6.1.1)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.blocks import (
    Init,
    Norm,
    Padding,
    ReflectPad,
    SelfAttention,
    Upsample,
    initialise_generator,
    norm_layer,
    upsample_conv,
)
from img2img.nets.doubling import Layers
from img2img.nets.generator import Generator
from img2img.nets.outputs import Output, layer_channels
from img2img.nets.reach import Look
from img2img.receptive_field import Seen, widest
from img2img.settings import Settings


class UNetConfig(Settings):
    """`depth` halvings, `width` channels after the first; channels double up to `8 * width`.

    `attention` puts one self-attention on the decoder's output at 1/8 of the sides (32x32 places
    for a 256x256 picture), before it meets its skip; at the decoder's coarsest output when `depth`
    is below 4. Its cost grows with the square of the picture's area. `output` says what the last
    layer means (`nets.outputs`).
    """

    in_channels: int = Field(3, ge=1)
    out_channels: int = Field(3, ge=1)
    width: int = Field(64, ge=1)
    depth: int = Field(8, ge=2, le=12)
    norm: Norm = "batch"
    affine: bool = False
    dropout: bool = True
    upsample: Upsample = "transposed"
    padding: Padding = "zero"
    attention: bool = False
    output: Output = "direct"
    domains: int = Field(0, ge=0)
    init: Init = "normal"
    init_gain: float = Field(0.02, gt=0)


class UNetGenerator(Generator):
    """Encoder and decoder of `depth` levels with a skip at every level.

    Dropout 0.5 sits on the decoder levels of `8 * width` channels but the innermost.
    """

    Config = UNetConfig
    name = "unet"

    def __init__(self, config: UNetConfig):
        c = config
        super().__init__(c)
        bias = c.norm != "batch"
        channels = [c.width * min(2**level, 8) for level in range(c.depth)]

        self.downs = nn.ModuleList()
        for level, cout in enumerate(channels):
            cin = c.in_channels + c.domains if level == 0 else channels[level - 1]
            layers: list[nn.Module] = [] if level == 0 else [nn.LeakyReLU(0.2)]
            if c.padding == "reflect":
                layers.append(ReflectPad(1))
            zeros = 1 if c.padding == "zero" else 0
            layers.append(nn.Conv2d(cin, cout, 4, stride=2, padding=zeros, bias=bias))
            if 0 < level < c.depth - 1:
                layers.append(norm_layer(c.norm, cout, c.affine))
            self.downs.append(nn.Sequential(*layers))

        self.ups = nn.ModuleList()
        for level in reversed(range(c.depth)):
            innermost, outermost = level == c.depth - 1, level == 0
            cin = channels[level] if innermost else channels[level] * 2
            made = layer_channels(c.output, c.out_channels)
            cout = made if outermost else channels[level - 1]
            layers = [nn.ReLU()]
            layers += upsample_conv(cin, cout, c.upsample, 4, bias or outermost, c.padding)
            if outermost:
                layers.append(nn.Tanh() if c.output == "direct" else nn.Identity())
            else:
                layers.append(norm_layer(c.norm, cout, c.affine))
                if c.dropout and not innermost and 5 <= level + 1 < c.depth:
                    layers.append(nn.Dropout(0.5))
            self.ups.append(Layers(*layers))

        attended = min(3, c.depth - 1)
        self._attended = c.depth - 1 - attended
        self.attention = SelfAttention(channels[attended - 1]) if c.attention else None
        last = self.ups[-1][-2]  # type: ignore[index]
        assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d)
        initialise_generator(self, c, (), last)
        self.head.start(last)

    @property
    def multiple_of(self) -> int:
        return 2**self.config.depth

    @property
    def minimum(self) -> int:
        return 2**self.config.depth

    def layers_of(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for down in self.downs:
            x = self.part(down, x)
            skips.append(x)
        for position, up in enumerate(self.ups):
            x = skips.pop() if position == 0 else torch.cat([skips.pop(), x], 1)
            x = self.part(up, x)
            if self.attention is not None and position == self._attended:
                x = self.attention(x)
        return x

    def look(self, look: Look) -> Seen:
        seen, skips = Seen(), list[Seen]()
        for down in self.downs:
            seen = look.through([down], seen)
            skips.append(seen)
        for position, up in enumerate(self.ups):
            seen = skips.pop() if position == 0 else widest(skips.pop(), seen)
            seen = look.through([up], seen)
        return seen

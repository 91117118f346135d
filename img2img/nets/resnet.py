"""ResNet generator of CycleGAN (arXiv 1703.10593, appendix 7.2, after arXiv 1603.08155) and, with
4x4 sampling, affine norms and no biases, of StarGAN (arXiv 1711.09020, table 4)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.nets.antialias import BlurDown
from img2img.nets.blocks import (
    BlockPadding,
    Init,
    Norm,
    Padding,
    SelfAttention,
    Upsample,
    initialise_generator,
    norm_layer,
    padded_conv,
    refuse_forgotten_domain,
    upsample_conv,
)
from img2img.nets.doubling import follow
from img2img.nets.generator import Generator
from img2img.nets.outputs import Output, layer_channels
from img2img.nets.reach import Look
from img2img.receptive_field import Seen, widest
from img2img.settings import Settings


class ResNetConfig(Settings):
    """`downs` halvings from `width` channels, `blocks` residual blocks, as many doublings.

    `downsample=blurred` and `upsample=blurred` halve and double without aliasing, as CUT does
    (`nets.antialias`). `block_padding` is that of the residual blocks, by default `padding`;
    `downsample_padding` that of the halvings. Zeros there, as in the reference, are seen by a norm
    as an edge, and may become patches along the border of flat pictures.
    `bias=None` gives the convolutions a bias exactly when no norm with its own bias follows.
    `attention` puts one self-attention amid the residual blocks, at 1/2**downs of the sides
    (64x64 places for a 256x256 picture); its cost grows with the square of the picture's area.
    `output` says what the last layer means (`nets.outputs`). `identity_start` is an older name for
    `output=residual`.
    """

    in_channels: int = Field(3, ge=1)
    out_channels: int = Field(3, ge=1)
    width: int = Field(64, ge=1)
    blocks: int = Field(9, ge=0)
    downs: int = Field(2, ge=0, le=6)
    norm: Norm = "instance"
    affine: bool = False
    dropout: bool = False
    padding: Padding = "reflect"
    downsample: Literal["strided", "blurred"] = "strided"
    downsample_padding: Padding = "zero"
    upsample: Upsample = "transposed"
    block_padding: BlockPadding | None = None
    kernel: Literal[3, 4] = 3
    bias: bool | None = None
    head_bias: bool = True
    attention: bool = False
    identity_start: bool = False
    output: Output = "direct"
    domains: int = Field(0, ge=0)
    init: Init = "normal"
    init_gain: float = Field(0.02, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        refuse_forgotten_domain("ResNet", self.domains, self.norm, self.padding)
        if self.identity_start and self.output == "direct":
            object.__setattr__(self, "output", "residual")
        return self


class ResidualBlock(nn.Module):
    """x + conv-norm-ReLU-(dropout)-conv-norm(x), H and W kept (arXiv 1512.03385)."""

    def __init__(self, channels: int, config: ResNetConfig, bias: bool):
        super().__init__()
        c = config
        padding = c.block_padding or c.padding
        self.layers = nn.Sequential(
            *padded_conv(channels, channels, 3, padding, bias),
            norm_layer(c.norm, channels, c.affine),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if c.dropout else []),
            *padded_conv(channels, channels, 3, padding, bias),
            norm_layer(c.norm, channels, c.affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _halving(channels: int, config: ResNetConfig, bias: bool) -> list[nn.Module]:
    """The convolution of a halving; a blurred one follows the activation and halves there. Its
    padding is no layer of its own, so that the weights keep their names."""
    blurred = config.downsample == "blurred"
    kernel, stride = (3, 1) if blurred else (config.kernel, 2)
    mode: Literal["zeros", "reflect"] = (
        "zeros" if config.downsample_padding == "zero" else "reflect"
    )
    return [nn.Conv2d(channels, channels * 2, kernel, stride, 1, bias=bias, padding_mode=mode)]


class ResNetGenerator(Generator):
    """7x7 convolution, `downs` halvings, residual blocks, `downs` doublings, 7x7 convolution."""

    Config = ResNetConfig
    name = "resnet"

    def __init__(self, config: ResNetConfig):
        c = config
        super().__init__(c)
        own_bias = c.norm == "batch" or (c.norm == "instance" and c.affine)
        bias = (not own_bias) if c.bias is None else c.bias

        def follow(channels: int) -> list[nn.Module]:
            return [norm_layer(c.norm, channels, c.affine), nn.ReLU()]

        layers = padded_conv(c.in_channels + c.domains, c.width, 7, c.padding, bias)
        layers += follow(c.width)
        channels = c.width
        for _ in range(c.downs):
            layers += _halving(channels, c, bias)
            channels *= 2
            layers += follow(channels)
            layers += [BlurDown(channels)] if c.downsample == "blurred" else []
        self._attended = len(layers) + c.blocks // 2
        deepest = channels
        layers += [ResidualBlock(channels, c, bias) for _ in range(c.blocks)]
        for _ in range(c.downs):
            layers += upsample_conv(channels, channels // 2, c.upsample, c.kernel, bias, c.padding)
            channels //= 2
            layers += follow(channels)
        made = layer_channels(c.output, c.out_channels)
        layers += padded_conv(c.width, made, 7, c.padding, c.head_bias or c.output == "mask")
        layers.append(nn.Tanh() if c.output == "direct" else nn.Identity())
        self.layers = nn.Sequential(*layers)
        # Beside the layers, not among them: weights trained without it keep their names.
        self.attention = SelfAttention(deepest) if c.attention else None
        last = layers[-2]
        assert isinstance(last, nn.Conv2d)
        blocks = (layer.layers for layer in layers if isinstance(layer, ResidualBlock))
        seconds = [[m for m in block if isinstance(m, nn.Conv2d)][1] for block in blocks]
        initialise_generator(self, c, seconds, last)
        self.head.start(last)

    @property
    def multiple_of(self) -> int:
        return 2**self.config.downs

    @property
    def minimum(self) -> int:
        # Reflection by one needs two pixels at the coarsest level, by three four at the finest.
        return max(2 ** (self.config.downs + 1), 4)

    def layers_of(self, x: Tensor) -> Tensor:
        layers, place = list(self.layers), 0
        while place < len(layers):
            if self.attention is not None and place == self._attended:
                x = self.attention(x)
            if isinstance(layers[place], ResidualBlock):
                x, place = self.part(layers[place], x), place + 1
                continue
            x, taken = follow(layers, place, x, self.training)
            place += taken
        return x

    def look(self, look: Look) -> Seen:
        seen = Seen()
        for layer in self.layers:
            inner = layer.layers if isinstance(layer, ResidualBlock) else [layer]
            after = look.through(inner, seen)
            seen = widest(seen, after) if isinstance(layer, ResidualBlock) else after
        return seen

"""A generator for processors: all its layers at a part of the sides, nothing at full size.

Shrinking stem and sub-pixel output after arXiv 1609.05158 (ESPCN), residual blocks without
normalisation after arXiv 1707.02921 (EDSR).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.nets.blocks import Norm, Padding, initialise, norm_layer, padded_conv
from img2img.nets.generator import Generator
from img2img.nets.outputs import Output, layer_channels, output_problem
from img2img.nets.reach import Look
from img2img.receptive_field import Seen, widest
from img2img.settings import Settings

_SLOPE = 0.1


class FastConfig(Settings):
    """`width` channels at 1/`shrink` of the sides, in `blocks` residual blocks of two 3x3
    convolutions. With more `levels`, each halves the sides and doubles the channels of the one
    above, with `blocks` on its way down and as many on its way up, and joins it by addition: it
    sees farther at the same cost. Without a norm it tiles exactly and leaves colours what they
    are."""

    in_channels: int = Field(3, ge=1)
    out_channels: int = Field(3, ge=1)
    width: int = Field(48, ge=1)
    blocks: int = Field(5, ge=0)
    shrink: int = Field(2, ge=1, le=8)
    levels: int = Field(1, ge=1, le=5)
    norm: Norm = "none"
    affine: bool = True
    padding: Padding = "reflect"
    output: Output = "residual"
    domains: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.domains and self.padding == "reflect" and self.norm == "instance":
            raise ValueError(
                "a network with domains, instance norm and reflection padding forgets its domain; "
                "use padding=zero"
            )
        problem = output_problem(self.output, self.in_channels, self.out_channels)
        if problem:
            raise ValueError(problem)
        return self


class FastBlock(nn.Module):
    """x + conv-norm-LeakyReLU-conv-norm(x), H and W kept."""

    def __init__(self, config: FastConfig, width: int):
        super().__init__()
        c = config
        bias = c.norm == "none"
        self.layers = nn.Sequential(
            *padded_conv(width, width, 3, c.padding, bias),
            norm_layer(c.norm, width, c.affine),
            nn.LeakyReLU(_SLOPE),
            *padded_conv(width, width, 3, c.padding, bias),
            norm_layer(c.norm, width, c.affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Level(nn.Module):
    """Blocks, the level below at half the sides, added, and blocks; (N, width, H, W) kept."""

    def __init__(self, config: FastConfig, width: int, levels: int):
        super().__init__()
        self.before = nn.Sequential(*(FastBlock(config, width) for _ in range(config.blocks)))
        self.below: nn.Sequential | None = None
        self.after: nn.Sequential | None = None
        if levels > 1:
            self.below = nn.Sequential(
                nn.Conv2d(width, 2 * width, 2, stride=2),
                Level(config, 2 * width, levels - 1),
                nn.Conv2d(2 * width, 4 * width, 1),
                nn.PixelShuffle(2),
            )
            self.after = nn.Sequential(*(FastBlock(config, width) for _ in range(config.blocks)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        if self.below is None or self.after is None:
            return x
        return self.after(x + self.below(x))


class FastGenerator(Generator):
    """A strided convolution that sees what a 3x3 one sees after pixel unshuffling, residual
    blocks, a 3x3 convolution and pixel shuffling.

    Convolutions start as Kaiming's for a network without norms (arXiv 1502.01852, eq. 14); the
    second of each block starts at a tenth, so that a deep chain keeps its scale.
    """

    Config = FastConfig
    name = "fast"

    def __init__(self, config: FastConfig):
        c = config
        super().__init__(c)
        r = c.shrink
        stem = nn.Conv2d(c.in_channels + c.domains, c.width, 3 * r, stride=r, padding=r)
        made = layer_channels(c.output, c.out_channels)
        self.layers = nn.Sequential(
            stem,
            nn.LeakyReLU(_SLOPE),
            *(
                [FastBlock(c, c.width) for _ in range(c.blocks)]
                if c.levels == 1
                else [Level(c, c.width, c.levels)]
            ),
            *padded_conv(c.width, made * r**2, 3, c.padding, True),
            nn.PixelShuffle(r),
            nn.Tanh() if c.output == "direct" else nn.Identity(),
        )
        initialise(self, "kaiming")
        for block in self.modules():
            if isinstance(block, FastBlock):
                second = [m for m in block.layers if isinstance(m, nn.Conv2d)][1]
                nn.init.kaiming_normal_(second.weight)
                second.weight.data.mul_(0.1)
        last = self.layers[-3]
        assert isinstance(last, nn.Conv2d)
        if c.output in ("direct", "mask"):
            # ICNR (arXiv 1707.02937): the r * r neighbours of a place start alike.
            first = last.weight.data[:: r**2].clone() * 0.1
            last.weight.data.copy_(first.repeat_interleave(r**2, 0))
        self.head.start(last)
        if c.output == "mask" and last.bias is not None:
            last.bias.data[-(r**2) :] = last.bias.data[-1]

    @property
    def multiple_of(self) -> int:
        return self.config.shrink * 2 ** (self.config.levels - 1)

    @property
    def minimum(self) -> int:
        # Reflection by one needs two places.
        return 2 * self.multiple_of

    def layers_of(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.part(layer, x) if isinstance(layer, FastBlock | Level) else layer(x)
        return x

    def look(self, look: Look) -> Seen:
        return _through(self.layers, look, Seen())


def _through(layers: Iterable[nn.Module], look: Look, seen: Seen) -> Seen:
    for layer in layers:
        if isinstance(layer, FastBlock):
            seen = widest(seen, look.through(layer.layers, seen))
        elif isinstance(layer, Level):
            seen = _through(layer.before, look, seen)
            if layer.below is not None and layer.after is not None:
                seen = widest(seen, _through(layer.below, look, seen))
                seen = _through(layer.after, look, seen)
        else:
            seen = look.through([layer], seen)
    return seen

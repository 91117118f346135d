"""A generator for processors: all its layers at a part of the sides, nothing at full size.

Shrinking stem and sub-pixel output after arXiv 1609.05158 (ESPCN), residual blocks without
normalisation after arXiv 1707.02921 (EDSR), both of which enlarge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.nets.blocks import (
    Norm,
    Padding,
    initialise,
    norm_layer,
    padded_conv,
    refuse_forgotten_domain,
)
from img2img.nets.generator import Generator, Tiling
from img2img.nets.outputs import Output, layer_channels
from img2img.nets.reach import Look
from img2img.receptive_field import Seen, widest
from img2img.settings import Settings

_SLOPE = 0.1


class FastConfig(Settings):
    """`width` channels at 1/`shrink` of the sides, in `blocks` residual blocks of two 3x3
    convolutions. With more `levels`, each halves the sides and doubles the channels of the one
    above, with `blocks` on its way down and as many on its way up, and joins it by addition: it
    sees farther at the same cost. Without a norm it tiles exactly and leaves colours what they
    are.

    `tail` brings the result to full size: `shuffle` by pixel shuffling, which is fast; `resize` by
    doublings and convolutions that see the picture again beside it, for masks and flat colours,
    where shuffling leaves a pattern of dots for long.

    `whole` adds to every place of the coarsest level what two layers make of its mean over the
    picture (the global features of Iizuka et al., doi 10.1145/2897824.2925974, without a network of
    their own): for decisions that the whole picture takes, such as the colour of a background.
    Such a network cannot be tiled.

    With a `scale` of 2 or 4 the result is that many times as large as the picture: all layers work
    on the small one, and the tail shuffles out as many more pixels."""

    in_channels: int = Field(3, ge=1)
    out_channels: int = Field(3, ge=1)
    width: int = Field(48, ge=1)
    blocks: int = Field(5, ge=0)
    shrink: int = Field(2, ge=1, le=8)
    levels: int = Field(1, ge=1, le=5)
    scale: Literal[1, 2, 4] = 1
    tail: Literal["shuffle", "resize"] = "shuffle"
    norm: Norm = "none"
    affine: bool = True
    padding: Padding = "reflect"
    output: Output = "residual"
    whole: bool = False
    domains: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        refuse_forgotten_domain("network", self.domains, self.norm, self.padding)
        if self.tail == "resize" and self.shrink not in (1, 2, 4, 8):
            raise ValueError("tail=resize doubles the sides; use shrink 1, 2, 4 or 8")
        if self.scale > 1 and self.tail == "resize":
            raise ValueError(f"scale={self.scale} is for tail=shuffle, not tail=resize")
        if self.scale > 1 and self.output == "chroma":
            raise ValueError(
                f"scale={self.scale} with output=chroma would add colour and no detail; use "
                "output=residual"
            )
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


class WholePicture(nn.Module):
    """x, and at every place alike what is made of its mean over the picture; (N, C, H, W) kept. It
    begins as x alone."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(channels, channels, 1)
        )

    def start(self) -> None:
        """Add nothing."""
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x.mean((2, 3), keepdim=True))


class Level(nn.Module):
    """Blocks, the level below at half the sides, added, and blocks; (N, width, H, W) kept."""

    def __init__(self, config: FastConfig, width: int, levels: int):
        super().__init__()
        self.before = nn.Sequential(*(FastBlock(config, width) for _ in range(config.blocks)))
        looks = config.whole and levels == 1
        self.whole = WholePicture(width) if looks else nn.Identity()
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
            whole: Tensor = self.whole(x)
            return whole
        return self.after(x + self.below(x))


class ResizeTail(nn.Module):
    """(N, width, H / shrink, W / shrink) and the picture -> (N, made, H, W): doublings with half
    the channels each time, then two convolutions beside the picture."""

    def __init__(self, config: FastConfig, made: int):
        super().__init__()
        c, layers, channels, size = config, list[nn.Module](), config.width, config.shrink
        while size > 1:
            after = max(channels // 2, 8)
            layers += [
                nn.Upsample(scale_factor=2.0),
                *padded_conv(channels, after, 3, c.padding, True),
                nn.LeakyReLU(_SLOPE),
            ]
            channels, size = after, size // 2
        self.enlarge = nn.Sequential(*layers)
        self.last = nn.Sequential(
            *padded_conv(channels + c.in_channels + c.domains, 12, 3, c.padding, True),
            nn.LeakyReLU(_SLOPE),
            *padded_conv(12, made, 3, c.padding, True),
        )

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        return self.last(torch.cat([self.enlarge(x), picture], 1))


class FastGenerator(Generator):
    """A strided convolution that sees what a 3x3 one sees after pixel unshuffling, residual
    blocks, a 3x3 convolution and pixel shuffling, or another `tail`.

    Convolutions start as Kaiming's for a network without norms (arXiv 1502.01852, eq. 14); the
    second of each block starts at a tenth, so that a deep chain keeps its scale.
    """

    Config = FastConfig
    name = "fast"

    def __init__(self, config: FastConfig):
        c = config
        super().__init__(c)
        r, up = c.shrink, c.shrink * c.scale
        stem = nn.Conv2d(c.in_channels + c.domains, c.width, 3 * r, stride=r, padding=r)
        made = layer_channels(c.output, c.out_channels)
        self.layers = nn.Sequential(
            stem,
            nn.LeakyReLU(_SLOPE),
            *(
                [FastBlock(c, c.width) for _ in range(c.blocks)]
                if c.levels == 1 and not c.whole
                else [Level(c, c.width, c.levels)]
            ),
            *(
                [*padded_conv(c.width, made * up**2, 3, c.padding, True), nn.PixelShuffle(up)]
                if c.tail == "shuffle"
                else [ResizeTail(c, made)]
            ),
            nn.Tanh() if c.output == "direct" else nn.Identity(),
        )
        initialise(self, "kaiming")
        for block in self.modules():
            if isinstance(block, FastBlock):
                second = [m for m in block.layers if isinstance(m, nn.Conv2d)][1]
                nn.init.kaiming_normal_(second.weight)
                second.weight.data.mul_(0.1)
            elif isinstance(block, WholePicture):
                block.start()
            elif isinstance(block, Level) and block.below is not None:
                _start_alike(block.below[2], 4)
        last = [m for m in self.modules() if isinstance(m, nn.Conv2d)][-1]
        if c.tail == "resize":
            last.weight.data.mul_(0.1)
        elif c.output in ("direct", "mask"):
            last.weight.data.mul_(0.1)
            _start_alike(last, up**2)
        self.head.start(last)
        if c.tail == "shuffle" and c.output == "mask" and last.bias is not None:
            last.bias.data[-(up**2) :] = last.bias.data[-1]

    @property
    def tiling(self) -> Tiling:
        return "statistics" if self.config.whole else super().tiling

    @property
    def multiple_of(self) -> int:
        return self.config.shrink * 2 ** (self.config.levels - 1)

    @property
    def minimum(self) -> int:
        # Reflection by one needs two places.
        return 2 * self.multiple_of

    def layers_of(self, x: Tensor) -> Tensor:
        picture = x
        for layer in self.layers:
            if isinstance(layer, ResizeTail):
                x = layer(x, picture)
                continue
            x = self.part(layer, x) if isinstance(layer, FastBlock | Level) else layer(x)
        return x

    def look(self, look: Look) -> Seen:
        seen = _through(self.layers, look, Seen())
        return seen if self.enlarge is None else widest(seen, self.enlarge.look(Seen()))


def _start_alike(conv: nn.Module, made: int) -> None:
    """The `made` neighbours that pixel shuffling makes of a place begin alike (ICNR, arXiv
    1707.02937)."""
    assert isinstance(conv, nn.Conv2d)
    conv.weight.data.copy_(conv.weight.data[::made].repeat_interleave(made, 0))


def _through(layers: Iterable[nn.Module], look: Look, seen: Seen) -> Seen:
    for layer in layers:
        if isinstance(layer, FastBlock):
            seen = widest(seen, look.through(layer.layers, seen))
        elif isinstance(layer, Level):
            seen = _through(layer.before, look, seen)
            if isinstance(layer.whole, WholePicture):
                raise ConfigError("its decisions depend on the whole picture")
            if layer.below is not None and layer.after is not None:
                seen = widest(seen, _through(layer.below, look, seen))
                seen = _through(layer.after, look, seen)
        elif isinstance(layer, ResizeTail):
            seen = widest(look.through([layer.enlarge], seen), Seen())
            seen = look.through([layer.last], seen)
        else:
            seen = look.through([layer], seen)
    return seen

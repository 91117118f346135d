"""What every generator is: a picture of any size in, one of that size or `scale` times it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.nets.blocks import (
    BatchNorm,
    InstanceNorm,
    NormStatistics,
    SelfAttention,
    mirror_to,
    recomputed,
    round_up,
    set_norm_statistics,
)
from img2img.nets.enlarge import Enlarge
from img2img.nets.outputs import Head, Output, output_problem
from img2img.nets.reach import Look
from img2img.receptive_field import Seen
from img2img.settings import Settings

Tiling = Literal["exact", "statistics"]


class Generator(nn.Module, ABC):
    """Base of the generators.

    `forward(x, domain=None)`: `x` float (N, in_channels, H, W) in [-1, 1], any H and W >= 1;
    `domain` float (N, domains) where the configuration has domains. Returns
    (N, out_channels, scale * H, scale * W) in [-1, 1]; `scale` is 1 but for networks that enlarge.
    A picture whose sides are not multiples of `multiple_of`, or shorter than `minimum`, is extended
    by reflection at the bottom and right, and cropped back.

    With `checkpointing` set, training keeps less: what `part` runs is computed again for gradients.
    """

    Config: ClassVar[type[Settings]]
    name: ClassVar[str]

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.in_channels: int = config.in_channels
        self.out_channels: int = config.out_channels
        self.domains: int = config.domains
        self.scale: int = getattr(config, "scale", 1)
        self.enlarge = None if self.scale == 1 else Enlarge(self.in_channels, self.scale)
        self.checkpointing = False
        output: Output = getattr(config, "output", "direct")
        self.head = Head(output)
        problem = output_problem(output, self.in_channels, self.out_channels)
        if problem:
            raise ConfigError(problem)

    @property
    @abstractmethod
    def multiple_of(self) -> int:
        """H and W that the layers see are multiples of this, in pixels."""

    @property
    @abstractmethod
    def minimum(self) -> int:
        """The least H and W that the layers see, in pixels."""

    @property
    def tiling(self) -> Tiling:
        """`exact` when a tile with enough overlap gives the whole picture's pixels; `statistics`
        when normalisation or attention looks at the whole picture, so that tiles change the
        result."""
        if any(isinstance(module, SelfAttention) for module in self.modules()):
            return "statistics"
        return "exact" if self.norm_statistics in ("running", "none") else "statistics"

    @property
    def norm_statistics(self) -> str:
        """What normalisation uses outside training: `instance`, `batch`, `running` or `none`."""
        for module in self.modules():
            if isinstance(module, BatchNorm):
                return module.statistics
            if isinstance(module, InstanceNorm):
                return "instance"
        return "none"

    def use_norm_statistics(self, statistics: NormStatistics) -> None:
        """Choose what batch normalisation uses outside training."""
        set_norm_statistics(self, statistics)

    @abstractmethod
    def layers_of(self, x: Tensor) -> Tensor:
        """What the layers give, `scale` times as large as `x`, before `head` makes a picture of it,
        for sides that obey `multiple_of` and `minimum`; `x` carries the domain planes behind the
        picture's channels."""

    @abstractmethod
    def look(self, look: Look) -> Seen:
        """What a pixel of the output sees, found by following its layers with `look`."""

    @property
    def reach(self) -> int:
        """How many pixels away from an output pixel the input can change it, with the statistics
        of normalisation held; never too small, a few pixels too large for some networks.

        Raises ConfigError for attention, which looks at the whole picture.
        """
        if any(isinstance(module, SelfAttention) for module in self.modules()):
            raise ConfigError("its attention looks at the whole picture")
        return self.look(Look([])).reach

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Tensor:
        return self.head(*self._made(x, domain))

    def enlarged(self, x: Tensor) -> Tensor:
        """A picture that goes in, (N, in_channels, H, W), at the size of what comes out: as it is,
        or enlarged by the bicubic filter."""
        return x if self.enlarge is None else self.enlarge(x)

    def with_mask(self, x: Tensor, domain: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `forward`, with the mask in [0, 1] that the picture was changed by, of one channel and
        the size of the result.

        Raises ConfigError for a generator without one.
        """
        if self.head.output != "mask":
            raise ConfigError("this generator makes no mask; use generator.output=mask")
        return self.head.with_mask(*self._made(x, domain))

    def _made(self, picture: Tensor, domain: Tensor | None) -> tuple[Tensor, Tensor]:
        """The picture at the size of the result, and what the layers give."""
        x = self.with_domain(picture, domain)
        height, width = x.shape[2], x.shape[3]
        h = round_up(height, self.multiple_of, self.minimum)
        w = round_up(width, self.multiple_of, self.minimum)
        # A size that is a symbol while exporting may be any; a fixed one is a number there too.
        known = not torch.compiler.is_exporting() or (isinstance(h, int) and isinstance(w, int))
        if known and (h, w) == (height, width):
            return self.enlarged(picture), self.layers_of(x)
        x = mirror_to(x, h, w)
        if self.scale == 1:
            return picture, self.layers_of(x)[:, :, :height, :width]
        height, width = self.scale * height, self.scale * width
        # Of the extended picture: so it is in tiles, which obey the size rules.
        picture = self.enlarged(x[:, : self.in_channels] if self.domains else x)
        return picture[:, :, :height, :width], self.layers_of(x)[:, :, :height, :width]

    def part(self, module: nn.Module, x: Tensor) -> Tensor:
        """`module(x)`; when `checkpointing` while training, without keeping what lies inside."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return recomputed(module, x)
        return module(x)

    def with_domain(self, x: Tensor, domain: Tensor | None) -> Tensor:
        """Append `domain` (N, domains) as constant planes (arXiv 1711.09020, sec. 7.1)."""
        if self.domains == 0:
            if domain is not None:
                raise ConfigError("this generator has no domains; call it with a picture alone")
            return x
        if domain is None or domain.shape != (x.shape[0], self.domains):
            given = "none" if domain is None else tuple(domain.shape)
            raise ConfigError(
                f"this generator needs a domain vector of shape ({x.shape[0]}, {self.domains}); "
                f"{given} was given"
            )
        planes = domain.to(x.dtype)[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3])
        return torch.cat([x, planes], 1)

"""What every discriminator is: judged pictures in, logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from img2img.errors import ConfigError
from img2img.nets.blocks import Init, Norm, SelfAttention, initialise
from img2img.settings import Settings


class DiscriminatorConfig(Settings, ABC):
    """Settings that all discriminators share.

    `condition_channels` are those of the picture that the judged one was made from; they are
    concatenated before the judged picture's own. `layers` counts the strided levels, `width` the
    channels after the first. `spectral` normalises every convolution, attention's included
    (arXiv 1802.05957). `attention` puts one self-attention (arXiv 1805.08318) at a quarter of the
    sides, after the second strided level (the first where it is the only one).
    """

    in_channels: int = Field(3, ge=1)
    condition_channels: int = Field(0, ge=0)
    width: int = Field(64, ge=1)
    layers: int = Field(3, ge=1, le=8)
    norm: Norm = "batch"
    spectral: bool = False
    attention: bool = False
    init: Init = "normal"
    init_gain: float = Field(0.02, gt=0)

    @property
    @abstractmethod
    def minimum(self) -> int:
        """The least H and W that can be judged, in pixels."""


class Discriminator(nn.Module, ABC):
    """Base of the discriminators.

    `forward(x)`: `x` float (N, condition_channels + in_channels, H, W) in [-1, 1], H and W of at
    least `minimum` and otherwise free. Returns logits without a sigmoid, higher for real, with N
    leading: one tensor, or what the class says (a list of tensors, a tuple).
    """

    Config: ClassVar[type[DiscriminatorConfig]]
    name: ClassVar[str]
    required_features: ClassVar[tuple[str, ...]] = ()
    """Names in `FEATURES` of the frozen networks that it looks through."""
    names_domains: ClassVar[bool] = False
    """Whether it also gives a logit for each domain."""
    shrinking: ClassVar[tuple[str, ...]] = ("layers",)
    """The settings that, made smaller, let smaller pictures in; proposed in this order."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config

    @property
    def minimum(self) -> int:
        """The least H and W that can be judged, in pixels."""
        return self.config.minimum

    @abstractmethod
    def forward(self, x: Tensor) -> object:
        """Judge `x`; see the class."""

    @abstractmethod
    def features(self, x: Tensor) -> list[list[Tensor]]:
        """For each scale, finest first, the activations of its levels, first level first, and at
        the end its logits for real or fake: the very ones that `forward` gives, so that one pass
        serves the GAN and the feature matching loss (arXiv 1711.11585, eq. 4). A discriminator
        that looks at one scale gives a list of one list."""

    def look(self, x: Tensor) -> list[Tensor]:
        """What a frozen network shows of `x`, for `features_of`: several judgements of one picture
        need it once. By default nothing. The gradient passes through."""
        return []

    def features_of(self, x: Tensor, looked: Sequence[Tensor]) -> list[list[Tensor]]:
        """`features(x)`, where `looked` is `look(x)`, or the same without its gradient."""
        return self.features(x)

    def refuse_small(self, x: Tensor) -> None:
        """Raise ConfigError, with a proposal, when a side of `x` is below `minimum`."""
        height, width = x.shape[2], x.shape[3]
        if min(height, width) >= self.minimum:
            return
        advice = []
        for setting in self.shrinking:
            for value in range(getattr(self.config, setting) - 1, 0, -1):
                smaller = self.config.model_copy(update={setting: value})
                if smaller.minimum <= min(height, width):
                    advice.append(f"discriminator.{setting}={value}")
                    break
        raise ConfigError(
            f"the discriminator '{self.name}' needs sides of at least {self.minimum} pixels; "
            f"{width}x{height} was given; use larger pictures"
            + (f" or {' or '.join(advice)}" if advice else "")
        )


class LeveledDiscriminator(Discriminator):
    """A discriminator of one stack of levels, each ending in a LeakyReLU.

    A subclass builds `layers` and its heads, then calls `complete`.
    """

    layers: nn.Sequential
    attention: SelfAttention | None

    def complete(self) -> None:
        """Add the attention asked for, initialise, and normalise spectrally where asked."""
        c = self.config
        self._attended = min(c.layers, 2)
        # Beside the layers, not among them: weights trained without it keep their names. A
        # gradient penalty is taken through D, hence the second order.
        channels = c.width * self._attended
        self.attention = SelfAttention(channels, second_order=True) if c.attention else None
        initialise(self, c.init, c.init_gain)
        if c.spectral:
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    spectral_norm(module)

    def activations(self, x: Tensor) -> list[Tensor]:
        """The output of each level, then, where `layers` goes on behind the last, its end."""
        self.refuse_small(x)
        found: list[Tensor] = []
        ended = False
        for layer in self.layers:
            x = layer(x)
            ended = isinstance(layer, nn.LeakyReLU)
            if ended:
                if self.attention is not None and len(found) + 1 == self._attended:
                    x = self.attention(x)
                found.append(x)
        return found if ended else [*found, x]

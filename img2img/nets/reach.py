"""How far a network looks, from its layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from img2img.errors import ConfigError
from img2img.nets.antialias import BlurDown, BlurUp
from img2img.nets.blocks import BatchNorm, InstanceNorm, ReflectPad
from img2img.receptive_field import Seen, UnknownReach

# Each place of what they give depends on that place of what they take.
_POINTWISE = (
    nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Hardswish, nn.Softplus, nn.Softsign, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Dropout,
    nn.Dropout2d,
)  # fmt: skip


@dataclass
class Look:
    """Follows a network's layers in the order in which they run, and notes each normalisation by
    the picture's own statistics with what its input sees.

    Raises ConfigError for a layer whose reach is not known here.
    """

    norms: list[tuple[nn.Module, Seen]]

    def through(self, layers: Iterable[nn.Module], seen: Seen) -> Seen:
        """What the output of `layers`, one after the other, sees."""
        for layer in layers:
            try:
                seen = self._layer(layer, seen)
            except UnknownReach as error:
                raise ConfigError(str(error)) from None
        return seen

    def _layer(self, layer: nn.Module, seen: Seen) -> Seen:
        if isinstance(layer, nn.Sequential):
            return self.through(layer, seen)
        if isinstance(layer, (InstanceNorm, BatchNorm)):
            if isinstance(layer, InstanceNorm) or layer.statistics == "batch":
                self.norms.append((layer, seen))
            return seen
        if isinstance(layer, ReflectPad):
            return seen.padded(layer.size)
        if isinstance(layer, BlurDown):
            return seen.padded(1).windowed(3, stride=2)
        if isinstance(layer, BlurUp):
            return seen.padded(1).transposed(4, stride=2, pad=3)
        if isinstance(layer, nn.Conv2d):
            return seen.windowed(*_square(layer))
        if isinstance(layer, nn.ConvTranspose2d):
            return seen.transposed(*_square(layer))
        if isinstance(layer, nn.Upsample):
            return _upsampled(layer, seen)
        if isinstance(layer, nn.PixelShuffle):
            return seen.enlarged(layer.upscale_factor)
        if isinstance(layer, _POINTWISE):
            return seen
        raise UnknownReach(f"its {type(layer).__name__} may look at the whole picture")


def _square(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation, the same along both sides."""
    kind = type(layer).__name__
    if isinstance(layer.padding, str) or (
        layer.padding_mode not in ("zeros", "reflect", "replicate")
    ):
        raise UnknownReach(f"its {kind} pads in a way whose reach is not known")
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    if any(len({*size}) != 1 for size in sizes):
        raise UnknownReach(f"its {kind} is not the same on both axes")
    kernel, stride, pad, dilation = (int(size[0]) for size in sizes)
    return kernel, stride, pad, dilation


def _upsampled(layer: nn.Upsample, seen: Seen) -> Seen:
    factor = layer.scale_factor
    if layer.mode != "nearest" or not isinstance(factor, (int, float)):
        raise UnknownReach("its Upsample is not the repetition of pixels by one factor")
    return seen.enlarged(factor)

"""How far a network looks, from its layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from img2img.nets.blocks import BatchNorm, InstanceNorm, ReflectPad


@dataclass(frozen=True)
class Seen:
    """Place i of a map depends on the picture's pixels from `shrink` * i - `before` to
    `shrink` * i + `after`, in each direction, with normalisation by statistics that are held."""

    shrink: int = 1
    before: int = 0
    after: int = 0

    @property
    def reach(self) -> int:
        """The farther of both sides, in pixels."""
        return max(self.before, self.after)


def widest(*seen: Seen) -> Seen:
    """What maps of one size see together, added or joined by channels."""
    (shrink,) = {s.shrink for s in seen}
    return Seen(shrink, max(s.before for s in seen), max(s.after for s in seen))


@dataclass
class Look:
    """Follows a network's layers in the order in which they run, and notes each normalisation by
    the picture's own statistics with what its input sees."""

    norms: list[tuple[nn.Module, Seen]]

    def through(self, layers: Iterable[nn.Module], seen: Seen) -> Seen:
        """What the output of `layers`, one after the other, sees."""
        for layer in layers:
            seen = self._layer(layer, seen)
        return seen

    def _layer(self, layer: nn.Module, seen: Seen) -> Seen:
        s, before, after = seen.shrink, seen.before, seen.after
        if isinstance(layer, nn.Sequential):
            return self.through(layer, seen)
        if isinstance(layer, InstanceNorm) or (
            isinstance(layer, BatchNorm) and layer.statistics == "batch"
        ):
            self.norms.append((layer, seen))
        elif isinstance(layer, ReflectPad):
            return Seen(s, before + s * layer.size, after - s * layer.size)
        elif isinstance(layer, nn.Conv2d):
            kernel, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
            return Seen(s * stride, before + s * pad, after + s * (kernel - 1 - pad))
        elif isinstance(layer, nn.ConvTranspose2d):
            kernel, pad = layer.kernel_size[0], int(layer.padding[0])
            s //= layer.stride[0]
            return Seen(s, before + s * (kernel - 1 - pad), after + s * pad)
        elif isinstance(layer, nn.Upsample):
            return Seen(s // 2, before + s // 2, after)
        return seen

"""How far a layer looks: the arithmetic, for torch modules and ONNX nodes alike.

All sizes are along one side; both sides of a picture are alike. Whoever follows a network refuses
what is not written here.
"""

from __future__ import annotations

from dataclasses import dataclass


class UnknownReach(ValueError):
    """Why nothing can be said of how far a layer looks, in words."""


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

    def padded(self, size: int) -> Seen:
        """After `size` more places on every side."""
        more = self.shrink * size
        return Seen(self.shrink, self.before + more, self.after - more)

    def windowed(self, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> Seen:
        """After a convolution or a pooling."""
        padded = self.padded(pad)
        after = padded.after + self.shrink * dilation * (kernel - 1)
        return Seen(self.shrink * stride, padded.before, after)

    def transposed(self, kernel: int, stride: int, pad: int = 0, dilation: int = 1) -> Seen:
        """After a transposed convolution. Raises UnknownReach for a result that is larger than
        the picture."""
        if self.shrink % stride:
            raise UnknownReach("it gives larger pictures than it takes")
        shrink = self.shrink // stride
        before = self.before + shrink * (dilation * (kernel - 1) - pad)
        return Seen(shrink, before, self.after + shrink * pad)

    def enlarged(self, factor: float) -> Seen:
        """After repeating every place `factor` times along a side. Raises UnknownReach for a
        factor that leaves the pixels' grid."""
        shrink = round(self.shrink / factor)
        if not 1 <= shrink <= self.shrink or shrink * factor != self.shrink:
            raise UnknownReach("a Resize by a factor that leaves the pixels' grid")
        return Seen(shrink, self.before + self.shrink - shrink, self.after)

    def interpolated(self, factor: float, taps: int) -> Seen:
        """After scaling by `factor` with a kernel of `taps` places on either side of the coarser
        of both maps. Raises UnknownReach as `enlarged`."""
        shrink = round(self.shrink / factor)
        if shrink < 1 or shrink * factor != self.shrink:
            raise UnknownReach("a Resize by a factor that leaves the pixels' grid")
        more = taps * max(self.shrink, shrink)
        return Seen(shrink, self.before + more, self.after + more)


def widest(*seen: Seen) -> Seen:
    """What maps of one size see together, added or joined by channels. Raises UnknownReach for
    maps of different sizes."""
    if len({s.shrink for s in seen}) > 1:
        raise UnknownReach("it joins maps of different sizes")
    return Seen(seen[0].shrink, max(s.before for s in seen), max(s.after for s in seen))

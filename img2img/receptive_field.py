"""How far a layer looks: the arithmetic, for torch modules and ONNX nodes alike.

All sizes are along one side; both sides of a picture are alike. Whoever follows a network refuses
what is not written here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Places = int | Fraction
"""A number of the picture's pixels; a part of one in maps that are larger than the picture."""


class UnknownReach(ValueError):
    """Why nothing can be said of how far a layer looks, in words."""


@dataclass(frozen=True)
class Seen:
    """Place i of a map depends on the picture's pixels from `shrink` * i - `before` to
    `shrink` * i + `after`, in each direction, with normalisation by statistics that are held. Of a
    map that is larger than the picture `shrink` is 1/2, 1/3 and so on."""

    shrink: Places = 1
    before: Places = 0
    after: Places = 0

    @property
    def reach(self) -> int:
        """The farther of both sides, in whole pixels."""
        return math.ceil(max(self.before, self.after))

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
        """After making `factor` places of every one along a side. Raises UnknownReach for a factor
        that leaves the pixels' grid."""
        if not 1 <= factor < math.inf:
            raise UnknownReach("a Resize by a factor that leaves the pixels' grid")
        exact = Fraction(self.shrink) / Fraction(factor)
        if exact.denominator > 1 and exact.numerator > 1:
            raise UnknownReach("a Resize by a factor that leaves the pixels' grid")
        shrink = exact.numerator if exact.denominator == 1 else exact
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

"""What tiles must know of a network: how far it looks, and the norms that look at everything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Wide = NDArray[np.float64]
Statistics = tuple[Float, Float]
Given = Sequence[Statistics]
Core = tuple[int, int, int, int]


@dataclass(frozen=True)
class NormPlace:
    """A normalisation by the picture's own statistics.

    Attributes:
        shrink: pixels of the picture for each place of its input, along a side.
        reach: how many pixels of the picture beyond a place its input depends on.
    """

    shrink: int
    reach: int


@dataclass(frozen=True)
class Locality:
    """How far a network looks.

    Attributes:
        reach: how many pixels away from an output pixel the input can change it, with statistics
            held; never too small, at most a few pixels too large.
        norms: the normalisations by the picture's own statistics, in the order of execution.
        bytes_per_pixel: memory that a pass takes for each pixel that it sees, estimated from the
            sizes of the tensors that live at the same time.
    """

    reach: int
    norms: tuple[NormPlace, ...]
    bytes_per_pixel: float

    def scaled(self, factor: float) -> Locality:
        """The same with `factor` times the memory."""
        return replace(self, bytes_per_pixel=self.bytes_per_pixel * factor)


@dataclass(frozen=True)
class Moments:
    """Count of places, and mean and sum of squared deviations of each channel, float64 (C,)."""

    count: int
    mean: Wide
    m2: Wide

    def with_more(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan, Golub, LeVeque 1979, eq. 2.1)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        m2 = self.m2 + other.m2 + apart**2 * (self.count * other.count / count)
        return Moments(count, mean, m2)

    def statistics(self) -> Statistics:
        """Mean and (biased) variance as float32 (C,)."""
        return self.mean.astype(np.float32), (self.m2 / self.count).astype(np.float32)


def moments_of(x: NDArray[Any], core: Core, shrink: int) -> Moments:
    """Moments of float (C, h, w) within `core` = (top, bottom, left, right) in pixels of the
    picture that was seen, of which `shrink` along a side make one place."""
    top, bottom, left, right = (v // shrink for v in core)
    means, m2s = [], []
    for channel in x[:, top:bottom, left:right]:
        # Centred before they are squared: a sum of squares would lose the digits.
        wide = channel.astype(np.float64)
        means.append(wide.mean())
        wide -= means[-1]
        m2s.append(np.vdot(wide, wide))
    count = (bottom - top) * (right - left)
    return Moments(count, np.array(means, np.float64), np.array(m2s, np.float64))


class Local(ABC):
    """A network whose statistics come from the caller.

    Attributes:
        locality: how far it looks.
    """

    locality: Locality

    @abstractmethod
    def moments(self, x: Float, domain: Float | None, given: Given, core: Core) -> Moments:
        """Run up to normalisation number `len(given)`, those before it by the statistics `given`.

        Args:
            x: float32 (1, in_channels, h, w) in [-1, 1]; h and w obey the model's size rules.
            domain: float32 (1, domains) for a model of several domains.
            given: mean and variance of each earlier normalisation.
            core: (top, bottom, left, right) in pixels: the part of `x` that counts.

        Returns: the moments of that normalisation's input within `core`.
        Raises MemoryFault when `x` is too large.
        """

    @abstractmethod
    def infer(self, x: Float, domain: Float | None, given: Given) -> Float:
        """Translate `x` (as above) by the statistics `given` of all normalisations:
        (1, out_channels, h, w) in [-1, 1]. Raises MemoryFault when `x` is too large."""

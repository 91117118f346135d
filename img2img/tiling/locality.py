"""What tiles must know of a network: how far it looks, and the norms that look at everything."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from img2img.images import Pixels
from img2img.model_format.info import ModelInfo
from img2img.receptive_field import Places

Float = NDArray[np.float32]
Array = NDArray[Any]
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

    shrink: Places
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
        scale: how many times as wide and high as the picture the result is.
    """

    reach: int
    norms: tuple[NormPlace, ...]
    bytes_per_pixel: float
    scale: int = 1

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


def moments_of(x: Array, core: Core, shrink: Places) -> Moments:
    """Moments of float (C, h, w) within `core` = (top, bottom, left, right) in pixels of the
    picture that was seen, of which `shrink` along a side make one place."""
    top, bottom, left, right = (v // shrink for v in core)
    means, m2s = [], []
    for channel in x[:, top:bottom, left:right]:
        # Centred before they are squared: a sum of squares would lose the digits.
        wide = channel.astype(np.float64)
        means.append(wide.mean())
        wide -= means[-1]
        np.square(wide, out=wide)
        m2s.append(wide.sum())
    count = (bottom - top) * (right - left)
    return Moments(count, np.array(means, np.float64), np.array(m2s, np.float64))


@dataclass(frozen=True)
class Map:
    """A tensor that is kept for the whole picture between passes: its name, and `channels` values
    for every `shrink` x `shrink` pixels."""

    name: str
    channels: int
    shrink: Places

    @property
    def bytes_per_pixel(self) -> float:
        """Of memory, as float32."""
        return 4.0 * self.channels / float(self.shrink) ** 2


@dataclass(frozen=True)
class Pass:
    """One run over all tiles.

    Attributes:
        norm: the number of the normalisation whose moments it gathers; None where it makes pixels.
        reach: how many pixels beyond a tile's core its core depends on.
        picture: whether it reads the picture.
        reads: the maps of earlier passes that it reads.
        makes: the maps that it makes.
        holds: those that are kept after it, made or read.
    """

    norm: int | None
    reach: int
    picture: bool = True
    reads: tuple[Map, ...] = ()
    makes: tuple[Map, ...] = ()
    holds: tuple[Map, ...] = ()


@dataclass(frozen=True)
class PassResult:
    """What a pass gives for one tile: `moments` or `pixels`, float32 (out_channels, scale * h,
    scale * w) in [-1, 1]; and its maps by name, (C, h / shrink, w / shrink)."""

    moments: Moments | None
    pixels: Float | None
    maps: Mapping[str, Array]


class TiledModel(ABC):
    """A network whose statistics come from the caller.

    Attributes:
        locality: how far it looks.
    """

    locality: Locality

    @abstractmethod
    def passes(self, kept: float) -> Sequence[Pass]:
        """The passes over all tiles: one for each normalisation, in order, and one for the pixels.
        Maps are kept between them as long as `kept` bytes for each pixel of the picture suffice;
        what is not kept is computed again."""

    @abstractmethod
    def run(
        self,
        step: Pass,
        x: Float | None,
        domain: Float | None,
        maps: Mapping[str, Array],
        given: Given,
        core: Core,
    ) -> PassResult:
        """Run one pass over one tile.

        Args:
            step: one of `passes`.
            x: float32 (in_channels, h, w) in [-1, 1]; h and w obey the model's size rules. None
                where the pass does not read the picture.
            domain: float32 (1, domains) for a model of several domains.
            maps: what it reads, (C, h / shrink, w / shrink).
            given: mean and variance of each earlier normalisation.
            core: (top, bottom, left, right) in pixels: the part of the tile whose moments count.

        Raises MemoryFault when the tile is too large.
        """

    def moments(self, x: Float, domain: Float | None) -> list[Moments]:
        """The moments of each normalisation in a picture that is seen whole, in order.

        `x`: float32 (in_channels, h, w) in [-1, 1], whose sides obey the model's size rules;
        `domain`: as for `run`. Raises MemoryFault when the picture is too large.
        """
        found: list[Moments] = []
        maps: dict[str, Array] = {}
        core = (0, x.shape[1], 0, x.shape[2])
        for step in self.passes(math.inf)[:-1]:
            read = {m.name: maps[m.name] for m in step.reads}
            given = [each.statistics() for each in found]
            made = self.run(step, x if step.picture else None, domain, read, given, core)
            assert made.moments is not None
            found.append(made.moments)
            held = {m.name for m in step.holds}
            maps = {name: m for name, m in (maps | dict(made.maps)).items() if name in held}
        return found

    def keep_memory(self) -> None:  # noqa: B027
        """Many passes over pictures of one size follow: what they take in memory may be kept from
        one to the next. Nothing, where that is not known."""


class HeldTiledModel(TiledModel):
    """`tiled` with the statistics `given` in place of each picture's own: one pass makes the
    pixels."""

    def __init__(self, tiled: TiledModel, given: Given):
        self._tiled, self._given = tiled, given
        self.locality = replace(tiled.locality, norms=())
        self._step = Pass(None, tiled.locality.reach)

    def passes(self, kept: float) -> Sequence[Pass]:
        return [self._step]

    def run(
        self,
        step: Pass,
        x: Float | None,
        domain: Float | None,
        maps: Mapping[str, Array],
        given: Given,
        core: Core,
    ) -> PassResult:
        return self._tiled.run(step, x, domain, maps, self._given, core)


class Tileable(Protocol):
    """What tiles ask of an opened model; every runner has it."""

    info: ModelInfo

    def planes(self, pixels: Pixels) -> Float:
        """uint8 or uint16 (H, W, 3) -> what the network takes, (in_channels, H, W) in [-1, 1]."""
        ...

    def tiled_model(self) -> TiledModel:
        """The model as tiles use it; raises UsageError, saying why, where that is not possible."""
        ...

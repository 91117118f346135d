"""Square crops of photographs of any size."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from img2img.data.store import Loading, Store, fit, pixels_of
from img2img.images import Pixels


@dataclass(frozen=True)
class Cropping:
    """Square crops of a picture of any size.

    Attributes:
        each: how many a picture gives; a single one is its centre, unless `anywhere`.
        scale: (least, most) side of a crop, relative to the picture's shorter side; drawn in the
            logarithm, never below the side it is brought to while the picture allows it.
    """

    each: int = 1
    scale: tuple[float, float] = (1.0, 1.0)
    anywhere: bool = False

    @classmethod
    def at_least(
        cls, crops: int, pictures: int, scale: tuple[float, float], anywhere: bool = False
    ) -> Cropping:
        """So many of each of `pictures` that there are `crops` in all, or some more."""
        return cls(-(-crops // max(1, pictures)), scale, anywhere)


def crop_store(
    name: str, files: list[Path], loading: Loading, channels: int, crops: Cropping, root: Path
) -> Store:
    """The crops of `files` below `root`, brought to the side of `loading`, as samples of one
    picture each."""
    # The cropping is part of the name, and so of the key of a file of decoded crops.
    low, high = crops.scale
    return Store(
        f"{name}-{crops.each}x{low:g}-{high:g}-{loading.seed}",
        len(files) * crops.each,
        partial(_read_crop, tuple(files), loading, channels, crops),
        (channels,),
        loading,
        root,
        files,
    )


def _read_crop(
    files: Sequence[Path], loading: Loading, channels: int, crops: Cropping, index: int
) -> tuple[Pixels]:
    """Crop number `index % each` of picture `index // each`, drawn from (seed, index)."""
    pixels = _decoded(files[index // crops.each], replace(loading, albument=None, cache=None))
    height, width = pixels.shape[:2]
    u, v, w = np.random.default_rng([loading.seed, 4, index]).random(3)
    short = min(height, width)
    low, high = (math.log(s) for s in crops.scale)
    side = min(short, max(round(short * math.exp(low + u * (high - low))), loading.size))
    if crops.each == 1 and not crops.anywhere:
        v = w = 0.5
    top, left = round(v * (height - side)), round(w * (width - side))
    part = pixels[top : top + side, left : left + side]
    return (fit(part, replace(loading, centre_crop=0), channels),)


@functools.lru_cache(maxsize=8)
def _decoded(path: Path, loading: Loading) -> Pixels:
    # The crops of one picture are read one after the other.
    return pixels_of(path, loading)

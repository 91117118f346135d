"""Large pictures in tiles, with the result of the whole picture.

A generator looks at its neighbourhood, except that normalisation looks at the whole picture. So the
statistics of each normalisation are gathered first, over all tiles, in the order of execution (each
depends on those before it); a last pass makes the pixels. See docs/explanation/tiles.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from img2img.errors import MemoryFault, UsageError
from img2img.images import Pixels, planes_to_pixels
from img2img.system.memory import free_memory
from img2img.tiling.locality import (
    Array,
    Core,
    Map,
    Moments,
    Pass,
    PassResult,
    Statistics,
    Tileable,
)

# Half the width of a seam, in pixels: neighbours agree there, up to rounding, and fade anyway.
BLEND = 8
# The part of it for a tile where the rest can keep maps between the passes.
_SHARE = 0.5
_SMALLEST = 64

TileSize = Literal["auto", "off"] | int


@dataclass(frozen=True)
class Tile:
    """A part of the picture: its `core`, and what the network is shown, `seen`, to get it right;
    both as (top, bottom, left, right) in pixels."""

    core: Core
    seen: Core

    @property
    def core_in_seen(self) -> Core:
        """The core's place within what is seen."""
        (top, bottom, left, right), (y, _, x, _) = self.core, self.seen
        return top - y, bottom - y, left - x, right - x


def _round_up(size: int, multiple_of: int) -> int:
    return -(-size // multiple_of) * multiple_of


def _spans(size: int, tile: int, multiple_of: int) -> list[tuple[int, int]]:
    """[start, end) of abutting parts of about equal length, at most `tile`, all but the last a
    multiple of `multiple_of`."""
    parts = -(-size // tile)
    step = _round_up(-(-size // parts), multiple_of)
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def tiles_of(
    height: int, width: int, tile: int, overlap: int, multiple_of: int
) -> Iterator[list[Tile]]:
    """Rows of tiles that cover a picture of `height` x `width` without gap or double, each shown
    `overlap` more pixels on every side where the picture has them."""
    for top, bottom in _spans(height, tile, multiple_of):
        y, yy = max(top - overlap, 0), min(bottom + overlap, height)
        yield [
            Tile(
                (top, bottom, left, right),
                (y, yy, max(left - overlap, 0), min(right + overlap, width)),
            )
            for left, right in _spans(width, tile, multiple_of)
        ]


@dataclass(frozen=True)
class _Extended:
    """A picture as the network sees it: extended at the bottom and the right, by reflection, to
    sides that obey the model's size rules; no such copy is ever made."""

    pixels: Pixels
    height: int
    width: int
    multiple_of: int

    @staticmethod
    def of(pixels: Pixels, runner: Tileable) -> _Extended:
        step, least = runner.info.multiple_of, runner.info.minimum
        h, w = (_round_up(max(side, least), step) for side in pixels.shape[:2])
        return _Extended(pixels, h, w, step)

    def rows(self, tile: int, reach: int) -> list[list[Tile]]:
        overlap = _round_up(reach, self.multiple_of)
        return [*tiles_of(self.height, self.width, tile, overlap, self.multiple_of)]

    def part(self, place: Core) -> Pixels:
        top, bottom, left, right = place
        height, width = self.pixels.shape[:2]
        if bottom <= height and right <= width:
            return self.pixels[top:bottom, left:right]
        rows, columns = _mirrored(top, bottom, height), _mirrored(left, right, width)
        return self.pixels[rows[:, None], columns]


def _mirrored(first: int, last: int, size: int) -> NDArray[np.intp]:
    """The rows of a side of `size` that stand for first..last-1 (as nets.blocks.mirror_to)."""
    period = max(2 * size - 2, 1)
    index = np.arange(first, last) % period
    return np.minimum(index, period - index)


class _Stopped(Exception):
    pass


def translate_tiled(
    runner: Tileable,
    pixels: Pixels,
    domain: Sequence[float] | None,
    tile: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    memory_limit: int | None = None,
) -> Pixels | None:
    """Translate one picture in tiles whose cores have sides of `tile` pixels.

    Args:
        runner: the opened model.
        pixels: uint8 or uint16 (H, W, 3).
        domain: its domain vector, where the model has domains.
        tile: as `tile_for` returns it; brought to the next multiple of the model's `multiple_of`.
        progress: called with (passes over a tile done, passes over a tile in all).
        should_stop: asked between tiles.
        memory_limit: as for `tile_for`, in bytes; what a tile leaves of it holds maps between
            the passes, which saves computing them again.

    Returns:
        What `runner(pixels, domain)` returns, up to a level of rounding: the same type, (s * H,
        s * W, 3) for the model's scale s, or of one channel. None when `should_stop` said so.

    Raises:
        UsageError: the model cannot be translated in tiles, or its runner cannot.
        MemoryFault: a tile does not fit in memory; `smaller` ones may.
    """
    model = runner.tiled_model()
    if model.locality.scale != runner.info.scale:
        raise UsageError(
            f"{runner.info.name}: gives pictures of {model.locality.scale} times the size, its "
            f"metadata says {runner.info.scale}"
        )
    picture = _Extended.of(pixels, runner)
    tile = _round_up(max(tile, runner.info.minimum), picture.multiple_of)
    limit = _limit(memory_limit)
    overlap = _round_up(model.locality.reach + BLEND, picture.multiple_of)
    taken = _seen(tile, picture.height, picture.width, overlap) * model.locality.bytes_per_pixel
    left = max(limit - taken, (1 - _SHARE) * limit)
    steps = model.passes(left / (picture.height * picture.width))
    total = len(steps) * sum(map(len, picture.rows(tile, 0)))
    vector = None if domain is None else np.array([domain], np.float32)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(done, total)
        if should_stop():
            raise _Stopped

    work = _Work(runner, picture, vector, tile, count)
    try:
        for step in steps[:-1]:
            work.gather(step)
        return work.make(steps[-1])
    except _Stopped:
        return None
    except MemoryError:
        height, width = pixels.shape[:2]
        raise MemoryFault(f"{width}x{height} does not fit in memory") from None


def gather_moments(
    runner: Tileable, pixels: Pixels, domain: Sequence[float] | None, tile: int | None
) -> list[Moments]:
    """The moments of each normalisation in one picture, in the order of execution.

    Args:
        runner, pixels, domain: as for `translate_tiled`.
        tile: as `tile_for` returns it; None: the picture is seen whole.

    Raises UsageError and MemoryFault as `translate_tiled` does.
    """
    model = runner.tiled_model()
    picture = _Extended.of(pixels, runner)
    vector = None if domain is None else np.array([domain], np.float32)
    if tile is None:
        whole = picture.part((0, picture.height, 0, picture.width))
        return model.moments(runner.planes(whole), vector)
    work = _Work(runner, picture, vector, tile, lambda: None)
    for step in model.passes(0)[:-1]:
        work.gather(step)
    return work.found


def extend_planes(x: Array, multiple_of: int, minimum: int) -> Array:
    """(C, H, W) extended at the bottom and the right, by reflection, to sides that are multiples of
    `multiple_of` and at least `minimum`."""
    sides = x.shape[1:]
    rows, columns = (
        _mirrored(0, _round_up(max(side, minimum), multiple_of), side) for side in sides
    )
    if (len(rows), len(columns)) == sides:
        return x
    return x[:, rows[:, None], columns]


@dataclass
class _Work:
    """One picture on its way: the statistics found and the maps kept so far."""

    runner: Tileable
    picture: _Extended
    domain: NDArray[np.float32] | None
    tile: int
    count: Callable[[], None]
    given: list[Statistics] = field(default_factory=list)
    found: list[Moments] = field(default_factory=list)
    maps: dict[str, Array] = field(default_factory=dict)

    def gather(self, step: Pass) -> None:
        """A pass for the moments of one normalisation."""
        found: Moments | None = None
        for part in (t for row in self.picture.rows(self.tile, step.reach) for t in row):
            made = self._run(step, part)
            assert made.moments is not None
            found = made.moments if found is None else found.with_more(made.moments)
            for kept in step.makes:
                self._keep(kept, made.maps[kept.name], part)
            self.count()
        assert found is not None
        self.found.append(found)
        self.given.append(found.statistics())
        held = {m.name for m in step.holds}
        self.maps = {name: value for name, value in self.maps.items() if name in held}

    def make(self, step: Pass) -> Pixels:
        """The last pass: every tile fades into its left neighbour, every row into the one above."""
        pixels, s = self.picture.pixels, self.runner.info.scale
        height, width = pixels.shape[:2]
        out = np.empty((s * height, s * width, self.runner.info.out_channels), pixels.dtype)
        for row in self.picture.rows(self.tile, step.reach + BLEND):
            top, bottom = row[0].core[:2]
            y, yy = max(top - BLEND, 0), min(bottom + BLEND, height)
            strip = np.empty((s * max(yy - y, 0), *out.shape[1:]), out.dtype)
            for part in row:
                left, right = part.core[2:]
                x, xx = max(left - BLEND, 0), min(right + BLEND, width)
                if x < width and y < height:
                    made = self._run(step, part).pixels
                    assert made is not None
                    rows, columns = (
                        slice(s * (first - start), s * (last - start))
                        for first, last, start in ((y, yy, part.seen[0]), (x, xx, part.seen[2]))
                    )
                    new = planes_to_pixels(made[:, rows, columns], pixels.dtype)
                    beside = strip[:, s * x : s * xx].swapaxes(0, 1)
                    _fade(beside, new.swapaxes(0, 1), s * (left - x))
                self.count()
            if y < height:
                _fade(out[s * y : s * yy], strip, s * (top - y))
        return out

    def _run(self, step: Pass, part: Tile) -> PassResult:
        x = self.runner.planes(self.picture.part(part.seen)) if step.picture else None
        maps = {m.name: _within(self.maps[m.name], m, part.seen) for m in step.reads}
        return self.runner.tiled_model().run(
            step, x, self.domain, maps, self.given, part.core_in_seen
        )

    def _keep(self, kept: Map, made: Array, part: Tile) -> None:
        if kept.name not in self.maps:
            sides = self.picture.height // kept.shrink, self.picture.width // kept.shrink
            self.maps[kept.name] = np.empty((kept.channels, *sides), made.dtype)
        place = _within(self.maps[kept.name], kept, part.core)
        place[:] = _within(made, kept, part.core_in_seen)


def _within(values: Array, kept: Map, place: Core) -> Array:
    top, bottom, left, right = (v // kept.shrink for v in place)
    return values[:, top:bottom, left:right]


def _fade(old: Pixels, new: Pixels, ahead: int) -> None:
    """Write `new` over `old`, whose first 2 * `ahead` rows hold a neighbour's: from all of the old
    to all of the new."""
    seam = min(2 * ahead, len(new))
    weight = ((np.arange(seam, dtype=np.float32) + 0.5) / max(2 * ahead, 1))[:, None, None]
    before = old[:seam].astype(np.float32)
    # Where both agree, a mixture of rounded values is that value again.
    mixed = before + (new[:seam].astype(np.float32) - before) * weight
    old[:seam] = np.rint(mixed).astype(old.dtype)
    old[seam:] = new[seam:]


def tile_for(
    runner: Tileable,
    height: int,
    width: int,
    wanted: TileSize = "auto",
    memory_limit: int | None = None,
) -> int | None:
    """The side in pixels of the tiles' cores for a picture, or None for the picture as a whole.

    Args:
        runner: the opened model.
        height, width: of the picture, in pixels.
        wanted: `off`: whole. A number: tiles of this side, unless one is the whole picture. `auto`:
            whole where the estimated memory of one pass is within `memory_limit`, else the largest
            tiles that are; where even small ones are not, those.
        memory_limit: in bytes; by default half of what is free.

    Raises UsageError for a number where the model cannot be translated in tiles, or below 1.
    """
    if wanted == "off":
        return None
    step, least = runner.info.multiple_of, runner.info.minimum
    if isinstance(wanted, int):
        if wanted < 1:
            raise UsageError(f"a tile of {wanted} pixels; give 1 or more, auto or off")
        runner.tiled_model()
        tile = _round_up(max(wanted, least), step)
        return None if max(height, width) <= tile else tile
    try:
        model = runner.tiled_model()
    except UsageError:
        return None
    where = model.locality
    limit = _limit(memory_limit)
    h, w = (_round_up(max(side, least), step) for side in (height, width))
    if h * w * where.bytes_per_pixel <= limit:
        return None
    if any(p.makes for p in model.passes((1 - _SHARE) * limit / (h * w))):
        limit = int(_SHARE * limit)
    overlap = _round_up(where.reach + BLEND, step)
    # Below half the overlap a tile is nearly all overlap.
    first = _round_up(max(_SMALLEST, least, overlap // 2), step)
    tile = first
    while _seen(tile + step, h, w, overlap) * where.bytes_per_pixel <= limit:
        tile += step
    return tile if _seen(tile, h, w, overlap) < h * w else None


def _limit(memory_limit: int | None) -> int:
    return free_memory() // 2 if memory_limit is None else memory_limit


def _seen(tile: int, height: int, width: int, overlap: int) -> int:
    """Pixels that the network sees at once."""
    return min(tile + 2 * overlap, height) * min(tile + 2 * overlap, width)


def smaller(runner: Tileable, tile: int) -> int | None:
    """The next tile to try when memory did not suffice for `tile`, half of it; None when there is
    none."""
    step = runner.info.multiple_of
    least = _round_up(max(_SMALLEST, runner.info.minimum), step)
    return None if tile <= least else max(_round_up(tile // 2, step), least)


__all__ = [
    "BLEND",
    "Tile",
    "extend_planes",
    "gather_moments",
    "smaller",
    "tile_for",
    "tiles_of",
    "translate_tiled",
]

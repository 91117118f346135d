"""The network as the pipeline sees it: pictures in, pictures of the same or larger sizes out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from img2img.errors import MemoryFault, UsageError
from img2img.images import Pixels, enlarge_chroma, enlarge_guided, scale_pixels, working_shape
from img2img.images.guard import most_pixels
from img2img.runners import Runner
from img2img.runners.held import HeldRunner
from img2img.tiling.locality import Given, Moments
from img2img.tiling.tiles import gather_moments, smaller, tile_for, translate_tiled

_BATCH = 16
_ROWS = 64
Domain = Sequence[float]
TileOption = Literal["auto", "off"] | int


class Stopped(Exception):
    """A picture was left because `should_stop` said so."""


@dataclass(frozen=True)
class Report:
    """Where a translation in work reports to, from the thread that runs it.

    Attributes:
        tell: receives in words, once, that less is done at a time, and why.
        progress: receives (steps done, steps in all) of a picture that is translated in tiles.
        should_stop: is asked between the tiles of a large picture.
    """

    tell: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None
    should_stop: Callable[[], bool] = lambda: False


_SILENT = Report()


class Pictures(Protocol):
    """What the pipeline needs of a network; `Network` is one.

    Attributes:
        scale: how many times as wide and high as a picture its answer is.
    """

    scale: int

    def limit(self, pixels: Pixels) -> int:
        """How many pictures of this size at once."""
        ...

    def run(
        self, pictures: Sequence[Pixels], domains: Sequence[Domain] | None, report: Report
    ) -> list[Pixels]:
        """Pictures of one size and type -> the answers, of that type and `scale` times the size."""
        ...


class Network:
    """A runner with the options of a job.

    Args:
        runner: translates pictures of one size at once.
        size: long side in pixels at which the network works: larger pictures are reduced to it and
            the answer is enlarged to their size, as the model file says how; smaller ones stay as
            they are. 0 leaves every picture as it is, None takes what the model file states.
        strength: 1 gives the network's answer, 0 the source, between them a blend.
        tile: `auto` takes pictures apart that do not fit in memory, `off` none, a number all that
            are larger; the result is that of the whole picture.
        batch: at most so many pictures at once; None chooses by their size.
        lock: held while the runner works, where several networks share it.

    Attributes:
        size: the working size in force, in pixels; 0 for each picture's own.
        scale: how many times as wide and high as a picture its answer is.

    Raises UsageError for a size or strength out of range, or a size below the model's minimum.
    """

    def __init__(
        self,
        runner: Runner,
        size: int | None = None,
        strength: float = 1.0,
        tile: TileOption = "auto",
        batch: int | None = None,
        lock: AbstractContextManager[object] | None = None,
    ):
        self.size = runner.working_size if size is None else size
        self.scale = runner.info.scale
        least = runner.info.minimum
        if size and self.scale > 1:
            raise UsageError(
                f"`size` {size}: model {runner.info.name} enlarges each picture from its own size; "
                "leave `size` out"
            )
        if size and not least <= size <= 65536:
            raise UsageError(
                f"`size` {size}: model {runner.info.name} works at {least} to 65536 pixels on the "
                "long side; 0 or full is the picture's own size"
            )
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"`strength` {strength}: needs a number from 0 to 1")
        if batch is not None and batch < 1:
            raise UsageError(f"`batch` {batch}: needs at least 1")
        self._runner, self._strength = runner, strength
        self._most = _BATCH if batch is None else batch
        self._most_pixels = runner.batch_pixels if batch is None else 2**62
        self._tile, self._batch = tile, batch
        self._lock = lock or threading.Lock()
        self._said = set[str]()
        self._whole = 0  # pixels of the largest picture that went through whole
        if isinstance(tile, int):
            runner.tiled_model()  # what the model cannot do is an error before the first picture

    def limit(self, pixels: Pixels) -> int:
        """How many pictures of this size are translated at once."""
        height, width = self._seen(pixels)
        return max(1, min(self._most, self._most_pixels // (height * width * self.scale**2)))

    def run(
        self,
        pictures: Sequence[Pixels],
        domains: Sequence[Domain] | None,
        report: Report = _SILENT,
    ) -> list[Pixels]:
        """Translate uint8 or uint16 (H, W, 3) pictures of one size and type; the answers have
        their type and `scale` times their size, (H, W, 1) where the model gives grey.

        Raises:
            MemoryFault: even one alone does not fit in memory, nor a small tile of it; or the
                answer alone would be too large.
            Stopped: `report.should_stop` said so amid a picture.
        """
        height, width = (self.scale * side for side in pictures[0].shape[:2])
        if self.scale > 1:
            _check_answer(width, height)
        seen_height, seen_width = self._seen(pictures[0])
        seen = [scale_pixels(p, seen_width, seen_height) for p in pictures]
        with self._lock:
            made = self._fitting(seen, domains, report)
        if self._runner.info.upsampling == "guided":
            answers = [enlarge_guided(*each) for each in zip(made, pictures, seen, strict=True)]
        elif self._runner.info.upsampling == "chroma" and (seen_height, seen_width) != (
            height,
            width,
        ):
            answers = [enlarge_chroma(a, p) for a, p in zip(made, pictures, strict=True)]
        else:
            answers = [scale_pixels(each, width, height) for each in made]
        if self._strength == 1.0:
            return answers
        before = [scale_pixels(each, width, height) for each in pictures]
        return [blend(p, a, self._strength) for p, a in zip(before, answers, strict=True)]

    def gathers(self) -> bool:
        """Whether it normalises by statistics of each picture, which `held` can hold. Raises
        UsageError, saying why, where that cannot be known."""
        return bool(self._runner.tiled_model().locality.norms)

    def moments(self, pixels: Pixels, domain: Domain | None) -> list[Moments]:
        """The moments of each normalisation, in the order of execution, in a picture as `run`
        takes it. Raises MemoryFault, or UsageError where they cannot be had."""
        height, width = self._seen(pixels)
        seen = scale_pixels(pixels, width, height)
        with self._lock:
            try:
                return gather_moments(self._runner, seen, domain, self._tile_for(height, width))
            except (MemoryFault, MemoryError):
                half = tile_for(self._runner, height, width, max(height, width) // 2)
                return gather_moments(self._runner, seen, domain, half)

    def held(self, given: Given) -> Network:
        """The same network with (mean, variance) of each normalisation given, in place of each
        picture's own."""
        return Network(
            HeldRunner(self._runner, given), self.size, self._strength, self._tile, self._batch,
            self._lock,
        )  # fmt: skip

    def _fitting(
        self, pictures: Sequence[Pixels], domains: Sequence[Domain] | None, report: Report
    ) -> list[Pixels]:
        height, width = pictures[0].shape[:2]
        tile = self._tile_for(height, width)
        if tile is not None:
            if self._tile == "auto":
                self._tell_once(
                    report, f"{width}x{height} in tiles of {tile} pixels; the whole picture does "
                        f"not fit in the free memory"
                )  # fmt: skip
            each = [None] * len(pictures) if domains is None else domains
            return [self._tiled(p, d, tile, report) for p, d in zip(pictures, each, strict=True)]
        answers: list[Pixels] = []
        at_once = len(pictures)
        while (done := len(answers)) < len(pictures):
            some = pictures[done : done + at_once]
            given = None if domains is None else domains[done : done + at_once]
            try:
                answers += self._runner.batch(some, given)
            except (MemoryFault, MemoryError):
                if len(some) > 1:
                    at_once = self._most = len(some) // 2
                    self._tell_once(
                        report,
                        f"memory ran out at {len(some)} pictures of {width}x{height}; "
                        "continuing with fewer at once",
                    )
                    continue
                answers.append(self._in_parts(some[0], None if given is None else given[0], report))
            else:
                self._whole = max(self._whole, len(some) * height * width)
        return answers

    def _tile_for(self, height: int, width: int) -> int | None:
        # A runner keeps the memory of the largest picture so far, which then is not free any more.
        if self._tile == "auto" and height * width <= self._whole:
            return None
        return tile_for(self._runner, height, width, self._tile)

    def _in_parts(self, pixels: Pixels, domain: Domain | None, report: Report) -> Pixels:
        """A picture for which memory ran out, in tiles."""
        height, width = pixels.shape[:2]
        self._whole = min(self._whole, height * width - 1)
        half = max(height, width) // 2
        try:
            tile = None if self._tile == "off" else tile_for(self._runner, height, width, half)
        except UsageError:
            tile = None
        if tile is None:
            raise MemoryFault(f"{width}x{height} does not fit in memory") from None
        self._tell_once(report, f"memory ran out at {width}x{height}; continuing in tiles")
        return self._tiled(pixels, domain, tile, report)

    def _tiled(self, pixels: Pixels, domain: Domain | None, tile: int, report: Report) -> Pixels:
        side: int | None = tile
        while side is not None:
            try:
                answer = translate_tiled(
                    self._runner, pixels, domain, side, report.progress, report.should_stop
                )
            except (MemoryFault, MemoryError):
                self._tell_once(report, "memory ran out; continuing in smaller tiles")
                side = smaller(self._runner, side)
                continue
            if answer is None:
                raise Stopped
            return answer
        height, width = pixels.shape[:2]
        raise MemoryFault(f"{width}x{height} does not fit in memory, not even in tiles")

    def _tell_once(self, report: Report, text: str) -> None:
        kind = text.rpartition(";")[2]
        if kind not in self._said:
            report.tell(text)
        self._said.add(kind)

    def _seen(self, pixels: Pixels) -> tuple[int, int]:
        height, width = pixels.shape[:2]
        return working_shape(height, width, self.size)


def _check_answer(width: int, height: int) -> None:
    most = most_pixels()
    if width * height > most:
        raise MemoryFault(
            f"enlarged to {width}x{height} it would be more than {most / 10**6:.4g} megapixels, "
            "the limit for the memory here"
        )


def blend(before: Pixels, after: Pixels, strength: float) -> Pixels:
    """`strength` of `after` and the rest of `before`, rounded once; a grey `after` becomes RGB.

    uint8 or uint16 (H, W, 3) and (H, W, 3) or (H, W, 1) -> (H, W, 3) of the same type.
    """
    out = np.empty_like(before)
    for top in range(0, len(before), _ROWS):  # the steps between would be copies of the whole
        rows = slice(top, top + _ROWS)
        mixed: Any = before[rows].astype(np.float32)
        mixed += np.float32(strength) * (after[rows].astype(np.float32) - mixed)
        out[rows] = np.rint(mixed)
    return out

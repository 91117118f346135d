"""The network as the pipeline sees it: pictures in, pictures of the same sizes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from img2img.errors import MemoryFault, UsageError
from img2img.images import Pixels, enlarge_guided, scale_pixels, working_shape
from img2img.runners import Runner
from img2img.tiling.tiles import Wish, smaller, tile_for, translate_tiled

_BATCH = 16
_ROWS = 64
Domain = Sequence[float]


class Stopped(Exception):
    """A picture was left because `should_stop` said so."""


class Network:
    """A runner with what a job wants of it.

    Args:
        runner: translates pictures of one size at once.
        size: long side in pixels at which the network works: larger pictures are reduced to it and
            the answer is enlarged to their size, as the model file says how; smaller ones stay as
            they are. 0 leaves every picture as it is, None takes what the model file states.
        strength: 1 gives the network's answer, 0 the source, between them a blend.
        tile: `auto` takes pictures apart that do not fit the memory, `off` none, a number all that
            are larger; the result is that of the whole picture.
        batch: at most so many pictures at once; None chooses by their size.
        tell: is told once, in words, when less is done at a time because memory ran out.
        should_stop: is asked between the tiles of a large picture.

    Attributes:
        size: the working size in force, in pixels; 0 for each picture's own.

    Raises UsageError for a size or strength out of range, or a size below the model's minimum.
    """

    def __init__(
        self,
        runner: Runner,
        size: int | None = None,
        strength: float = 1.0,
        tile: Wish = "auto",
        batch: int | None = None,
        tell: Callable[[str], None] = lambda text: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.size = runner.working_size if size is None else size
        least = runner.info.minimum
        if size and not least <= size <= 65536:
            raise UsageError(
                f"--size {size}: model {runner.info.name} works at {least} to 65536 pixels on the "
                "long side; 0 or full is the picture's own size"
            )
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"--strength {strength}: needs a number from 0 to 1")
        if batch is not None and batch < 1:
            raise UsageError(f"--batch {batch}: needs at least 1")
        self._runner, self._strength = runner, strength
        self._most = _BATCH if batch is None else batch
        self._most_pixels = runner.batch_pixels if batch is None else 2**62
        self._tile = tile
        self._tell, self._told = tell, set[str]()
        self._should_stop = should_stop
        if isinstance(tile, int):
            runner.local()  # a wish that cannot be honoured is an error before the first picture

    def limit(self, pixels: Pixels) -> int:
        """How many pictures of this size are translated at once."""
        height, width = self._seen(pixels)
        return max(1, min(self._most, self._most_pixels // (height * width)))

    def run(self, pictures: Sequence[Pixels], domains: Sequence[Domain] | None) -> list[Pixels]:
        """Translate uint8 or uint16 (H, W, 3) pictures of one size and type; the answers have
        their size and type, (H, W, 1) where the model gives grey.

        Raises:
            MemoryFault: even one alone does not fit the memory, nor a small tile of it.
            Stopped: `should_stop` said so amid a picture.
        """
        height, width = pictures[0].shape[:2]
        seen_height, seen_width = self._seen(pictures[0])
        seen = [scale_pixels(p, seen_width, seen_height) for p in pictures]
        made = self._fitting(seen, domains)
        if self._runner.info.upsampling == "guided":
            answers = [enlarge_guided(*each) for each in zip(made, pictures, seen, strict=True)]
        else:
            answers = [scale_pixels(each, width, height) for each in made]
        if self._strength == 1.0:
            return answers
        return [blend(p, a, self._strength) for p, a in zip(pictures, answers, strict=True)]

    def _fitting(
        self, pictures: Sequence[Pixels], domains: Sequence[Domain] | None
    ) -> list[Pixels]:
        height, width = pictures[0].shape[:2]
        tile = tile_for(self._runner, height, width, self._tile)
        if tile is not None:
            each = [None] * len(pictures) if domains is None else domains
            return [self._tiled(p, d, tile) for p, d in zip(pictures, each, strict=True)]
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
                        f"memory ran out at {len(some)} pictures of {width}x{height}; "
                        "going on with fewer at once"
                    )
                    continue
                answers.append(self._in_parts(some[0], None if given is None else given[0]))
        return answers

    def _in_parts(self, pixels: Pixels, domain: Domain | None) -> Pixels:
        """A picture for which memory ran out, in tiles."""
        height, width = pixels.shape[:2]
        half = max(height, width) // 2
        try:
            tile = None if self._tile == "off" else tile_for(self._runner, height, width, half)
        except UsageError:
            tile = None
        if tile is None:
            raise MemoryFault(f"{width}x{height} does not fit the memory") from None
        self._tell_once(f"memory ran out at {width}x{height}; going on in tiles")
        return self._tiled(pixels, domain, tile)

    def _tiled(self, pixels: Pixels, domain: Domain | None, tile: int) -> Pixels:
        side: int | None = tile
        while side is not None:
            try:
                answer = translate_tiled(
                    self._runner, pixels, domain, side, should_stop=self._should_stop
                )
            except (MemoryFault, MemoryError):
                self._tell_once("memory ran out; going on in smaller tiles")
                side = smaller(self._runner, side)
                continue
            if answer is None:
                raise Stopped
            return answer
        height, width = pixels.shape[:2]
        raise MemoryFault(f"{width}x{height} does not fit the memory, not even in tiles")

    def _tell_once(self, text: str) -> None:
        kind = text.rpartition(";")[2]
        if kind not in self._told:
            self._tell(text)
        self._told.add(kind)

    def _seen(self, pixels: Pixels) -> tuple[int, int]:
        height, width = pixels.shape[:2]
        return working_shape(height, width, self.size)


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

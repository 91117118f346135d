"""The network as the pipeline sees it: pictures in, pictures of the same sizes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from img2img.errors import MemoryFault, UsageError
from img2img.images import Pixels, resize_pixels
from img2img.runners import Runner
from img2img.tiles import Wish, smaller, tile_for, translate_tiled

_BATCH = 16
Domain = Sequence[float]


class Stopped(Exception):
    """A picture was left because `should_stop` said so."""


class Network:
    """A runner with what a job wants of it.

    Args:
        runner: translates pictures of one size at once.
        size: the network sees each picture scaled so that its shorter side is so many pixels, and
            its answer is scaled back; None leaves pictures as they are.
        strength: 1 gives the network's answer, 0 the source, between them a blend.
        tile: `auto` takes pictures apart that do not fit the memory, `off` none, a number all that
            are larger; the result is that of the whole picture.
        batch: at most so many pictures at once; None chooses by their size.
        tell: is told once, in words, when less is done at a time because memory ran out.
        should_stop: is asked between the tiles of a large picture.

    Raises UsageError for a size or strength out of range.
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
        if size is not None and not 1 <= size <= 65536:
            raise UsageError(f"--size {size}: needs a side of 1 to 65536 pixels")
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"--strength {strength}: needs a number from 0 to 1")
        if batch is not None and batch < 1:
            raise UsageError(f"--batch {batch}: needs at least 1")
        self._runner, self._size, self._strength = runner, size, strength
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
        small = [self._scaled(p, *self._seen(p)) for p in pictures]
        answers = [self._scaled(p, height, width) for p in self._fitting(small, domains)]
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
        if self._size is None:
            return height, width
        scale = self._size / min(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _scaled(self, pixels: Pixels, height: int, width: int) -> Pixels:
        return pixels if self._size is None else resize_pixels(pixels, width, height)


def blend(before: Pixels, after: Pixels, strength: float) -> Pixels:
    """`strength` of `after` and the rest of `before`, rounded once; a grey `after` becomes RGB.

    uint8 or uint16 (H, W, 3) and (H, W, 3) or (H, W, 1) -> (H, W, 3) of the same type.
    """
    mixed: Any = before.astype(np.float32)
    mixed += np.float32(strength) * (after.astype(np.float32) - mixed)
    return np.rint(mixed).astype(before.dtype)

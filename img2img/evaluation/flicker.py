"""How much a translated clip flickers, against the clip that it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.errors import PictureError, UsageError
from img2img.images import Pixels
from img2img.images.motion import Motion, Overlap, change
from img2img.images.values import to_8_bits
from img2img.inference.video.reading import Reader

# A pixel shows the same content while no channel of the source changes by more levels than this.
_SAME = 8
_LEAST = 0.01  # of the pixels of a pair of frames must show the same content


class Flicker:
    """Adds up the flicker of pairs of frames that follow each other.

    A picture of a still content should be still. The shift of the whole picture is found in the
    source, so that a panning camera is followed; where the source, so shifted, changes by at most 8
    levels (the largest channel, averaged over 3x3 pixels), the mean absolute change of the output
    in excess of that of the source counts.

    Attributes:
        pairs: how many pairs of frames counted.
        skipped: how many did not: a cut, or too much motion to follow.
    """

    def __init__(self) -> None:
        self._motion = Motion()
        self._before: tuple[Pixels, Pixels] | None = None
        self._sum = self._weight = self._still = 0.0
        self.pairs = self.skipped = 0

    def add(self, source: Pixels, output: Pixels) -> None:
        """A frame, uint8 or uint16 RGB (H, W, 3), and its translation of the same size."""
        shift = self._motion(source)
        source, output = to_8_bits(source), to_8_bits(output)
        before, self._before = self._before, (source, output)
        if before is None or before[0].shape != source.shape:
            return
        part = Overlap.of(source.shape[0], source.shape[1], shift)
        same = np.asarray(change(before[0][part.before], source[part.now])) <= _SAME
        share = float(same.mean()) if same.size else 0.0
        if share < _LEAST:
            self.skipped += 1
            return
        old, new = (_moved(before[k], (source, output)[k], part, same) for k in (0, 1))
        self._sum += float(np.maximum(new - old, 0).sum())
        self._weight += float(same.sum())
        self._still += share
        self.pairs += 1

    @property
    def value(self) -> float:
        """Flicker in 8-bit levels; NaN where no pair counted."""
        return self._sum / self._weight if self._weight else math.nan

    @property
    def still(self) -> float:
        """Mean share of the pixels that counted."""
        return self._still / self.pairs if self.pairs else 0.0


def _moved(
    before: Pixels, now: Pixels, part: Overlap, same: NDArray[np.bool]
) -> NDArray[np.float32]:
    """Mean absolute change over the channels of the pixels that count, (N,)."""
    apart = now[part.now].astype(np.int16) - before[part.before]
    return np.abs(apart).mean(2, dtype=np.float32)[same]


@dataclass(frozen=True)
class VideoReport:
    """How much a clip flickers.

    Attributes:
        output, source: the clips.
        flicker: in 8-bit levels; NaN where the source shows nothing still.
        frames: pairs of frames that follow each other and counted; `skipped` did not.
        still: mean share of the pixels that counted.
        notes: what was unlike between the clips, in words.
    """

    output: Path
    source: Path
    flicker: float
    frames: int
    skipped: int
    still: float
    notes: tuple[str, ...] = ()

    @property
    def row(self) -> dict[str, object]:
        """The report as plain JSON types."""
        return {
            "output": str(self.output),
            "source": str(self.source),
            "flicker": None if math.isnan(self.flicker) else round(self.flicker, 4),
            "pairs": self.frames,
            "skipped": self.skipped,
            "still": round(self.still, 4),
            "notes": list(self.notes),
        }


def evaluate_video(
    output: Path, source: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> VideoReport:
    """The flicker of the clip `output`, a translation of the clip `source` (see `Flicker`).

    Frames are compared in order, in the size of the source. `progress` is called with (frames
    done, frames in all, about). Raises PictureError for a clip that cannot be read, UsageError
    where the two have no frames in common that could be compared, MissingExtra.
    """
    flicker, notes = Flicker(), []
    with _opened(output) as made, _opened(source) as given:
        size = given.clip.width, given.clip.height
        theirs, ours = _counted(given), _counted(made)
        count = 0
        while True:
            pair = next(theirs, None), next(ours, None)
            if pair[0] is None or pair[1] is None:
                if (pair[0] is None) != (pair[1] is None):
                    notes.append("the clips are not of equally many frames; the rest is left out")
                break
            flicker.add(pair[0], _sized(pair[1], size))
            count += 1
            progress(count, given.clip.expected)
    if count < 2:
        raise UsageError(f"{output}: flicker needs at least two frames")
    return VideoReport(
        output, source, flicker.value, flicker.pairs, flicker.skipped, flicker.still, tuple(notes)
    )


def _opened(path: Path) -> Reader:
    try:
        return Reader(path)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None


def _counted(reader: Reader) -> Iterator[Pixels]:
    return (frame.pixels() for frame in reader.frames())


def _sized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    width, height = size
    pixels = to_8_bits(pixels)
    if abs(pixels.shape[0] - height) <= 1 and abs(pixels.shape[1] - width) <= 1:
        return pixels[:height, :width]  # a row or column more: an odd size made even
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))

"""What is found out about a clip before its first frame is translated: its time stamps, its shots,
and the statistics of normalisation that are held over each."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2img.images import Pixels
from img2img.inference.network import Domain, Network
from img2img.inference.video.reading import Frame, Reader
from img2img.tiling.locality import Moments, Statistics

# A cut: the colours' histograms and the pixels of two small frames are apart by more than this.
_HISTOGRAMS, _PIXELS = 0.3, 18.0
_BINS = 4  # of each channel
_EVERY = 16  # frames between two that are looked at for the statistics of a shot
_SAMPLES = 4  # of them, at most


@dataclass(frozen=True)
class Shot:
    """Frames that show one scene.

    Attributes:
        first: the number of its first frame.
        given: mean and variance of each normalisation, of some of its frames taken together;
            empty where each frame has its own.
    """

    first: int
    given: tuple[Statistics, ...] = ()


@dataclass(frozen=True)
class Survey:
    """A clip as it was read from end to end.

    Attributes:
        times: the time stamp of each frame, in units of the clip's time base.
        end: that at which the last one ends.
        shots: in order; the first begins with frame 0.
        lost_from: second from which on something could not be decoded; None: nothing.
        resumed: frames follow what could not be decoded.
    """

    times: tuple[int, ...]
    end: int
    shots: tuple[Shot, ...]
    lost_from: float | None = None
    resumed: bool = False

    def shot_of(self, frame: int) -> int:
        """The number of the shot that a frame belongs to."""
        return bisect_right(self.shots, frame, key=lambda shot: shot.first) - 1

    def to_bytes(self) -> bytes:
        """As a file that `from_bytes` reads."""
        arrays: dict[str, NDArray[Any]] = {"times": np.array(self.times, np.int64)}
        for n, shot in enumerate(self.shots):
            for k, pair in enumerate(shot.given):
                arrays |= {f"{n}.{k}.mean": pair[0], f"{n}.{k}.variance": pair[1]}
        about = {
            "end": self.end,
            "shots": [[shot.first, len(shot.given)] for shot in self.shots],
            "lost_from": self.lost_from,
            "resumed": self.resumed,
        }
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Survey:
        """Raises ValueError or KeyError for what is no such file."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            shots = tuple(
                Shot(
                    first,
                    tuple((arrays[f"{n}.{k}.mean"], arrays[f"{n}.{k}.variance"])
                          for k in range(count)),
                )
                for n, (first, count) in enumerate(about["shots"])
            )  # fmt: skip
            times = tuple(int(t) for t in arrays["times"])
        return Survey(times, about["end"], shots, about["lost_from"], about["resumed"])


@dataclass
class _Samples:
    """Frames of a shot at about equal distances, however long it becomes."""

    every: int = _EVERY
    seen: int = 0
    kept: list[tuple[int, Pixels]] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        # From the middle of a distance on: a shot may begin in black.
        place = self.seen - _EVERY // 2
        self.seen += 1
        if place < 0 or place % self.every:
            return
        if len(self.kept) == _SAMPLES:
            self.every *= 2
            self.kept = [row for row in self.kept if row[0] % self.every == 0]
            if place % self.every:
                return
        self.kept.append((place, frame.pixels()))


def survey(
    reader: Reader,
    network: Network | None,
    domain: Domain | None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[int | Survey]:
    """Read a clip from end to end: yields how many frames are read, now and then, and last the
    Survey, unless `should_stop` said so.

    `network`: whose statistics are gathered for each shot of more than a few frames; None: for
    none. Raises what `Network.moments` raises.
    """
    times: list[int] = []
    shots: list[Shot] = []
    samples = _Samples()
    look = Cuts()
    length = 0

    def finish() -> None:
        if shots and samples.kept and network is not None:
            given = _statistics(network, [pixels for _, pixels in samples.kept], domain)
            shots[-1] = Shot(shots[-1].first, given)

    for frame in reader.frames():
        if should_stop():
            return
        if look(frame.thumbnail()):
            finish()
            samples = _Samples()
            shots.append(Shot(frame.index))
        if network is not None:
            samples.add(frame)
        times.append(frame.pts)
        length = frame.duration
        if frame.index % 32 == 31:
            yield frame.index + 1
    finish()
    usual = round((times[-1] - times[0]) / (len(times) - 1)) if len(times) > 1 else 1
    lost = None if reader.lost_from is None else float(reader.lost_from - reader.clip.begins)
    yield Survey(
        tuple(times), times[-1] + max(length or usual, 1), tuple(shots), lost, reader.resumed
    )


def _statistics(
    network: Network, frames: Sequence[Pixels], domain: Domain | None
) -> tuple[Statistics, ...]:
    """Of the frames together, as if they were one picture."""
    found: list[Moments] = []
    for pixels in frames:
        own = network.moments(pixels, domain)
        found = [a.with_more(b) for a, b in zip(found, own, strict=True)] if found else own
    return tuple(moments.statistics() for moments in found)


class Cuts:
    """Finds where another shot begins, by small frames."""

    def __init__(self) -> None:
        self._before: tuple[NDArray[np.float64], NDArray[np.int16]] | None = None

    def __call__(self, small: Pixels) -> bool:
        """uint8 RGB (h, w, 3), each of one size: whether it begins a shot, as the first does."""
        bins = (small // (256 // _BINS)).astype(np.int64) @ np.array([_BINS**2, _BINS, 1])
        histogram = np.bincount(bins.ravel(), minlength=_BINS**3) / bins.size
        wide = small.astype(np.int16)
        before, self._before = self._before, (histogram, wide)
        if before is None:
            return True
        apart = float(np.abs(histogram - before[0]).sum()) / 2
        return apart > _HISTOGRAMS and float(np.abs(wide - before[1]).mean()) > _PIXELS

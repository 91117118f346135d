"""One clip: read, translated, blended and encoded beside each other, in segments."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from img2img.errors import EnvironmentFault, PictureError, UsageError, describe_os_error
from img2img.images import Pixels
from img2img.inference.events import Note
from img2img.inference.jobs import Job
from img2img.inference.network import Network, Report, Stopped
from img2img.inference.video.ahead import Ahead
from img2img.inference.video.blending import Blend
from img2img.inference.video.encoding import Coding, Segment
from img2img.inference.video.events import ClipProgress, VideoOptions
from img2img.inference.video.reading import Clip, Reader
from img2img.inference.video.state import State
from img2img.inference.video.survey import Survey, survey

_LOOK = 0.2  # seconds between two looks at the stop flag
_READ, _WRITTEN = 4, 4  # frames at least that wait for the network, and those for the encoder
_BATCH_BYTES = 64 * 2**20
Value = TypeVar("Value")


@dataclass
class _Frame:
    index: int
    pts: int
    pixels: Pixels


class ClipWork:
    """Translates the frames of one clip into the segments of `state`.

    `steps` yields notes and progress, and ends when all segments are there, or when `should_stop`
    said so; `stopped` tells which.
    """

    def __init__(
        self,
        job: Job,
        network: Network,
        coding: Coding,
        options: VideoOptions,
        state: State,
        should_stop: Callable[[], bool],
    ):
        self._job, self._network, self._coding = job, network, coding
        self._options, self._state, self._should_stop = options, state, should_stop
        self.stopped = False
        self._said: deque[Note] = deque()
        self._report = Report(
            lambda text: self._said.append(Note(f"{job.source}: {text}")),
            should_stop=lambda: self.stopped,
        )

    def steps(self) -> Iterator[ClipProgress | Note]:
        """Do it. Raises PictureError, EnvironmentFault."""
        if self._state.survey is None:
            yield from self._survey()
            if self.stopped:
                return
        found = self._state.survey
        assert found is not None
        if self._state.done < len(found.times):
            yield from self._translate(found)

    def _survey(self) -> Iterator[ClipProgress | Note]:
        source = self._job.source
        holds = None
        if self._options.hold:
            try:
                holds = self._network if self._network.gathers() else None
            except UsageError as error:
                yield Note(f"{source}: each frame is normalised independently: {error}")
        with Reader(source) as reader:
            expected = reader.clip.expected
            for step in survey(reader, holds, self._job.domain, self._should_stop):
                if isinstance(step, Survey):
                    self._state.keep(step)
                else:
                    yield ClipProgress(source, "reading", step, max(expected, step))
        self.stopped = self._state.survey is None

    def _translate(self, found: Survey) -> Iterator[ClipProgress | Note]:
        began, total = self._state.done, len(found.times)
        with ExitStack() as stack:
            reader = stack.enter_context(Reader(self._job.source))
            kind = np.uint16 if reader.clip.depth == 16 else np.uint8
            blank = np.broadcast_to(kind(0), (reader.clip.height, reader.clip.width, 3))
            most = max(_READ, self._together(blank))
            ahead = Ahead(_from(reader, found, began), most)
            stack.callback(ahead.close)
            writer = _Writer(reader.clip, self._coding, self._options, self._state, found)
            stack.callback(writer.discard)
            run = stack.enter_context(ThreadPoolExecutor(1))
            write = stack.enter_context(ThreadPoolExecutor(1))
            writing: deque[Future[None]] = deque()
            done = began
            try:
                for batch, network in self._batches(ahead, found):
                    frames = [frame.pixels for frame in batch]
                    domain = self._job.domain
                    domains = None if domain is None else [domain] * len(batch)
                    answers = self._wait(run.submit(network.run, frames, domains, self._report))
                    while len(writing) >= _WRITTEN:
                        self._wait(writing.popleft())
                    writing.append(write.submit(writer.add, batch, answers))
                    done += len(batch)
                    while self._said:
                        yield self._said.popleft()
                    yield ClipProgress(self._job.source, "translating", done, total, began)
            except Stopped:
                self.stopped = True
            for future in writing:
                future.result()
            if self.stopped:
                write.submit(writer.finish).result()  # what is done is kept
                return
            if self._state.done < total:
                raise PictureError("it gave fewer frames when it was read the second time")

    def _batches(
        self, ahead: Ahead[_Frame], found: Survey
    ) -> Iterator[tuple[list[_Frame], Network]]:
        """Frames of one shot, with the network that holds its statistics.

        A network's rounding depends on how many frames it is given. So that is a matter of their
        numbers alone, never of how fast they are read, and restarts with each segment: a clip
        that is resumed there is the same to the bit.
        """
        segment, began = self._options.segment, self._state.done
        shot, network, left = -1, self._network, None
        while True:
            first = left or self._next(ahead)
            left = None
            if first is None:
                return
            if (number := found.shot_of(first.index)) != shot:
                shot = number
                given = found.shots[shot].given
                network = self._network.held(given) if given else self._network
            most = self._together(first.pixels)
            batch = [first]
            while len(batch) < most and (batch[-1].index + 1 - began) % segment:
                if (more := self._next(ahead)) is None:
                    break
                if found.shot_of(more.index) != shot:
                    left = more
                    break
                batch.append(more)
            yield batch, network

    def _together(self, pixels: Pixels) -> int:
        """How many frames like this go through the network at once, at most."""
        return max(1, min(self._network.limit(pixels), _BATCH_BYTES // pixels.nbytes))

    def _next(self, ahead: Ahead[_Frame]) -> _Frame | None:
        while True:
            if self.stopped or self._should_stop():
                raise Stopped
            frame = ahead.take(_LOOK)
            if frame is not None or ahead.ended:
                return frame

    def _wait(self, future: Future[Value]) -> Value:
        while not wait([future], _LOOK).done:
            if self._should_stop():
                self.stopped = True  # the tiles of a large frame end early
        return future.result()


def _from(reader: Reader, found: Survey, first: int) -> Iterator[_Frame]:
    """The frames from number `first` on, which must be those of the survey."""
    for frame in reader.frames():
        if frame.index >= len(found.times):
            return
        if frame.pts != found.times[frame.index]:
            raise PictureError("its time stamps differed when it was read the second time")
        if frame.index >= first:
            yield _Frame(frame.index, frame.pts, frame.pixels())


class _Writer:
    """Blends and encodes, in a thread of its own; a segment takes its name when it is whole."""

    def __init__(
        self, clip: Clip, coding: Coding, options: VideoOptions, state: State, found: Survey
    ):
        self._clip, self._coding, self._options = clip, coding, options
        self._state, self._survey = state, found
        self._blend = Blend(options.temporal_blend)
        if state.done:
            self._blend.resume(state.before())
        self._firsts = {shot.first for shot in found.shots}
        self._segment: Segment | None = None
        self._failed = False
        self._path = state.folder / "work.nut"
        self._first = self._last = state.done

    def add(self, batch: Sequence[_Frame], answers: Sequence[Pixels]) -> None:
        """Frames and their translations; nothing after one that could not be written."""
        if self._failed:
            return
        self._failed = True
        for frame, answer in zip(batch, answers, strict=True):
            if frame.index in self._firsts:
                self._blend.cut()
            mixed = self._blend(frame.pixels, answer)
            if self._segment is None:
                self._open(frame.index)
            assert self._segment is not None
            self._segment.add(mixed, frame.pts)
            self._last = frame.index
            whole = self._last - self._first + 1 == self._options.segment
            if whole or frame.index + 1 == len(self._survey.times):
                self.finish()
        self._failed = False

    def finish(self) -> None:
        """End the segment in work: it is kept."""
        if self._segment is None:
            return
        segment, self._segment = self._segment, None
        try:
            segment.close()
            with open(self._path, "rb+") as file:
                os.fsync(file.fileno())  # before the name: a power cut leaves it whole or not there
            self._state.keep_before(self._last, self._blend.before)
            os.replace(self._path, self._state.segment(self._first, self._last))
        except OSError as error:
            raise EnvironmentFault(f"{self._path}: {describe_os_error(error)}") from None
        self._state.segments.append((self._first, self._last))

    def discard(self) -> None:
        """Throw the segment in work away."""
        if self._segment is not None:
            self._segment.discard()
            self._path.unlink(missing_ok=True)

    def _open(self, first: int) -> None:
        self._first = first
        self._segment = Segment(self._path, self._clip, self._coding)

"""A bounded queue in front of the networks: pictures of one size are translated together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from img2img.errors import MemoryFault, PictureError, UsageError
from img2img.images import Pixels
from img2img.inference.network import Domain, Network, Report, Stopped

STOPS = "cancelled: the server is stopping"
_MOST_WAIT = 60  # longest value of Retry-After in seconds
_SHARE = 0.2  # of the newest batch in the average time of a picture


class Busy(Exception):
    """There is no room now; `seconds` later there may be."""

    def __init__(self, seconds: int):
        super().__init__(f"the server is busy; try again in {seconds} s")
        self.seconds = seconds


class Room:
    """So many pictures and bytes may be accepted and unanswered at a time. Used by one thread."""

    def __init__(self, pictures: int, size: int):
        self._most, self._size = pictures, size
        self.pictures = self.bytes = 0
        self.seconds = 0.5  # that a picture takes, on average

    @contextmanager
    def take(self, pictures: int, size: int = 0) -> Iterator[None]:
        """Room for the time of the block. Raises Busy."""
        if self.pictures + pictures > self._most or self.bytes + size > self._size:
            wait = min(_MOST_WAIT, max(1, round(self.seconds * self.pictures)))
            raise Busy(wait)
        self.pictures += pictures
        self.bytes += size
        try:
            yield
        finally:
            self.pictures -= pictures
            self.bytes -= size

    def took(self, seconds: float) -> None:
        """A picture took so long."""
        self.seconds += _SHARE * (seconds - self.seconds)


@dataclass
class Task:
    """A picture in the queue.

    Attributes:
        pixels: uint8 or uint16 (H, W, 3).
        future: gives the answer, of that type and `network.scale` times the size, and the seconds
            that a picture of its batch took; or raises PictureError.
    """

    network: Network
    pixels: Pixels
    domain: Domain | None
    future: Future[tuple[Pixels, float]] = field(default_factory=Future)
    wanted: bool = True

    def drop(self) -> None:
        """Nobody waits for it: leave it out, or give up between two tiles."""
        self.wanted = False
        self.future.cancel()

    @property
    def kind(self) -> tuple[object, ...]:
        return id(self.network), self.pixels.shape, self.pixels.dtype.str, self.domain is None


class Batcher:
    """One thread that translates what waits: the oldest picture and those of its size, model and
    strength, as many as go at once. Nobody waits for a batch to fill.

    Attributes:
        batches, pictures: how many it has translated.
    """

    def __init__(self) -> None:
        self.batches = self.pictures = 0
        self._tasks: deque[Task] = deque()
        self._change = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, network: Network, pixels: Pixels, domain: Domain | None) -> Task:
        """Queue a picture. Raises PictureError once the batcher is closed."""
        task = Task(network, pixels, domain)
        with self._change:
            if not self._open:
                raise PictureError(STOPS)
            self._tasks.append(task)
            self._change.notify()
        return task

    def close(self) -> None:
        """Give up what waits, and end the thread."""
        with self._change:
            self._open = False
            for task in self._tasks:
                task.future.cancel()
            self._tasks.clear()
            self._change.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Pictures that are decoded and wait for their network."""
        return len(self._tasks)

    def _work(self) -> None:
        while batch := self._next():
            batch = [task for task in batch if task.future.set_running_or_notify_cancel()]
            if batch:
                self._run(batch)

    def _next(self) -> list[Task]:
        with self._change:
            self._change.wait_for(lambda: self._tasks or not self._open)
            if not self._tasks:
                return []
            first = self._tasks[0]
            most = first.network.limit(first.pixels)
            batch = [task for task in self._tasks if task.kind == first.kind][:most]
            chosen = set(map(id, batch))
            self._tasks = deque(task for task in self._tasks if id(task) not in chosen)
            return batch

    def _run(self, batch: list[Task]) -> None:
        first = batch[0]
        domains = None if first.domain is None else [t.domain for t in batch if t.domain]
        report = Report(should_stop=lambda: not any(t.wanted for t in batch) or not self._open)
        began = time.monotonic()
        try:
            answers = first.network.run([task.pixels for task in batch], domains, report)
        except (MemoryFault, MemoryError, UsageError) as error:  # of one size, say
            if len(batch) > 1:
                for task in batch:
                    self._run([task])
                return
            reason = str(error) or "does not fit in memory"
            first.future.set_exception(PictureError(reason))
        except Stopped:
            for task in batch:
                task.future.set_exception(PictureError(STOPS))
        except BaseException as error:
            for task in batch:
                task.future.set_exception(error)
        else:
            self.batches += 1
            self.pictures += len(batch)
            seconds = (time.monotonic() - began) / len(batch)
            for task, answer in zip(batch, answers, strict=True):
                task.future.set_result((answer, seconds))

"""An iterator that is advanced in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_LOOK = 0.2  # seconds between two looks at whether it is still wanted


class Ahead(Generic[Item]):
    """Up to `most` items of `items` wait here to be taken.

    Attributes:
        ended: everything was taken.
    """

    def __init__(self, items: Iterable[Item], most: int):
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(most)
        self._wanted = True
        self.ended = False
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> Item | None:
        """The next item; None where there is none within so many seconds, or none any more, which
        `ended` tells. Raises what the iterator raised."""
        try:
            row = self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
        except queue.Empty:
            return None
        if row is None:
            self.ended = True
            return None
        if isinstance(row, BaseException):
            raise row
        return row[0]

    def close(self) -> None:
        """Advance it no more; returns when its thread has ended."""
        self._wanted = False
        self._thread.join()

    def _run(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                self._put((item,))
                if not self._wanted:
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, row: tuple[Item] | BaseException | None) -> None:
        while self._wanted:
            try:
                self._queue.put(row, timeout=_LOOK)
                return
            except queue.Full:
                continue

"""How much of a job is in memory at a time."""

from __future__ import annotations

import threading


class Hold:
    """Gives a picture's share of the memory back when its last output has an end."""

    def __init__(self, budget: Budget, size: int, outputs: int):
        self._budget, self._size, self._left = budget, size, outputs

    def drop(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._budget.give(self._size)


class Budget:
    """So many bytes and places for pictures in work; one picture always fits."""

    def __init__(self, size: int, places: int):
        self._size, self._places = size, places
        self._bytes = self._count = 0
        self._open = True
        self._change = threading.Condition()

    def wait(self) -> bool:
        """Wait until there is room for something; False when the pipeline ends meanwhile."""
        with self._change:
            self._change.wait_for(
                lambda: (
                    not self._open
                    or self._count == 0
                    or (self._bytes < self._size and self._count < self._places)
                )
            )
            return self._open

    def take(self, size: int) -> bool:
        """Wait for room; False when the pipeline ends meanwhile."""
        with self._change:
            self._change.wait_for(
                lambda: (
                    not self._open
                    or self._count == 0
                    or (self._bytes + size <= self._size and self._count < self._places)
                )
            )
            self._bytes += size
            self._count += 1
            return self._open

    def give(self, size: int) -> None:
        with self._change:
            self._bytes -= size
            self._count -= 1
            self._change.notify_all()

    def close(self) -> None:
        with self._change:
            self._open = False
            self._change.notify_all()

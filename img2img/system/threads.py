"""Idle threads sleep instead of spinning.

A thread that waits in a loop for the others keeps a core busy. Where another program needs that
core, the thread that has the work waits for it: with both of two cores busy, a tiny training fell
from 54 steps/s with one thread to 0.34 with two that spin.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

Rates = dict[int, float]
# Fewer threads are taken when they lose no more than this.
_NEAR = 0.95
# A rate has fallen when it is less than this part of the best one so far.
_FALLEN = 0.6
_TURNS = 2  # runs with each number of threads in a trial, in turns
_PATIENCE = 8  # runs between a trial and the next

POLICY = "OMP_WAIT_POLICY"
# What tells libgomp, libomp and Intel's OpenMP how long a thread spins; one that is set decides.
_CHOICES = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_idle_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set OpenMP's wait policy to PASSIVE, unless the user has chosen how threads wait.

    OpenMP reads it once, when its library is loaded: this must run before torch is imported.
    Source: OpenMP 5.0, section 6.7; libgomp then spins zero times (GOMP_SPINCOUNT).
    """
    if not any(name in environment for name in _CHOICES):
        environment[POLICY] = "PASSIVE"


def wait_policy(environment: MutableMapping[str, str] = os.environ) -> str:
    """How OpenMP's idle threads wait, as `NAME=VALUE`; empty where nothing is set."""
    return ", ".join(f"{name}={environment[name]}" for name in _CHOICES if name in environment)


def sleeping(options: SessionOptions) -> SessionOptions:
    """The onnxruntime `SessionOptions`, with idle threads that sleep, and not spin, both within an
    operator and between operators."""
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def candidates(most: int) -> list[int]:
    """`most`, then the powers of two below it, downward to 1."""
    return [most, *(2**k for k in reversed(range(most.bit_length())) if 2**k < most)]


def best(rates: Rates) -> int:
    """The fewest threads that come near the best rate."""
    return min(n for n, rate in rates.items() if rate >= _NEAR * max(rates.values()))


def busy(cores: int) -> bool:
    """Whether other programs seem to keep half of the cores busy, by the load of the last minute;
    False where the system does not tell."""
    try:
        return os.getloadavg()[0] > cores / 2
    except (AttributeError, OSError):
        return False


class Turns:
    """How many threads a network runs with, chosen by timing real runs.

    It starts with `most`. When the machine is busy at the start, or when the rate falls markedly
    later, the next runs take every candidate in turns, and the fewest threads near the best rate
    stay. Call `begin` before a run and `end` after it.

    Attributes:
        count: the number for the next run.
    """

    def __init__(
        self, most: int, is_busy: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.most, self.count, self._clock = most, most, clock
        self._queue: list[int] = []
        self._seen: dict[int, list[tuple[int, float]]] = {}
        self._best: dict[int, float] = {}  # by the size of the pictures, to a power of two
        self._since = 0
        if is_busy:
            self._start_trial()

    @property
    def trying(self) -> bool:
        """Whether a trial is on."""
        return bool(self._queue)

    def begin(self) -> float:
        """A run begins: its start, for `end`."""
        return self._clock()

    def end(self, began: float, pixels: int) -> None:
        """The run over so many pixels that began then has ended."""
        seconds = max(self._clock() - began, 1e-9)
        if self.trying:
            self._seen.setdefault(self.count, []).append((pixels, seconds))
            self._queue.pop(0)
            if self._queue:
                self.count = self._queue[0]
                return
            rates = {n: max(p / s for p, s in runs) for n, runs in self._seen.items()}
            self.count = best(rates)
            self._best, self._since = {}, 0
            return
        rate = pixels / seconds
        size = pixels.bit_length()
        self._best[size] = max(self._best.get(size, 0.0), rate)
        self._since += 1
        if rate < _FALLEN * self._best[size] and self._since >= _PATIENCE:
            self._start_trial()

    def _start_trial(self) -> None:
        if self.most > 1:
            self._queue, self._seen = candidates(self.most) * _TURNS, {}
            self.count = self._queue[0]

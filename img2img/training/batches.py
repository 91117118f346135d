"""How many pictures a training takes at once, chosen by measuring steps of its own method.

The number changes what is learned. So it is recorded in `config.toml` and in the state, and a
resumed run takes it from there.
"""

from __future__ import annotations

import gc
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from img2img.data import Dataset
from img2img.errors import Diverged
from img2img.methods import Method
from img2img.system.out_of_memory import is_memory_error
from img2img.training.devices import TYPES, free_of, peak_memory, settle_device
from img2img.training.run_folder import states_of

MOST = 128
_CLOSE = 0.95  # of the fastest: the smallest batch that comes so near is taken
_GAIN = 1.02  # a doubling that gains less than this gains nothing
_TURN = 0.5  # seconds of one measurement, at least
_PERIODS = 2  # of one measurement, at least
_BUDGET = 60.0  # seconds in all, beyond which no larger batch is tried
_SHARE = 0.7  # of the free memory, which a step may take

Clock = Callable[[], float]
Rate = Callable[[int], float | None]


def choose(rate: Rate, most: int, clock: Clock = time.monotonic) -> tuple[int, dict[int, float]]:
    """The smallest batch of 1, 2, 4, ... `most` that comes within 5 % of the fastest, and the
    pictures a second of each that was tried. `rate(size)` is None where `size` does not fit.

    Larger ones are not tried once two doublings in a row gained nothing, or after a minute.
    """
    began, rates, size, idle = clock(), dict[int, float](), 1, 0
    while size <= most and idle < 2:
        found = rate(size)
        if found is None:
            break
        idle = idle + 1 if rates and found < _GAIN * max(rates.values()) else 0
        rates[size] = found
        if clock() - began > _BUDGET:
            break
        size *= 2
    fastest = max(rates.values(), default=0.0)
    return min((n for n, r in rates.items() if r >= _CLOSE * fastest), default=1), rates


def recorded(out: Path) -> int | None:
    """The number that a run in the folder `out` began with; None where there is nothing to
    resume."""
    if not states_of(out):
        return None
    try:
        table = tomllib.loads((out / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    number = table.get("batch_size")
    return number if isinstance(number, int) and number > 0 else None


@dataclass
class Trial:
    """Steps of a method that is thrown away afterwards, on batches of the training data.

    Attributes:
        first: number of the first step, where all that a step does has begun.
        used, free: bytes that were in use at most, and bytes that could still be taken.
    """

    method: Method[Any, Any, Any]
    data: Dataset
    device: torch.device
    precision: str
    first: int = 0
    used: Callable[[torch.device], int] = peak_memory
    free: Callable[[torch.device], int] = free_of
    clock: Clock = time.perf_counter
    _before: int = field(init=False)
    _largest: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self._before = self.used(self.device)

    def rate(self, size: int) -> float | None:
        """Pictures a second in batches of `size`; None where they do not fit in memory."""
        if not self.fits(size):
            return None
        try:
            self._period(size, 0)
            # The quickest of several: what else the machine does can only slow one down.
            times: list[float] = []
            while len(times) < _PERIODS or sum(times) < _TURN:
                began = self.clock()
                self._period(size, len(times) * self.method.period)
                times.append(self.clock() - began)
        except Exception as error:
            if not is_memory_error(error):
                raise
            return None
        self._largest = (size, max(0, self.used(self.device) - self._before))
        return self.method.period * size / min(times)

    def fits(self, size: int) -> bool:
        """Whether a step of `size` pictures is expected to fit, judged by the largest before."""
        tried, taken = self._largest
        if not tried:
            return True
        return taken * size / tried <= _SHARE * (self.free(self.device) + taken)

    def _period(self, size: int, number: int) -> None:
        """Take the steps after which the work repeats itself."""
        indices = list(range(size))
        for k in range(self.method.period):
            self.method.number = self.first + number + k
            batch = self.data.batch(indices).on(self.device)
            self.method.augment.begin(self.method.number, indices)
            self.method.view.begin(self.method.number, indices)
            with torch.autocast(self.device.type, TYPES[self.precision], self.precision != "fp32"):
                self.method.step(batch)
        settle_device(self.device)


def fitting_batch(trial: Trial) -> tuple[int, str]:
    """How many pictures at once, and why. Where an untrained network diverges in a trial, what was
    measured before counts."""

    def rate(size: int) -> float | None:
        try:
            return trial.rate(size)
        except Diverged:
            return None

    size, rates = choose(rate, min(MOST, len(trial.data)))
    return size, _in_words(rates)


def release(device: torch.device) -> None:
    """Give back the memory of a trial that is no longer referred to."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _in_words(rates: Mapping[int, float]) -> str:
    figures = ", ".join(f"{size}: {rate:.3g}" for size, rate in rates.items())
    return f"measured {figures} pictures/s" if figures else "no larger one fits"

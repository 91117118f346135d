"""How many threads a training on the CPU computes with, chosen by measuring.

The number of threads changes the last digits of a result. So what is chosen is part of the state,
a resumed run takes it from there, and a run given `threads` keeps to that number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from img2img.nets import Generator
from img2img.system import cpu
from img2img.system.threads import Rates, best, candidates
from img2img.training.devices import TYPES

# A turn is longer than a time slice of the scheduler, a measurement shorter than a short run.
_TURN = 0.1
_ROUNDS = 4
_SHARE = 0.03  # of the run's expected time
_MOST = 10.0  # seconds
_SHORT = 50  # steps
# A step takes about this many passes of the generator.
_PASSES_PER_STEP = 4
# A run in progress changes its number, and with it its last digits, only for a gain of this much.
_WORTH = 1.5
# The rate has fallen when a window of so many seconds shows less than this part of the best one.
_WINDOW = 20.0
_FALLEN = 0.6
_REMEMBERED = 30  # windows

Clock = Callable[[], float]


def measure(
    numbers: Sequence[int],
    work: Callable[[], None],
    use: Callable[[int], None],
    budget: float,
    clock: Clock = time.perf_counter,
) -> Rates:
    """How often a second `work` is done with each number of threads.

    The numbers take turns, so that a change of the load meets all of them; the first call of a
    number is not counted. Ends when the next turn would pass the budget of seconds, but not before
    two numbers were measured; what has not been measured by then is absent.
    """
    began = clock()
    turn = min(_TURN, budget / (2 * len(numbers)))
    done: dict[int, tuple[int, float]] = {}
    last = 0.0
    for _ in range(_ROUNDS):
        for number in numbers:
            start = clock()
            if len(done) > 1 and start + last - began > budget:
                return {n: calls / seconds for n, (calls, seconds) in done.items()}
            use(number)
            if number not in done:
                work()
            calls, counted = 0, clock()
            while calls == 0 or clock() - counted < turn:
                work()
                calls += 1
            now = clock()
            before = done.get(number, (0, 0.0))
            done[number] = (before[0] + calls, before[1] + now - counted)
            last = now - start
    return {n: calls / seconds for n, (calls, seconds) in done.items()}


class Watch:
    """Notices that the rate of steps has fallen. Times are in seconds; what lies between the end
    of a step and the beginning of the next, such as validation, does not count."""

    def __init__(self, clock: Clock = time.monotonic):
        self.clock = clock
        self._began = clock()
        self.start_again()

    def start_again(self) -> None:
        """Forget what was seen."""
        self._rates: list[float] = []
        self._seconds, self._steps = 0.0, 0

    def begin(self) -> None:
        """A step begins."""
        self._began = self.clock()

    def fallen(self) -> bool:
        """A step ends; whether a window that ends with it is markedly slower than the best."""
        self._seconds += self.clock() - self._began
        self._steps += 1
        if self._seconds < _WINDOW:
            return False
        rate = self._steps / self._seconds
        slow = bool(self._rates) and rate < _FALLEN * max(self._rates)
        self._rates = [*self._rates[1 - _REMEMBERED :], rate]
        self._seconds, self._steps = 0.0, 0
        return slow


@dataclass
class Pace:
    """The number of threads of one training.

    Attributes:
        fixed: the user's number, or None to measure.
        measures: whether measuring is possible: on the CPU, in one process, with more than one
            thread allowed (OMP_NUM_THREADS, affinity, the container's quota).
        reason: why the present number, for the start line.
        changes: [step, number] for each change after the start, recorded in the state.
    """

    fixed: int | None
    possible: bool
    watch: Watch = field(default_factory=Watch)
    clock: Clock = time.perf_counter
    use: Callable[[int], None] = torch.set_num_threads
    most: int = field(default_factory=lambda: min(torch.get_num_threads(), cpu.cores()))
    reason: str = ""
    changes: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = self.fixed or self.most
        self.measures = self.fixed is None and self.possible and self.most > 1
        if self.fixed:
            self.use(self.fixed)
            self.reason = "given"

    @property
    def facts(self) -> dict[str, Any]:
        """What the state records."""
        return {"threads": self.count, "thread_changes": self.changes}

    def compared(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """`facts` without the number, where a resumed run takes it from its state."""
        return {n: v for n, v in facts.items() if n != "threads" or not self.measures}

    def begin(self, then: Mapping[str, Any] | None, work: Callable[[], None], steps: int) -> str:
        """Choose for a new run, or for one resumed from a state with the facts `then`.

        A resumed run keeps the recorded number unless another is much faster now.

        Args:
            work: one pass that changes nothing, about a fourth of a step.
            steps: how many are left; a short run is not measured.

        Returns:
            What to warn of, or "".
        """
        if then is not None:
            self.changes = [list(c) for c in then.get("thread_changes") or []]
        if not self.measures:
            return ""
        recorded = int(then.get("threads", self.most)) if then is not None else None
        first = self.most if recorded is None else min(recorded, self.most)
        self._take(first, "the default" if recorded is None else "as before")
        rates = self._rates(work, steps)
        if rates:
            self._decide(rates, keep=recorded is not None)
        if recorded is None or self.count == recorded:
            return ""
        step = int(then["step"]) if then is not None and "step" in then else 0
        return self._changed(step, recorded)

    def step_taken(self, step: int, work: Callable[[], None], left: int) -> str:
        """Count a step; measure again when the rate has fallen. Returns what to warn of, or ""."""
        if not self.measures or not self.watch.fallen():
            return ""
        before = self.count
        rates = self._rates(work, left)
        if rates:
            self._decide(rates, keep=True)
        self.watch.start_again()
        return self._changed(step, before) if self.count != before else ""

    def end(self) -> None:
        """Give back the number that the process began with, where it was measured."""
        if self.measures:
            self.use(self.most)

    def _take(self, number: int, reason: str) -> None:
        self.count, self.reason = number, reason
        self.use(number)

    def _rates(self, work: Callable[[], None], steps: int) -> Rates:
        if steps < _SHORT:
            return {}
        work()
        start = self.clock()
        work()
        expected = (self.clock() - start) * _PASSES_PER_STEP * steps
        numbers = candidates(self.most)
        budget = min(_MOST, _SHARE * expected)
        # Less than two turns each tells nothing.
        if budget < _TURN * len(numbers):
            return {}
        rates = measure(numbers, work, self.use, budget, self.clock)
        self.use(self.count)
        return rates

    def _decide(self, rates: Rates, keep: bool) -> None:
        chosen = best(rates)
        now = rates.get(self.count)
        if keep and (now is None or rates[chosen] < _WORTH * now):
            chosen = self.count
        figures = ", ".join(f"{n}: {rate:.3g}" for n, rate in sorted(rates.items()))
        self._take(chosen, f"measured {figures} passes/s")

    def _changed(self, step: int, before: int) -> str:
        self.changes.append([step, self.count])
        why = f"{self.reason}; " if self.reason.startswith("measured") else ""
        return (
            f"now {self.count} thread{'s' if self.count > 1 else ''} instead of {before} ({why}"
            "results differ in the last digits; `threads` fixes the number)"
        )


def probe(generator: Generator, batch: int, size: int, precision: str) -> Callable[[], None]:
    """A pass of `generator` forward and back on random pictures; neither its weights, its
    statistics nor the random numbers of the training change.

    Args:
        batch, size: pictures of a training batch and their side in pixels.
    """

    def work() -> None:
        buffers = [buffer.clone() for buffer in generator.buffers()]
        with torch.random.fork_rng([]):
            x = torch.rand(batch, generator.in_channels, size, size) * 2 - 1
            label = (torch.rand(batch, generator.domains),) if generator.domains else ()
            with torch.autocast("cpu", TYPES[precision], precision != "fp32"):
                out = generator(x, *label)
            torch.autograd.grad(out.float().square().sum(), list(generator.parameters()))
        with torch.no_grad():
            for buffer, before in zip(generator.buffers(), buffers, strict=True):
                buffer.copy_(before)

    return work

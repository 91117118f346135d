"""How far a run is, at the pace of a person who watches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import torch

from img2img.training.devices import peak_memory
from img2img.training.events import Progress
from img2img.training.runs import Best

_EVERY = 1.0  # seconds between two events
_WINDOW = 60.0  # seconds over which the rate is taken
_SMOOTH = 0.7  # of the loss shown before that stays


class Meter:
    """Says when progress is due, and what it is.

    Args:
        per_step: pictures of a step.
        clock: seconds.
    """

    def __init__(
        self, per_step: int, device: torch.device, clock: Callable[[], float] = time.monotonic
    ):
        self._per_step, self._device, self._clock = per_step, device, clock
        self._marks: deque[tuple[float, int]] = deque()
        self._shown: float | None = None
        self._losses: dict[str, float] = {}

    def start(self, step: int) -> None:
        """Count from here: `step` are done."""
        self._marks.append((self._clock(), step))

    def due(self) -> bool:
        """Whether progress should be shown: after the first step, then by time."""
        return self._shown is None or self._clock() - self._shown >= _EVERY

    def event(
        self,
        step: int,
        total: int,
        losses: Mapping[str, float],
        seconds_left: float | None,
        best: Best | None,
        health: str,
    ) -> Progress:
        """What is shown after `step`. `seconds_left` is known in a run that ends by the clock."""
        now = self._shown = self._clock()
        while len(self._marks) > 1 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        then, before = self._marks[0]
        rate = max(step - before, 1) / max(now - then, 1e-6)
        self._marks.append((now, step))
        for name, value in losses.items():
            old = self._losses.get(name, value)
            self._losses[name] = _SMOOTH * old + (1 - _SMOOTH) * value
        left = (total - step) / rate if seconds_left is None else max(0.0, seconds_left)
        return Progress(
            step=step,
            steps=total if seconds_left is None else step + round(left * rate),
            losses=dict(self._losses),
            pictures_per_second=rate * self._per_step,
            eta_seconds=left,
            memory_bytes=peak_memory(self._device),
            best=best.name if best else "",
            best_value=best.value if best else None,
            best_step=best.step if best else None,
            health=health,
        )

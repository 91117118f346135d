"""Progress for people: after the first step, then by time."""

from __future__ import annotations

import pytest
import torch

from img2img.training.progress import Meter
from img2img.training.runs import Best


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_due_after_the_first_step_and_then_by_time() -> None:
    clock = Clock()
    meter = Meter(4, torch.device("cpu"), clock)
    meter.start(10)
    clock.now = 0.5
    assert meter.due()
    first = meter.event(11, 20, {"D": 1.0}, None, None, "")
    assert (first.step, first.steps, first.pictures_per_second) == (11, 20, 8.0)
    assert first.eta_seconds == pytest.approx(4.5) and first.best_value is None
    clock.now = 1.0
    assert not meter.due()
    clock.now = 2.0
    assert meter.due()
    second = meter.event(14, 20, {"D": 0.0}, None, Best("ssim", 0.5, 12), "mode collapse")
    assert second.losses == {"D": pytest.approx(0.7)} and second.best_step == 12
    assert second.health == "mode collapse" and second.memory_bytes > 0


def test_the_rate_is_that_of_the_last_minute_and_the_end_may_be_the_clocks() -> None:
    clock = Clock()
    meter = Meter(1, torch.device("cpu"), clock)
    meter.start(0)
    for clock.now, step in ((100.0, 1), (110.0, 11), (120.0, 21)):
        event = meter.event(step, 10**9, {}, 30.0, None, "")
    assert event.pictures_per_second == pytest.approx(1.0)
    assert (event.eta_seconds, event.steps) == (30.0, 51)

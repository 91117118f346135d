"""Averaged weights: what a run publishes and shows when `ema` is set."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from img2img.methods import Method
from img2img.nets import Generator


class Average:
    """Exponential moving average of the generators' weights (arXiv 1806.04498), after a warm-up in
    which the average covers a tenth of the steps so far."""

    def __init__(self, method: Method, decay: float):
        self.decay = decay
        self.nets: dict[str, Generator] = method.generators
        self.restart()

    def restart(self) -> None:
        """Start again from the present weights."""
        self.count = 0
        self.shadows = {n: copy.deepcopy(net.state_dict()) for n, net in self.nets.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages toward the present weights."""
        self.count += 1
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        for name, net in self.nets.items():
            for key, value in net.state_dict().items():
                shadow = self.shadows[name][key]
                if value.is_floating_point():
                    shadow.lerp_(value, weight)
                else:
                    shadow.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The averages and the number of updates."""
        return {"count": self.count, "shadows": self.shadows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.count = int(state["count"])
        for name, shadow in self.shadows.items():
            for key, value in shadow.items():
                value.copy_(state["shadows"][name][key])


@contextlib.contextmanager
def averaged(average: Average | None) -> Iterator[None]:
    """The generators carry their averaged weights inside the block."""
    if average is None:
        yield
        return
    before = {n: copy.deepcopy(net.state_dict()) for n, net in average.nets.items()}
    for name, net in average.nets.items():
        net.load_state_dict(average.shadows[name])
    try:
        yield
    finally:
        for name, net in average.nets.items():
            net.load_state_dict(before[name])

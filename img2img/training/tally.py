"""Means of losses between two rows of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor


class Tally:
    """Means of the losses since they were last asked for; a loss counts where it appears."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count one step's losses."""
        for name, value in losses.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def so_far(self) -> dict[str, float]:
        """The means in this process; counting goes on."""
        return {n: float(v / self.counts[n]) for n, v in self.sums.items()}

    def means(self, across: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means, averaged over the processes by `across`; starts again."""
        means = {n: float(across(v / self.counts[n])) for n, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

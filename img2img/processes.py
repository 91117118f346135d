"""Several processes that train one model: what they share and what only the first one does.

Started by `torchrun --nproc-per-node N -m img2img.cli train ...` or `--devices N`. `batch_size` is
that of all processes together; each takes an equal share, and gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from img2img.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """This process's place among `count`; alone, everything here does nothing."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @staticmethod
    def join() -> Processes:
        """Join the group that torchrun describes in the environment, or be alone."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return Processes()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return Processes(dist.get_rank(), int(os.environ.get("LOCAL_RANK", "0")), count)

    @property
    def first(self) -> bool:
        """True for the process that writes."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """This process's own device of the chosen kind."""
        if self.count > 1 and chosen.type == "cuda":
            torch.cuda.set_device(self.local_rank)
            return torch.device("cuda", self.local_rank)
        return chosen

    def check_batch(self, size: int) -> None:
        """Raise ConfigError when the batch cannot be shared equally."""
        if size % self.count:
            near = max(self.count, round(size / self.count) * self.count)
            raise ConfigError(
                f"batch_size {size} is shared by {self.count} processes; use --batch-size {near}"
            )

    def share(self, size: int) -> slice:
        """This process's part of a batch of `size` pictures."""
        each = size // self.count
        return slice(self.rank * each, (self.rank + 1) * each) if self.count > 1 else slice(None)

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Average tensors between the processes, in place, in one message."""
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        sizes = [g.numel() for g in gradients]
        for gradient, part in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def average_buffers(self, nets: Iterable[nn.Module]) -> None:
        """Average running statistics, which every process gathers from its own share."""
        self.average([b for net in nets for b in net.buffers() if b.is_floating_point()])

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the processes."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.count
        return value

    def agree(self, wish: bool) -> bool:
        """True for all when any process says yes."""
        if self.count == 1:
            return wish
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        flag = torch.tensor([int(wish)], device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            dist.barrier()

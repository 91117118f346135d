"""Several processes that train one model: what they share and what only the first one does.

Started by `torchrun --nproc-per-node N -m img2img.cli train ...` or `--devices N`. `batch_size` is
that of all processes together; each takes an equal share, and gradients are averaged.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.nets.blocks import share_statistics

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process's place among `count`; alone, everything here does nothing."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @staticmethod
    def join() -> Processes:
        """Join the group that torchrun describes in the environment, or be alone.

        The group is left when the interpreter ends; call `wait` before that, so that no process
        leaves while another still needs it.

        Raises:
            RuntimeError: the other processes cannot be reached (torch's DistNetworkError and
                DistStoreError among them).
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return Processes()
        if not dist.is_initialized():
            # The functions of this module have the group as a default argument, bound when it is
            # first imported. Torch does that in an optimizer's first step; a group that exists by
            # then is never freed, and its threads, still running while the interpreter is taken
            # down, abort the process ("terminate called without an active exception").
            importlib.import_module("torch.distributed.nn")
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)
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
                f"batch_size {size} is shared by {self.count} processes; use `batch_size` {near}"
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

    def synchronise(self, nets: Iterable[nn.Module]) -> None:
        """Batch norm in training takes the statistics of the whole batch."""
        if self.count > 1:
            for net in nets:
                share_statistics(net, self.mean_through, self.count)

    def mean_through(self, value: Tensor) -> Tensor:
        """The mean over the processes, through which gradients pass, also those of gradients."""
        return _Sum.apply(value) / self.count

    def total(self, counts: list[int]) -> list[int]:
        """The sums of whole numbers over the processes."""
        if self.count == 1:
            return counts
        sums = torch.tensor(counts, device=_message_device())
        dist.all_reduce(sums)
        return [int(n) for n in sums.tolist()]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the processes."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.count
        return value

    def agree(self, mine: bool) -> bool:
        """True for all when any process says yes."""
        if self.count == 1:
            return mine
        flag = torch.tensor([int(mine)], device=_message_device())
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def gather(self, value: T) -> list[T]:
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


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _message_device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


class _Sum(torch.autograd.Function):
    """y = the sum of x over the processes. Each y depends on each x, so the gradient of the sum of
    all processes' losses with respect to x is the sum of their gradients with respect to y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)

"""Several processes that train one model: what they share and what only the first one does.

Started by `--devices N`, by `torchrun ... -m img2img.cli train ...` on one machine or several, or
by a scheduler that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. `batch_size` is that of all
processes together; each takes an equal share, and gradients are averaged.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import importlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from img2img.errors import (
    ConfigError,
    EnvironmentFault,
    Img2ImgError,
    MissingExtra,
    UsageError,
    first_line,
)
from img2img.nets.blocks import share_statistics
from img2img.system.out_of_memory import is_memory_error

T = TypeVar("T")
TIMEOUT = 1800.0  # seconds that a process waits for the others


@dataclass(frozen=True)
class Processes:
    """This process's place among `count`; alone, everything here does nothing."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @staticmethod
    def join(timeout: float = TIMEOUT) -> Processes:
        """Join the group that torchrun describes in the environment, or be alone.

        `timeout`: seconds to wait for the others, here and in every exchange. The group is left
        when the interpreter ends; call `wait` before that, so that no process leaves while another
        still needs it.

        Raises:
            UsageError: the environment names no complete group.
            EnvironmentFault: the other processes cannot be reached, or do not come.
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
            try:
                _await_first(timeout)
                dist.init_process_group(
                    "nccl" if torch.cuda.is_available() else "gloo",
                    timeout=datetime.timedelta(seconds=timeout),
                )
            except ValueError as error:
                raise UsageError(f"WORLD_SIZE is {count}, but {first_line(error)}") from None
            except (RuntimeError, TimeoutError) as error:
                raise _never_met(error, count, timeout) from None
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
        with _reaching():
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
        with _reaching():
            dist.all_reduce(sums)
            return [int(n) for n in sums.tolist()]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the processes."""
        if self.count > 1:
            value = value.clone()
            with _reaching():
                dist.all_reduce(value)
            value /= self.count
        return value

    def agree(self, mine: bool) -> bool:
        """True for all when any process says yes."""
        if self.count == 1:
            return mine
        flag = torch.tensor([int(mine)], device=_message_device())
        with _reaching():
            dist.all_reduce(flag, dist.ReduceOp.MAX)
            return bool(flag.item())

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _reaching():
            dist.all_gather_object(values, value)
        return values

    def together(self, work: Callable[[], T]) -> T:
        """What `work` gives here, once it has succeeded in every process. Where it raises an
        Img2ImgError in one, all raise it, so that none waits for the others; `work` must not
        exchange anything."""
        if self.count == 1:
            return work()
        own: T | None = None
        failure: ErrorReport | None = None
        try:
            own = work()
        except Img2ImgError as error:
            failure = _report_of(error)
        failures = self.gather(failure)
        for rank, found in enumerate(failures):
            if found is not None:
                alone = any(other is None for other in failures)
                _raise(found, f"process {rank} of {self.count}: " if alone else "")
        return own  # type: ignore[return-value]

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, for all; only that one does it. Where it raises
        an Img2ImgError, all raise it."""
        if self.count == 1:
            return work()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer[0] = work()
            except Img2ImgError as error:
                answer[1] = _report_of(error)
        with _reaching():
            dist.broadcast_object_list(answer, 0)
        value, failure = answer
        if failure is not None:
            _raise(failure, "")
        return value

    def equalise(self, nets: Iterable[nn.Module]) -> None:
        """Parameters and buffers become those of the first process, to the bit: another kind of
        processor may draw random numbers that differ in their last digits."""
        if self.count > 1:
            with _reaching(), torch.no_grad():
                for net in nets:
                    for tensor in (*net.parameters(), *net.buffers()):
                        # A message is contiguous, whatever the layout in memory.
                        message = tensor.contiguous(memory_format=torch.contiguous_format)
                        dist.broadcast(message, 0)
                        tensor.copy_(message)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            with _reaching():
                dist.barrier()


ErrorReport = tuple[type[Img2ImgError], str]


def _report_of(error: Img2ImgError) -> ErrorReport:
    """An error as it travels; MissingExtra is made of more than its text."""
    return (EnvironmentFault if isinstance(error, MissingExtra) else type(error)), str(error)


def _raise(report: ErrorReport, prefix: str) -> None:
    kind, text = report
    error = kind(prefix + text)
    error.everywhere = True
    raise error


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """An exchange with the others: what torch says of a lost one becomes one line."""
    try:
        yield
    except RuntimeError as error:
        if is_memory_error(error):
            raise
        who = f"process {dist.get_rank()} of {dist.get_world_size()}"
        resume = "the same command resumes from the last saved state"
        if "imed out" in str(error) or "imeout" in str(error):
            raise EnvironmentFault(
                f"{who} timed out waiting for another process, which hangs or is slow; {resume}; "
                f"if it was only slow, allow more time, such as `process_timeout={4 * TIMEOUT:g}`"
            ) from None
        raise EnvironmentFault(
            f"{who} has lost contact with another process, which has ended or cannot be reached; "
            f"its own output "
            f"says why; {resume}"
        ) from None


def _await_first(timeout: float) -> None:
    """Wait until the first process can be reached, since torch prints a stack trace when it waits
    in vain. Raises TimeoutError."""
    name, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if os.environ.get("RANK", "0") == "0" or not name or not port.isdecimal():
        return
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((name, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"timed out: {error}") from None
            time.sleep(0.2)


def _never_met(error: Exception, count: int, timeout: float) -> EnvironmentFault:
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    who = f"process {os.environ.get('RANK')} of {count}"
    if "imed out" in str(error) or "imeout" in str(error):
        return EnvironmentFault(
            f"{who} timed out after waiting {timeout:g} s for the others at {where}: start the "
            f"command on every node, with one address that all of them can reach, or allow more "
            f"time, "
            f"`process_timeout={2 * timeout:g}`"
        )
    return EnvironmentFault(f"{who} cannot connect to the others at {where}: {first_line(error)}")


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _message_device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


class _Sum(torch.autograd.Function):
    """y = the sum of x over the processes. Each y depends on each x, so the gradient of the sum of
    all processes' losses with respect to x is the sum of their gradients with respect to y."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        y = x.clone(memory_format=torch.contiguous_format)
        with _reaching():
            dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)

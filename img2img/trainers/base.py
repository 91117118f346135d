"""What every method is: networks, optimizers and one step. A step knows nothing of the world."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from img2img.augment import Augment
from img2img.errors import Diverged
from img2img.nets import Generator
from img2img.settings import Settings


class Trainer(ABC):
    """A method: `Config` (its settings), `Data` (the layout it learns from), and `step`.

    Attributes:
        nets, optimizers: by name; both are saved and restored by the loop.
        generators: what is published, by the name of its model file.
        augment: set by the loop before the first step.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Settings]]
    Data: ClassVar[Any]

    nets: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    generators: dict[str, Generator]
    augment: Augment

    @abstractmethod
    def step(self, batch: Any) -> dict[str, Tensor]:
        """Learn from one batch of pictures in [-1, 1]; return detached losses by name."""

    @abstractmethod
    def columns(self, batch: Any) -> dict[str, Tensor]:
        """For held-out pictures: named columns of a sample sheet, (N, 3, H, W) in [-1, 1].
        Figures are computed where there is an `output` and a `truth`."""

    def descend(self, name: str, loss: Tensor) -> None:
        """One step of optimizer `name` down the gradient of `loss`: the only place where a
        gradient is taken.

        Raises:
            Diverged: loss or gradient is not finite; the parameters are left as they were.
        """
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        if not torch.isfinite(loss.detach()):
            raise Diverged(f"the loss of {name} is {loss.item()}")
        loss.backward()
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        if not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            raise Diverged(f"the gradient of {name} is not finite")
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """What else must survive a resume (image pools, turns); plain data and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - optional
        """Restore `state_dict`."""


@contextlib.contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Take no gradient with respect to the parameters of `net` inside the block."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Run `net` in evaluation mode and without gradients inside the block."""
    was = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(was)

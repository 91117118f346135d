"""How a step follows its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from img2img.errors import Diverged


class Descent:
    """One step down a gradient; the loop chooses how (clipping, scaling, averaging, accumulation).

    Attributes:
        clip: largest norm of an optimizer's whole gradient, or 0.
        scaler: gradient scaling for fp16, or None.
        average: averages gradients between processes, in place.
        part, parts: number of this micro-batch and how many make a step.
    """

    def __init__(self) -> None:
        self.clip = 0.0
        self.scaler: torch.amp.GradScaler | None = None
        self.average: Callable[[Sequence[Tensor]], None] = lambda gradients: None
        self.part, self.parts = 0, 1

    def __call__(self, name: str, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Raises Diverged when loss or gradient is not finite; the parameters then stay."""
        if self.part == 0:
            optimizer.zero_grad(set_to_none=True)
        if not torch.isfinite(loss.detach()):
            raise Diverged(f"the loss of {name} is {loss.item()}")
        loss = loss / self.parts
        (self.scaler.scale(loss) if self.scaler else loss).backward()
        if self.part < self.parts - 1:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.average(gradients)
        if self.scaler:
            # The scaler skips a step whose gradient overflowed and lowers its scale; that is no
            # divergence until the scale itself is gone.
            self.scaler.unscale_(optimizer)
            if self.scaler.get_scale() < 1e-4:
                raise Diverged(f"the gradient of {name} is not finite at any fp16 scale")
        elif not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            raise Diverged(f"the gradient of {name} is not finite")
        if self.clip:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        if self.scaler:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()

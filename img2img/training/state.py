"""The state of a training that a resume needs, taken and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from img2img.augment import AdaptiveAugment, JudgedView
from img2img.methods import Method
from img2img.training.ema import Average


def state_of(
    method: Method,
    average: Average | None,
    seen: dict[str, Any] | None,
    step: int,
    facts: dict[str, Any],
    parts: list[Any],
    minutes: float,
) -> dict[str, Any]:
    """Plain data and tensors. `seen`: the state of an adaptive view; `parts`: the method's own
    state in each process, by rank; `minutes`: of training so far, in all."""
    scaler = method.descent.scaler
    return {
        "view": seen,
        "step": step,
        "nets": {n: net.state_dict() for n, net in method.nets.items()},
        "optimizers": {n: o.state_dict() for n, o in method.optimizers.items()},
        "trainer": parts,
        "ema": average.state_dict() if average else None,
        "scaler": scaler.state_dict() if scaler else None,
        "facts": facts,
        "minutes": minutes,
    }


def restore(
    state: Mapping[str, Any],
    method: Method,
    average: Average | None,
    view: JudgedView,
    rank: int,
) -> int:
    """Put `state` back in the process `rank` and return its step. An average that the run did not
    have before starts from the restored weights."""
    if isinstance(view, AdaptiveAugment) and state["view"]:
        view.load_state_dict(state["view"], first=rank == 0)
    for name, net in method.nets.items():
        net.load_state_dict(state["nets"][name])
    for name, optimizer in method.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
        _lay_out(optimizer)
    parts = state["trainer"]
    method.load_state_dict(parts[rank % len(parts)])
    if average:
        if state["ema"]:
            average.load_state_dict(state["ema"])
        else:
            average.restart()
    if method.descent.scaler and state["scaler"]:
        method.descent.scaler.load_state_dict(state["scaler"])
    return int(state["step"])


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    # The fused kernel walks weights and averages side by side, whatever their strides say.
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter).copy_(value)

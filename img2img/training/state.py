"""The state of a training that a resume needs, taken and put back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from img2img.augment import AdaptiveAugment, JudgedView
from img2img.errors import ModelError
from img2img.methods import METHODS, Method
from img2img.nets import DECIDED_BY_DATA, NETWORKS
from img2img.training.ema import Average
from img2img.training.events import Listener, Warned

# A resumed run must agree with its state in these, or it would learn something else.
_BINDING = ("method", "settings", "crop_size", "domains")
# A difference in these is reported; the run continues, no longer bit for bit the uninterrupted one.
_LOOSE = (
    "batch_size", "load_size", "centre_crop", "flip", "augment", "diffaugment", "ada", "seed",
    "precision", "memory_format", "compiled", "ema", "clip_grad", "accumulate", "data_fingerprint",
    "albumentations_digest", "jpeg_decoder", "threads", "processes",
)  # fmt: skip


def state_of(
    method: Method,
    average: Average | None,
    seen: dict[str, Any] | None,
    step: int,
    facts: dict[str, Any],
    parts: list[Any],
    minutes: float,
    best: dict[str, Any],
    health: dict[str, Any],
) -> dict[str, Any]:
    """Plain data and tensors. `seen`: the state of an adaptive view; `parts`: the method's own
    state in each process, by rank; `minutes`: of training so far, in all; `best`: of `Best`;
    `health`: of `Health`."""
    scaler = method.descent.scaler
    return {
        "view": seen,
        "step": step,
        "nets": {n: net.state_dict() for n, net in method.nets.items()},
        "optimizers": {n: o.state_dict() for n, o in method.optimizers.items()},
        "trainer": parts,
        "pauses": {n: pause.state_dict() for n, pause in method.pauses.items()},
        "ema": average.state_dict() if average else None,
        "scaler": scaler.state_dict() if scaler else None,
        "facts": facts,
        "minutes": minutes,
        "best": best,
        "health": health,
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
    for name, kept in state.get("pauses", {}).items():
        if name in method.pauses:
            method.pauses[name].load_state_dict(kept)
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


def compare_facts(
    path: Path, then: Mapping[str, Any], now: Mapping[str, Any], listen: Listener
) -> None:
    """Compare the facts of a state with those of the present call; what makes the resume not
    bit-exact is a warning.

    Raises:
        ModelError: the state at `path` belongs to another training; the differences are named.
    """
    then = _with_newer_settings(then)
    binding = [d for n in _BINDING for d in _differences(n, then.get(n), now.get(n))]
    if binding:
        raise ModelError(
            f"{path}: this run was started with other settings ({'; '.join(binding)}); "
            "use another `out`, or the settings of config.toml"
        )
    loose = [
        d
        for n in _LOOSE
        if n in then and n in now
        for d in _differences(n, then.get(n), now.get(n))
    ]
    if loose:
        listen(Warned(f"the resume is not bit-exact: {'; '.join(loose)}"))


def _with_newer_settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a state with the settings of its method and its networks that came after it, at
    their defaults: what it did without them."""
    kind, settings = METHODS.get(str(facts.get("method"))), facts.get("settings")
    if kind is None or not isinstance(settings, dict):
        return dict(facts)
    settings = kind.Config().model_dump(mode="json", exclude_none=True) | settings
    for what, table in NETWORKS.items():
        net = table.get(str(settings.get(what)))
        options = settings.get(f"{what}_options")
        if net is not None and isinstance(options, dict) and options:
            defaults = net.Config.parse({}).model_dump(mode="json", exclude_none=True)
            own = {n: v for n, v in defaults.items() if n not in DECIDED_BY_DATA}
            settings[f"{what}_options"] = own | options
    return {**facts, "settings": settings}


def _differences(name: str, then: object, now: object) -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted(then.keys() | now.keys())
        return [d for k in keys for d in _differences(f"{name}.{k}", then.get(k), now.get(k))]
    if then == now:
        return []
    if name == "data_fingerprint":
        return ["the training pictures changed"]
    return [f"{name} was {then!r}, now {now!r}"]

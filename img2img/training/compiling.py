"""Compiled generators, trusted only after they have given the gradients of the plain ones."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from img2img.errors import ConfigError, first_line
from img2img.nets import Generator
from img2img.training.devices import TYPES, Compilation

# Largest length of the difference of two gradients, relative to the gradient: rounding differs,
# and in half precision it differs much; a wrong kernel gives 1 and more, or no finite number.
_CLOSE = {"fp32": 1e-2, "bf16": 0.3, "fp16": 0.3}


def compile_generators(
    generators: Iterable[Generator],
    how: Compilation,
    batch: int,
    size: int,
    precision: str,
    agree: Callable[[bool], bool],
) -> str:
    """Compile `generators` in place, if `how` says so, and compare them with the plain ones.

    Only generators: a gradient penalty needs second derivatives of the discriminator, which
    compiled networks do not have. Names in the state stay what they are.

    Args:
        batch, size: pictures of a training batch and their side in pixels.
        agree: whether any process says yes; all compile or none does.

    Returns:
        Why nothing is compiled although it was chosen, or "".

    Raises:
        ConfigError: compile=on was requested and the check failed.
    """
    if not how.on:
        return ""
    nets = list(generators)
    why = ""
    for net in nets:
        why = why or _fault(net, how.options, batch, size, precision)
    if not agree(bool(why)):
        return ""
    why = why or "it failed in another process"
    for net in nets:
        net._compiled_call_impl = None
    if how.requested:
        raise ConfigError(f"compile=on: {why}; use compile=off")
    return f"the generators are not compiled: {why}"


def uncompiled(how: Compilation) -> AbstractContextManager[object]:
    """Inside, compiled networks run as plain ones, so that other sizes cost no compilation."""
    return torch.compiler.set_stance("force_eager") if how.on else contextlib.nullcontext()


def _fault(net: Generator, options: dict[str, Any], batch: int, size: int, precision: str) -> str:
    """What is wrong with the compiled `net`, or ""; its weights and statistics stay."""
    device = next(net.parameters()).device
    before = copy.deepcopy(net.state_dict())
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            expected = _gradient(net, batch, size, precision)
            net.compile(dynamic=False, options=options)
            # CUDA graphs are recorded in the second and replayed from the third time on.
            for _ in range(3 if options.get("triton.cudagraphs") else 1):
                found = _gradient(net, batch, size, precision)
    except Exception as error:  # whatever a compiler raises
        return f"compiling fails here ({first_line(error)})"
    finally:
        net.load_state_dict(before)
    if not torch.isfinite(found).all():
        return f"compiled {precision} gradients are not finite on {device.type}"
    off = float((found - expected).norm() / expected.norm())
    if off > _CLOSE[precision]:
        return f"compiled {precision} gradients differ from the plain ones by {off:.1%}"
    return ""


def _gradient(net: Generator, batch: int, size: int, precision: str) -> Tensor:
    """The gradient of a random projection of two passes, all parameters in one float vector."""
    device = next(net.parameters()).device
    torch.manual_seed(0)
    shape = (batch, net.in_channels, size, size)
    domain = torch.rand(batch, net.domains, device=device).round() if net.domains else None
    loss = torch.zeros((), device=device)
    for _ in range(2):  # as in a step, where a network runs again before its gradients are taken
        x = torch.rand(shape, device=device) * 2 - 1
        with torch.autocast(device.type, TYPES[precision], precision != "fp32"):
            out = net(x, domain) if net.domains else net(x)
        loss = loss + (out.float() * torch.randn_like(out, dtype=torch.float32)).sum()
    parts = torch.autograd.grad(loss, list(net.parameters()))
    return torch.cat([part.detach().float().flatten() for part in parts])

"""Tiles through torch: norms that take their statistics from the caller, passes that end early."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError, UsageError
from img2img.nets import Generator
from img2img.nets.blocks import statistics_given
from img2img.nets.reach import Look
from img2img.receptive_field import UnknownReach
from img2img.system.out_of_memory import memory_faults
from img2img.tiling.locality import (
    Array,
    Core,
    Float,
    Given,
    Locality,
    Moments,
    NormPlace,
    Pass,
    PassResult,
    TiledModel,
    moments_of,
)

# Measured: what a pass takes beside the outputs of the layers (blocked copies, workspace).
_FACTOR = 2.0


class _Reached(Exception):
    """The normalisation that was requested is reached; the rest of the pass is not needed."""


class TorchTiledModel(TiledModel):
    """`generator` in evaluation mode on `place`.

    Raises UsageError, naming the model `name`, when it cannot be translated in tiles.
    """

    def __init__(self, generator: Generator, place: torch.device, name: str):
        self._generator, self._place = generator, place
        self._type = next(generator.parameters()).dtype
        try:
            look = Look([])
            reach = generator.reach
            generator.look(look)
        except (ConfigError, UnknownReach) as error:
            raise UsageError(
                f"{name}: cannot be translated in tiles: {error}; use `tile` off"
            ) from None
        norms = tuple(NormPlace(seen.shrink, seen.reach) for _, seen in look.norms)
        bytes_per_pixel = _bytes_per_pixel(generator, place)
        self.locality = Locality(reach, norms, bytes_per_pixel, generator.scale).scaled(_FACTOR)

    def passes(self, kept: float) -> Sequence[Pass]:
        """One from the picture on for each normalisation: nothing is kept here."""
        norms = [Pass(k, norm.reach) for k, norm in enumerate(self.locality.norms)]
        return [*norms, Pass(None, self.locality.reach)]

    def run(
        self,
        step: Pass,
        x: Float | None,
        domain: Float | None,
        maps: Mapping[str, Array],
        given: Given,
        core: Core,
    ) -> PassResult:
        assert x is not None
        found: list[Moments] = []

        def at_the_end(y: Tensor) -> NoReturn:
            shrink = self.locality.norms[len(given)].shrink
            top, bottom, left, right = (v // shrink for v in core)
            found.append(_moments(y[0, :, top:bottom, left:right]))
            raise _Reached

        y = self._run(x[None], domain, given, at_the_end)
        return PassResult(
            found[0] if found else None, None if y is None else y[0].float().cpu().numpy(), {}
        )

    def moments(self, x: Float, domain: Float | None) -> list[Moments]:
        """In one pass: each normalisation uses the statistics that it has just been asked for."""
        found: list[Moments] = []

        def own(y: Tensor) -> tuple[Tensor, Tensor]:
            found.append(_moments(y[0]))
            mean, variance = (torch.from_numpy(v).to(y) for v in found[-1].statistics())
            return mean, variance

        self._through(x[None], domain, own)
        return found

    def _run(
        self, x: Float, domain: Float | None, given: Given, end: Callable[[Tensor], NoReturn]
    ) -> Tensor | None:
        statistics = [[torch.from_numpy(v).to(self._place) for v in pair] for pair in given]
        count = 0

        def next_one(y: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal count
            if count == len(statistics):
                end(y)
            mean, variance = statistics[count]
            count += 1
            return mean.to(y.dtype), variance.to(y.dtype)

        try:
            return self._through(x, domain, next_one)
        except _Reached:
            return None

    def _through(
        self,
        x: Float,
        domain: Float | None,
        statistics: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        inputs = (x,) if domain is None else (x, domain)
        with (
            memory_faults(x.shape, "a tile"),
            torch.inference_mode(),
            statistics_given(self._generator, statistics),
        ):
            moved = (torch.from_numpy(v).to(self._place, self._type) for v in inputs)
            return self._generator(*moved)


def _moments(x: Tensor) -> Moments:
    """Moments of (C, h, w); a few channels at a time, since float64 takes twice the memory."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return moments_of(x.numpy(), (0, x.shape[1], 0, x.shape[2]), 1)
    if x.device.type == "mps":  # has no float64
        return _moments(x.float().cpu())
    means, m2s = [], []
    for channels in x.split(8):
        wide = channels.double().flatten(1)
        means.append(wide.mean(1))
        m2s.append((wide - means[-1][:, None]).square().sum(1))
    mean, m2 = (torch.cat(parts).cpu().numpy() for parts in (means, m2s))
    return Moments(x.shape[1] * x.shape[2], mean, m2)


def _bytes_per_pixel(generator: Generator, place: torch.device) -> float:
    """Most bytes of layers' inputs and outputs alive at once in a pass over a small picture, for
    each of its pixels."""
    alive: dict[int, weakref.ref[Tensor]] = {}
    peak = 0

    def note(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal peak
        for value in (*inputs, output):
            if isinstance(value, Tensor):
                alive[id(value)] = weakref.ref(value)
        tensors = {t.data_ptr(): t for r in alive.values() if (t := r()) is not None}
        peak = max(peak, sum(t.numel() * t.element_size() for t in tensors.values()))

    hooks = [
        module.register_forward_hook(note)
        for module in generator.modules()
        if not any(module.children())
    ]
    side = max(2 * generator.minimum, 64) // generator.multiple_of * generator.multiple_of
    inputs = [np.zeros((1, generator.in_channels, side, side), np.float32)]
    if generator.domains:
        inputs.append(np.zeros((1, generator.domains), np.float32))
    try:
        with torch.inference_mode():
            kind = next(generator.parameters()).dtype
            generator(*(torch.from_numpy(v).to(place, kind) for v in inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return peak / side**2

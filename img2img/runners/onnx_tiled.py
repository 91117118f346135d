"""Tiles from an ONNX file: a graph for each pass, cut from the model's own, run by whoever can."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from img2img.errors import UsageError
from img2img.onnx_format.graph import Graph
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.session import Array, Providers, open_session
from img2img.system.out_of_memory import memory_faults
from img2img.tiling.locality import Core, Float, Given, Pass, PassResult, TiledModel, moments_of

# Graphs are kept for the next picture as long as their weights together stay below this.
_KEPT_BYTES = 96 * 2**20


@dataclass(frozen=True)
class Opened:
    """A graph that can be run: the names of its inputs, and a function from them to its outputs,
    which may be overwritten by the next run. `rest` frees what the last run left in memory."""

    names: tuple[str, ...]
    run: Callable[[Mapping[str, Array]], Sequence[Array]]
    rest: Callable[[], None] = lambda: None


class GraphTiledModel(TiledModel):
    """`model`: the model's file; `factor`: measured, what a pass takes in memory for each byte of
    the tensors of its graph that live together.

    Attributes:
        coarsest: pixels along a side for each place of the coarsest map.

    Raises UsageError, naming the model `name`, when it cannot be translated in tiles.
    """

    def __init__(self, model: OnnxModel, name: str, factor: float):
        try:
            self._graph = Graph(model)
            found = self._graph.locality()
            self.coarsest = self._graph.coarsest()
            self._graph.passes(0)
        except (ValueError, LookupError) as error:
            raise UsageError(
                f"{name}: cannot be translated in tiles: {error}; use `tile` off"
            ) from None
        self.locality = found.scaled(factor)
        self._opened: dict[Pass, tuple[Opened, int]] = {}
        self._last: Pass | None = None

    @abstractmethod
    def open(self, data: bytes) -> Opened:
        """Make a graph ready to run."""

    def passes(self, kept: float) -> Sequence[Pass]:
        return self._graph.passes(kept)

    def run(
        self,
        step: Pass,
        x: Float | None,
        domain: Float | None,
        maps: Mapping[str, Array],
        given: Given,
        core: Core,
    ) -> PassResult:
        graph = self._ready(step, {name for name, m in maps.items() if m.dtype == np.float16})
        feeds: dict[str, Array] = {name: m[None] for name, m in maps.items()}
        for k, (mean, variance) in enumerate(given):
            feeds |= {f"mean_{k}": mean, f"variance_{k}": variance}
        if x is not None:
            feeds[self._graph.picture] = x[None]
        if domain is not None:  # what is left is the domain, whatever it is called
            feeds |= {name: domain for name in graph.names if name not in feeds}
        if x is not None:
            height, width = x.shape[1:]
        else:
            first = step.reads[0]
            height, width = (side * first.shrink for side in maps[first.name].shape[1:])
        with memory_faults((1, 0, height, width), "a tile"):
            y, *made = graph.run({name: feeds[name] for name in graph.names})
        kept = {m.name: value[0] for m, value in zip(step.makes, made, strict=True)}
        if step.norm is None:
            return PassResult(None, y[0].astype(np.float32, copy=False), kept)
        shrink = self.locality.norms[step.norm].shrink
        if (y.shape[2] * shrink, y.shape[3] * shrink) != (height, width):
            raise UsageError("cannot be translated in tiles: its maps do not follow the picture")
        return PassResult(moments_of(y[0], core, shrink), None, kept)

    def _ready(self, step: Pass, half: set[str]) -> Opened:
        if step not in self._opened:
            data = self._graph.cut(step, half)
            if sum(size for _, size in self._opened.values()) + len(data) > _KEPT_BYTES:
                self._opened.clear()
            self._opened[step] = self.open(data), len(data)
        if self._last != step and self._last in self._opened:
            self._opened[self._last][0].rest()
        self._last = step
        return self._opened[step][0]


class OnnxTiledModel(GraphTiledModel):
    """Through onnxruntime; `providers`, `device` and `threads` as the model's own session has
    them."""

    def __init__(
        self, model: OnnxModel, name: str, providers: Providers, device: str, threads: int | None
    ):
        super().__init__(model, name, factor=2.5)
        self._name, self._providers = name, providers
        self._device, self._threads = device, threads
        self._arena = False

    def keep_memory(self) -> None:
        if not self._arena:
            self._arena = True
            self._opened.clear()
            self._last = None

    def open(self, data: bytes) -> Opened:
        # Tiles at the picture's edge have other sizes: an arena would keep the sum of all plans.
        session = open_session(
            data,
            self._name,
            self._providers,
            self._device,
            threads=self._threads,
            arena=self._arena,
        )
        return Opened(tuple(place.name for place in session.inputs), session.run)

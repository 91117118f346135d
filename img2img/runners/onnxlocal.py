"""Tiles through onnxruntime: one session for each pass, made of the model's own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2img.errors import UsageError
from img2img.runners.local import Core, Float, Given, Local, Made, Pass, moments_of
from img2img.runners.memory import memory_faults
from img2img.runners.onnxgraph import Graph

# Sessions are kept for the next picture as long as their weights together stay below this.
_KEPT_BYTES = 96 * 2**20
# Measured: what a pass takes beside the tensors of the graph (blocked copies, workspace).
_FACTOR = 2.5


class OnnxLocal(Local):
    """`data`: the model's file; `options` and `providers`: as its own session has them.

    Raises UsageError, naming the model `name`, when it cannot be translated in tiles.
    """

    def __init__(self, data: bytes, options: Any, providers: Any, name: str):
        try:
            self._graph = Graph(data)
            found = self._graph.locality()
            self._graph.passes(0)
        except (ValueError, LookupError) as error:
            raise UsageError(
                f"{name}: cannot be translated in tiles: {error}; use --tile off"
            ) from None
        self.locality = found.scaled(_FACTOR)
        # Tiles at the picture's edge have other sizes: an arena would keep the sum of all plans.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        self._options, self._providers = options, providers
        self._sessions: dict[Pass, tuple[Any, int]] = {}

    def passes(self, kept: float) -> Sequence[Pass]:
        return self._graph.passes(kept)

    def run(
        self,
        step: Pass,
        x: Float | None,
        domain: Float | None,
        maps: Mapping[str, NDArray[Any]],
        given: Given,
        core: Core,
    ) -> Made:
        session = self._session(step, {name for name, m in maps.items() if m.dtype == np.float16})
        feeds: dict[str, Any] = {name: m[None] for name, m in maps.items()}
        for k, (mean, variance) in enumerate(given):
            feeds |= {f"mean_{k}": mean, f"variance_{k}": variance}
        if x is not None:
            feeds[self._graph.picture] = x[None]
        wanted = [value.name for value in session.get_inputs()]
        # What is left is the domain, whatever it is called.
        feeds |= {name: domain for name in wanted if name not in feeds}
        if x is not None:
            height, width = x.shape[1:]
        else:
            first = step.reads[0]
            height, width = (side * first.shrink for side in maps[first.name].shape[1:])
        with memory_faults((1, 0, height, width), "a tile"):
            y, *made = session.run(None, {name: feeds[name] for name in wanted})
        kept = {m.name: value[0] for m, value in zip(step.makes, made, strict=True)}
        if step.norm is None:
            return Made(None, y[0].astype(np.float32, copy=False), kept)
        shrink = self.locality.norms[step.norm].shrink
        if (y.shape[2] * shrink, y.shape[3] * shrink) != (height, width):
            raise UsageError("cannot be translated in tiles: its maps do not follow the picture")
        return Made(moments_of(y[0], core, shrink), None, kept)

    def _session(self, step: Pass, half: set[str]) -> Any:
        if step not in self._sessions:
            import onnxruntime

            data = self._graph.cut(step, half)
            if sum(size for _, size in self._sessions.values()) + len(data) > _KEPT_BYTES:
                self._sessions.clear()
            session = onnxruntime.InferenceSession(data, self._options, providers=self._providers)
            self._sessions[step] = session, len(data)
        return self._sessions[step][0]

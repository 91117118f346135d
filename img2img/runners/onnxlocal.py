"""Tiles through onnxruntime: one session for each pass, made of the model's own file."""

from __future__ import annotations

from typing import Any

import numpy as np

from img2img.errors import UsageError
from img2img.runners.local import Core, Float, Given, Local, Moments, moments_of
from img2img.runners.memory import memory_faults
from img2img.runners.onnxgraph import Graph

# Sessions are kept for the next picture as long as their weights together stay below this.
_KEPT_BYTES = 96 * 2**20
# Measured: what a pass takes beside the tensors of the graph (blocked copies, workspace).
_FACTOR = 1.25


class OnnxLocal(Local):
    """`data`: the model's file; `options` and `providers`: as its own session has them.

    Raises UsageError, naming the model `name`, when it cannot be translated in tiles.
    """

    def __init__(self, data: bytes, options: Any, providers: Any, name: str):
        try:
            self._graph = Graph(data)
            found = self._graph.locality()
        except ValueError as error:
            raise UsageError(
                f"{name}: cannot be translated in tiles: {error}; use --tile off"
            ) from None
        self.locality = found.scaled(_FACTOR)
        # Tiles at the picture's edge have other sizes: an arena would keep the sum of all plans.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        self._options, self._providers = options, providers
        self._sessions: dict[int, tuple[Any, int]] = {}

    def moments(self, x: Float, domain: Float | None, given: Given, core: Core) -> Moments:
        place = self.locality.norms[len(given)]
        y = self._run(len(given), x, domain, given)[0]
        if (y.shape[1] * place.shrink, y.shape[2] * place.shrink) != x.shape[2:]:
            raise UsageError(
                "this model cannot be translated in tiles: its maps do not follow the picture"
            )
        return moments_of(y, core, place.shrink)

    def infer(self, x: Float, domain: Float | None, given: Given) -> Float:
        return self._run(len(given), x, domain, given)

    def _run(self, norm: int, x: Float, domain: Float | None, given: Given) -> Float:
        session = self._session(norm)
        feeds: dict[str, Any] = {}
        for k, (mean, variance) in enumerate(given):
            feeds |= {f"mean_{k}": mean, f"variance_{k}": variance}
        rest = [v.name for v in session.get_inputs() if v.name not in feeds]
        feeds |= dict(zip(rest, (x, domain), strict=False))
        with memory_faults(x.shape, "a tile"):
            return session.run(None, feeds)[0].astype(np.float32, copy=False)

    def _session(self, norm: int) -> Any:
        if norm not in self._sessions:
            import onnxruntime

            size = len(data := self._graph.cut(norm if norm < len(self._graph.norms) else None))
            if sum(kept for _, kept in self._sessions.values()) + size > _KEPT_BYTES:
                self._sessions.clear()
            session = onnxruntime.InferenceSession(data, self._options, providers=self._providers)
            self._sessions[norm] = session, size
        return self._sessions[norm][0]

"""Tiles through OpenVINO: one compiled model for each pass, made of the model's own file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from img2img.errors import EnvironmentFault, UsageError
from img2img.runners.local import Core, Float, Given, Local, Moments, moments_of
from img2img.runners.memory import is_memory_error, memory_faults
from img2img.runners.onnxgraph import Graph

_KEPT_BYTES = 96 * 2**20
# Measured on the shipped models: 3.4 to 7.6 times the tensors of the graph that live together.
_FACTOR = 7.5


class OpenVinoLocal(Local):
    """`data`: the model's file; `compile` makes a request of the bytes of a graph.

    Raises UsageError, naming the model `name`, when it cannot be translated in tiles.
    """

    def __init__(self, data: bytes, compile: Callable[[bytes], Any], name: str):
        try:
            self._graph = Graph(data)
            found = self._graph.locality()
        except ValueError as error:
            raise UsageError(
                f"{name}: cannot be translated in tiles: {error}; use --tile off"
            ) from None
        self.locality = found.scaled(_FACTOR)
        self._compile = compile
        self._requests: dict[int, tuple[Any, int]] = {}
        self._last = -1

    def moments(self, x: Float, domain: Float | None, given: Given, core: Core) -> Moments:
        place = self.locality.norms[len(given)]
        y = self._run(x, domain, given)[0]
        if (y.shape[1] * place.shrink, y.shape[2] * place.shrink) != x.shape[2:]:
            raise UsageError(
                "this model cannot be translated in tiles: its maps do not follow the picture"
            )
        return moments_of(y, core, place.shrink)

    def infer(self, x: Float, domain: Float | None, given: Given) -> Float:
        return self._run(x, domain, given).copy()

    def _run(self, x: Float, domain: Float | None, given: Given) -> Float:
        """The output as the request holds it, overwritten by its next run."""
        request = self._request(len(given))
        feeds: dict[str, Any] = {}
        for k, (mean, variance) in enumerate(given):
            feeds |= {f"mean_{k}": mean, f"variance_{k}": variance}
        names = [port.any_name for port in request.model_inputs]
        rest = [name for name in names if name not in feeds]
        feeds |= dict(zip(rest, (x, domain), strict=False))
        # The graph of an early norm may read neither all statistics nor the domain.
        feeds = {name: feeds[name] for name in names}
        with memory_faults(x.shape, "a tile"):
            try:
                return request.infer(feeds)[0].astype(np.float32, copy=False)
            except RuntimeError as error:
                if is_memory_error(error):
                    raise
                line = str(error).splitlines()[0][:200]
                raise EnvironmentFault(f"OpenVINO failed in a tile: {line}") from None

    def _request(self, norm: int) -> Any:
        if norm not in self._requests:
            size = len(data := self._graph.cut(norm if norm < len(self._graph.norms) else None))
            if sum(kept for _, kept in self._requests.values()) + size > _KEPT_BYTES:
                self._requests.clear()
            self._requests[norm] = self._compile(data), size
        request = self._requests[norm][0]
        if norm != self._last and self._last in self._requests:
            # Every request holds the tensors of its last tile until it is told otherwise.
            self._requests[self._last][0].get_compiled_model().release_memory()
        self._last = norm
        return request

"""Tiles through OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from img2img.errors import EnvironmentFault, first_line
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.session import Array
from img2img.runners.onnx_tiled import GraphTiledModel, Opened
from img2img.system.out_of_memory import is_memory_error


class OpenVinoTiledModel(GraphTiledModel):
    """`compile` makes a request of the bytes of a graph."""

    def __init__(self, model: OnnxModel, compile: Callable[[bytes], Any], name: str):
        super().__init__(model, name, factor=7.5)
        self._compile = compile

    def open(self, data: bytes) -> Opened:
        request = self._compile(data)
        # A tensor that passes unchanged carries several names; the node has that of the input.
        names = tuple(port.get_node().get_friendly_name() for port in request.model_inputs)

        def run(feeds: Mapping[str, Array]) -> list[Array]:
            try:
                results = request.infer(dict(feeds))
            except RuntimeError as error:
                if is_memory_error(error):
                    raise
                raise EnvironmentFault(f"OpenVINO failed in a tile: {first_line(error)}") from None
            return [results[k] for k in range(len(results))]

        # Every request holds the tensors of its last tile until it is released.
        return Opened(names, run, request.get_compiled_model().release_memory)

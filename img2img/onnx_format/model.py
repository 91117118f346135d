"""One ONNX file, parsed once: what everything that reads it works with.

`validation.parse` makes it of bytes. Nothing here copies weights: every part is a view into the
file's bytes, and an unchanged model is written as those bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from img2img.onnx_format.elements import UINT8, Node, Port, Tensor
from img2img.onnx_format.protobuf import Value, write

# Numbers of the fields of ModelProto and GraphProto.
GRAPH, OPSET, METADATA = 7, 8, 14
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13
IR_VERSION = 1
_TYPES = {1: "fp32", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8"}
_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A checked ONNX file.

    Attributes:
        data: the bytes of the file; empty for a model that was made of another one.
        fields: of the ModelProto, without the graph.
        opset: version of the standard operators.
        metadata: `metadata_props`.
        nodes: of the graph, in the order of execution.
        constants: initializers by name.
        inputs, outputs: of the graph, without inputs that have a constant.
        values: what the file states of tensors inside the graph, by name.
        rest: other fields of the GraphProto, as they are.
        operators: kinds of operations, those of subgraphs too.
    """

    data: bytes = field(repr=False)
    fields: tuple[tuple[int, Value], ...] = field(repr=False)
    opset: int
    metadata: Mapping[str, str] = field(repr=False)
    nodes: tuple[Node, ...] = field(repr=False)
    constants: Mapping[str, Tensor] = field(repr=False)
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    values: Mapping[str, Port] = field(repr=False)
    rest: tuple[tuple[int, Value], ...] = field(repr=False)
    operators: frozenset[str] = field(repr=False)

    @property
    def io(self) -> str:
        """`uint8` for a graph that takes pixels, else `float`."""
        return "uint8" if self.inputs and self.inputs[0].kind == UINT8 else "float"

    @property
    def weight_precision(self) -> str:
        """In which of fp32, fp16, bf16 or int8 most bytes of the weights are kept; fp32 when the
        file has none of them."""
        sums = dict.fromkeys(_WIDTHS, 0)
        for tensor in self.constants.values():
            kind = _TYPES.get(tensor.kind)
            if kind is not None:
                sums[kind] += math.prod(tensor.dims) * _WIDTHS[kind]
        return max(sums, key=lambda name: (sums[name], name == "fp32"))

    def to_bytes(self) -> bytes:
        """The file. Raises nothing; the parts go in as they were read."""
        if self.data:
            return self.data
        parts: list[tuple[int, Value]] = [(INPUT, port.raw) for port in self.inputs]
        parts += [(OUTPUT, port.raw) for port in self.outputs]
        parts += [(NODE, node.raw) for node in self.nodes]
        parts += [(INITIALIZER, tensor.raw) for tensor in self.constants.values()]
        parts += [(VALUE_INFO, port.raw) for port in self.values.values()]
        graph = b"".join(write(number, value) for number, value in (*parts, *self.rest))
        outer = (write(number, value) for number, value in self.fields)
        return b"".join((*outer, write(GRAPH, graph)))

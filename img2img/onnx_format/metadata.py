"""What an ONNX file says of itself, read by its bytes, with neither onnx nor onnxruntime.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from img2img.onnx_format.protobuf import inner, integers, read, text

_GRAPH, _METADATA = 7, 14  # of ModelProto
_INITIALIZER = 5  # of GraphProto
_DIMS, _TYPE = 1, 2  # of TensorProto
_TYPES = {1: "fp32", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8"}
_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


def metadata(data: bytes) -> dict[str, str]:
    """`metadata_props` of an ONNX file. Raises ValueError when it is none."""
    found: dict[str, str] = {}
    for entry in _parts(data, _METADATA):
        pair = {n: text(v) for n, v in read(entry) if n in (1, 2)}
        found[pair.get(1, "")] = pair.get(2, "")
    return found


def weight_precision(data: bytes) -> str:
    """In which of fp32, fp16, bf16 or int8 most bytes of the weights are kept; fp32 when the file
    has none of them. Raises ValueError when it is no ONNX file."""
    sums = dict.fromkeys(_WIDTHS, 0)
    for graph in _parts(data, _GRAPH):
        for tensor in _parts(graph, _INITIALIZER):
            fields = [*read(tensor)]
            count = math.prod(integers(v for n, v in fields if n == _DIMS))
            for number, kind in fields:
                if number == _TYPE and isinstance(kind, int) and kind in _TYPES:
                    sums[_TYPES[kind]] += count * _WIDTHS[_TYPES[kind]]
    return max(sums, key=lambda name: (sums[name], name == "fp32"))


def _parts(data: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """The sub-messages of field `number`; ValueError as `read`."""
    return (inner(value) for found, value in read(data) if found == number)

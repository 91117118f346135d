"""What an ONNX file says of itself, read from its bytes: its metadata, and what its weights are.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math

from img2img.runners.protobuf import inner, integers, read, text

_GRAPH, _METADATA = 7, 14
_INITIALIZER = 5
_DIMS, _DATA_TYPE = 1, 2
_TYPES = {1: "fp32", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8"}
_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


def metadata(data: bytes) -> dict[str, str]:
    """`metadata_props` of an ONNX file. Raises ValueError when it is none."""
    found: dict[str, str] = {}
    for number, entry in read(data):
        if number == _METADATA:
            pair = {n: text(v) for n, v in read(inner(entry)) if n in (1, 2)}
            found[pair.get(1, "")] = pair.get(2, "")
    return found


def weight_precision(data: bytes) -> str:
    """In which of fp32, fp16, bf16 or int8 most bytes of the weights are kept; fp32 when the file
    has none of them. Raises ValueError when it is no ONNX file."""
    sums = dict.fromkeys(_WIDTHS, 0)
    for number, graph in read(data):
        if number != _GRAPH:
            continue
        for part, tensor in read(inner(graph)):
            if part == _INITIALIZER:
                fields = [*read(inner(tensor))]
                kinds = [_TYPES.get(v, "") for n, v in fields if n == _DATA_TYPE and type(v) is int]
                if kinds and kinds[-1]:
                    sides = integers(v for n, v in fields if n == _DIMS)
                    sums[kinds[-1]] += math.prod(sides) * _WIDTHS[kinds[-1]]
    return max(sums, key=lambda name: (sums[name], name == "fp32"))

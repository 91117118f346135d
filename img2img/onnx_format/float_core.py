"""The float network inside an exported file, cut out without the onnx package.

An export of ours names two tensors: `img2img_x`, float32 NCHW in [-1, 1], after what normalises the
pixels, and `img2img_y` before what rounds them. The nodes around them are named `img2img/...`.
Cutting these off gives a graph from `img2img_x` (and `domain`) to `img2img_y`, which keeps 16 bits
and serves `Runner.infer`. Read and written as protobuf fields (onnx.proto3 of the ONNX project);
everything between stays byte for byte.
"""

from __future__ import annotations

from img2img.onnx_format.protobuf import Value, inner, read, write

X, Y = "img2img_x", "img2img_y"
AROUND = "img2img/"
_GRAPH = 7  # of ModelProto
_NODE, _INPUT, _OUTPUT, _VALUE_INFO = 1, 11, 12, 13  # of GraphProto
_NODE_NAME = 3
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEM_TYPE = 1, 2, 1, 1
_UINT8 = 2


def float_core(data: bytes) -> tuple[bytes, str]:
    """The file of the bare network in the export `data`, and the `io` of its graph: `uint8` or
    `float`. A file without the two names (older, float) is returned as it is.

    Raises ValueError for what is not a protobuf message of this kind.
    """
    fields = [*read(data)]
    graph = next((inner(v) for n, v in fields if n == _GRAPH), memoryview(b""))
    parts = [*read(graph)]
    io = _io_of(next((inner(v) for n, v in parts if n == _INPUT), memoryview(b"")))
    named = {_name(v, _VALUE_NAME): inner(v) for n, v in parts if n == _VALUE_INFO}
    if X not in named or Y not in named:
        return data, io
    kept: list[tuple[int, Value]] = [(_INPUT, named[X]), (_OUTPUT, named[Y])]
    kept += [(n, v) for n, v in parts if n == _INPUT][1:]
    for number, value in parts:
        around = number == _NODE and _name(value, _NODE_NAME).startswith(AROUND)
        if not around and number not in (_INPUT, _OUTPUT, _VALUE_INFO):
            kept.append((number, value))
    rebuilt = b"".join(write(number, value) for number, value in kept)
    rest = (write(number, rebuilt if number == _GRAPH else value) for number, value in fields)
    return b"".join(rest), io


def _io_of(value_info: memoryview) -> str:
    kind = _inside(_inside(value_info, _VALUE_TYPE), _TENSOR_TYPE)
    elem = next((v for n, v in read(kind) if n == _ELEM_TYPE), 0)
    return "uint8" if elem == _UINT8 else "float"


def _inside(message: memoryview, number: int) -> memoryview:
    return next((inner(v) for n, v in read(message) if n == number), memoryview(b""))


def _name(message: Value, number: int) -> str:
    return str(_inside(inner(message), number), "utf-8", "replace")

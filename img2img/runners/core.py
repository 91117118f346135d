"""The float network inside an exported file, cut out without the onnx package.

An export of ours names two tensors: `img2img_x`, float32 NCHW in [-1, 1], after what normalises the
pixels, and `img2img_y` before what rounds them. The nodes around them are named `img2img/...`.
Cutting these off gives a graph from `img2img_x` (and `domain`) to `img2img_y`, which keeps 16 bits
and serves `Runner.infer`. Read and written as protobuf fields (onnx.proto3 of the ONNX project);
everything between stays byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator

X, Y = "img2img_x", "img2img_y"
AROUND = "img2img/"
_GRAPH = 7  # of ModelProto
_NODE, _INPUT, _OUTPUT, _VALUE_INFO = 1, 11, 12, 13  # of GraphProto
_NODE_NAME = 3
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEM_TYPE = 1, 2, 1, 1
_UINT8 = 2
_VARINT, _BYTES = 0, 2


def float_core(data: bytes) -> tuple[bytes, str]:
    """The file of the bare network in the export `data`, and the `io` of its graph: `uint8` or
    `float`. A file without the two names (older, float) is returned as it is.

    Raises ValueError for what is not a protobuf message of this kind.
    """
    graph = next((bytes(v) for n, v in _fields(data) if n == _GRAPH and isinstance(v, bytes)), b"")
    parts = [(n, v) for n, v in _fields(graph) if isinstance(v, bytes)]
    io = _io_of(next((v for n, v in parts if n == _INPUT), b""))
    named = {_name(v): v for n, v in parts if n == _VALUE_INFO}
    if X not in named or Y not in named:
        return data, io
    inner = [(_INPUT, named[X]), (_OUTPUT, named[Y])]
    inner += [(n, v) for n, v in parts if n == _INPUT][1:]
    for number, value in parts:
        around = number == _NODE and _name(value, _NODE_NAME).startswith(AROUND)
        if not around and number not in (_INPUT, _OUTPUT, _VALUE_INFO):
            inner.append((number, value))
    rebuilt = b"".join(_field(number, value) for number, value in inner)
    rest = b"".join(
        _field(number, rebuilt if number == _GRAPH else value) for number, value in _fields(data)
    )
    return rest, io


def _io_of(value_info: bytes) -> str:
    kind = _inner(_inner(value_info, _VALUE_TYPE), _TENSOR_TYPE)
    elem = next((v for n, v in _fields(kind) if n == _ELEM_TYPE), 0)
    return "uint8" if elem == _UINT8 else "float"


def _inner(message: bytes, number: int) -> bytes:
    return next((v for n, v in _fields(message) if n == number and isinstance(v, bytes)), b"")


def _name(message: bytes, number: int = _VALUE_NAME) -> str:
    return _inner(message, number).decode("utf-8", "replace")


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(number, content) of every field: bytes, or a number for a varint."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind != _BYTES:
            raise ValueError(f"protobuf field of kind {kind}")
        length, place = _varint(message, place)
        if place + length > end:
            raise ValueError("protobuf field beyond the end")
        yield number, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(message) or shift > 63:
            raise ValueError("protobuf number")
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _packed(number << 3 | _VARINT) + _packed(value)
    return _packed(number << 3 | _BYTES) + _packed(len(value)) + value


def _packed(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)

"""Reads an ONNX file by its bytes (protobuf's wire format), with neither onnx nor onnxruntime.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator

MODEL_GRAPH, MODEL_METADATA = 7, 14
GRAPH_INITIALIZER = 5
TENSOR_DIMS, TENSOR_TYPE = 1, 2
_TYPES = {1: "fp32", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8"}
_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}

Field = tuple[int, int | memoryview]


def fields(data: memoryview) -> Iterator[Field]:
    """(field number, value) of one message: an int for a varint, else the bytes.

    Raises ValueError for what is no protobuf message.
    """
    place, end = 0, len(data)
    while place < end:
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field 0")
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            length, place = _varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if length > end - place:
            raise ValueError("a field is longer than the file")
        yield number, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("the file ends within a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than 64 bits")


def parts(data: memoryview, number: int) -> Iterator[memoryview]:
    """The sub-messages (or byte strings) of field `number`; ValueError as `fields`."""
    for found, value in fields(data):
        if found == number:
            if isinstance(value, int):
                raise ValueError(f"field {number} is a number")
            yield value


def text(data: memoryview) -> str:
    """A text field; ValueError when it is not UTF-8."""
    return bytes(data).decode("utf-8")


def metadata(data: bytes) -> dict[str, str]:
    """`metadata_props` of an ONNX file. Raises ValueError when it is none."""
    found: dict[str, str] = {}
    for entry in parts(memoryview(data), MODEL_METADATA):
        pair = {n: text(v) for n, v in fields(entry) if n in (1, 2) and not isinstance(v, int)}
        found[pair.get(1, "")] = pair.get(2, "")
    return found


def weight_precision(data: bytes) -> str:
    """In which of fp32, fp16, bf16 or int8 most bytes of the weights are kept; fp32 when the file
    has none of them. Raises ValueError when it is no ONNX file."""
    sums = dict.fromkeys(_WIDTHS, 0)
    for graph in parts(memoryview(data), MODEL_GRAPH):
        for tensor in parts(graph, GRAPH_INITIALIZER):
            count, kind = 1, 0
            for number, value in fields(tensor):
                if number == TENSOR_TYPE and isinstance(value, int):
                    kind = value
                elif number == TENSOR_DIMS:
                    count *= _product(value)
            if kind in _TYPES:
                sums[_TYPES[kind]] += count * _WIDTHS[_TYPES[kind]]
    return max(sums, key=lambda name: (sums[name], name == "fp32"))


def _product(dims: int | memoryview) -> int:
    if isinstance(dims, int):
        return dims
    product, place = 1, 0  # packed, as proto3 writes them
    while place < len(dims):
        value, place = _varint(dims, place)
        product *= value
    return product

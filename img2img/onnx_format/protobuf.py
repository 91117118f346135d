"""The wire format of Protocol Buffers, read and written in plain Python: enough for a graph to be
edited where the package onnx is not installed (protobuf.dev, "Encoding")."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

Value = int | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 1_000_000
_MAX_NUMBER = 2**29 - 1  # readers differ on what is beyond


def read(data: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """(number, value) of every field of a message, in order: an unsigned int for a varint, else
    the bytes of the field as a view into `data`. Nothing is copied, nothing nested is entered.

    Raises ValueError for what is no message: cut short, a length beyond the end, a group.
    """
    view = memoryview(data)
    place, count = 0, 0
    while place < len(view):
        count += 1
        if count > _MAX_FIELDS:
            raise ValueError("too many fields")
        key, place = _varint(view, place)
        number, wire = key >> 3, key & 7
        if not 0 < number <= _MAX_NUMBER:
            raise ValueError(f"field number {number}")
        if wire == _VARINT:
            value, place = _varint(view, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(view, place)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if length > len(view) - place:
            raise ValueError("cut short")
        yield number, view[place : place + length]
        place += length


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            raise ValueError("cut short")
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
    raise ValueError("a number of more than ten bytes")


def signed(value: Value) -> int:
    """A varint as the int64 it stands for."""
    if not isinstance(value, int):
        raise ValueError("bytes where a number belongs")
    return value - 2**64 if value >= 2**63 else value


def inner(value: Value) -> memoryview:
    """The bytes of a field. Raises ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return value


def text(value: Value) -> str:
    """A field as text. Raises ValueError when it is none (UnicodeDecodeError is one)."""
    return str(inner(value), "utf-8")


def integers(values: Iterable[Value], limit: int = 64) -> list[int]:
    """A repeated int64, packed or not. Raises ValueError for more than `limit` numbers."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(signed(value))
        else:
            place = 0
            while place < len(value) and len(found) <= limit:
                number, place = _varint(value, place)
                found.append(signed(number))
        if len(found) > limit:
            raise ValueError("a longer list than expected")
    return found


def real(value: Value) -> float:
    """A fixed 32-bit field as a float."""
    return float(struct.unpack("<f", inner(value))[0])


def write(number: int, value: int | str | bytes | memoryview) -> bytes:
    """One field: a varint for an int, else bytes with their length in front."""
    if isinstance(value, int):
        return _number(number << 3 | _VARINT) + _number(value)
    content = value.encode() if isinstance(value, str) else value
    return b"".join((_number(number << 3 | _BYTES), _number(len(content)), content))


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

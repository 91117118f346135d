"""The parts of an ONNX model as the check of the file reads them: nodes, tensors, ports.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from img2img.onnx_format.protobuf import Value, inner, integers, text

FLOAT, UINT8, INT64, HALF = 1, 2, 7, 10
_FLOATS, _INTEGERS, _RAW = 4, 7, 9  # fields of TensorProto
_SMALL = 64  # numbers in a constant that is read


@dataclass(frozen=True)
class Port:
    """An input or output of the graph: its name, ONNX's number of its type, and its sizes, where
    None is any; `dims` is None where the rank is not stated. `raw` is its ValueInfoProto."""

    name: str
    kind: int
    dims: tuple[int | None, ...] | None
    raw: memoryview = field(default=memoryview(b""), repr=False, compare=False)

    @property
    def words(self) -> str:
        """For a message: `x, float32 (1, 3, any, any)`."""
        kind = {FLOAT: "float32", UINT8: "uint8", HALF: "float16"}.get(
            self.kind, f"type {self.kind}"
        )
        sizes = ["any" if d is None else str(d) for d in self.dims or ()]
        name = short(self.name)
        return f"{name}, {kind} ({', '.join(sizes)})" if sizes else f"{name}, {kind}"


@dataclass(frozen=True)
class Tensor:
    """A constant: its name, ONNX's number of its type, its sizes, the fields that hold its values
    (not read yet), and its TensorProto `raw`."""

    name: str
    kind: int
    dims: tuple[int, ...]
    content: tuple[tuple[int, Value], ...] = field(repr=False)
    raw: memoryview = field(repr=False)

    def integers(self) -> list[int]:
        """The values of a small int64 tensor. Raises ValueError for another or a larger one."""
        data = self._bytes(INT64, 8)
        if not data:
            return integers((v for n, v in self.content if n == _INTEGERS), _SMALL)
        return [v[0] for v in struct.iter_unpack("<q", data)]

    def floats(self) -> list[float]:
        """The values of a small float32 tensor. Raises ValueError for another or a larger one."""
        data = self._bytes(FLOAT, 4)
        if not data:
            data = b"".join(bytes(inner(v)) for n, v in self.content if n == _FLOATS)
        if len(data) > 4 * _SMALL:
            raise ValueError("a longer constant than expected")
        return [v[0] for v in struct.iter_unpack("<f", data)]

    def _bytes(self, kind: int, width: int) -> bytes:
        if self.kind != kind:
            raise ValueError("a constant of another type than expected")
        data = next((inner(v) for n, v in self.content if n == _RAW), memoryview(b""))
        if len(data) > width * _SMALL or len(data) % width:
            raise ValueError("a longer constant than expected")
        return bytes(data)


@dataclass(frozen=True)
class Attribute:
    """A setting of a node, of the kinds that are read here: integers, a text, a tensor. `raw` is
    its AttributeProto."""

    numbers: tuple[Value, ...]
    word: memoryview | None
    tensor: Tensor | None
    raw: memoryview = field(repr=False)


@dataclass(frozen=True)
class Node:
    """One operation: its kind (with its domain where that is not ONNX's own), its name, the names
    that it reads and writes, its attributes, and its NodeProto `raw`."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(repr=False)
    raw: memoryview = field(repr=False)

    def numbers(self, name: str) -> list[int]:
        """The integers of an attribute; none where it is absent. Raises ValueError for more
        than 64."""
        found = self.attributes.get(name)
        return [] if found is None else integers(found.numbers)

    def word(self, name: str, otherwise: str) -> str:
        """The text of an attribute, or `otherwise` where it is absent."""
        found = self.attributes.get(name)
        return otherwise if found is None or found.word is None else text(found.word)


def short(name: str) -> str:
    """A name from a file as a message may hold it: one line, not long."""
    safe = "".join(c if c.isprintable() else "?" for c in name)
    return safe if len(safe) <= 60 else safe[:57] + "..."

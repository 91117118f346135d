"""What an ONNX file must be before a library parses it, checked by its bytes in plain Python.

A digest proves that nothing changed since it was written, not that its author meant well. The check
walks nodes, attributes and the headers of tensors; the weights themselves are neither copied nor
walked. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from img2img.onnx_format.elements import Attribute, Node, Port, Tensor, short
from img2img.onnx_format.model import (
    GRAPH,
    INITIALIZER,
    INPUT,
    IR_VERSION,
    METADATA,
    NODE,
    OPSET,
    OUTPUT,
    VALUE_INFO,
    OnnxModel,
)
from img2img.onnx_format.protobuf import Value, inner, integers, read, signed, text

OPSETS = range(7, 27)
_IR_VERSIONS = range(3, 14)
_STANDARD = ("", "ai.onnx")
# Protobuf itself ends there.
LIMIT_BYTES = 2**31 - 1
# Of all messages together; the largest generator known here has 9 000.
_MAX_FIELDS = 250_000
_MAX_DEPTH = 4
_MAX_RANK = 16
_MAX_SIDE = 2**31
_MAX_NAME, _MAX_METADATA = 2**16, 2**24
_AT_ONCE = 2**24
# Other formats by what stands at byte 4: onnxruntime's own and TensorFlow Lite's. A file can be a
# valid protobuf message and one of these at once.
_OTHERS = (b"ORTM", b"TFL3")

_STRINGS = 8
# Bits for each element, by data type.
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4,
}  # fmt: skip
_PACKED = {4: 32, 5: 0, 7: 0, 10: 64, 11: 0}  # bits of a number kept in a field; 0: a varint
# What libraries divide by or allocate from.
_RANGES = {
    "strides": (1, 2**16),
    "dilations": (1, 2**16),
    "kernel_shape": (1, 2**16),
    "group": (1, 2**20),
    "blocksize": (1, 2**10),
    "num_groups": (1, 2**20),
    "num_outputs": (1, 2**16),
    "pads": (-(2**16), 2**16),
    "output_padding": (0, 2**16),
    "output_shape": (0, 2**16),
}


def parse(data: bytes) -> OnnxModel:
    """Check the ONNX file `data`, and give what it holds.

    Raises ValueError, saying why in words: no ONNX file; damaged; contents outside the file;
    operators, functions or opsets that are not the standard's; sizes that contradict the bytes;
    deeper or longer than any model.
    """
    if data[4:8] in _OTHERS:
        raise ValueError("another format than ONNX")
    return _Check().model(data)


def starts_like_one(start: bytes, size: int) -> None:
    """Raise ValueError unless a file of `size` bytes that begins with `start` may be an ONNX file,
    so that what is none is not read as a whole."""
    if size > LIMIT_BYTES:
        raise ValueError("larger than 2 GiB")
    if size <= len(start):
        return
    place = 0
    # Short fields come in front; the first that is longer than `start` ends the look.
    while place < len(start) - 20:
        key = start[place]
        if key > 127:
            return
        if key >> 3 == 0 or key & 7 not in (0, 2):
            raise ValueError("an ONNX file does not start like this")
        value, shift, place = 0, 0, place + 1
        while place < len(start) and shift < 70:
            value |= (start[place] & 127) << shift
            shift, place = shift + 7, place + 1
            if start[place - 1] < 128:
                break
        if key & 7 == 2:
            place += value
        if place > size:
            raise ValueError("cut short")


@dataclass
class _Graph:
    """A GraphProto while it is read."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    values: dict[str, Port] = field(default_factory=dict)
    rest: list[tuple[int, Value]] = field(default_factory=list)


@dataclass
class _Check:
    left: int = _MAX_FIELDS
    operators: set[str] = field(default_factory=set)
    foreign: dict[str, None] = field(default_factory=dict)

    def fields(
        self, message: memoryview, once: Collection[int] = ()
    ) -> Iterator[tuple[int, Value]]:
        """The fields of a message; a second one among `once`, which libraries would merge and
        other readers would not, is refused."""
        seen = set()
        for number, value in read(message):
            self.left -= 1
            if self.left < 0:
                raise ValueError("too many fields")
            if number in seen:
                raise ValueError(f"field {number} twice")
            if number in once:
                seen.add(number)
            yield number, value

    def model(self, data: bytes) -> OnnxModel:
        graph: memoryview | None = None
        version, opsets, metadata = 0, dict[str, int](), dict[str, str]()
        kept = list[tuple[int, Value]]()
        for number, value in self.fields(memoryview(data), once=(IR_VERSION, GRAPH)):
            if number == GRAPH:
                graph = inner(value)
                continue
            if number == IR_VERSION:
                version = signed(value)
            elif number == OPSET:
                entry = dict(self.fields(inner(value), once=(1, 2)))
                domain = _word(entry.get(1, memoryview(b"")))
                opsets["" if domain in _STANDARD else domain] = signed(entry.get(2, 0))
            elif number == METADATA:
                pair = {
                    part: _word(content, _MAX_METADATA)
                    for part, content in self.fields(inner(value), once=(1, 2))
                    if part in (1, 2)
                }
                metadata[pair.get(1, "")] = pair.get(2, "")
            elif number == 20:
                raise ValueError("it holds graphs for training")
            elif number == 25:
                raise ValueError("it holds functions of its own; save it with them inlined")
            kept.append((number, value))
        if graph is None:
            raise ValueError("no graph")
        if version not in _IR_VERSIONS:
            raise ValueError(
                f"format version {version} is not in {_IR_VERSIONS[0]} to {_IR_VERSIONS[-1]}"
            )
        found = self.graph(graph, 0)
        if self.foreign:
            raise ValueError(f"operators that are not ONNX's own: {_some(self.foreign)}")
        if opsets.get("") not in OPSETS:
            has = f"opset {opsets['']}" if "" in opsets else "no opset"
            raise ValueError(f"{has}; opsets {OPSETS[0]} to {OPSETS[-1]} are supported")
        return OnnxModel(
            data=data,
            fields=tuple(kept),
            opset=opsets[""],
            metadata=metadata,
            nodes=tuple(found.nodes),
            constants=found.constants,
            inputs=tuple(port for port in found.inputs if port.name not in found.constants),
            outputs=tuple(found.outputs),
            values=found.values,
            rest=tuple(found.rest),
            operators=frozenset(self.operators),
        )

    def graph(self, message: memoryview, depth: int) -> _Graph:
        if depth > _MAX_DEPTH:
            raise ValueError("graphs within graphs, too deep")
        found = _Graph()
        for number, value in self.fields(message):
            if number == NODE:
                found.nodes.append(self.node(inner(value), depth))
            elif number == INITIALIZER:
                tensor = self.tensor(inner(value))
                found.constants[tensor.name] = tensor
            elif number == INPUT:
                found.inputs.append(self.port(inner(value)))
            elif number == OUTPUT:
                found.outputs.append(self.port(inner(value)))
            elif number == VALUE_INFO:
                port = self.port(inner(value))
                found.values[port.name] = port
            else:
                if number == 15:
                    self.sparse(inner(value))
                found.rest.append((number, value))
        return found

    def node(self, message: memoryview, depth: int) -> Node:
        op = domain = name = ""
        inputs, outputs = list[str](), list[str]()
        attributes = dict[str, Attribute]()
        for number, value in self.fields(message, once=(3, 4, 7, 8)):
            if number == 1:
                inputs.append(_word(value))
            elif number == 2:
                outputs.append(_word(value))
            elif number == 3:
                name = _word(value)
            elif number == 4:
                op = _word(value)
            elif number == 7:
                domain = _word(value)
            elif number == 5:
                key, attribute = self.attribute(inner(value), depth)
                attributes[key] = attribute
        if domain not in _STANDARD:
            self.foreign[f"{domain}.{op}"] = None
        self.operators.add(op)
        return Node(op, name, tuple(inputs), tuple(outputs), attributes, message)

    def attribute(self, message: memoryview, depth: int) -> tuple[str, Attribute]:
        """Its name, and what it says."""
        name, numbers = "", list[Value]()
        word: memoryview | None = None
        tensor: Tensor | None = None
        for number, value in self.fields(message, once=(1, 3, 4, 5, 6, 22)):
            if number == 1:
                name = _word(value)
            elif number in (3, 8):
                numbers.append(value)
            elif number == 4:
                word = inner(value)
            elif number in (5, 10):
                found = self.tensor(inner(value))
                tensor = found if number == 5 else tensor
            elif number in (6, 11):
                self.graph(inner(value), depth + 1)
            elif number in (22, 23):
                self.sparse(inner(value))
        if name in _RANGES and numbers:
            least, most = _RANGES[name]
            for given in integers(numbers):
                if not least <= given <= most:
                    raise ValueError(f"an attribute {name} of {given}")
        return name, Attribute(tuple(numbers), word, tensor, message)

    def sparse(self, message: memoryview) -> None:
        for number, value in self.fields(message, once=(1, 2)):
            if number in (1, 2):
                self.tensor(inner(value))

    def tensor(self, message: memoryview) -> Tensor:
        """A constant; the sizes must be those of its bytes."""
        name, kind, external = "", 0, False
        dims, kept = list[Value](), list[tuple[int, Value]]()
        for number, value in self.fields(message, once=(2, 8, 9)):
            if number == 1:
                dims.append(value)
            elif number == 2:
                kind = signed(value)
            elif number == 8:
                name = _word(value)
            elif number in (4, 5, 6, 7, 9, 10, 11):
                kept.append((number, value))
            elif number == 13 or (number == 14 and signed(value) != 0):
                external = True
            elif number not in (12, 14, 16):
                raise ValueError(f"tensor '{short(name)}' has an unknown field {number}")
        if external:
            raise ValueError(
                f"it keeps '{short(name)}' in another file; save it as one file (no external data)"
            )
        sizes = integers(dims, _MAX_RANK)
        if any(not 0 <= size <= _MAX_SIDE for size in sizes):
            raise ValueError(f"tensor '{short(name)}' has impossible sizes")
        if kind != _STRINGS and kind not in _BITS:
            raise ValueError(f"tensor '{short(name)}' is of an unknown type, {kind}")
        if not _matches(kind, math.prod(sizes), kept):
            raise ValueError(f"tensor '{short(name)}' has other sizes than its contents")
        return Tensor(name, kind, tuple(sizes), tuple(kept), message)

    def port(self, message: memoryview) -> Port:
        name, kind = "", 0
        dims: tuple[int | None, ...] | None = None
        for number, value in self.fields(message, once=(1, 2)):
            if number == 1:
                name = _word(value)
            elif number == 2:
                kind, dims = self.type(inner(value))
        return Port(name, kind, dims, message)

    def type(self, message: memoryview) -> tuple[int, tuple[int | None, ...] | None]:
        """0 for what is no tensor."""
        kind, dims = 0, None
        for number, value in self.fields(message, once=(1, 4, 5, 7, 8, 9)):
            if number != 1:
                continue
            for part, content in self.fields(inner(value), once=(1, 2)):
                if part == 1:
                    kind = signed(content)
                elif part == 2:
                    shape = self.fields(inner(content))
                    dims = tuple(self.size(inner(v)) for n, v in shape if n == 1)
        return kind, dims

    def size(self, message: memoryview) -> int | None:
        size = None
        for number, value in self.fields(message, once=(1, 2)):
            if number == 1:
                size = signed(value)
                if not 0 <= size <= _MAX_SIDE:
                    raise ValueError(f"a size of {size}")
        return size


def _matches(kind: int, count: int, kept: list[tuple[int, Value]]) -> bool:
    """Whether the fields hold `count` elements of the type."""
    numbers = {number for number, _ in kept}
    if not numbers:
        return count == 0
    if len(numbers) > 1:
        return False
    number = numbers.pop()
    if number == 6 or kind == _STRINGS:
        return number == 6 and kind == _STRINGS and len(kept) == count
    if number == 9:
        return 8 * len(inner(kept[0][1])) == -(-count * _BITS[kind] // 8) * 8
    found = sum(_count(value, _PACKED[number]) for _, value in kept)
    if kind in (14, 15):  # complex: two numbers each
        count *= 2
    if _BITS[kind] == 4 and number == 5:
        return found in (count, -(-count // 2))
    return found == count


def _count(value: Value, bits: int) -> int:
    """How many numbers a packed field holds; one for a number by itself."""
    if isinstance(value, int):
        return 1
    if bits:
        return len(value) * 8 // bits if len(value) * 8 % bits == 0 else -1
    parts = (value[k : k + _AT_ONCE] for k in range(0, len(value), _AT_ONCE))
    return sum(int(np.count_nonzero(np.frombuffer(part, np.uint8) < 128)) for part in parts)


def _word(value: Value, most: int = _MAX_NAME) -> str:
    """A field as text that is not longer than names are."""
    if len(inner(value)) > most:
        raise ValueError("a name that is too long")
    return text(value)


def _some(names: Collection[str]) -> str:
    shown = [short(name) for name in names][:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

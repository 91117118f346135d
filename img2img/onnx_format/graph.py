"""An ONNX graph, read and cut for tiles without the package onnx.

The file stays as it was exported. For tiles a second graph is made of it: it ends at the input of
one normalisation, and the normalisations before it take their statistics from the caller, since
BatchNormalization is InstanceNormalization with mean and variance as two more inputs.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from img2img.onnx_format import protobuf
from img2img.onnx_format.float_core import X, Y
from img2img.tiling.locality import Locality, Map, NormPlace, Pass

# Numbers of the fields that matter, from onnx.proto.
_GRAPH, _OPSET = 7, 8
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_FLOAT, _INT64, _HALF = 1, 7, 10
_POINTWISE = frozenset(
    {
        "Abs", "Add", "BatchNormalization", "Cast", "CastLike", "Celu", "Clip", "Concat",
        "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
        "HardSwish", "Identity", "InstanceNormalization", "LeakyRelu", "Max", "Min", "Mish", "Mul",
        "Neg", "PRelu", "Pow", "QuantizeLinear", "Relu", "Round", "Selu", "Sigmoid", "Softplus",
        "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu", "Where",
    }
)  # fmt: skip
# Extending to the size rules and cropping back: nothing happens to sides that obey them.
_SIZING = frozenset(("Gather", "Slice"))
_IN_PLACE = _POINTWISE - {"Concat", "InstanceNormalization", "BatchNormalization"}


class Untileable(ValueError):
    """Why a graph cannot be translated in tiles, in words."""


@dataclass(frozen=True)
class Node:
    """One operation: its kind, the names that it reads and writes, and its bytes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, bytes | memoryview]
    raw: memoryview

    def numbers(self, name: str) -> list[int]:
        """The integers of an attribute; none where it is absent."""
        fields = [*protobuf.read(self.attributes.get(name, b""))]
        return protobuf.integers(v for n, v in fields if n in (3, 8))

    def word(self, name: str, otherwise: str) -> str:
        """The text of an attribute."""
        fields = protobuf.read(self.attributes.get(name, b""))
        return next((protobuf.text(v) for n, v in fields if n == 4), otherwise)


@dataclass(frozen=True)
class _Seen:
    """Place i of a tensor, of `channels`, depends on the pixels from shrink * i - before to
    shrink * i + after."""

    shrink: int
    before: int
    after: int
    channels: int


@dataclass
class Graph:
    """A parsed ModelProto.

    Everything here raises ValueError where the bytes are none, LookupError where a name is read
    that nothing makes, and Untileable where something cannot be followed.
    """

    data: bytes
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, memoryview] = field(default_factory=dict)
    inputs: dict[str, memoryview] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    opset: int = 0
    header: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph: memoryview | None = None
        for number, value in protobuf.read(self.data):
            if number == _GRAPH:
                graph = protobuf.inner(value)
            elif number == _OPSET:
                entry = dict(protobuf.read(protobuf.inner(value)))
                if not protobuf.text(entry.get(1, memoryview(b""))):
                    self.opset = protobuf.signed(entry.get(2, 0))
                self.header.append(protobuf.write(number, protobuf.inner(value)))
            elif number == 1:
                self.header.append(protobuf.write(number, protobuf.signed(value)))
            elif number == 25:
                raise Untileable("it has functions of its own")
        if graph is None:
            raise ValueError("no graph")
        for number, value in protobuf.read(graph):
            if number == _NODE:
                self.nodes.append(_node(protobuf.inner(value)))
            elif number == _INITIALIZER:
                self.initializers[_named(value, 8)] = protobuf.inner(value)
            elif number == _INPUT:
                self.inputs[_named(value, 1)] = protobuf.inner(value)
            elif number == _OUTPUT:
                self.outputs.append(_named(value, 1))
        for name in self.initializers:  # older files list them as inputs too
            self.inputs.pop(name, None)
        self.picture = X if self._made(X) else next(iter(self.inputs), "")
        self.result = Y if self._made(Y) else next(iter(self.outputs), "")
        self._without_sizing()
        self.nodes = self._needed([self.result])
        self.norms = [node for node in self.nodes if node.op == "InstanceNormalization"]
        self._check()

    def _check(self) -> None:
        dims = _dims(self.inputs.get(self.picture, memoryview(b"")))
        if len(dims) == 4 and dims[2:] != [0, 0]:
            raise Untileable(f"it takes pictures of {dims[3]}x{dims[2]} only")
        used = {name for node in self.nodes for name in node.inputs}
        if len(self.inputs.keys() & used - {self.picture}) > 1:
            raise Untileable("it takes more than a picture and a domain")
        if self.norms and self.opset < 9:
            raise Untileable(f"its opset {self.opset} is below 9")

    def _made(self, name: str) -> bool:
        return any(name in node.outputs for node in self.nodes)

    def _without_sizing(self) -> None:
        """Take out what extends to the size rules and crops back: tiles obey the rules."""
        maps, same = {self.picture}, dict[str, str]()
        for k, node in enumerate(self.nodes):
            inputs = [same.get(name, name) for name in node.inputs]
            if node.op == "Shape" or not maps.intersection(inputs):
                continue
            if node.op in _SIZING and not any(self._is_constant(n) for n in self._sizes(node)):
                same[node.outputs[0]] = inputs[0]
                continue
            maps.update(node.outputs)
            if any(name in same for name in node.inputs):
                self.nodes[k] = _node(memoryview(_with_inputs(node.raw, inputs)))
        self.result = same.get(self.result, self.result)

    def _sizes(self, node: Node) -> list[str]:
        return [*node.inputs[1:2]] if node.op == "Gather" else [*node.inputs[2:3]]

    def _is_constant(self, name: str) -> bool:
        return name in self.initializers or any(
            node.op == "Constant" and name in node.outputs for node in self.nodes
        )

    def _needed(self, wanted: Iterable[str], have: Iterable[str] = ()) -> list[Node]:
        """The nodes between the picture, or what is there already, and the `wanted` tensors."""
        there = {self.picture, *have}
        open_, kept = {*wanted} - there, []
        for node in reversed(self.nodes):
            if open_.intersection(node.outputs):
                kept.append(node)
                open_.update(name for name in node.inputs if name not in there)
        return kept[::-1]

    def passes(self, kept: float) -> list[Pass]:
        """As `Local.passes`. After a pass the tensors are kept that later nodes read, except those
        before the first normalisation: they are large, and cheap to compute again."""
        seen = self._follow(self.nodes, {})
        made = {name: k for k, node in enumerate(self.nodes) for name in node.outputs}
        read = {name: k for k, node in enumerate(self.nodes) for name in node.inputs}
        read[self.result] = len(self.nodes)
        normed = set[str]()
        for node in self.nodes:
            if node.op == "InstanceNormalization" or normed.intersection(node.inputs):
                normed.update(name for name in node.outputs if name in seen)
        have: tuple[Map, ...] = ()
        found = []
        for k, norm in enumerate([*self.norms, None]):
            end = norm.inputs[0] if norm else self.result
            front = tuple(
                Map(name, seen[name].channels, seen[name].shrink)
                for name in sorted(normed)
                if made[name] <= made[end] < read.get(name, -1)
            )
            size = sum(m.bytes_per_pixel for m in {*have, *front})
            new = front if norm and size <= kept else ()
            makes = tuple(m for m in new if m not in have)
            found.append(self._pass(k if norm else None, end, have, makes, new or have))
            have = new or have
        return found

    def _pass(
        self, norm: int | None, end: str, have: tuple[Map, ...], makes: tuple[Map, ...],
        holds: tuple[Map, ...],
    ) -> Pass:  # fmt: skip
        wanted = [end, *(m.name for m in makes)]
        nodes = self._needed(wanted, [m.name for m in have])
        used = {name for node in nodes for name in node.inputs}
        seen = self._follow(nodes, {m.name: _Seen(m.shrink, 0, 0, m.channels) for m in have})
        reach = max(max(seen[name].before, seen[name].after, 0) for name in wanted)
        reads = tuple(m for m in have if m.name in used)
        return Pass(norm, reach, self.picture in used, reads, makes, holds)

    def cut(self, step: Pass, half: Collection[str] = ()) -> bytes:
        """A model of one pass. It takes what the pass reads, by the tensors' own names, and mean
        and variance, float32 (C,), of the normalisations in it, as `mean_0`, `variance_0`, ...;
        it gives the input of normalisation `step.norm`, or the picture, then `step.makes`. Maps
        named in `half` are float16."""
        end = self.result if step.norm is None else self.norms[step.norm].inputs[0]
        outputs = [end, *(m.name for m in step.makes)]
        nodes = self._needed(outputs, [m.name for m in step.reads])
        number = {id(node): k for k, node in enumerate(self.norms)}
        used = {name for node in nodes for name in node.inputs}
        parts: list[bytes] = []
        given: list[str] = []
        for node in nodes:
            k = number.get(id(node))
            parts.append(protobuf.write(_NODE, node.raw if k is None else _given_norm(node, k)))
            given += [] if k is None else [f"mean_{k}", f"variance_{k}"]
        parts.append(protobuf.write(2, "tiles"))
        parts += [
            protobuf.write(_INITIALIZER, raw)
            for name, raw in self.initializers.items()
            if name in used
        ]
        inputs: list[bytes | memoryview] = [
            raw for name, raw in self.inputs.items() if name in used
        ]
        if self.picture in used and self.picture not in self.inputs:
            inputs.append(_tensor(self.picture, 4))
        inputs += [_tensor(m.name, 4, _HALF if m.name in half else _FLOAT) for m in step.reads]
        inputs += [_tensor(name, 1) for name in given]
        parts += [protobuf.write(_INPUT, value) for value in inputs]
        # Without a type: it is inferred.
        parts += [protobuf.write(_OUTPUT, protobuf.write(1, name)) for name in outputs]
        return b"".join((*self.header, protobuf.write(_GRAPH, b"".join(parts))))

    def locality(self) -> Locality:
        """How far the graph looks. Raises Untileable for an operation that is not local, or is
        not known to be."""
        seen = self._follow(self.nodes, {})
        end = seen.get(self.result)
        if end is None or end.shrink != 1:
            raise Untileable("it gives no picture of the size of its input")
        inputs = [seen[norm.inputs[0]] for norm in self.norms]
        norms = tuple(NormPlace(x.shrink, max(x.before, x.after)) for x in inputs)
        return Locality(max(end.before, end.after, 0), norms, self._peak(seen))

    def _follow(self, nodes: list[Node], start: dict[str, _Seen]) -> dict[str, _Seen]:
        """What every map among `nodes` sees of the picture, and of the maps in `start`."""
        seen = {self.picture: _Seen(1, 0, 0, self._channels())} | start
        for node in nodes:
            inputs = [seen[name] for name in node.inputs if name in seen]
            if inputs and node.op != "Shape":
                after = self._through(node, inputs)
                seen |= {name: after for name in node.outputs if name}
        return seen

    def _channels(self) -> int:
        """Of the picture: what the first convolution takes."""
        for node in self.nodes:
            if node.op == "Conv":
                return self._weight_dims(node)[1]
        return 3

    def _weight_dims(self, node: Node) -> list[int]:
        """Sizes of the weights of a convolution; quantised ones are widened by a node."""
        name = node.inputs[1]
        for other in self.nodes:
            if name in other.outputs and other.op in ("DequantizeLinear", "Cast"):
                name = other.inputs[0]
        if name not in self.initializers:
            raise Untileable(f"the weights of a {node.op} are computed")
        dims = _dims_of_tensor(self.initializers[name])
        if len(dims) != 4 or dims[2] != dims[3]:
            raise Untileable(f"a {node.op} that is not square")
        return dims

    def _through(self, node: Node, inputs: list[_Seen]) -> _Seen:
        first = inputs[0]
        if node.op in _POINTWISE:
            if len({x.shrink for x in inputs}) > 1:
                raise Untileable(f"a {node.op} joins maps of different sizes")
            wide = sum(x.channels for x in inputs) if node.op == "Concat" else first.channels
            if node.op == "Concat" and node.numbers("axis") not in ([1], [-3]):
                raise Untileable("a Concat joins something else than channels")
            before, after = max(x.before for x in inputs), max(x.after for x in inputs)
            return _Seen(first.shrink, before, after, wide)
        if node.op == "Pad":
            return self._pad(node, first)
        if node.op in ("Conv", "ConvTranspose"):
            return self._conv(node, first)
        if node.op in ("AveragePool", "MaxPool"):
            return _window(node, first, node.numbers("kernel_shape")[0], first.channels)
        if node.op == "Resize":
            return self._resize(node, first)
        raise Untileable(f"its {node.op} may look at the whole picture")

    def _pad(self, node: Node, x: _Seen) -> _Seen:
        pads = node.numbers("pads")
        if len(node.inputs) > 1:
            pads = self._constants(node.inputs[1])
        if len(pads) != 8 or any(pads[k] for k in (0, 1, 4, 5)) or pads[2] != pads[3]:
            raise Untileable("a Pad that is not the same on both axes")
        return _Seen(
            x.shrink, x.before + x.shrink * pads[2], x.after - x.shrink * pads[2], x.channels
        )

    def _conv(self, node: Node, x: _Seen) -> _Seen:
        dims = self._weight_dims(node)
        if node.op == "Conv":
            return _window(node, x, dims[2], dims[0])
        stride, pad, dilation = _square(node)
        if x.shrink % stride:
            raise Untileable("it gives larger pictures than it takes")
        shrink = x.shrink // stride
        wide = dims[1] * (node.numbers("group") or [1])[0]
        before = x.before + shrink * (dilation * (dims[2] - 1) - pad)
        return _Seen(shrink, before, x.after + shrink * pad, wide)

    def _resize(self, node: Node, x: _Seen) -> _Seen:
        scales = self._floats(node.inputs[2]) if len(node.inputs) == 3 and node.inputs[2] else []
        if len(scales) != 4 or scales[:2] != [1, 1] or scales[2] != scales[3]:
            raise Untileable("a Resize to sizes that are computed")
        shrink = round(x.shrink / scales[2])
        if shrink < 1 or shrink * scales[2] != x.shrink:
            raise Untileable("a Resize by a factor that leaves the pixels' grid")
        mode = node.word("mode", "nearest")
        how = node.word("coordinate_transformation_mode", "half_pixel")
        rounding = node.word("nearest_mode", "round_prefer_floor")
        plain = ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")
        if mode == "nearest" and shrink <= x.shrink and (how, rounding) in plain:
            return _Seen(shrink, x.before + x.shrink - shrink, x.after, x.channels)
        if mode not in ("nearest", "linear", "cubic"):
            raise Untileable(f"a Resize of mode {mode}")
        more = {"nearest": 1, "linear": 2, "cubic": 3}[mode] * max(x.shrink, shrink)
        return _Seen(shrink, x.before + more, x.after + more, x.channels)

    def _constants(self, name: str) -> list[int]:
        raw = _tensor_bytes(self._constant(name), _INT64)
        return [v[0] for v in struct.iter_unpack("<q", raw)]

    def _floats(self, name: str) -> list[float]:
        raw = _tensor_bytes(self._constant(name), _FLOAT)
        return [v[0] for v in struct.iter_unpack("<f", raw)]

    def _constant(self, name: str) -> memoryview:
        if name in self.initializers:
            return self.initializers[name]
        for node in self.nodes:
            if node.op == "Constant" and name in node.outputs and "value" in node.attributes:
                fields = dict(protobuf.read(node.attributes["value"]))
                return protobuf.inner(fields.get(5, memoryview(b"")))
        raise Untileable(f"{name} is computed")

    def _peak(self, seen: dict[str, _Seen]) -> float:
        """Bytes for each pixel where most tensors live at once, each from the node that makes it
        to the last that reads it."""
        left = Counter(name for node in self.nodes for name in node.inputs if name in seen)
        left[self.result] += 1
        size = {name: 4.0 * s.channels / s.shrink**2 for name, s in seen.items()}
        live = peak = size[self.picture]
        for node in self.nodes:
            made = [name for name in node.outputs if name in size]
            read = [name for name in node.inputs if name in size]
            if not made:
                continue
            reused = node.op in _IN_PLACE and bool(read) and left[read[0]] == 1
            live += sum(size[name] for name in made)
            peak = max(peak, live - (size[read[0]] if reused else 0))
            for name in read:
                left[name] -= 1
                if left[name] == 0:
                    live -= size[name]
        return peak


def _window(node: Node, x: _Seen, kernel: int, channels: int) -> _Seen:
    stride, pad, dilation = _square(node)
    before = x.before + x.shrink * pad
    after = x.after + x.shrink * (dilation * (kernel - 1) - pad)
    return _Seen(x.shrink * stride, before, after, channels)


def _square(node: Node) -> tuple[int, int, int]:
    """Stride, padding in front, dilation; the same along both sides."""
    if node.word("auto_pad", "NOTSET") != "NOTSET":
        raise Untileable(f"a {node.op} that pads by itself")
    found = []
    for name, otherwise in (("strides", 1), ("pads", 0), ("dilations", 1)):
        values = node.numbers(name)[:2] or [otherwise]
        if len({*values}) != 1 or not 0 <= values[0] <= 4096:
            raise Untileable(f"a {node.op} that is not the same on both axes")
        found.append(values[0])
    return found[0], found[1], found[2]


def _node(raw: memoryview) -> Node:
    op, domain = "", ""
    inputs, outputs = [], []
    attributes: dict[str, bytes | memoryview] = {}
    for number, value in protobuf.read(raw):
        if number == 1:
            inputs.append(protobuf.text(value))
        elif number == 2:
            outputs.append(protobuf.text(value))
        elif number == 4:
            op = protobuf.text(value)
        elif number == 5:
            attributes[_named(value, 1)] = protobuf.inner(value)
        elif number == 7:
            domain = protobuf.text(value)
    if domain not in ("", "ai.onnx"):
        op = f"{domain}.{op}"
    return Node(op, tuple(inputs), tuple(outputs), attributes, raw)


def _given_norm(node: Node, k: int) -> bytes:
    if len(node.inputs) != 3 or len(node.outputs) != 1:
        raise ValueError("an InstanceNormalization of another form")
    names = (*node.inputs, f"mean_{k}", f"variance_{k}")
    parts = [protobuf.write(1, name) for name in names]
    parts += [protobuf.write(2, node.outputs[0]), protobuf.write(4, "BatchNormalization")]
    if "epsilon" in node.attributes:
        parts.append(protobuf.write(5, node.attributes["epsilon"]))
    return b"".join(parts)


def _with_inputs(raw: memoryview, inputs: list[str]) -> bytes:
    parts = [protobuf.write(1, name) for name in inputs]
    for number, value in protobuf.read(raw):
        if number != 1:
            parts.append(protobuf.write(number, value))
    return b"".join(parts)


def _tensor(name: str, rank: int, kind: int = _FLOAT) -> bytes:
    """ValueInfoProto of a tensor whose sizes are not told."""
    shape = b"".join(protobuf.write(1, protobuf.write(2, f"{name}_{k}")) for k in range(rank))
    tensor = protobuf.write(1, kind) + protobuf.write(2, shape)
    return protobuf.write(1, name) + protobuf.write(2, protobuf.write(1, tensor))


def _named(value: protobuf.Value, number: int) -> str:
    found = dict(protobuf.read(protobuf.inner(value))).get(number)
    return "" if found is None else protobuf.text(found)


def _dims(value_info: memoryview) -> list[int]:
    """Sizes of a graph input; 0 for one that is free."""
    view = value_info
    for number in (2, 1, 2):
        found = dict(protobuf.read(view)).get(number)
        if found is None:
            return []
        view = protobuf.inner(found)
    dims = [dict(protobuf.read(protobuf.inner(v))) for n, v in protobuf.read(view) if n == 1]
    return [protobuf.signed(dim.get(1, 0)) for dim in dims]


def _dims_of_tensor(raw: memoryview) -> list[int]:
    dims = protobuf.integers((v for n, v in protobuf.read(raw) if n == 1), limit=8)
    if any(not 0 <= d <= 2**31 for d in dims):
        raise ValueError("sizes of a tensor")
    return dims


def _tensor_bytes(raw: memoryview, kind: int, limit: int = 64) -> bytes:
    """The values of a small tensor of one type, little-endian."""
    fields = [*protobuf.read(raw)]
    if dict(fields).get(2) != kind:
        raise Untileable("a constant of another type than expected")
    content = next((bytes(protobuf.inner(v)) for n, v in fields if n == 9), b"")
    if not content and kind == _INT64:
        values = protobuf.integers((v for n, v in fields if n == 7), limit)
        return struct.pack(f"<{len(values)}q", *values)
    if not content:
        content = b"".join(bytes(protobuf.inner(v)) for n, v in fields if n == 4)
    if len(content) > 8 * limit or math.remainder(len(content), 8 if kind == _INT64 else 4):
        raise ValueError("a longer constant than expected")
    return content

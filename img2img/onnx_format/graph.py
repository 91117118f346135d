"""An ONNX graph, read and cut for tiles without the package onnx.

The file stays as it was exported. For tiles a second graph is made of it: it ends at the input of
one normalisation, and the normalisations before it take their statistics from the caller, since
BatchNormalization is InstanceNormalization with mean and variance as two more inputs.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from img2img.onnx_format import protobuf
from img2img.onnx_format.elements import FLOAT, HALF, Node, Port
from img2img.onnx_format.float_core import X, Y, float_core
from img2img.onnx_format.model import (
    GRAPH,
    INITIALIZER,
    INPUT,
    IR_VERSION,
    NODE,
    OPSET,
    OUTPUT,
    OnnxModel,
)
from img2img.onnx_format.reach import Followed, Look, bytes_per_pixel
from img2img.receptive_field import Seen, UnknownReach
from img2img.tiling.locality import Locality, Map, NormPlace, Pass

# Extending to the size rules and cropping back: nothing happens to sides that obey them.
_SIZING = frozenset(("Gather", "Slice"))


class Graph:
    """The float network in `model`, as tiles use it.

    Everything here raises ValueError where the parts are damaged, LookupError where a name is read
    that nothing makes, and UnknownReach where something cannot be followed.
    """

    def __init__(self, model: OnnxModel):
        core = float_core(model)
        self._opset = core.opset
        self._header = [(n, v) for n, v in core.fields if n in (IR_VERSION, OPSET)]
        self._constants = core.constants
        self._inputs = {port.name: port for port in core.inputs}
        self._nodes = _in_order(core.nodes)
        self.picture = X if self._made(X) else next(iter(self._inputs), "")
        self._result = Y if self._made(Y) else next((port.name for port in core.outputs), "")
        self._without_sizing()
        self._nodes = self._needed([self._result])
        self._look = Look(self._nodes, self._constants)
        self._norms = [node for node in self._nodes if node.op == "InstanceNormalization"]
        self._check()

    def _check(self) -> None:
        picture = self._inputs.get(self.picture, Port("", 0, None))
        dims = picture.dims or ()
        if len(dims) == 4 and dims[2:] != (None, None):
            height, width = (side or "any" for side in dims[2:])
            raise UnknownReach(f"it takes pictures of {width}x{height} only")
        used = {name for node in self._nodes for name in node.inputs}
        if len(self._inputs.keys() & used - {self.picture}) > 1:
            raise UnknownReach("it takes more than a picture and a domain")
        if self._norms and self._opset < 9:
            raise UnknownReach(f"its opset {self._opset} is below 9")

    def _made(self, name: str) -> bool:
        return any(name in node.outputs for node in self._nodes)

    def _without_sizing(self) -> None:
        """Take out what extends to the size rules and crops back: tiles obey the rules."""
        look = Look(self._nodes, self._constants)
        maps, same = {self.picture}, dict[str, str]()
        for k, node in enumerate(self._nodes):
            inputs = [same.get(name, name) for name in node.inputs]
            if node.op == "Shape" or not maps.intersection(inputs):
                continue
            if node.op in _SIZING and not any(map(look.is_constant, _sizes(node))):
                same[node.outputs[0]] = inputs[0]
                continue
            maps.update(node.outputs)
            if any(name in same for name in node.inputs):
                raw = memoryview(_with_inputs(node.raw, inputs))
                self._nodes[k] = replace(node, inputs=tuple(inputs), raw=raw)
        self._result = same.get(self._result, self._result)

    def _needed(self, wanted: Iterable[str], have: Iterable[str] = ()) -> list[Node]:
        """The nodes between the picture, or what is there already, and the `wanted` tensors."""
        there = {self.picture, *have}
        open_, kept = {*wanted} - there, []
        for node in reversed(self._nodes):
            if open_.intersection(node.outputs):
                kept.append(node)
                open_.update(name for name in node.inputs if name not in there)
        return kept[::-1]

    def passes(self, kept: float) -> list[Pass]:
        """As `TiledModel.passes`. After a pass the tensors are kept that later nodes read, except
        those before the first normalisation: they are large, and cheap to compute again."""
        seen = self._look.through(self._nodes, self.picture, {})
        made = {name: k for k, node in enumerate(self._nodes) for name in node.outputs}
        read = {name: k for k, node in enumerate(self._nodes) for name in node.inputs}
        read[self._result] = len(self._nodes)
        normed = set[str]()
        for node in self._nodes:
            if node.op == "InstanceNormalization" or normed.intersection(node.inputs):
                normed.update(name for name in node.outputs if name in seen)
        have: tuple[Map, ...] = ()
        found = []
        for k, norm in enumerate([*self._norms, None]):
            end = norm.inputs[0] if norm else self._result
            front = tuple(
                Map(name, seen[name].channels, seen[name].seen.shrink)
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
        start = {m.name: Followed(Seen(m.shrink), m.channels) for m in have}
        seen = self._look.through(nodes, self.picture, start)
        reach = max(max(seen[name].seen.reach, 0) for name in wanted)
        reads = tuple(m for m in have if m.name in used)
        return Pass(norm, reach, self.picture in used, reads, makes, holds)

    def cut(self, step: Pass, half: Collection[str] = ()) -> bytes:
        """A model of one pass. It takes what the pass reads, by the tensors' own names, and mean
        and variance, float32 (C,), of the normalisations in it, as `mean_0`, `variance_0`, ...;
        it gives the input of normalisation `step.norm`, or the picture, then `step.makes`. Maps
        named in `half` are float16."""
        end = self._result if step.norm is None else self._norms[step.norm].inputs[0]
        outputs = [end, *(m.name for m in step.makes)]
        nodes = self._needed(outputs, [m.name for m in step.reads])
        number = {id(node): k for k, node in enumerate(self._norms)}
        used = {name for node in nodes for name in node.inputs}
        parts: list[bytes] = []
        given: list[str] = []
        for node in nodes:
            k = number.get(id(node))
            parts.append(protobuf.write(NODE, node.raw if k is None else _given_norm(node, k)))
            given += [] if k is None else [f"mean_{k}", f"variance_{k}"]
        parts.append(protobuf.write(2, "tiles"))
        parts += [
            protobuf.write(INITIALIZER, constant.raw)
            for name, constant in self._constants.items()
            if name in used
        ]
        inputs: list[bytes | memoryview] = [
            port.raw for name, port in self._inputs.items() if name in used
        ]
        if self.picture in used and self.picture not in self._inputs:
            inputs.append(_tensor(self.picture, 4))
        inputs += [_tensor(m.name, 4, HALF if m.name in half else FLOAT) for m in step.reads]
        inputs += [_tensor(name, 1) for name in given]
        parts += [protobuf.write(INPUT, value) for value in inputs]
        # Without a type: it is inferred.
        parts += [protobuf.write(OUTPUT, protobuf.write(1, name)) for name in outputs]
        header = (protobuf.write(number, value) for number, value in self._header)
        return b"".join((*header, protobuf.write(GRAPH, b"".join(parts))))

    def coarsest(self) -> int:
        """Pixels along a side for each place of the coarsest map."""
        seen = self._look.through(self._nodes, self.picture, {})
        return int(max(x.seen.shrink for x in seen.values()))

    def locality(self) -> Locality:
        """How far the graph looks. Raises UnknownReach for an operation that is not local, or is
        not known to be."""
        seen = self._look.through(self._nodes, self.picture, {})
        end = seen.get(self._result)
        scale = 1 / Fraction(end.seen.shrink) if end else Fraction(0)
        if end is None or scale.denominator > 1:
            raise UnknownReach(
                "its output is not a picture of the size of its input or a multiple of it"
            )
        inputs = [seen[norm.inputs[0]].seen for norm in self._norms]
        norms = tuple(NormPlace(x.shrink, x.reach) for x in inputs)
        memory = bytes_per_pixel(self._nodes, seen, self.picture, self._result)
        return Locality(max(end.seen.reach, 0), norms, memory, scale.numerator)


def _in_order(nodes: Sequence[Node]) -> list[Node]:
    """Each node behind those whose outputs it reads, and else as they stand: tools that change the
    precision put theirs at the end. Raises ValueError for a circle."""
    makers = {name: k for k, node in enumerate(nodes) for name in node.outputs if name}
    needs = [{makers[name] for name in node.inputs if name in makers} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for k, some in enumerate(needs):
        for maker in some:
            readers[maker].append(k)
    left = [len(some) for some in needs]
    ready = [k for k, count in enumerate(left) if count == 0]  # sorted, and so a heap
    order: list[Node] = []
    while ready:
        k = heapq.heappop(ready)
        order.append(nodes[k])
        for reader in readers[k]:
            left[reader] -= 1
            if left[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        raise ValueError("its nodes read each other in a circle")
    return order


def _sizes(node: Node) -> Collection[str]:
    """The names of the inputs that say what part is taken."""
    return node.inputs[1:2] if node.op == "Gather" else node.inputs[2:3]


def _given_norm(node: Node, k: int) -> bytes:
    if len(node.inputs) != 3 or len(node.outputs) != 1:
        raise ValueError("an InstanceNormalization of another form")
    names = (*node.inputs, f"mean_{k}", f"variance_{k}")
    parts = [protobuf.write(1, name) for name in names]
    parts += [protobuf.write(2, node.outputs[0]), protobuf.write(4, "BatchNormalization")]
    if "epsilon" in node.attributes:
        parts.append(protobuf.write(5, node.attributes["epsilon"].raw))
    return b"".join(parts)


def _with_inputs(raw: memoryview, inputs: list[str]) -> bytes:
    parts = [protobuf.write(1, name) for name in inputs]
    for number, value in protobuf.read(raw):
        if number != 1:
            parts.append(protobuf.write(number, value))
    return b"".join(parts)


def _tensor(name: str, rank: int, kind: int = FLOAT) -> bytes:
    """ValueInfoProto of a tensor whose sizes are not stated."""
    shape = b"".join(protobuf.write(1, protobuf.write(2, f"{name}_{k}")) for k in range(rank))
    tensor = protobuf.write(1, kind) + protobuf.write(2, shape)
    return protobuf.write(1, name) + protobuf.write(2, protobuf.write(1, tensor))

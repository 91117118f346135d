"""A graph that takes and gives pictures with their channels last, as one with them first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from img2img.onnx_format.elements import Node, Port
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.protobuf import write

_IN, _OUT = [0, 3, 1, 2], [0, 2, 3, 1]
_ALIKE = frozenset(("Cast", "Identity"))  # the same wherever the channels are


def channels_first(model: OnnxModel) -> OnnxModel:
    """`model`, of one picture (N, H, W, C) in and one out, without the Transpose that brings its
    channels forward at the start, and the one that takes them back at the end: what converters of
    graphs with channels last write.

    Raises ValueError where these two are not there.
    """
    name, end = model.inputs[0].name, model.outputs[0].name
    first = _at_the_start(model.nodes, name)
    last = _at_the_end(model.nodes, end)
    if first is None or last is None or first is last:
        raise ValueError("its channels come last, and no Transpose brings them forward")
    nodes = []
    for node in model.nodes:
        if node is first or node is last:
            # A node that does nothing keeps the names on both sides.
            same = b"".join(
                (write(1, node.inputs[0]), write(2, node.outputs[0]), write(4, "Identity"))
            )
            node = Node("Identity", "", node.inputs[:1], node.outputs[:1], {}, memoryview(same))
        nodes.append(node)
    return replace(
        model,
        data=b"",
        nodes=tuple(nodes),
        inputs=(_swapped(model.inputs[0]),),
        outputs=(Port(end, 0, None, memoryview(write(1, end))),),
        values={},
    )


def _at_the_start(nodes: Sequence[Node], name: str) -> Node | None:
    """The Transpose through which alone the input goes."""
    while True:
        readers = [node for node in nodes if name in node.inputs]
        if len(readers) != 1:
            return None
        if readers[0].op == "Transpose":
            return readers[0] if readers[0].numbers("perm") == _IN else None
        if readers[0].op not in _ALIKE:
            return None
        name = readers[0].outputs[0]


def _at_the_end(nodes: Sequence[Node], name: str) -> Node | None:
    """The Transpose of which alone the output is made."""
    while True:
        maker = next((node for node in nodes if name in node.outputs), None)
        if maker is None:
            return None
        if maker.op == "Transpose":
            alone = sum(name in node.inputs for node in nodes) <= 1
            return maker if alone and maker.numbers("perm") == _OUT else None
        if maker.op not in _ALIKE:
            return None
        name = maker.inputs[0]


def _swapped(port: Port) -> Port:
    """The port with its channels before height and width."""
    dims = port.dims or (None,) * 4
    sizes = (dims[0], dims[3], dims[1], dims[2])
    parts = [
        write(1, write(2, f"size_{k}") if size is None else write(1, size))
        for k, size in enumerate(sizes)
    ]
    tensor = write(1, port.kind) + write(2, b"".join(parts))
    raw = write(1, port.name) + write(2, write(1, tensor))
    return Port(port.name, port.kind, sizes, memoryview(raw))

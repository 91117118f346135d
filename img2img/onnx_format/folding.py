"""What a graph computes from constants alone, computed once: exporters leave paddings and weights
so, and who follows a graph wants numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from img2img.onnx_format.elements import FLOAT, HALF, INT64, UINT8, Node, Port, Tensor
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.protobuf import write
from img2img.onnx_format.session import Array, open_session

_KINDS = {
    "float32": FLOAT, "uint8": UINT8, "int8": 3, "int32": 6, "int64": INT64, "bool": 9,
    "float16": HALF, "float64": 11,
}  # fmt: skip
# What gives something else each time, and what contains a graph of its own.
_NEVER = frozenset(
    (
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
        *("RandomUniformLike", "If", "Loop", "Scan", "SequenceMap"),
    )
)
# Of a single constant; more is left to be computed.
_LARGEST = 2**26


def folded(model: OnnxModel, where: object) -> OnnxModel:
    """`model`, called `where` in messages, with initializers instead of what depends on no input.
    Results of other types than numbers, and very large ones, are left as they were.

    Raises ModelError where onnxruntime refuses to compute them.
    """
    known = {*model.constants, ""}
    constant = []
    for node in model.nodes:
        if known.issuperset(node.inputs) and node.op not in _NEVER:
            known.update(node.outputs)
            constant.append(node)
    rest = [node for node in model.nodes if node not in constant]
    read = {name for node in rest for name in node.inputs}
    made = {name for node in constant for name in node.outputs}
    wanted = sorted(name for name in read & made if name)
    if not wanted:
        return model
    values = _values(model, constant, wanted, where)
    tensors = {name: _tensor(name, value) for name, value in values.items() if _kept(value)}
    if len(tensors) < len(wanted):  # then what they are made of is needed as well
        rest = [node for node in model.nodes if not tensors.keys() >= {*node.outputs}]
    return replace(
        model, data=b"", nodes=tuple(rest), constants={**model.constants, **tensors}, values={}
    )


def _values(
    model: OnnxModel, nodes: Sequence[Node], wanted: Sequence[str], where: object
) -> dict[str, Array]:
    used = {name for node in nodes for name in node.inputs}
    graph = replace(
        model,
        data=b"",
        nodes=tuple(nodes),
        constants={name: t for name, t in model.constants.items() if name in used},
        inputs=(),
        # Without a type: it is inferred.
        outputs=tuple(Port(name, 0, None, memoryview(write(1, name))) for name in wanted),
        values={},
        rest=tuple((number, value) for number, value in model.rest if number == 2),
    )
    found = open_session(graph.to_bytes(), where, threads=1).run({})
    return dict(zip(wanted, found, strict=True))


def _kept(value: object) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype.name in _KINDS
        and math.prod(value.shape) <= _LARGEST
    )


def _tensor(name: str, value: Array) -> Tensor:
    data = memoryview(np.ascontiguousarray(value).tobytes())
    kind = _KINDS[value.dtype.name]
    parts = [write(1, size) for size in value.shape]
    raw = b"".join((*parts, write(2, kind), write(8, name), write(9, data)))
    return Tensor(name, kind, value.shape, ((9, data),), memoryview(raw))

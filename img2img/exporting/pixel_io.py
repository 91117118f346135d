"""What stands around the float network in an exported file: from pixels to floats and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from img2img.model_format.export_info import Io
from img2img.onnx_format.float_core import AROUND, X, Y

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def with_io(core: ModelProto, io: Io) -> ModelProto:
    """A copy of the float network between `input` and `output` of the kind `io`. What stands
    around is named `img2img/...`; the arithmetic is that of `img2img.images`."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(core)
    graph = model.graph
    dims = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (graph.input[0], graph.output[0])
    }
    graph.value_info.extend([graph.input[0], graph.output[0]])
    kind = TensorProto.UINT8 if io == "uint8" else TensorProto.FLOAT
    outer = []
    for name, (n, channels, height, width) in (("input", dims[X]), ("output", dims[Y])):
        shape = [n, height, width, channels] if io == "uint8" else [n, channels, height, width]
        outer.append(helper.make_tensor_value_info(name, kind, shape))
    graph.input[0].CopyFrom(outer[0])
    graph.output[0].CopyFrom(outer[1])
    head, tail = _around_uint8() if io == "uint8" else _around_float()
    nodes = [*head, *graph.node, *tail]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _around_float() -> tuple[list[NodeProto], list[NodeProto]]:
    from onnx import helper

    head = helper.make_node("Identity", ["input"], [X], f"{AROUND}x")
    return [head], [helper.make_node("Identity", [Y], ["output"], f"{AROUND}y")]


def _around_uint8() -> tuple[list[NodeProto], list[NodeProto]]:
    from onnx import TensorProto, helper

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        inner = output if output in (X, Y, "output") else AROUND + output
        name = f"{AROUND}{kind.lower()}-{output}"
        return helper.make_node(kind, inputs, [inner], name, **attributes)

    def constant(name: str, value: float) -> NodeProto:
        tensor = helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        return node("Constant", [], name, value=tensor)

    a = AROUND
    head = [
        constant("half", 127.5),
        constant("one", 1.0),
        node("Transpose", ["input"], "planes", perm=[0, 3, 1, 2]),
        node("Cast", [a + "planes"], "values", to=TensorProto.FLOAT),
        node("Div", [a + "values", a + "half"], "scaled"),
        node("Sub", [a + "scaled", a + "one"], X),
    ]
    tail = [
        constant("least", 0.0),
        constant("most", 255.0),
        node("Add", [Y, a + "one"], "shifted"),
        node("Mul", [a + "shifted", a + "half"], "levels"),
        node("Round", [a + "levels"], "whole"),  # half to even, as numpy's rint
        node("Clip", [a + "whole", a + "least", a + "most"], "clipped"),
        node("Cast", [a + "clipped"], "bytes", to=TensorProto.UINT8),
        node("Transpose", [a + "bytes"], "output", perm=[0, 2, 3, 1]),
    ]
    return head, tail

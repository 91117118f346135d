"""The wire format against the package that owns it, and against what is no message."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from img2img.errors import UsageError
from img2img.onnx_format import protobuf
from img2img.onnx_format.graph import Graph
from img2img.onnx_format.validation import parse
from img2img.receptive_field import UnknownReach
from img2img.runners import open_runner
from img2img.runners.onnx_tiled import GraphTiledModel, Opened
from tests.conftest import ROOT


def test_what_onnx_writes_is_read() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad="VALID", alpha=0.5)
    fields = [*protobuf.read(node.SerializeToString())]
    assert [protobuf.text(v) for n, v in fields if n == 1] == ["x", "w"]
    attributes = [dict(protobuf.read(protobuf.inner(v))) for n, v in fields if n == 5]
    assert {protobuf.text(a[1]) for a in attributes} == {"strides", "auto_pad", "alpha"}
    tensor = numpy_helper.from_array(np.array([[-1, 2**40]], np.int64), "t")
    dims = [v for n, v in protobuf.read(tensor.SerializeToString()) if n == 1]
    assert protobuf.integers(dims) == [1, 2]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)])
def test_numbers_survive(value: int) -> None:
    ((number, back),) = protobuf.read(protobuf.write(5, value))
    assert number == 5 and protobuf.signed(back) == value
    ints = TensorProto(int64_data=[value, 7]).SerializeToString()  # packed
    ((number, packed),) = protobuf.read(ints)
    assert number == 7 and protobuf.integers([packed]) == [value, 7]


def test_text_and_bytes_survive() -> None:
    data = protobuf.write(1, "é") + protobuf.write(300, b"\0" * 200)
    (one, name), (two, content) = protobuf.read(data)
    assert (one, two) == (1, 300)
    assert protobuf.text(name) == "é" and protobuf.inner(content) == b"\0" * 200


@pytest.mark.parametrize(
    "data",
    [b"\x0a\x05ab", b"\x0a", b"\x08", b"\x08" + b"\x80" * 11, b"\x0b", b"\x00\x01", b"\x0d\x01",
     b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        [*protobuf.read(data)]


def test_long_lists_are_refused() -> None:
    packed = TensorProto(int64_data=[1] * 1000).SerializeToString()
    with pytest.raises(ValueError, match="longer list"):
        protobuf.integers(v for _, v in protobuf.read(packed))


def test_damaged_models_raise_nothing_but_value_errors() -> None:
    data = (ROOT / "weights" / "sketch2avatar.onnx").read_bytes()
    graph_end = data.rfind(b"img2img_sha256")
    rng = random.Random(0)
    refused = 0
    for trial in range(60):
        wrong = bytearray(data)
        if trial % 2:
            del wrong[rng.randrange(len(wrong)) :]
        else:
            # Among the nodes, which stand in front of the weights.
            wrong[rng.randrange(min(9000, graph_end))] ^= 1 << rng.randrange(8)
        try:
            graph = Graph(parse(bytes(wrong)))
            graph.locality()
            for step in graph.passes(1000):
                graph.cut(step)
        except (ValueError, LookupError):
            refused += 1
    assert refused > 20


def _model(nodes: list[onnx.NodeProto], **more: object) -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, None, None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weights = [
        numpy_helper.from_array(np.random.default_rng(0).normal(0, 1, (3, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(np.ones(3, np.float32) * 2, "scale"),
        numpy_helper.from_array(np.ones(3, np.float32), "bias"),
        numpy_helper.from_array(np.array([1, 1, 1.5, 1.5], np.float32), "more"),
        numpy_helper.from_array(np.array([0, -1, 0, 0], np.int64), "shape"),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9, **more).SerializeToString()


CONV = helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[1, 1])


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("GlobalAveragePool", ["a"], ["y"]), "GlobalAveragePool may look"),
        (helper.make_node("Softmax", ["a"], ["y"]), "Softmax may look"),
        (helper.make_node("Reshape", ["a", "shape"], ["y"]), "Reshape may look"),
        (helper.make_node("Concat", ["a", "a"], ["y"], axis=2), "something other than channels"),
        (helper.make_node("Resize", ["a", "", "more"], ["y"]), "leaves the pixels' grid"),
        (helper.make_node("Conv", ["a", "a"], ["y"]), "weights of a Conv are computed"),
        (helper.make_node("Conv", ["a", "w"], ["y"], auto_pad="SAME_UPPER"), "pads by itself"),
        (helper.make_node("Conv", ["a", "w"], ["y"], strides=[2, 1]), "not the same on both"),
        (helper.make_node("Wobble", ["a"], ["y"]), "Wobble may look"),
    ],
)  # fmt: skip
def test_what_is_not_local_is_named(node: onnx.NodeProto, words: str) -> None:
    with pytest.raises(UnknownReach, match=words):
        Graph(parse(_model([CONV, node]))).locality()


def test_nodes_may_stand_in_any_order() -> None:
    # As tools that change the precision leave them.
    nodes = [
        CONV,
        helper.make_node("Conv", ["a", "w"], ["b"], pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    expected = Graph(parse(_model(nodes))).locality()
    assert expected.reach == 2
    for order in ((2, 1, 0), (1, 2, 0), (2, 0, 1)):
        assert Graph(parse(_model([nodes[k] for k in order]))).locality() == expected
    circle = [CONV, helper.make_node("Add", ["a", "c"], ["b"]),
              helper.make_node("Add", ["b", "b"], ["c"]), helper.make_node("Neg", ["c"], ["y"])]  # fmt: skip
    with pytest.raises(ValueError, match="in a circle"):
        Graph(parse(_model(circle)))


def test_a_cut_gives_the_norm_its_statistics_and_ends_at_the_given_nodes() -> None:
    nodes = [
        CONV,
        helper.make_node("InstanceNormalization", ["a", "scale", "bias"], ["b"], epsilon=0.25),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("InstanceNormalization", ["c", "scale", "bias"], ["y"]),
    ]
    data = _model(nodes)
    graph = Graph(parse(data))
    x = np.random.default_rng(1).normal(0, 1, (1, 3, 9, 8)).astype(np.float32)

    def run(model: bytes, **feeds: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(None, feeds)[0]

    whole = run(data, x=x)
    given: dict[str, np.ndarray] = {}
    first, second, last = graph.passes(0)
    assert [p.reach for p in (first, second, last)] == [1, 2, 2]
    for k, step in enumerate((first, second)):
        inner = run(graph.cut(step), x=x, **given)
        assert inner.shape == x.shape
        given |= {f"mean_{k}": inner.mean((0, 2, 3)), f"variance_{k}": inner.var((0, 2, 3))}
    assert np.abs(run(graph.cut(last), x=x, **given) - whole).max() < 1e-5
    assert len(graph.cut(first)) < len(graph.cut(second)) < len(graph.cut(last))


def test_quantised_weights_are_followed() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["small", "step"], ["wide"]),
        helper.make_node("Conv", ["d", "wide"], ["a"], pads=[2, 2, 2, 2], dilations=[2, 2]),
        helper.make_node("InstanceNormalization", ["a", "scale", "bias"], ["y"]),
    ]
    more = [
        numpy_helper.from_array(np.array(0.1, np.float32), "step"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
        numpy_helper.from_array(np.ones((3, 3, 3, 3), np.int8), "small"),
    ]
    model = onnx.load_from_string(_model(nodes))
    model.graph.initializer.extend(more)
    where = Graph(parse(model.SerializeToString())).locality()
    assert where.reach == 2 and [norm.reach for norm in where.norms] == [2]


def test_what_fits_is_kept_between_passes() -> None:
    graph = Graph(parse((ROOT / "weights" / "sketch2avatar.onnx").read_bytes()))
    for kept in (0.0, 15.0, 1000.0):
        steps = graph.passes(kept)
        assert [step.norm for step in steps] == [*range(7), None]
        there: set[str] = set()
        for step in steps:
            assert {m.name for m in step.reads} <= there
            there |= {m.name for m in step.makes}
            held = {m.name for m in step.holds}
            assert held <= there
            assert sum(m.bytes_per_pixel for m in step.holds) <= kept
            there = held
    assert all(step.picture and not step.makes for step in graph.passes(0))
    everything = graph.passes(1000)
    assert sum(step.picture for step in everything) == 3  # two norms, and the outermost skip
    assert max(step.reach for step in everything) < max(step.reach for step in graph.passes(0))


def test_pictures_may_enter_in_another_form() -> None:
    """uint8 (N, H, W, C) in and out, half precision between: tiles use the inner floats."""
    x = helper.make_tensor_value_info("picture", TensorProto.UINT8, [None, None, None, 3])
    y = helper.make_tensor_value_info("made", TensorProto.UINT8, None)
    half = [numpy_helper.from_array(v.astype(np.float16), n) for n, v in (
        ("w", np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 3))), ("s", np.ones(3)), ("b", np.zeros(3)))]  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["picture"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["img2img_x"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["img2img_x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["h", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("InstanceNormalization", ["c", "s", "b"], ["n"]),
        helper.make_node("Tanh", ["n"], ["t"]),
        helper.make_node("Cast", ["t"], ["img2img_y"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["img2img_y"], ["u"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["u"], ["made"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], half)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    read = Graph(parse(model.SerializeToString()))
    assert read.locality().reach == 1
    pixels = np.random.default_rng(1).uniform(-1, 1, (1, 3, 12, 16)).astype(np.float32)

    def run(data: bytes, **feeds: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return session.run(None, feeds)[0]

    first, last = read.passes(1000)
    inner = run(read.cut(first), img2img_x=pixels)
    assert inner.dtype == np.float16 and inner.shape == (1, 3, 12, 16)
    wide = inner.astype(np.float32)
    mean, variance = wide.mean((0, 2, 3)), wide.var((0, 2, 3))
    made = run(read.cut(last), img2img_x=pixels, mean_0=mean, variance_0=variance)
    expected = np.tanh((wide - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5))
    assert made.dtype == np.float32 and np.abs(made - expected).max() < 4e-3


def test_a_model_of_one_size_is_named() -> None:
    model = onnx.load_from_string(_model([CONV, helper.make_node("Relu", ["a"], ["y"])]))
    for k in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[k].dim_value = 256
    with pytest.raises(UnknownReach, match="256x256 only"):
        Graph(parse(model.SerializeToString()))


def test_the_shipped_models_can_be_tiled() -> None:
    for path in sorted(Path(ROOT / "weights").glob("*.onnx")):
        where = Graph(parse(path.read_bytes())).locality()
        statistics = open_runner(path, "cpu").info.norm_statistics
        assert bool(where.norms) == (statistics in ("instance", "batch"))
        assert 5 < where.reach < 400


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_a_dilated_convolution_is_followed(dilation: int) -> None:
    """A single bright pixel reaches as far as the graph says, and not less."""
    pads = [dilation] * 4
    node = helper.make_node("Conv", ["x", "w"], ["a"], pads=pads, dilations=[dilation] * 2)
    data = _model([node, helper.make_node("Tanh", ["a"], ["y"])])
    reach = Graph(parse(data)).locality().reach
    x = np.zeros((1, 3, 21, 21), np.float32)
    x[:, :, 10, 10] = 1
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rows = np.nonzero(session.run(None, {"x": x})[0].any((0, 1, 3)))[0]
    assert reach == dilation == 10 - rows.min() == rows.max() - 10


def test_a_model_whose_reach_is_unknown_is_translated_whole(tmp_path: Path) -> None:
    class Unknown(GraphTiledModel):
        def open(self, data: bytes) -> Opened:
            raise NotImplementedError

    nodes = [CONV, helper.make_node("Wobble", ["a"], ["y"])]
    with pytest.raises(UsageError, match="m: cannot be translated in tiles: its Wobble may look"):
        Unknown(parse(_model(nodes)), "m", 1.0)

"""ONNX files made elsewhere in tiles, and through OpenVINO: the pictures of the whole file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from img2img.diagnostics.bench import bench
from img2img.errors import UsageError
from img2img.onnx_format.folding import folded
from img2img.onnx_format.graph import Graph
from img2img.onnx_format.reading import parse_file, read_whole
from img2img.runners import open_runner
from img2img.tiling.tiles import translate_tiled
from tests.conftest import Cli, picture
from tests.reference_nets import TheirResNet, TheirUNet, shaken
from tests.test_foreign_onnx import ANY, by_hand, network

PIXELS = np.asarray(picture(190, 170, 3))


def exported(net: nn.Module, path: Path) -> Path:
    """As most files in the wild were: by torch's older exporter, which leaves the paddings of a
    reflection to be computed."""
    free = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 3, 64, 64),), str(path), dynamo=False, opset_version=17,
            input_names=["photo"], output_names=["made"],
            dynamic_axes={"photo": free, "made": free},
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wild")
    torch.manual_seed(0)
    nets = {
        "instance": shaken(TheirResNet(blocks=1)).eval(),
        "running": shaken(TheirResNet(blocks=1, norm="batch")).eval(),
        "unet": shaken(TheirUNet(depth=5)).eval(),
    }
    return {name: exported(net, folder / f"{name}.onnx") for name, net in nets.items()}


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["instance", "running", "unet"])
def test_tiles_give_the_picture_of_the_whole(
    files: dict[str, Path], kind: str, runner: str
) -> None:
    model = open_runner(files[kind], "cpu", runner, layout="nchw", value_range="-1..1")
    assert model.description == f"{runner} cpu fp32"
    whole = model(PIXELS)
    step = model.info.multiple_of
    height, width = (-(-side // step) * step for side in PIXELS.shape[:2])
    more = ((0, height - PIXELS.shape[0]), (0, width - PIXELS.shape[1]), (0, 0))
    wanted = by_hand(files[kind], np.pad(PIXELS, more, "reflect"), "nchw", -1, 1)
    assert np.abs(whole.astype(int) - wanted[: PIXELS.shape[0], : PIXELS.shape[1]]).max() <= 1
    made = translate_tiled(model, PIXELS, None, 64)
    assert made is not None and np.abs(made.astype(int) - whole).max() <= 1
    assert whole.std() > 5
    model.close()
    with pytest.raises(UsageError, match="closed"):
        model.tiled_model()


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("kind", "range_"), [("float32", "0..255"), ("uint8", None)])
def test_values_are_those_of_the_file_in_tiles_too(
    tmp_path: Path, kind: str, range_: str | None, layout: str
) -> None:
    path = network(tmp_path / "far.onnx", layout, kind)
    model = open_runner(path, "cpu", layout=layout, value_range=range_)
    made = translate_tiled(model, PIXELS, None, 64)
    assert made is not None and np.abs(made.astype(int) - model(PIXELS)).max() == 0


def no_transpose(path: Path) -> Path:
    """A network of the channels of a pixel, which stand last all through."""
    shape = ("n", "h", "w", 3)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("photo", "made"))
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["photo", "w"], ["made"])], "g", [x], [y], [weight]
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["onnxruntime", "openvino"])
def test_a_network_with_channels_last_is_cut(
    tmp_path: Path, files: dict[str, Path], runner: str
) -> None:
    """As converters write it: a Transpose at the start and one at the end."""
    model = onnx.load(files["instance"])
    graph = model.graph
    for node in graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = {"photo": "first"}.get(name, name)
        for k, name in enumerate(node.output):
            node.output[k] = {"made": "last"}.get(name, name)
    graph.node.insert(0, helper.make_node("Transpose", ["photo"], ["first"], perm=[0, 3, 1, 2]))
    graph.node.append(helper.make_node("Transpose", ["last"], ["made"], perm=[0, 2, 3, 1]))
    for ports, name in ((graph.input, "photo"), (graph.output, "made")):
        del ports[:]
        shape = ("n", "h", "w", 3)
        ports.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.save(model, tmp_path / "last.onnx")
    last = open_runner(tmp_path / "last.onnx", "cpu", runner, layout="nhwc", value_range="-1..1")
    first = open_runner(files["instance"], "cpu", runner, layout="nchw", value_range="-1..1")
    whole = last(PIXELS)
    assert np.abs(whole.astype(int) - first(PIXELS)).max() <= 1
    made = translate_tiled(last, PIXELS, None, 64)
    assert made is not None and np.abs(made.astype(int) - whole).max() <= 1


@pytest.mark.slow
def test_what_cannot_be_cut_is_refused_with_the_reason(tmp_path: Path) -> None:
    def refused(path: Path, words: str, layout: str = "nchw", range_: str = "0..1") -> None:
        model = open_runner(path, "cpu", layout=layout, value_range=range_)
        with pytest.raises(
            UsageError, match=rf"x: cannot be .* tiles: .*{words}.*; use `tile` off"
        ):
            model.tiled_model()

    path = tmp_path / "x.onnx"
    refused(no_transpose(path), "its channels come last, and no Transpose brings", "nhwc")
    refused(network(path, kind="float16"), "it takes float16 pictures")
    refused(network(path, shape=(2, 3, "h", "w")), "it takes 2 pictures at once")
    refused(network(path, shape=("n", 3, 24, 40)), "pictures of 40x24 only")
    refused(network(path, halving=True), "SpaceToDepth may look at the whole")
    # A pooling that keeps odd sides and no even ones: its grid is not that of the tiles.
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ANY) for n in ("photo", "made"))
    weight = numpy_helper.from_array(np.full((3, 3, 3, 3), 0.1, np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["photo", "w"], ["half"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["half", "w"], ["made"], strides=[2, 2], pads=[1] * 4),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    refused(path, "not multiples of 2, the stride of its coarsest map")


def test_what_depends_on_no_input_is_computed(tmp_path: Path) -> None:
    """Weights and paddings; not what is random, nor what depends on the picture."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ANY) for n in ("photo", "made"))
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int32), "p")
    nodes = [
        helper.make_node("Add", ["w", "w"], ["w2"]),
        helper.make_node("Cast", ["p"], ["p64"], to=TensorProto.INT64),
        helper.make_node("Pad", ["photo", "p64"], ["wide"], mode="reflect"),
        helper.make_node("RandomNormal", [], ["noise"], shape=[1, 3, 1, 1]),
        helper.make_node("Add", ["wide", "noise"], ["noisy"]),
        helper.make_node("Conv", ["noisy", "w2"], ["made"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight, pads])
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path = tmp_path / "x.onnx"
    path.write_bytes(made.SerializeToString())
    model = parse_file(read_whole(path), path)
    after = folded(model, path)
    assert [n.op for n in after.nodes] == ["Pad", "RandomNormal", "Add", "Conv"]
    assert after.constants["p64"].integers() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert after.constants["w2"].floats() == [2, 0, 0, 0, 2, 0, 0, 0, 2]
    assert folded(after, path) is after
    again = onnx.load_from_string(after.to_bytes())
    assert {t.name for t in again.graph.initializer} >= {"p64", "w2"}


def test_our_own_exports_have_nothing_to_compute(onnx_file: Path) -> None:
    model = parse_file(read_whole(onnx_file), onnx_file)
    assert Graph(folded(model, onnx_file)).locality() == Graph(model).locality()


def test_openvino_refuses_what_it_does_not_run(tmp_path: Path) -> None:
    path = network(tmp_path / "half.onnx", kind="float16")
    for options, words in (
        ({"device": "cpu"}, "holds fp16 weights; use `runner` onnxruntime"),
        ({"device": "cuda"}, "openvino runs on auto or cpu here, not on 'cuda'"),
    ):
        with pytest.raises(UsageError, match=words):
            open_runner(path, runner="openvino", layout="nchw", value_range="0..1", **options)


@pytest.mark.slow
def test_commands_take_tiles_and_openvino(
    tmp_path: Path, files: dict[str, Path], photos: Path, cli: Cli
) -> None:
    entry = ("--layout", "nchw", "--range", "-1..1")
    command = ("translate", photos / "two.png", "-m", files["instance"], *entry)
    for name, more in (
        ("whole", ()),
        ("tiles", ("--tile", "64")),
        ("vino", ("--runner", "openvino")),
    ):
        done = cli(*command, "-o", f"{name}.png", *more)
        assert done.returncode == 0, done.stderr
    rows = list(
        bench(str(files["unet"]), [(64, 64)], [1], seconds=0, layout="nchw", value_range="-1..1")
    )
    assert {row.runner for row in rows} == {"onnxruntime", "openvino"}
    assert all(not row.reason or row.precision != "fp32" for row in rows)

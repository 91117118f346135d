"""ONNX files made elsewhere: given their input format, tried in a child, then translated with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from img2img.errors import ModelError, UsageError
from img2img.images import read_picture
from img2img.onnx_format.trial import Trial, run_trial
from img2img.runners import open_runner
from img2img.runners.foreign_onnx import VALUE_RANGES
from tests.conftest import Cli, picture

KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
ANY: tuple[int | str, ...] = ("n", 3, "h", "w")


def network(
    path: Path,
    layout: str = "nchw",
    kind: str = "float32",
    shape: tuple[int | str, ...] = ANY,
    halving: bool = False,
    **more: onnx.NodeProto,
) -> Path:
    """Write a network that mixes the channels of a pixel; `halving`: by a grid of 2x2 pixels, so
    that sides must be even. `shape` is that of NCHW."""
    inside = KINDS["float32" if kind == "uint8" else kind]
    dims = shape if layout == "nchw" else tuple(shape[k] for k in (0, 2, 3, 1))
    x, y = (helper.make_tensor_value_info(name, KINDS[kind], dims) for name in ("photo", "made"))
    mix = np.array([[0.5, 0.25, 0.25], [0, 1, 0], [0.25, 0, 0.5]], np.float32)[:, :, None, None]
    wide = np.dtype("float16" if kind == "float16" else "float32")
    weights = [numpy_helper.from_array(mix.astype(wide), "mix")]
    nodes = [helper.make_node("Cast", ["photo"], ["c"], to=inside)]
    back, last = [0, 2, 3, 1], "c"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", ["c"], ["t"], perm=[0, 3, 1, 2]))
        last = "t"
    if halving:
        nodes += [
            helper.make_node("SpaceToDepth", [last], ["small"], blocksize=2),
            helper.make_node("DepthToSpace", ["small"], ["again"], blocksize=2),
        ]
        last = "again"
    nodes.append(helper.make_node("Conv", [last, "mix"], ["m"]))
    last = "m"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", ["m"], ["u"], perm=back))
        last = "u"
    nodes.append(helper.make_node("Cast", [last], ["made"], to=KINDS[kind]))
    graph = helper.make_graph([*nodes, *more.values()], "g", [x], [y], weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def by_hand(path: Path, pixels: np.ndarray, layout: str, low: float, high: float) -> np.ndarray:
    """What plain onnxruntime makes of the picture, as its author would call it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    kind = session.get_inputs()[0].type
    x = pixels[None].astype(np.float64) / 255 * (high - low) + low
    x = x.transpose(0, 3, 1, 2) if layout == "nchw" else x
    types = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
    x = (np.rint(x) if kind == "tensor(uint8)" else x).astype(types[kind])
    y = session.run(None, {"photo": x})[0].astype(np.float64)[0]
    y = y.transpose(1, 2, 0) if layout == "nchw" else y
    return np.rint(((y - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("kind", "range_"),
    [("float32", name) for name in VALUE_RANGES] + [("float16", "0..1"), ("uint8", "0..255")],
)
def test_it_gives_what_onnxruntime_gives(
    layout: str, kind: str, range_: str, tmp_path: Path
) -> None:
    path = network(tmp_path / "far.onnx", layout, kind)
    said = None if kind == "uint8" else range_
    runner = open_runner(path, "cpu", layout=layout, value_range=said)
    pixels = np.asarray(picture(41, 35, 3))
    wanted = by_hand(path, pixels, layout, *VALUE_RANGES[range_])
    assert np.abs(wanted.astype(int) - pixels).max() > 20
    levels = np.abs(runner(pixels).astype(int) - wanted).max()
    # float32 rounds elsewhere at most at a half; float16 has eleven bits.
    assert levels <= (1 if kind != "uint8" else 0)
    assert runner.info.multiple_of == 1 and runner.info.licence == "unknown"
    two = [pixels, pixels[::-1]]
    assert [p.shape for p in runner.batch(two)] == [(35, 41, 3)] * 2
    small = np.asarray(picture(5, 7, 3))
    wanted = by_hand(path, small, layout, *VALUE_RANGES[range_])
    assert np.abs(runner(small).astype(int) - wanted).max() <= 1
    runner.close()
    with pytest.raises(UsageError, match="closed"):
        runner(pixels)


def test_the_wrong_range_gives_another_picture(tmp_path: Path) -> None:
    """So the comparison above can fail."""
    path = network(tmp_path / "far.onnx", "nchw", more=helper.make_node("Abs", ["m"], ["unused"]))
    pixels = np.asarray(picture(41, 35, 3))
    made = [
        open_runner(path, "cpu", layout="nchw", value_range=r)(pixels) for r in ("-1..1", "0..1")
    ]
    assert np.abs(made[0].astype(int) - made[1]).max() > 10


def test_sizes_are_found_by_trying(tmp_path: Path) -> None:
    path = network(tmp_path / "even.onnx", halving=True)
    runner = open_runner(path, "cpu", layout="nchw", value_range="0..1")
    assert runner.info.multiple_of == 2
    pixels = np.asarray(picture(41, 35, 3))
    made = runner(pixels)
    even = by_hand(path, np.pad(pixels, ((0, 1), (0, 1), (0, 0)), "reflect"), "nchw", 0, 1)
    assert made.shape == pixels.shape and np.abs(made.astype(int) - even[:35, :41]).max() <= 1


def test_a_fixed_size_and_batch_say_so(tmp_path: Path) -> None:
    path = network(tmp_path / "fixed.onnx", shape=(2, 3, 24, 40))
    runner = open_runner(path, "cpu", layout="nchw", value_range="0..1")
    three = [np.asarray(picture(40, 24, k)) for k in range(3)]
    made = runner.batch(three)
    each = np.concatenate([t.transpose(2, 0, 1)[None] for t in three]).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    first = session.run(None, {"photo": each[:2]})[0]
    assert len(made) == 3
    assert np.abs(made[1].astype(int) - np.rint(first[1].transpose(1, 2, 0) * 255)).max() <= 1
    with pytest.raises(UsageError, match="takes only 40x24, not 41x35"):
        runner(np.asarray(picture(41, 35)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give `layout` nchw and `value_range` -1..1, 0..1 or 0..255, as its author says"),
        ({"layout": "nchw"}, "give `layout` nchw and `value_range`"),
        ({"value_range": "0..1"}, "`value_range` alone; give `layout` nchw or nhwc too"),
        ({"layout": "nhwc", "value_range": "0..1"}, "`layout` nhwc does not fit .* give `layout` nchw"),
        ({"layout": "chw", "value_range": "0..1"}, "`layout` chw: give nchw or nhwc"),
        ({"layout": "nchw", "value_range": "0..2"}, "`value_range` 0..2: give -1..1, 0..1, 0..255"),
        ({"layout": "nchw", "value_range": "0..1", "runner": "tensorrt"}, "run by onnxruntime or openvino"),
        ({"layout": "nchw", "value_range": "0..1", "precision": "fp16"}, "holds fp32 weights"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_reported(
    options: dict[str, str], words: str, tmp_path: Path
) -> None:
    path = network(tmp_path / "far.onnx")
    with pytest.raises((ModelError, UsageError), match=words):
        open_runner(path, "cpu", **options)  # type: ignore[arg-type]


def test_what_is_no_picture_network_is_refused(tmp_path: Path, onnx_file: Path) -> None:
    path = tmp_path / "x.onnx"

    def refused(words: str, layout: str = "nchw", value_range: str | None = "0..1") -> None:
        with pytest.raises((ModelError, UsageError), match=words) as caught:
            open_runner(path, "cpu", layout=layout, value_range=value_range)
        assert str(caught.value).count("\n") == 0

    model = onnx.load(str(network(path)))
    model.graph.output.append(helper.make_tensor_value_info("m", 1, ANY))
    path.write_bytes(model.SerializeToString())
    refused(r"has 2 outputs \(made, float32 .*one of each is needed")
    network(path, shape=("n", 3, 0, "w"))
    refused("not a picture")
    network(path, kind="uint8")
    refused("which is 0..255; leave `value_range` out")
    path.write_bytes(onnx_file.read_bytes())
    refused("leave `layout` and `value_range` out")
    x, y = (
        helper.make_tensor_value_info("photo", 1, ANY),
        helper.make_tensor_value_info("y", 1, None),
    )
    nodes = {
        "its output differs from its input in size: it turns 33x35": helper.make_node(
            "MaxPool", ["photo"], ["y"], kernel_shape=[3, 3]
        ),
        r"it gives \(1, 99\), not one picture": helper.make_node("Flatten", ["photo"], ["y"]),
        "onnxruntime refuses it": helper.make_node("NoSuchOperator", ["photo"], ["y"]),
        "it gives 6 channels": helper.make_node("Concat", ["photo", "photo"], ["y"], axis=1),
        "numbers of type bool": helper.make_node("IsNaN", ["photo"], ["y"]),
    }
    for words, node in nodes.items():
        y.type.tensor_type.elem_type = TensorProto.BOOL if "bool" in words else TensorProto.FLOAT
        graph = helper.make_graph([node], "g", [x], [y])
        opset = [helper.make_opsetid("", 20)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=8)
        path.write_bytes(made.SerializeToString())
        if "99" in words:
            words = r"it gives \(1, \d+\), not one picture"
        refused(words.replace("33x35", r"\d+x\d+"))


WISH = Trial(3, False, "float32", 0.0, 1.0, None, None, None)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.abort()", r"far.onnx: its trial run crashed \((signal 6|code \d+)\)"),
        ("import time; time.sleep(3600)", "its trial run hung for 1 s"),
        ("raise SystemExit(3)", r"crashed \(code 3\)"),
        ("import sys; open(sys.argv[2], 'w').write('{')", r"crashed \(code 0\)"),
    ],
)  # fmt: skip
def test_a_library_that_crashes_or_hangs_ends_the_child_alone(
    program: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=words):
        run_trial(bytes(10**6), WISH, "far.onnx", timeout=1 if "hung" in words else 300,
              command=(sys.executable, "-c", program))  # fmt: skip


def test_the_trial_imports_nothing_from_where_the_model_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime.py", "numpy.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    network(tmp_path / "far.onnx")
    monkeypatch.chdir(tmp_path)
    assert open_runner("far.onnx", "cpu", layout="nchw", value_range="0..1").info.name == "far"


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_a_graph_that_wants_all_memory_is_refused(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(n, 1, ANY) for n in ("photo", "y"))
    shape = numpy_helper.from_array(np.array([2**17, 2**17], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["much"]),
        helper.make_node("ReduceMax", ["much"], ["one"], keepdims=0),
        helper.make_node("Add", ["photo", "one"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"x\.onnx: "):
        open_runner(tmp_path / "x.onnx", "cpu", layout="nchw", value_range="0..1")


@pytest.mark.slow
def test_a_folder_is_translated(tmp_path: Path, photos: Path, cli: Cli) -> None:
    network(tmp_path / "far.onnx")
    command = ("translate", photos, "-o", "out", "-m", "far.onnx")
    done = cli(*command)
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "not an ONNX model made by img2img" in done.stderr and not (tmp_path / "out").exists()
    done = cli(*command, "--layout", "nchw", "--range", "-1..1")
    assert done.returncode == 0, done.stderr
    assert "far was not made by img2img; its licence and training are unknown" in done.stderr
    made = np.asarray(Image.open(tmp_path / "out" / "two.png"))
    pixels = read_picture(photos / "two.png").pixels
    wanted = by_hand(tmp_path / "far.onnx", pixels, "nchw", -1, 1)
    assert np.abs(made.astype(int) - wanted).max() <= 1
    # With other values it is another model, which replaces nothing unasked.
    other = (*command, "--layout", "nchw", "--range", "0..1", "--json")
    done = cli(*other)
    assert done.returncode == 2 and "range -1..1, not 0..1" in done.stderr
    done = cli(*other, "--overwrite")
    assert '"redone": 3' in done.stdout, done.stdout


@pytest.mark.slow
def test_other_commands_take_it_too(tmp_path: Path, cli: Cli) -> None:
    network(tmp_path / "far.onnx")
    entry = ("--layout", "nchw", "--range", "0..1")
    shown = cli("models", "show", "far.onnx", *entry, "--all")
    assert shown.returncode == 0 and "licence: unknown" in shown.stdout, shown.stderr
    assert "value_range: (0.0, 1.0)" in shown.stdout and "layout: NCHW" in shown.stdout
    assert cli("models", "show", "far.onnx").returncode == 3
    measured = cli("bench", "far.onnx", "--size", "40", "--seconds", "0", *entry)
    assert measured.returncode == 0 and "onnxruntime" in measured.stdout, measured.stderr
    assert cli("models", "show", "sketch2avatar", *entry).returncode == 2

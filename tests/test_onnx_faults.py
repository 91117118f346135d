"""Damaged, hostile and contradictory ONNX files: refused in one line, nothing outside opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from img2img.errors import Img2ImgError, ModelError
from img2img.exporting.graphs import read_graph
from img2img.model_format.export_info import EXPORT_KEY, ExportInfo
from img2img.model_format.find import find_model, shipped
from img2img.model_format.info import KEY, ModelInfo
from img2img.onnx_format.protobuf import write
from img2img.onnx_format.reading import DIGEST_KEY, NO_DIGEST, read_whole, verified
from img2img.onnx_format.validation import parse, starts_like_one
from img2img.runners import open_runner
from tests import modelfaults
from tests.conftest import Cli
from tests.counted import calls
from tests.graph_makers import inverting
from tests.modelfaults import renewed

Change = Callable[[onnx.ModelProto], object]


def plain(*nodes: onnx.NodeProto, opset: int = 20) -> onnx.ModelProto:
    """A small float model, of a convolution and `nodes`, that says nothing of itself."""
    x, y = (helper.make_tensor_value_info(n, 1, ["n", 3, "h", "w"]) for n in "xy")
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")
    first = helper.make_node("Conv", ["x", "w"], ["a"])
    last = nodes or (helper.make_node("Neg", ["a"], ["y"]),)
    graph = helper.make_graph([first, *last], "g", [x], [y], [weights])
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def ours(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model as one of ours, whose digest is right: what a hostile author can do."""
    info = ModelInfo("evil", "pix2pix", "unet", {}, 3, 3, 1, 1, "none", "exact", 64, licence="free")
    properties = {KEY: json.dumps(info.to_dict()), DIGEST_KEY: NO_DIGEST.decode()}
    helper.set_model_props(model, properties)
    path.write_bytes(renewed(model.SerializeToString(deterministic=True)))
    return path


def outside(tensor: onnx.TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "36")):
        tensor.external_data.add(key=key, value=value)


def initializer(model: onnx.ModelProto, location: str) -> None:
    outside(model.graph.initializer[0], location)


def entries_alone(model: onnx.ModelProto, location: str) -> None:
    model.graph.initializer[0].external_data.add(key="location", value=location)


def of_an_attribute(model: onnx.ModelProto, location: str) -> None:
    tensor = numpy_helper.from_array(np.ones(9, np.float32), "c")
    outside(tensor, location)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def of_a_list(model: onnx.ModelProto, location: str) -> None:
    of_an_attribute(model, location)
    attribute = model.graph.node[-1].attribute[0]
    attribute.tensors.append(attribute.t)
    attribute.ClearField("t")


def sparse(model: onnx.ModelProto, location: str) -> None:
    values = numpy_helper.from_array(np.ones(9, np.float32), "s")
    indices = numpy_helper.from_array(np.arange(9), "i")
    made = helper.make_sparse_tensor(values, indices, [100])
    outside(made.values, location)
    model.graph.sparse_initializer.append(made)


def sparse_attribute(model: onnx.ModelProto, location: str) -> None:
    sparse(model, location)
    node = helper.make_node("Constant", [], ["s"])
    node.attribute.add(
        name="sparse_value",
        type=onnx.AttributeProto.SPARSE_TENSOR,
        sparse_tensor=model.graph.sparse_initializer[0],
    )
    del model.graph.sparse_initializer[:]
    model.graph.node.append(node)


def subgraph(model: onnx.ModelProto, location: str) -> None:
    inner = onnx.GraphProto(name="then")
    inner.CopyFrom(model.graph)
    outside(inner.initializer[0], location)
    node = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=model.graph)
    model.graph.node.append(node)


PLACES = [
    initializer, entries_alone, of_an_attribute, of_a_list, sparse, sparse_attribute, subgraph,
]  # fmt: skip
# What is opened is watched by Python's own hook and by the secret file's time of access, because
# a library opens files without telling Python.
WATCHED = """
import os, sys
path, secret = sys.argv[1:3]
opened = []
from img2img.errors import ModelError
from img2img.exporting.graphs import read_graph
from img2img.runners import open_runner
import onnxruntime
sys.addaudithook(lambda name, given: opened.append(str(given[0])) if name == "open" else None)
calls = [lambda: open_runner(path, "cpu"), lambda: read_graph(__import__("pathlib").Path(path)),
         lambda: open_runner(path, "cpu", layout="nchw", value_range="0..1")]
for call in calls:
    try:
        call()
    except ModelError as error:
        print(error)
print([name for name in opened if name.endswith("secret")])
"""


@pytest.mark.parametrize(
    ("place", "how"),
    [(place, "relative") for place in PLACES]
    + [
        (p, how)
        for p in (initializer, subgraph)
        for how in ("absolute", "above", "symbolic", "hard")
    ],
)
def test_contents_outside_are_refused_unread(
    place: Callable[[onnx.ModelProto, str], None], how: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.eye(3, dtype=np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    locations = {"absolute": str(secret), "above": "../secret"}
    if how == "symbolic":
        (folder / "secret").symlink_to(secret)
    elif how == "hard":
        os.link(secret, folder / "secret")
    elif how == "relative":
        secret = secret.rename(folder / "secret")
    os.utime(secret, (1, 1))  # so that the first reading changes the time of access
    model = plain()
    place(model, locations.get(how, "secret"))
    path = ours(model, folder / "m.onnx")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, path, secret], capture_output=True, text=True, cwd=folder
    )
    *refusals, opened = done.stdout.splitlines()
    assert len(refusals) == 3, done.stderr
    assert all("in another file; save it as one file" in line for line in refusals)
    assert opened == "[]" and secret.stat().st_atime == 1


def test_a_reading_would_be_noticed(tmp_path: Path) -> None:
    """The same file opens in onnxruntime itself, and the time of access tells it."""
    import onnxruntime

    secret = tmp_path / "secret"
    secret.write_bytes(np.eye(3, dtype=np.float32).tobytes())
    os.utime(secret, (1, 1))
    if not secret.read_bytes() or secret.stat().st_atime == 1:
        pytest.skip("this disk keeps no time of access")
    os.utime(secret, (1, 1))
    model = plain()
    initializer(model, "secret")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert secret.stat().st_atime != 1


def _dims(model: onnx.ModelProto, *dims: int) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)


def _nested(model: onnx.ModelProto) -> None:
    graph = model.graph
    for _ in range(8):
        node = helper.make_node("If", ["c"], ["z"], then_branch=graph)
        graph = helper.make_graph([node], "g", [], [])
    model.graph.node.append(graph.node[0])


def _node(op: str, domain: str = "", **attributes: object) -> Change:
    return lambda m: m.graph.node.append(
        helper.make_node(op, ["a"], ["b"], domain=domain, **attributes)
    )


def _opset(version: int, domain: str = "") -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.append(helper.make_opsetid(domain, version))

    return change


HOSTILE: list[tuple[str, Change]] = [
    ("operators that are not ONNX's own: com.microsoft.Gelu", _node("Gelu", "com.microsoft")),
    ("not ONNX's own: evil.A, evil.B, evil.C and 1 more",
     lambda m: [_node(op, "evil")(m) for op in "ABCD"]),
    ("com.microsoft.EPContext", _node("EPContext", "com.microsoft", ep_cache_context="/etc/passwd")),
    ("opset 6; opsets 7 to", _opset(6)),
    ("opset 99; opsets 7 to", _opset(99)),
    ("no opset", _opset(20, "elsewhere")),
    ("no opset", lambda m: m.ClearField("opset_import")),
    ("format version 99", lambda m: setattr(m, "ir_version", 99)),
    ("impossible sizes", lambda m: _dims(m, 2**60, 2**60)),
    ("impossible sizes", lambda m: _dims(m, -1, 3)),
    ("other sizes than its contents", lambda m: _dims(m, 2**30, 2**30)),
    ("other sizes than its contents", lambda m: _dims(m, 3, 3, 1, 2)),
    ("a longer list than expected", lambda m: _dims(m, *[1] * 100)),
    ("unknown type, 77", lambda m: setattr(m.graph.initializer[0], "data_type", 77)),
    ("a size of -5", lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", -5)),
    ("graphs within graphs", _nested),
    ("an attribute strides of 0", _node("MaxPool", kernel_shape=[2, 2], strides=[0, 0])),
    ("an attribute kernel_shape of 4611", _node("MaxPool", kernel_shape=[2**62, 2])),
    ("no network of ours has Loop", _node("Loop")),
    ("functions of its own", lambda m: m.functions.add(name="f", domain="d")),
    ("graphs for training", lambda m: m.training_info.add()),
    ("needs one input, and one output; its graph has 2",
     lambda m: m.graph.input.append(helper.make_tensor_value_info("more", 1, [1]))),
    ("needs one input, and one output; its graph has 1 and 2",
     lambda m: m.graph.output.append(helper.make_tensor_value_info("a", 1, [1]))),
    ("its input is not a picture",
     lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE)),
    ("has 4 channels, its metadata says 3",
     lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 4)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "change"), HOSTILE, ids=[words for words, _ in HOSTILE])
def test_hostile_files_with_a_right_digest(words: str, change: Change, tmp_path: Path) -> None:
    model = plain()
    change(model)
    path = ours(model, tmp_path / "m.onnx")
    for call in (lambda: open_runner(path, "cpu"), lambda: read_graph(path)):
        with pytest.raises(ModelError) as caught:
            call()
        assert words in str(caught.value) and "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")

    def refused() -> None:
        with pytest.raises(ModelError):
            read_graph(path)

    assert calls(refused) < 10_000  # refused at once: at most 1300 when this was written


def test_the_unchanged_model_opens(tmp_path: Path) -> None:
    path = ours(plain(), tmp_path / "m.onnx")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(open_runner(path, "cpu")(pixels), 255 - pixels)


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_models_pass_at_once(name: str) -> None:
    data = find_model(name, (".onnx",)).read_bytes()
    assert calls(lambda: parse(data)) < 100_000  # 32 000, and 4 ms, when this was written
    seen = parse(data)
    domain = ["domain"] if open_runner(find_model(name, (".onnx",)), "cpu").info.domains else []
    names = [port.name for port in (*seen.inputs, *seen.outputs)]
    assert names == ["input", *domain, "output"]


@pytest.mark.slow
def test_what_is_a_bomb_or_another_format_is_refused_at_once(tmp_path: Path) -> None:
    data = plain().SerializeToString()
    orted = b"\x08\x09\x12\x08ORTM\0\0\0\0" + data[2:]
    onnx.load_from_string(orted)  # a valid message all the same
    files = {
        "another format": orted,
        "too many fields": b"\x08\x09" + write(7, b"\x0a\x00" * 2_000_000),
        "field 7 twice": data + write(7, b""),
        "field number": data + b"\xfa\xff\xff\xff\xff\x01\x00",
        "no graph": b"\x08\x09",
        "cut short": data[:-3],
        "an unknown field": b"\x08\x09" + write(7, write(5, write(30, 1))),
    }

    def refused(words: str, content: bytes) -> None:
        with pytest.raises(ValueError, match=words):
            parse(content)

    for words, content in files.items():  # 3.8 million for two million fields, 81 for the others
        assert calls(lambda w=words, c=content: refused(w, c)) < 8_000_000, words
    path = tmp_path / "x.onnx"
    with open(path, "wb") as file:
        file.truncate(2**31 - 2)  # of zeros, on no disk
    with pytest.raises(ModelError, match="an ONNX file does not start like this"):
        read_whole(path)
    with open(path, "ab") as file:
        file.truncate(2**33)
    with pytest.raises(ModelError, match="larger than 2 GiB"):
        read_whole(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo.onnx")
        with pytest.raises(ModelError, match="not a regular file"):
            open_runner(tmp_path / "fifo.onnx", "cpu")


@pytest.mark.parametrize("key", [KEY, EXPORT_KEY])
@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{}", "[]", "7", "null", '{"schema": 1}', '"' + "x" * 2**24, '{"name": NaN}'],
)
def test_strange_metadata_are_refused(key: str, text: str, onnx_file: Path, tmp_path: Path) -> None:
    saved = onnx.load(str(onnx_file))
    reported = {p.key: p.value for p in saved.metadata_props}
    helper.set_model_props(saved, reported | {key: text, DIGEST_KEY: NO_DIGEST.decode()})
    path = tmp_path / "m.onnx"
    path.write_bytes(renewed(saved.SerializeToString(deterministic=True)))
    with pytest.raises(ModelError) as caught:
        verified(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 500


def test_names_in_messages_stay_on_one_line(tmp_path: Path) -> None:
    model = plain()
    model.graph.input[0].name = "x\n\x1b[31m" + "y" * 500
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"input is x\?\?\[31my+\.\.\., float32") as caught:
        verified(tmp_path / "m.onnx")
    assert len(str(caught.value)) < 500
    model.graph.node[0].name = "n" * 2**17
    model.graph.node[0].op_type = "n" * 2**17
    with pytest.raises(ValueError, match="a name that is too long"):
        parse(model.SerializeToString())


def test_large_files_are_read() -> None:
    start = plain().SerializeToString() + bytes(100)
    long = b"\x08\x09" + write(2, "x" * 70_000) + start[2:]
    starts_like_one(long[: 2**16], len(long))
    with pytest.raises(ValueError, match="cut short"):
        starts_like_one(long[: 2**16], 2**16 + 10)


def test_metadata_that_contradict_the_graph(onnx_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    saved = onnx.load(str(onnx_file))
    reported = {p.key: p.value for p in saved.metadata_props}
    contradictions = [
        (EXPORT_KEY, {"io": "float"}, "its graph is of io uint8"),
        (EXPORT_KEY, {"opset": 18}, "its graph is of opset 20, its metadata says 18"),
        (EXPORT_KEY, {"height": 64, "width": 64}, "takes any as height, its metadata says 64"),
        (EXPORT_KEY, {"batch": 2}, "takes any as batch, its metadata says 2"),
        (EXPORT_KEY, {"inputs": ["other"]}, "not those that its metadata names"),
        (KEY, {"in_channels": 1}, "input has 3 channels, its metadata says 1"),
        (KEY, {"out_channels": 1}, "output has 3 channels, its metadata says 1"),
        (KEY, {"domains": ["a", "b"]}, "one for the domain, and one output; its graph has 1"),
    ]
    for key, wrong, words in contradictions:
        text = json.dumps(json.loads(reported[key]) | wrong)
        helper.set_model_props(saved, reported | {key: text, DIGEST_KEY: NO_DIGEST.decode()})
        path.write_bytes(renewed(saved.SerializeToString(deterministic=True)))
        with pytest.raises(ModelError, match=words):
            verified(path)
    helper.set_model_props(saved, reported | {DIGEST_KEY: NO_DIGEST.decode()})
    path.write_bytes(renewed(saved.SerializeToString(deterministic=True)))
    verified(path)
    domains = inverting(tmp_path / "d.onnx", domains=("a", "b"))
    model = onnx.load(str(domains))
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 3
    helper.set_model_props(
        model,
        {p.key: p.value for p in model.metadata_props} | {DIGEST_KEY: NO_DIGEST.decode()},
    )
    path.write_bytes(renewed(model.SerializeToString(deterministic=True)))
    with pytest.raises(ModelError, match="its domain has 3 domains, its metadata says 2"):
        verified(path)
    assert ExportInfo().inputs == ("input",)


def test_turned_bits_are_never_silent(onnx_file: Path, tmp_path: Path) -> None:
    seen = modelfaults.flips(onnx_file, tmp_path, 400, seed=1)
    assert seen["silent"] == seen["badly worded"] == 0
    assert seen["refused"] + seen["identical"] == 400


def test_turned_bits_with_a_new_digest_crash_nothing(onnx_file: Path, tmp_path: Path) -> None:
    seen = modelfaults.structure_flips(onnx_file, tmp_path, 60, seed=1)
    assert set(seen) <= set(modelfaults.GOOD), seen
    assert seen["refused"] > 10


@pytest.mark.parametrize("key", [DIGEST_KEY, KEY, EXPORT_KEY])
def test_a_damaged_name_of_metadata_is_no_foreign_file(
    key: str, onnx_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(
        onnx_file.read_bytes().replace(key.encode() + b"\x12", b"_" * len(key) + b"\x12")
    )
    with pytest.raises(Img2ImgError, match=r"damaged|made by img2img"):
        open_runner(path, "cpu")
    with pytest.raises(Img2ImgError, match="made by img2img"):
        open_runner(path, "cpu", layout="nhwc")


def test_a_model_named_like_a_path_writes_in_the_output_folder(
    tmp_path: Path, photos: Path, cli: Cli
) -> None:
    path = inverting(tmp_path / "m.onnx", name="../../up")
    done = cli("translate", photos, "-o", "a/b/out", "-m", path, "--name", "{model}-{stem}")
    assert done.returncode == 0, done.stderr
    made = {p.relative_to(tmp_path / "a/b/out").as_posix() for p in tmp_path.rglob("*up-*")}
    assert made == {".._.._up-one.jpg", ".._.._up-two.png", "sub/.._.._up-one.jpg"}


@pytest.mark.slow
def test_the_command_says_it_in_one_line(tmp_path: Path, photos: Path, cli: Cli) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    evil = plain()
    initializer(evil, "/etc/hostname")
    ours(evil, tmp_path / "evil.onnx")
    for name in ("text.onnx", "evil.onnx"):
        for command in (
            ("translate", photos, "-o", "out", "-m"),
            ("models", "show"),
            ("export", "--web", "page"),
        ):
            done = cli(*command, name)
            assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
            assert name in done.stderr

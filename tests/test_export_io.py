"""What an exported file takes, gives and says: pixels or floats, any size or one, old files too."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import img2img
from img2img.errors import ModelError, UsageError
from img2img.exporting import onnx as export
from img2img.exporting.onnx import ExportOptions, export_onnx
from img2img.exporting.pixel_io import with_io
from img2img.images import from_network, to_network
from img2img.model_format.checkpoint import load_model, save_model
from img2img.model_format.export_info import EXPORT_KEY, ExportInfo
from img2img.model_format.find import shipped, weights_folder
from img2img.onnx_format.float_core import AROUND, float_core
from img2img.onnx_format.reading import DIGEST_KEY, NO_DIGEST, digest_of
from img2img.onnx_format.validation import parse
from img2img.runners.onnx import OnnxRunner
from tests.conftest import Cli, info_of, picture, small_generator, stargan


def session(data: bytes) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def pixels(*shape: int) -> Any:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def saved(folder: Path, generator: Any, **more: object) -> Path:
    path = folder / "m.safetensors"
    save_model(path, generator, info_of(generator, **more))
    return path


@pytest.fixture(scope="module")
def float_file(model_file: Path) -> Path:
    path = model_file.with_name("float.onnx")
    export_onnx(model_file, path, ExportOptions(io="float"))
    return path


def test_pixels_go_in_and_come_out(onnx_file: Path, float_file: Path) -> None:
    x = pixels(3, 33, 41, 3)
    given = session(onnx_file.read_bytes())
    assert [v.type for v in (*given.get_inputs(), *given.get_outputs())] == ["tensor(uint8)"] * 2
    y = given.run(None, {"input": x})[0]
    planes = to_network(x.astype(np.float32)).transpose(0, 3, 1, 2)
    values = session(float_file.read_bytes()).run(None, {"input": planes})[0]
    assert y.dtype == np.uint8 and y.shape == x.shape and y.std() > 5
    assert np.array_equal(y, from_network(values).transpose(0, 2, 3, 1))


def test_pixels_are_normalised_and_rounded_as_everywhere_else() -> None:
    """Through a network that is a mere multiplication, halves and overflow among its results."""
    halves = 0
    for factor, shift in ((1.0, 0.0), (0.5, -0.5), (0.5, 0.1), (2.0, 0.3)):
        names = ("img2img_x", "img2img_y")
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "height", "width"])
            for name in names
        ]
        constants = [
            helper.make_tensor(name, TensorProto.FLOAT, [], [value])
            for name, value in (("factor", factor), ("shift", shift))
        ]
        nodes = [
            helper.make_node("Mul", [names[0], "factor"], ["product"]),
            helper.make_node("Add", ["product", "shift"], [names[1]]),
        ]
        graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
        core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        data = with_io(core, "uint8").SerializeToString()
        x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
        y = session(data).run(None, {"input": x})[0]
        wanted = to_network(x.astype(np.float32)) * np.float32(factor) + np.float32(shift)
        assert np.array_equal(y, from_network(wanted))
        levels = (wanted + 1) * 127.5
        halves += int(((levels % 1 == 0.5) & (np.floor(levels) % 2 == 0)).sum())
    assert halves  # where half to even differs from half up


def test_the_float_network_is_cut_out_of_both_kinds(onnx_file: Path, float_file: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 19, 23)).astype(np.float32)
    results = []
    for path, io in ((onnx_file, "uint8"), (float_file, "float")):
        whole = parse(path.read_bytes())
        core = float_core(whole).to_bytes()
        assert whole.io == io
        model = onnx.load_from_string(core)
        onnx.checker.check_model(model)
        assert [v.name for v in (*model.graph.input, *model.graph.output)] == [
            "img2img_x", "img2img_y",
        ]  # fmt: skip
        assert not [n.name for n in model.graph.node if n.name.startswith(AROUND)]
        assert [n for n in onnx.load(str(path)).graph.node if n.name.startswith(AROUND)]
        results.append(session(core).run(None, {"img2img_x": x})[0])
    assert np.array_equal(*results) and np.array_equal(results[0], OnnxRunner(onnx_file).infer(x))
    for bad in (b"\x3a\xff\x01", b"\x3a\x02", b"\xff" * 12, b"\x0d\0\0"):
        with pytest.raises(ValueError, match=r"cut short|a number of more"):
            parse(bad)


@pytest.mark.slow
def test_domains_stay_the_second_input(tmp_path: Path) -> None:
    source = stargan(tmp_path / "m.safetensors")
    facts = export_onnx(source, tmp_path / "m.onnx")
    assert facts.inputs == ("input", "domain") and len(facts.parity) == 7
    data = (tmp_path / "m.onnx").read_bytes()
    for content, first in ((data, "input"), (float_core(parse(data)).to_bytes(), "img2img_x")):
        assert [v.name for v in session(content).get_inputs()] == [first, "domain"]
    x, domain = pixels(1, 20, 31, 3), np.array([[0, 1, 0]], np.float32)
    y = session(data).run(None, {"input": x, "domain": domain})[0][0]
    assert np.array_equal(y, OnnxRunner(tmp_path / "m.onnx")(x[0], (0, 1, 0)))


def test_sixteen_bits_keep_their_depth(model_file: Path, onnx_file: Path) -> None:
    deep = np.asarray(picture(64, 48, 2)).astype(np.uint16) * 257 + pixels(48, 64, 3)
    ours, torchs = OnnxRunner(onnx_file)(deep), img2img.open_runner(model_file, "cpu")(deep)
    assert ours.dtype == np.uint16 and len(np.unique(ours % 257)) > 200
    assert np.abs(ours.astype(int) - torchs.astype(int)).max() <= 8


@pytest.mark.slow
def test_grey_models_have_one_channel_last(tmp_path: Path) -> None:
    generator = small_generator("resnet", padding="zero", in_channels=1, out_channels=1)
    export_onnx(saved(tmp_path, generator), tmp_path / "m.onnx")
    y = session((tmp_path / "m.onnx").read_bytes()).run(None, {"input": pixels(2, 21, 30, 1)})[0]
    assert y.shape == (2, 21, 30, 1) and y.dtype == np.uint8
    assert OnnxRunner(tmp_path / "m.onnx")(pixels(9, 9, 3)).shape == (9, 9, 1)


@pytest.mark.slow
def test_a_fixed_size_and_batch(model_file: Path, onnx_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    facts = export_onnx(model_file, path, ExportOptions(size=(40, 27), batch=2))
    assert [(r.batch, r.height, r.width) for r in facts.parity] == [(2, 40, 27)]
    assert session(path.read_bytes()).get_inputs()[0].shape == [2, 40, 27, 3]
    fixed, free = OnnxRunner(path), OnnxRunner(onnx_file)
    several = [pixels(40, 27, 3) // (k + 1) for k in range(5)]  # two batches and a half
    for a, b in zip(fixed.batch(several), free.batch(several), strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
    with pytest.raises(UsageError, match="exported for 27x40 only, not for 40x27"):
        fixed(pixels(27, 40, 3))
    plain = export_onnx(model_file, path, ExportOptions(size=(32, 64)))
    assert [r.batch for r in plain.parity] == [1, 3]
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "Gather" not in kinds and "Range" not in kinds  # 32x64 needs no extending


@pytest.mark.slow
@pytest.mark.parametrize("opset", [export.OPSETS[0], export.OPSETS[-1]])
def test_the_ends_of_the_opsets(opset: int, tmp_path: Path) -> None:
    generator = small_generator(attention=True, upsample="resize")
    facts = export_onnx(saved(tmp_path, generator), tmp_path / "m.onnx", ExportOptions(opset=opset))
    model = onnx.load(str(tmp_path / "m.onnx"))
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    assert facts.opset == opset


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExportOptions(opset=17), "opset 17 is not in 18 to 22"),
        (ExportOptions(opset=23), "opset 23"),
        (ExportOptions(size=(0, 5)), "static size 0x5 is impossible"),
        (ExportOptions(batch=0), "batch 0 is impossible"),
        (ExportOptions(precision="fp16"), "fp16 is evaluated on real pictures: give `pictures`"),
    ],
)
def test_impossible_options(
    options: ExportOptions, words: str, model_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        export_onnx(model_file, tmp_path / "m.onnx", options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "count"),
    [("unet", {"norm": "batch"}, 3), ("unet", {}, 3), ("resnet", {"norm": "batch"}, 7)],
)
def test_norms_by_each_pictures_statistics_stay_one_node(
    name: str, options: dict[str, object], count: int
) -> None:
    generator = small_generator(name, **options)
    size = (64, 64) if options else None
    core = export.to_core(generator, ExportOptions(size=size))
    norms = [n for n in core.graph.node if n.op_type == "InstanceNormalization"]
    assert len(norms) == count and all(len(n.input) == 3 for n in norms)


@pytest.mark.slow
def test_the_same_export_twice_is_the_same_file(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = []
    for name in ("a.onnx", "b.onnx"):
        facts = export_onnx(model_file, tmp_path / name, ExportOptions(size=(32, 32)))
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1] and facts.created == "2023-11-14T22:13:20Z"


def test_the_file_says_what_another_program_needs(
    model_file: Path, onnx_file: Path, cli: Cli
) -> None:
    properties = {p.key: p.value for p in onnx.load(str(onnx_file)).metadata_props}
    facts = json.loads(properties[EXPORT_KEY])
    assert (facts["io"], facts["layout"], facts["value_range"]) == ("uint8", "NHWC", [0.0, 255.0])
    assert facts["source_sha256"] == hashlib.sha256(model_file.read_bytes()).hexdigest()
    assert facts["height"] is None and facts["opset"] == 20 and facts["precision"] == "fp32"
    assert facts["versions"]["onnxruntime"] == onnxruntime.__version__
    assert facts["pictures"] == "synthetic, photograph-like"
    assert {(r["batch"], r["height"] % 2) for r in facts["parity"]} == {(1, 0), (3, 0), (3, 1)}
    assert OnnxRunner(onnx_file).export == ExportInfo.from_json(properties[EXPORT_KEY], "x")
    shown = cli("models", "show", onnx_file, "--all")
    assert shown.returncode == 0, shown.stderr
    for words in ("  io: uint8", "  height: any", "    3   97x65 ", "multiple_of: 8"):
        assert words in shown.stdout
    whole = json.loads(cli("models", "show", onnx_file, "--json").stdout)
    assert whole["export"] == facts and whole["multiple_of"] == 8


def rewritten(path: Path, target: Path, change: Any) -> Path:
    """A copy whose own digest is right, with `change` made to the text of its export metadata."""
    model = onnx.load(str(path))
    for entry in model.metadata_props:
        if entry.key == EXPORT_KEY:
            entry.value = change(entry.value)
        if entry.key == DIGEST_KEY:
            entry.value = NO_DIGEST.decode()
    data = model.SerializeToString(deterministic=True)
    digest, place = digest_of(data)
    target.write_bytes(data[:place] + digest.encode() + data[place + 64 :])
    return target


def test_metadata_that_contradicts_the_graph_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    for change, words in (
        (lambda text: text, None),
        (lambda text: text.replace('"io": "uint8"', '"io": "float"'), "its graph is of io uint8"),
        (lambda text: text.replace('"io": "uint8"', '"io": "bytes"'), "unreadable: io is 'bytes'"),
        (lambda text: text.replace('"height": null', '"height": 9', 1), "not fixed together"),
        (lambda text: "{", "img2img_export is unreadable"),
        (lambda text: "[]", "img2img_export is unreadable"),
    ):
        path = rewritten(onnx_file, tmp_path / "m.onnx", change)
        if words is None:
            assert OnnxRunner(path).export
            continue
        with pytest.raises(ModelError, match=words):
            OnnxRunner(path)


def test_files_from_before_still_open(float_file: Path, tmp_path: Path) -> None:
    """As an older version wrote them: the network's tensors are the inputs, no export metadata."""
    data = float_core(parse(float_file.read_bytes())).to_bytes()
    model = onnx.load_from_string(data)
    kept = [entry for entry in model.metadata_props if entry.key != EXPORT_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (tmp_path / "raw.onnx").write_bytes(model.SerializeToString())
    old = OnnxRunner(rewritten(tmp_path / "raw.onnx", tmp_path / "old.onnx", str))
    assert old.export is None and old(pixels(20, 30, 3)).shape == (20, 30, 3)
    x = np.zeros((1, 3, 16, 16), np.float32)
    assert np.array_equal(old.infer(x), OnnxRunner(float_file).infer(x))


def test_every_shipped_file_opens() -> None:
    for model in shipped().values():
        path = weights_folder() / model.files[".onnx"]
        assert OnnxRunner(path).info == load_model(path.with_suffix(".safetensors"))[1]


def test_what_no_single_file_holds_is_refused(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "LIMIT_BYTES", 1000)
    with pytest.raises(ModelError, match="an ONNX file holds at most 2 GiB"):
        export_onnx(model_file, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())

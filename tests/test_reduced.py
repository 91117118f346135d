"""fp16 and int8 are published only when pictures say that they cost little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from img2img.errors import ParityError
from img2img.exporting import quantize as reduced
from img2img.exporting.onnx import ExportOptions, export_onnx, to_core
from img2img.model_format.checkpoint import save_model
from img2img.onnx_format.float_core import X
from img2img.runners.onnx import OnnxRunner
from tests.conftest import Cli, info_of, picture, small_generator


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for k in range(6):
        picture(70, 64, k).save(folder / f"{k}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def core() -> Any:
    """A ResNet's float network; of its eight convolutions two are transposed."""
    return to_core(small_generator("resnet"), ExportOptions(size=(32, 32)))


@pytest.fixture(scope="module")
def feeds() -> list[reduced.Feed]:
    rows = [np.asarray(picture(32, 32, k), np.float32) / 127.5 - 1 for k in range(8)]
    return [{X: np.ascontiguousarray(row.transpose(2, 0, 1)[None])} for row in rows]


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.slow
def test_fp16_is_smaller_and_nearly_the_same(
    model_file: Path, onnx_file: Path, pictures: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    path = tmp_path / "half.onnx"
    facts = export_onnx(model_file, path, ExportOptions(precision="fp16"), pictures, lines.append)
    assert facts.precision == "fp16" and facts.pictures == "6 given"
    assert 50 <= facts.quality["psnr_db_worst"] <= facts.quality["psnr_db"] <= 99
    assert len(lines) == 1 and "dB against fp32 on 6 pictures" in lines[0]
    model = onnx.load(str(path))
    half = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert len(half) > 5
    # Norms compute in float: their own weights stay float too.
    weights = {t.name: t.data_type for t in model.graph.initializer}
    norms = [n for n in model.graph.node if n.op_type == "InstanceNormalization"]
    assert norms and all(weights[n.input[1]] == onnx.TensorProto.FLOAT for n in norms)
    a, b = OnnxRunner(path), OnnxRunner(onnx_file)
    assert a.description == "onnxruntime cpu fp16" and a.info == b.info
    pixels = np.asarray(picture(45, 37, 8))
    values = np.float32(pixels.transpose(2, 0, 1)[None] / 127.5 - 1)
    assert not np.array_equal(a.infer(values), b.infer(values))
    assert np.abs(a(pixels).astype(int) - b(pixels)).max() <= 4


@pytest.mark.slow
def test_int8_is_made_of_calibrated_convolutions(
    model_file: Path, pictures: Path, tmp_path: Path
) -> None:
    generator = small_generator("unet", norm="batch", width=8)
    save_model(tmp_path / "m.safetensors", generator, info_of(generator))
    path = tmp_path / "m.onnx"
    facts = export_onnx(tmp_path / "m.safetensors", path, ExportOptions(precision="int8"), pictures)
    assert facts.quality["psnr_db"] >= 38 and facts.quality["quantised"] == 2
    assert facts.quality["convolutions"] == 6 and facts.quality["speed"] > 0
    model = onnx.load(str(path))
    convolutions = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    makers = {output: n for n in model.graph.node for output in n.output}
    quantised = [makers.get(n.input[1]) is not None for n in convolutions]
    assert quantised == [False, True, True, False, False, False]
    assert OnnxRunner(path)(np.asarray(picture(45, 37, 8))).shape == (37, 45, 3)


@pytest.mark.slow
def test_what_costs_too_much_is_refused_with_the_figure(
    pictures: Path, cli: Cli, tmp_path: Path
) -> None:
    generator = small_generator("resnet")
    save_model(tmp_path / "m.safetensors", generator, info_of(generator))
    (tmp_path / "m.onnx").write_bytes(b"older")
    done = cli("export", "m.safetensors", "-o", "m.onnx", "--int8", "--pictures", pictures)
    assert done.returncode == 5 and done.stdout == "", done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "m.onnx: not published: int8 of 1 in 8 layers gives" in last
    assert " dB against fp32 on 2 pictures" in last and "below 38 dB" in last
    assert (tmp_path / "m.onnx").read_bytes() == b"older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.safetensors"]


def test_layers_go_back_to_float_worst_first(
    core: Any, feeds: list[reduced.Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = reduced.activation_ranges(core, feeds[1:])
    judge = reduced._Judge(core, feeds[:1])
    layers = [n.name for n in core.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    inner = [n.name for n in core.graph.node if n.op_type == "Conv"][1:-1]
    alone = {name: judge.psnr(reduced.to_int8(core, [name], ranges))[0] for name in inner}
    best = sorted(inner, key=lambda name: -alone[name])
    together = [
        judge.psnr(reduced.to_int8(core, best[:k], ranges))[0] for k in range(1, len(best) + 1)
    ]
    assert len(inner) == 4 and together[-1] < together[1]
    gate = together[1] - 0.001  # what the two best layers reach
    monkeypatch.setitem(reduced.GATES, "int8", gate)
    monkeypatch.setattr(reduced, "activation_ranges", lambda *given, percentile=False: ranges)
    monkeypatch.setattr(reduced._Judge, "speed", lambda self, model: 0.5)
    lines: list[str] = []
    judged = reduced.reduce(core, "int8", feeds[:4], "x", lines.append)
    assert judged.quality["quantised"] >= 2 and judged.quality["psnr_db"] >= gate - 0.01
    assert judged.quality["quantised"] < 4 and judged.quality["convolutions"] == len(layers)
    assert lines[0].endswith("dB with outliers out of the ranges")
    assert "the worst go back to float" in lines[1] and "stay quantised" in lines[2]
    assert lines[-1].endswith("0.50 times the speed of fp32 here, so not faster")
    assert kinds(judged.model).count("InstanceNormalization") == 7


def test_a_spoilt_reduction_is_refused(
    core: Any, feeds: list[reduced.Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reduced.reduce(core, "fp16", feeds, "x", lambda line: None)
    assert honest.quality["psnr_db"] > 50

    def spoilt(model: Any) -> Any:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        head = next(n for n in reversed(copy.graph.node) if n.op_type == "Conv")
        last = next(t for t in copy.graph.initializer if t.name == head.input[1])
        values = onnx.numpy_helper.to_array(last) * np.float32(1.2)
        last.CopyFrom(onnx.numpy_helper.from_array(values, last.name))
        return copy

    monkeypatch.setattr(reduced, "to_fp16", spoilt)
    with pytest.raises(ParityError, match=r"x: fp16 gives \d\d\.\d dB .* below 50 dB"):
        reduced.reduce(core, "fp16", feeds, "x", lambda line: None)


def test_percentiles_leave_outliers_outside(
    core: Any, feeds: list[reduced.Feed], capsys: pytest.CaptureFixture[str]
) -> None:
    wide, narrow = (reduced.activation_ranges(core, feeds[:2], p) for p in (False, True))
    spans = []
    for data in (wide, narrow):
        ends = [data[name].range_value for name in sorted(wide.keys())]
        spans.append([float(np.max(high)) - float(np.min(low)) for low, high in ends])
    assert len(spans[0]) > 5
    assert all(b <= a * 1.001 for a, b in zip(*spans, strict=True)) and sum(spans[1]) < sum(
        spans[0]
    )
    assert capsys.readouterr().out == ""


def test_decibels() -> None:
    assert reduced._decibels(0) == 99 and reduced._decibels(255.0**2) == 0
    assert reduced._decibels(1.0) == pytest.approx(48.13, abs=0.01)


@pytest.mark.parametrize("better", [True, False])
def test_percentiles_are_tried_where_whole_ranges_do_not_suffice(
    better: bool, core: Any, feeds: list[reduced.Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the two kinds of ranges the better one stays."""
    asked: list[bool] = []
    quantised: list[str] = []

    def ranges(core: Any, calibration: Any, percentile: bool = False) -> str:
        asked.append(percentile)
        return "narrow" if percentile else "whole"

    def to_int8(core: Any, nodes: Any, ranges: str) -> Any:
        quantised.append(ranges)
        return ranges

    figures = {"whole": 30.0, "narrow": 39.0 if better else 20.0}
    monkeypatch.setattr(reduced, "activation_ranges", ranges)
    monkeypatch.setattr(reduced, "to_int8", to_int8)
    monkeypatch.setattr(reduced._Judge, "psnr", lambda self, model: (figures[model],) * 2)
    judge = reduced._Judge(core, feeds[:1])
    lines: list[str] = []
    model, counts = reduced._int8(core, feeds[1:3], judge, 38.0, lines.append)
    assert asked == [False, True]
    assert model == ("narrow" if better else "whole") == quantised[-1]
    assert f"int8: 30.0 dB; {figures['narrow']:.1f} dB with outliers out of the ranges" in lines
    assert counts["quantised"] == (4 if better else 1)

"""Exported models say the same, carry what is needed, and are refused when damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from img2img.errors import ModelError, ParityError, UsageError
from img2img.exporting import onnx as export
from img2img.exporting.onnx import ExportOptions, export_onnx
from img2img.model_format.checkpoint import save_model
from img2img.model_format.export_info import EXPORT_KEY
from img2img.model_format.info import KEY, ModelInfo
from img2img.onnx_format.reading import DIGEST_KEY
from img2img.runners import open_runner
from tests.conftest import info_of, picture, small_generator, stargan

BLURRED = {"downsample": "blurred", "upsample": "blurred", "block_padding": "replicate"}
GREY = {"norm": "batch", "padding": "zero", "in_channels": 1, "out_channels": 1}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("unet", {"norm": "batch", "dropout": True}, marks=pytest.mark.slow),
        ("unet", {"norm": "instance", "upsample": "resize"}),
        ("resnet", {"norm": "instance"}),
        ("resnet", {"downsample_padding": "reflect", "upsample": "resize"}),
        ("fast", {}),
        ("curve", {}),
        pytest.param("fast", {"whole": True, "levels": 2}, marks=pytest.mark.slow),
        pytest.param("fast", {"output": "chroma", "levels": 2}, marks=pytest.mark.slow),
        pytest.param("fast", {"output": "mask", "tail": "resize"}, marks=pytest.mark.slow),
        pytest.param("resnet", BLURRED, marks=pytest.mark.slow),
        pytest.param("resnet", GREY, marks=pytest.mark.slow),
    ],
)
def test_every_generator_exports_and_matches(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    generator = small_generator(name, **options)
    save_model(tmp_path / "m.safetensors", generator, info_of(generator))
    table = export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx").parity
    assert len(table) == 4 and {row.batch for row in table} == {1, 3}
    assert max(row.max_levels for row in table) <= 1
    assert max(row.mean_levels for row in table) <= 0.01
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.safetensors"]


@pytest.mark.parametrize("size", [(1, 9), (17, 40), (64, 64), (70, 33)])
def test_runners_agree_on_any_size(
    model_file: Path, onnx_file: Path, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    outputs = [open_runner(p, "cpu")(pixels) for p in (model_file, onnx_file)]
    assert all(y.shape == pixels.shape and y.dtype == np.uint8 for y in outputs)
    assert np.abs(outputs[0].astype(int) - outputs[1].astype(int)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", pytest.param("unet", marks=pytest.mark.slow)])
def test_models_of_several_domains_export_and_say_the_same(tmp_path: Path, name: str) -> None:
    source = stargan(tmp_path / "m.safetensors", name, exclusive=(("Dark", "Fair"),))
    table = export_onnx(source, tmp_path / "m.onnx", ExportOptions(io="float")).parity
    reported = [row.domain for row in table]
    assert reported[1] == "Dark Fair Glasses" and reported[4:] == ["Dark", "Fair", "Glasses"]
    assert max(row.max_levels for row in table) <= 1
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    dims = [[bool(d.dim_param) for d in v.type.tensor_type.shape.dim] for v in graph.input]
    assert dims == [[True, False, True, True], [True, False]]
    runners = [open_runner(tmp_path / f, "cpu") for f in ("m.safetensors", "m.onnx")]
    assert runners[0].info == runners[1].info
    assert runners[1].info.exclusive == (("Dark", "Fair"),) and not runners[1].info.one_hot
    pixels = np.asarray(picture(45, 37, 5))
    for domain in ((1, 0, 0), (0, 1, 1), (0, 0, 0)):
        a, b = (runner(pixels, domain).astype(int) for runner in runners)
        assert np.abs(a - b).max() <= 1 and a.shape == pixels.shape
    first, second = (runners[1](pixels, d).astype(int) for d in ((1, 0, 0), (0, 1, 0)))
    assert np.abs(first - second).max() > 1  # the domain matters
    for runner in runners:
        with pytest.raises(UsageError, match=r"needs a domain vector of shape \(1, 3\), not None"):
            runner(pixels)
        with pytest.raises(UsageError, match=r"not \(1, 2\)"):
            runner(pixels, (1, 0))


def test_a_model_without_domains_wants_none(model_file: Path, onnx_file: Path) -> None:
    for path in (model_file, onnx_file):
        with pytest.raises(UsageError, match="needs no domain"):
            open_runner(path, "cpu")(np.zeros((9, 9, 3), np.uint8), (1,))


def test_what_a_model_says_of_its_domains_is_checked() -> None:
    values = info_of(small_generator("unet", domains=2), domains=("a", "b")).to_dict()
    old = {k: v for k, v in values.items() if k not in ("one_hot", "exclusive")}
    assert (
        ModelInfo.from_dict(old, "x").exclusive == () and not ModelInfo.from_dict(old, "x").one_hot
    )
    assert ModelInfo.from_dict(values | {"exclusive": [["a", "b"]]}, "x").exclusive == (("a", "b"),)
    for wrong, words in (
        ({"one_hot": 1}, "one_hot is 1"),
        ({"exclusive": 3}, "exclusive is not a list of lists"),
        ({"exclusive": ["ab"]}, "exclusive is not a list of lists"),
        ({"exclusive": [["a", "c"]]}, "exclusive names c, which is not a domain"),
        ({"domains": ["a", "a"]}, "domains is not a list of names, each once"),
        ({"domains": "ab"}, "domains is not a list of names, each once"),
    ):
        with pytest.raises(ModelError, match=words):
            ModelInfo.from_dict(values | wrong, "x")


def test_grey_models_take_and_give_pictures(tmp_path: Path) -> None:
    generator = small_generator(in_channels=1, out_channels=1)
    save_model(tmp_path / "g.safetensors", generator, info_of(generator))
    y = open_runner(tmp_path / "g.safetensors", "cpu")(np.zeros((10, 12, 3), np.uint8))
    assert y.shape == (10, 12, 1) and y.dtype == np.uint8


def test_a_wrong_channel_count_is_refused(tmp_path: Path) -> None:
    generator = small_generator(in_channels=6)
    save_model(tmp_path / "six.safetensors", generator, info_of(generator))
    with pytest.raises(ModelError, match="takes 6 and gives 3 channels"):
        open_runner(tmp_path / "six.safetensors", "cpu")


def test_the_graph_is_clean_and_says_what_it_is(onnx_file: Path) -> None:
    model = onnx.load(str(onnx_file), load_external_data=False)
    onnx.checker.check_model(model)
    properties = {p.key: p.value for p in model.metadata_props}
    assert set(properties) == {KEY, EXPORT_KEY, DIGEST_KEY}
    assert json.loads(properties[KEY])["multiple_of"] == 8
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", "height", "width", 3]
    data = onnx_file.read_bytes()
    for leak in (b"site-packages", b".py", str(Path(__file__).parent.parent).encode()):
        assert leak not in data
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)


def test_a_model_that_differs_is_not_published(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"older export")
    honest = export.to_core

    def spoilt(generator: torch.nn.Module, options: ExportOptions) -> object:
        with torch.no_grad():
            for p in generator.parameters():
                p.mul_(1.1)
        core = honest(generator, options)  # type: ignore[arg-type]
        with torch.no_grad():
            for p in generator.parameters():
                p.div_(1.1)
        return core

    monkeypatch.setattr(export, "to_core", spoilt)
    with pytest.raises(ParityError, match="not published: differs"):
        export_onnx(model_file, target)
    assert target.read_bytes() == b"older export"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_damaged_and_foreign_onnx_files_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    data = onnx_file.read_bytes()
    for content in (b"", b"hello", data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not an ONNX file"):
            open_runner(path, "cpu")
    draw = random.Random(0)
    for _ in range(60):
        broken = bytearray(data)
        broken[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(ModelError):
            open_runner(path, "cpu")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(n, 1, ["n", 3, "h", "w"]) for n in "xy"]
    foreign = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", value[:1], value[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    path.write_bytes(foreign.SerializeToString())
    with pytest.raises(ModelError, match="not an ONNX model made by img2img"):
        open_runner(path, "cpu")

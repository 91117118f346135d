"""Models that enlarge, wherever a model is used: files, tiles, server, pages, evaluation."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from img2img.errors import MemoryFault, ModelError, UsageError
from img2img.evaluation.evaluate import evaluate
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.sources import for_enlarging
from img2img.exporting.graphs import read_graph
from img2img.exporting.onnx import ExportOptions, export_onnx
from img2img.exporting.triton import Serving, config_text
from img2img.images import Picture, read_picture, resize_pixels, with_pixels
from img2img.inference import TranslateRequest, Translator, network, translate_folder
from img2img.inference.events import PictureEvent, Started
from img2img.inference.gallery import Gallery
from img2img.inference.pipeline import run_jobs
from img2img.model_format.checkpoint import read_model_info, save_model
from img2img.runners import open_runner
from img2img.server.app import create_app
from img2img.server.request import ServeRequest
from img2img.server.service import Service
from tests.conftest import Each, Main, info_of, picture, small_generator
from tests.graph_makers import inverting


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random network that enlarges twice: twice.safetensors and twice.onnx."""
    folder = tmp_path_factory.mktemp("models")
    net = small_generator("fast", scale=2, shrink=1, blocks=1, levels=2)
    save_model(
        folder / "twice.safetensors", net, info_of(net, name="twice", direction="small -> large")
    )
    export_onnx(folder / "twice.safetensors", folder / "twice.onnx")
    return folder


@pytest.fixture(params=["twice.safetensors", "twice.onnx"])
def model(models: Path, request: pytest.FixtureRequest) -> Path:
    return models / request.param


def options_of(model: Path) -> dict[str, Any]:
    return {
        "model": model,
        "device": "cpu",
        "runner": "torch" if model.suffix != ".onnx" else "onnxruntime",
    }


def levels(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape and a.dtype == b.dtype
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# --- in memory


def test_whatever_is_given_comes_back_larger(model: Path) -> None:
    pixels = np.asarray(picture(21, 14, 1))
    with Translator(**options_of(model)) as translator:
        made = translator(pixels)
        assert made.shape == (28, 42, 3) and levels(made, resize_pixels(pixels, 42, 28)) > 3
        assert levels(np.asarray(translator(Image.fromarray(pixels))), made) == 0
        deep = translator(pixels.astype(np.uint16) * 257)
        assert deep.shape == made.shape and levels(deep // 257, made.astype(np.uint16)) <= 1
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        again = Image.open(io.BytesIO(translator(file.getvalue())))
        assert levels(np.asarray(again), made) == 0
        several = translator([pixels, np.asarray(picture(9, 9, 2)), pixels])
        assert [each.shape for each in several] == [(28, 42, 3), (18, 18, 3), (28, 42, 3)]


def test_strength_blends_with_the_bicubic_enlargement(model: Path) -> None:
    pixels = np.asarray(picture(21, 14, 1))
    with Translator(**options_of(model)) as translator:
        plain = translator(pixels, strength=0)
        assert levels(plain, resize_pixels(pixels, 42, 28)) == 0
        half = translator(pixels, strength=0.5)
        assert (
            levels(half, np.rint((plain.astype(float) + translator(pixels)) / 2).astype(np.uint8))
            <= 1
        )


def test_tiles_and_batches_give_the_same(model: Path) -> None:
    # Noise: what is beyond the border shows in its pixels.
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (49, 71, 3), np.uint8) for _ in range(3)]
    with Translator(**options_of(model)) as translator:
        whole = translator(pixels)
        for options in ({"tile": 16}, {"tile": 33}):
            made = translator(pixels, **options)  # type: ignore[call-overload]
            assert max(levels(a, b) for a, b in zip(whole, made, strict=True)) <= 1


def test_options_that_make_no_sense_are_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="`size` 64: model twice enlarges each picture"):
        Translator(**options_of(model), size=64)
    with (
        Translator(**options_of(model), size=0) as translator,
        pytest.raises(UsageError, match="`size` 9"),
    ):
        translator(np.zeros((9, 9, 3), np.uint8), size=9)


def test_an_answer_that_is_too_large_is_refused_before_the_work(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "most_pixels", lambda: 10_000)
    with Translator(**options_of(model)) as translator:
        assert translator(np.zeros((50, 50, 3), np.uint8)).shape == (100, 100, 3)
        with pytest.raises(MemoryFault, match=r"102x100 it would be more than 0\.01 megapix"):
            translator(np.zeros((50, 51, 3), np.uint8))


def test_a_result_of_another_size_than_stated_is_refused(tmp_path: Path) -> None:
    path = inverting(tmp_path / "m.onnx", scale=2)
    with (
        Translator(path, device="cpu") as translator,
        pytest.raises(ModelError, match="gives 9x8 pixels"),
    ):
        translator(np.zeros((8, 9, 3), np.uint8))
    with (
        Translator(path, device="cpu", tile=16) as translator,
        pytest.raises(UsageError, match="1 times"),
    ):
        translator(np.zeros((30, 40, 3), np.uint8))


# --- metadata


def test_transparency_and_sizes_in_the_metadata_follow() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003] = 8, 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    xmp = b'<rdf:Description exif:PixelXDimension="8" tiff:Orientation="1"><tiff:ImageLength>6</tiff:ImageLength>'
    pixels, alpha = np.asarray(picture(8, 6, 1)), np.asarray(picture(8, 6, 2, "L"))
    source = Picture(pixels, alpha, exif.tobytes(), xmp, dpi=(300.0, 300.0), notes=["a"])
    large = with_pixels(source, np.zeros((24, 32, 3), np.uint8))
    assert large.alpha is not None and source.alpha is alpha
    assert levels(large.alpha, resize_pixels(alpha[:, :, None], 32, 24)[:, :, 0]) <= 2
    assert large.dpi == (300.0, 300.0) and large.notes == ["a"] and large.notes is not source.notes
    read = Image.Exif()
    read.load(large.exif)
    inner = read.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003], inner[0x9003]) == (32, 24, "2020:01:02 03:04:05")
    assert read[0x010F] == "Maker" and read.get_ifd(0x8825)[1] == "N"
    assert b'PixelXDimension="32"' in large.xmp and b">24</tiff:ImageLength>" in large.xmp
    assert b'Orientation="1"' in large.xmp
    same = with_pixels(source, pixels[:, :, :1])
    assert (same.exif, same.xmp, same.alpha) == (source.exif, source.xmp, alpha)


# --- files


def test_a_folder_is_enlarged_with_all_that_stands_beside_it(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    rgba = picture(16, 10, 4, "RGBA")
    rgba.save(photos / "clear.png")
    request = TranslateRequest(
        inputs=(photos,), out=tmp_path / "out", compare=tmp_path / "both",
        gallery=tmp_path / "page.html", **options_of(models / "twice.onnx"),
    )  # fmt: skip
    events = list(translate_folder(request))
    started = next(e for e in events if isinstance(e, Started))
    assert (started.row["scale"], started.row["working_size"]) == (2, 0)
    done = {e.source.relative_to(photos): e for e in events if isinstance(e, PictureEvent)}
    assert len(done) == 4
    for name, event in done.items():
        width, height = Image.open(photos / name).size
        made = read_picture(event.target).pixels
        assert made.shape[:2] == (event.height, event.width) == (2 * height, 2 * width)
        with Image.open(tmp_path / "both" / event.target.relative_to(tmp_path / "out")) as sheet:
            assert sheet.size == (2 * event.width + 6, event.height)
    alpha = read_picture(tmp_path / "out" / "clear.png").alpha
    assert alpha is not None and alpha.shape == (20, 32) and alpha.std() > 5
    assert (tmp_path / "page.html").read_text().count("<figure") == 4
    again = [e for e in translate_folder(request) if isinstance(e, PictureEvent)]
    assert {e.status for e in again} == {"skipped"}


def test_what_a_picture_will_be_counts_as_memory_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.inference import budget
    from img2img.inference.jobs import Job

    taken: list[int] = []
    monkeypatch.setattr(budget.Budget, "take", lambda self, size: bool(taken.append(size)) or True)
    picture(10, 8).save(tmp_path / "a.png")
    for scale, target in ((1, "b.png"), (4, "c.png")):
        each = Each(lambda pixels, s=scale: np.repeat(np.repeat(pixels, s, 0), s, 1), scale=scale)
        summary = run_jobs([Job(tmp_path / "a.png", tmp_path / target)], each)
        assert summary.done == 1
    assert taken == [240 * 2, 240 * 17]


# --- the gallery


def sizes_in(page: Path) -> list[tuple[int, int]]:
    found = re.findall(r'<img class="\w+" .*? width="(\d+)" height="(\d+)"', page.read_text())
    return [(int(width), int(height)) for width, height in found]


def test_the_gallery_shows_the_middle_where_the_whole_would_be_reduced(tmp_path: Path) -> None:
    before = np.zeros((500, 700, 3), np.uint8)
    before[200:300, 250:450] = 255
    after = np.repeat(np.repeat(before, 2, 0), 2, 1)
    Image.fromarray(before).save(tmp_path / "before.png")
    Image.fromarray(after).save(tmp_path / "after.png")
    for name in ("added", "files"):
        with Gallery(tmp_path / f"{name}.html", {}, 1) as page:
            assert page.side == 640
            if name == "added":
                page.add("a", before, after)
                page.add("small", before[:50, :40], after[:100, :80])
                page.add("same", before, before)
            else:
                page.add_files(tmp_path / "before.png", tmp_path / "after.png", "a")
        assert "the middle, 640x640 of 1400x1000 pixels" in (tmp_path / f"{name}.html").read_text()
        assert sizes_in(tmp_path / f"{name}.html")[:2] == [(640, 640), (640, 640)]
    assert sizes_in(tmp_path / "added.html")[2:] == [(640, 457)] * 2 + [(80, 100)] * 2
    added, files = (
        re.findall(r"base64,([^\"]+)", (tmp_path / f"{n}.html").read_text())[:2]
        for n in ("added", "files")
    )
    assert added == files


# --- exports


@pytest.mark.slow
def test_a_file_of_one_size_says_both_sizes(models: Path, tmp_path: Path) -> None:
    options = ExportOptions(size=(12, 20), batch=2, io="float")
    export_onnx(models / "twice.safetensors", tmp_path / "fixed.onnx", options)
    graph = read_graph(tmp_path / "fixed.onnx")
    assert graph.inputs[0].shape == (2, 3, 12, 20) and graph.output.shape == (2, 3, 24, 40)
    text = config_text(graph, Serving("cpu", 1, 0))
    assert "dims: [ 2, 3, 24, 40 ]" in text and 'key: "scale" value { string_value: "2" }' in text
    pixels = np.asarray(picture(20, 12, 1))
    free, fixed = (
        open_runner(path, "cpu") for path in (models / "twice.onnx", tmp_path / "fixed.onnx")
    )
    assert levels(free(pixels), fixed(pixels)) <= 1
    plain = config_text(read_graph(inverting(tmp_path / "plain.onnx")), Serving("cpu", 1, 0))
    assert '"scale"' not in plain


# --- the server


def test_the_server_answers_with_what_translate_writes(models: Path, tmp_path: Path) -> None:
    options = options_of(models / "twice.onnx")
    picture(20, 14, 3, "RGBA").save(tmp_path / "a.png")
    list(
        translate_folder(
            TranslateRequest(inputs=(tmp_path / "a.png",), out=tmp_path / "b.png", **options)
        )
    )
    service = Service(
        ServeRequest(models=(str(options.pop("model")),), max_upload=1, queue=4, **options)
    )

    async def asked() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app=create_app(service))  # type: ignore[arg-type]
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000"
        ) as client:
            data = (tmp_path / "a.png").read_bytes()
            return await client.get("/v1/models"), await client.post("/v1/translate", content=data)

    try:
        listed, answer = asyncio.run(asked())
    finally:
        service.close()
    assert listed.json()[0]["scale"] == 2
    assert answer.status_code == 200 and answer.content == (tmp_path / "b.png").read_bytes()


# --- evaluation


def test_photographs_are_reduced_and_compared_with_themselves(models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for k in range(3):
        picture(45 + k, 40, k).save(tmp_path / "data" / f"{k}.png")
    (tmp_path / "data" / "tiny.png").write_bytes((tmp_path / "data" / "0.png").read_bytes())
    Image.new("RGB", (1, 9)).save(tmp_path / "data" / "tiny.png")
    material = for_enlarging(tmp_path / "data", 2)
    assert material.paired and [item.name for item in material.inputs][-1] == "tiny.png"
    small, large = material.inputs[1].read(), material.reals[1].read()
    assert small.shape == (20, 23, 3) and large.shape == (40, 46, 3)
    assert levels(small, resize_pixels(large, 23, 20)) == 0
    request = EvaluateRequest(
        models / "twice.onnx", tmp_path / "data", metrics=("psnr", "l1"), networks=("none",),
        runner="onnxruntime", device="cpu",
    )  # fmt: skip
    result = evaluate(request)
    figures = result.report.figures
    assert {*figures} >= {"psnr", "l1", "bicubic_psnr", "bicubic_l1"}
    assert figures["bicubic_psnr"].value > figures["psnr"].value  # a random network harms
    assert "the input enlarged by the bicubic filter" in figures["bicubic_l1"].about
    assert "smaller than 2 pixels" in result.found.problems["tiny.png"]
    rows = [row for section in result.sections for row in section.rows]
    assert rows and all({*row.pictures} == {"input", "output", "truth"} for row in rows)


def test_pairs_of_two_sizes_are_compared(models: Path, tmp_path: Path) -> None:
    for side, part in (("A", 2), ("B", 1)):
        (tmp_path / side).mkdir()
        for k in range(2):
            picture(48 // part, 40 // part, k).save(tmp_path / side / f"{k}.png")
    picture(48, 41).save(tmp_path / "B" / "1.png")
    request = EvaluateRequest(
        models / "twice.onnx", tmp_path, metrics=("l1",), networks=("none",),
        runner="onnxruntime", device="cpu",
    )  # fmt: skip
    found = evaluate(request).found
    assert [*found.rows] == ["0"] and "bicubic_l1" in found.rows["0"]
    assert found.problems == {"1": "48x40 pixels, its truth has 48x41"}


def test_photographs_that_were_learned_from_are_left_out(tmp_path: Path) -> None:
    from img2img.data.photographs import photographs_of
    from img2img.data.store import fingerprint

    for k in range(6):
        picture(16, 16, k).save(tmp_path / f"{k}.png")
    learned = fingerprint(tmp_path, photographs_of(tmp_path, "train", 2))
    held_out = {path.name for path in photographs_of(tmp_path, "held-out", 2)}
    assert len(for_enlarging(tmp_path, 2).inputs) == 6
    own = for_enlarging(tmp_path, 2, held_out=2, learned=learned)
    assert {item.name for item in own.inputs} == held_out and len(held_out) == 2
    (tmp_path / "val").mkdir()
    shutil.move(tmp_path / "0.png", tmp_path / "val")
    assert [item.name for item in for_enlarging(tmp_path, 2).inputs] == ["val/0.png"]


# --- the command line


def test_show_and_translate_say_that_it_enlarges(models: Path, photos: Path, main: Main) -> None:
    done = main("models", "show", models / "twice.safetensors")
    assert "2 times per side" in done.stdout and "enlarges:" in done.stdout, done.stderr
    done = main(
        "translate", photos / "one.jpg", "-o", "o.png", "-m", models / "twice.onnx", "--size", 64
    )
    assert done.returncode == 2 and "leave --size out" in done.stderr
    assert read_model_info(models / "twice.safetensors").scale == 2

"""The public API: docs/reference/api.md lists it, and its examples run as they stand there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import img2img
from img2img.errors import UsageError
from img2img.inference import (
    Note,
    PictureEvent,
    Started,
    Summary,
    TranslateRequest,
    translate_folder,
)
from tests.clip_makers import clip, panning
from tests.conftest import picture

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "api.md"


def examples() -> list[tuple[str, str]]:
    """(heading, code) of each example of the page."""
    found = []
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = part.splitlines()[0]
        found += [(heading, code) for code in re.findall(r"```python\n(.*?)```", part, re.S)]
    return found


def prepare(folder: Path) -> None:
    """What the examples expect to find."""
    for name in ("photo.jpg", "other.jpg"):
        picture(64, 48, len(name)).save(folder / name)
    (folder / "photos").mkdir()
    picture(40, 30).save(folder / "photos" / "a.jpg")
    (folder / "photos" / "text.txt").write_text("no picture")
    clip(folder / "clip.mp4", panning(3))
    (folder / "pairs" / "train").mkdir(parents=True)
    for k in range(3):
        a = np.asarray(picture(32, 32, k))
        Image.fromarray(np.hstack([a, 255 - a])).save(folder / "pairs" / "train" / f"{k}.png")


def run(
    headings: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    prepare(folder)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for heading, code in examples():
        if heading in headings:
            exec(compile(code, f"{PAGE.name}: {heading}", "exec"), names)
    return names


def test_the_examples_of_translating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    headings = ("One picture", "Folders", "Video clips", "Evaluation", "Models", "Errors")
    assert {h for h, _ in examples()} == {*headings, "Training and export"}
    names = run(headings, tmp_path, monkeypatch)
    said = capsys.readouterr().out
    with Image.open("painted.jpg") as painted:
        assert painted.size == (64, 48)
    assert isinstance(names["image"], Image.Image) and isinstance(names["data"], bytes)
    assert isinstance(names["array"], np.ndarray) and names["array"].shape == (48, 64, 3)
    assert isinstance(names["several"], list) and len(names["several"]) == 2
    assert "a.jpg done" in said and "text.txt ignored not a picture" in said
    assert "done 3 frames whole" in said and Path("painted.mp4").exists()
    assert "1 translated, 0 failed" in said and Path("out/a.jpg").exists()
    assert "l1 " in said and "ssim " in said
    assert "painting photograph" in said and "Did you mean 'painting' or" in said


@pytest.mark.slow
def test_the_examples_of_training_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook"])
    program = "import img2img\n"
    names: dict[str, object] = {}
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    for heading, code in examples():
        if heading == "Training and export":
            program += code
    exec(compile(program, PAGE.name, "exec"), names)
    assert Path("run/model.safetensors").exists() and Path("mine.onnx").exists()
    assert "uint8" in capsys.readouterr().out


def test_the_page_lists_every_public_name() -> None:
    table = PAGE.read_text(encoding="utf-8").split("\n## ")[0]
    listed = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", table)) - {"img2img"}
    assert listed == set(img2img.__all__) - {"__version__"}


def test_the_table_of_kinds_is_that_of_the_docstring() -> None:
    text = PAGE.read_text(encoding="utf-8")
    kinds = [row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| a ")]
    assert len(kinds) == 5 and "(H, W, 3)" in kinds[2] and "[-1, 1]" in kinds[3]
    doc = " ".join(str(img2img.Translator.__doc__).split())
    assert "values in [-1, 1]" in doc and "uint16 0..65535" in doc


def test_models_are_those_that_load() -> None:
    found = img2img.models()
    assert list(found) and found["painting"].name == "painting"
    assert all(model.licence and model.title for model in found.values())


def test_translate_is_not_both_a_function_and_a_module() -> None:
    assert not hasattr(img2img, "translate")
    importlib.import_module("img2img.inference")
    assert not hasattr(img2img, "translate") and callable(img2img.translate_folder)


def request(photos: Path, model: Path, out: Path, **more: object) -> TranslateRequest:
    return TranslateRequest(inputs=(photos,), out=out, model=model, **more)  # type: ignore[arg-type]


def test_events_in_their_order(photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    (photos / "text.txt").write_text("x")
    (photos / "bad.png").write_bytes(b"nothing")
    (photos / "another.png").write_bytes(b"nothing")
    events = [*translate_folder(request(photos, onnx_file, tmp_path / "out"))]
    assert isinstance(events[0], Started) and isinstance(events[-1], Summary)
    assert (events[0].inputs, events[0].pictures, events[0].model.name) == (6, 5, "test")
    ends = [e for e in events if isinstance(e, PictureEvent)]
    assert sorted(e.status for e in ends) == ["done"] * 3 + ["failed"] * 2 + ["ignored"]
    assert [p.name for p, _ in events[-1].failed] == ["another.png", "bad.png"]
    assert events[-1].row["failed"] == 2 and events[-1].seconds > 0


def test_closing_the_iterator_stops_and_the_same_request_resumes(
    photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    for k in range(30):
        picture(200, 150, k).save(photos / f"{k:02}.png")
    page = tmp_path / "page.html"
    page.write_text("older")
    events = translate_folder(request(photos, onnx_file, tmp_path / "out", gallery=page))
    done = 0
    for event in events:
        done += isinstance(event, PictureEvent)
        if done == 2:
            break
    events.close()  # type: ignore[attr-defined]
    there = [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".png", ".jpg")]
    assert 2 <= len(there) < 33 and page.read_text() == "older"
    assert not [*tmp_path.rglob(".i2i-*")]
    for path in there:
        with Image.open(path) as image:
            image.load()
    *_, summary = translate_folder(request(photos, onnx_file, tmp_path / "out", gallery=page))
    assert isinstance(summary, Summary) and summary.failed == []
    assert (summary.done, summary.skipped) == (33 - len(there), len(there))
    names = re.findall(r'aria-label="([^"]*), before and after"', page.read_text())
    assert names[:33] == sorted(names[:33]) and len(names) >= 33


def test_a_request_that_cannot_be_is_refused_at_the_call(photos: Path) -> None:
    for more, words in (
        ({"inputs": ()}, "at least one"),
        ({"inputs": "photos"}, "a tuple"),
        ({"inputs": ("https://host/a.jpg",)}, "https://host/a.jpg: a URL"),
        ({"out": "s3://bucket/out"}, "`out` s3://bucket/out: a URL"),
        ({"model": "https://host/m.onnx"}, "`model` https://host/m.onnx: a URL"),
        ({"quality": 0}, "`quality` 0"),
        ({"timeout": float("nan")}, "`timeout` nan"),
    ):
        values = {"inputs": (photos,), "out": "out"} | more
        with pytest.raises(UsageError, match=words):
            translate_folder(TranslateRequest(**values))  # type: ignore[arg-type]


def test_one_picture_and_an_output_that_has_no_suffix(
    photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    events = [*translate_folder(request(photos / "one.jpg", onnx_file, tmp_path / "new"))]
    (text,) = [e.text for e in events if isinstance(e, Note)]
    assert "no suffix of a picture, so it is a folder" in text
    assert (tmp_path / "new" / "one.jpg").is_file()

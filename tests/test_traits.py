"""A picture of another kind than a model's gets a note, and one of its kind none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.errors import ModelError
from img2img.images import Pixels, traits, unlike, usual_traits
from img2img.model_format.checkpoint import read_model_info, save_model
from img2img.model_format.info import TRAITS, ModelInfo
from img2img.training import train
from tests.conftest import Cli, info_of, into, picture, small_generator
from tests.test_training import config_of


def photograph(seed: int, width: int = 96, height: int = 72) -> Pixels:
    """Smooth light with fine grain."""
    grain = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    smooth = np.asarray(picture(width, height, seed), np.float64)
    return (0.7 * smooth + 40 + grain).clip(0, 255).astype(np.uint8)


def drawing(seed: int, side: int = 96) -> Pixels:
    """Thin black lines on white."""
    paper = np.full((side, side, 3), 255, np.uint8)
    for place in np.random.default_rng(seed).integers(4, side - 4, 3):
        paper[place, 4:-4] = 0
        paper[4:-4, place] = 0
    return paper


PHOTOGRAPHS = usual_traits(map(photograph, range(40)))
DRAWINGS = usual_traits(map(drawing, range(40)))


def test_photographs_and_drawings_are_distinguished() -> None:
    assert [unlike(photograph(k), PHOTOGRAPHS) for k in range(100, 120)] == [""] * 20
    assert all(unlike(drawing(k), PHOTOGRAPHS) for k in range(100, 120))
    assert [unlike(drawing(k), DRAWINGS) for k in range(100, 120)] == [""] * 20
    assert all(unlike(photograph(k), DRAWINGS) for k in range(100, 120))


def test_the_words_name_what_differs() -> None:
    dark = (photograph(1).astype(float) * 0.05).astype(np.uint8)
    assert "darker" in unlike(dark, usual_traits(photograph(k) // 2 + 128 for k in range(20)))
    coloured = usual_traits(map(photograph, range(20)))
    grey = np.repeat(photograph(3)[:, :, :1], 3, 2)
    few = usual_traits(np.repeat(photograph(k)[:, :, :1], 3, 2) for k in range(20))
    assert unlike(grey, few) == "" and "more colour" in unlike(photograph(3), few)
    assert coloured["mean"] != few["mean"]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 1), (64, 64, 1), (2, 2, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_picture_has_finite_traits(shape: tuple[int, ...], dtype: type) -> None:
    for value in (0, np.iinfo(dtype).max):
        assert np.isfinite(traits(np.full(shape, value, dtype))).all()


def test_size_and_depth_change_little() -> None:
    large = np.asarray(Image.fromarray(photograph(5)).resize((960, 720), Image.Resampling.BICUBIC))
    deep = photograph(5).astype(np.uint16) * 257
    assert np.allclose(traits(deep), traits(photograph(5)))
    assert unlike(large, PHOTOGRAPHS) == ""


def test_of_fewer_than_two_pictures_nothing_is_known() -> None:
    assert usual_traits([]) == usual_traits([photograph(0)]) == {}
    assert unlike(drawing(0), {}) == ""


@pytest.mark.slow
def test_the_note_is_printed_and_written(tmp_path: Path, cli: Cli) -> None:
    generator = small_generator()
    model = tmp_path / "model.safetensors"
    save_model(model, generator, info_of(generator, inputs=PHOTOGRAPHS))
    assert read_model_info(model).inputs == PHOTOGRAPHS and len(PHOTOGRAPHS["mean"]) == TRAITS
    (tmp_path / "in").mkdir()
    Image.fromarray(photograph(77)).save(tmp_path / "in" / "good.png")
    Image.fromarray(drawing(77)).save(tmp_path / "in" / "lines.png")
    done = cli("translate", "in", "-o", "out", "-m", model, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    notes = {Path(r["input"]).name: r["notes"] for r in rows if r.get("event") == "picture"}
    assert done.returncode == 0 and notes["good.png"] == []
    assert len(notes["lines.png"]) == 1
    assert notes["lines.png"][0].startswith("unlike the pictures that this model learned from (")


@pytest.mark.parametrize(
    "inputs",
    [
        {"mean": [1.0]},
        PHOTOGRAPHS | {"limit": "much"},
        PHOTOGRAPHS | {"mean": PHOTOGRAPHS["mean"][:3]},
        PHOTOGRAPHS | {"precision": [[float("nan")] * TRAITS] * TRAITS},
        PHOTOGRAPHS | {"precision": 3},
    ],
)
def test_other_statistics_are_refused(inputs: dict[str, object]) -> None:
    fields = info_of(small_generator()).to_dict()
    with pytest.raises(ModelError, match="inputs"):
        ModelInfo.from_dict(fields | {"inputs": inputs}, "model.safetensors")


def test_a_training_keeps_them_also_after_a_resume(tmp_path: Path, pairs: Path) -> None:
    rows: list[dict[str, object]] = []
    first = config_of(pairs, tmp_path / "run", steps=2)
    train(first, into(rows))
    found = read_model_info(tmp_path / "run" / "model.safetensors").inputs
    inputs = [Image.open(p).crop((0, 0, 48, 48)) for p in sorted((pairs / "train").iterdir())]
    brightness = np.mean([traits(np.asarray(each))[0] for each in inputs])
    assert abs(found["mean"][0] - brightness) < 25  # of A, not of the inverted B
    train(first.model_copy(update={"steps": 3}), into(rows))
    assert read_model_info(tmp_path / "run" / "model.safetensors").inputs == found

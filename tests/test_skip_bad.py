"""`--skip-bad`: what cannot be used is left out, said, recorded, and left out again on a resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from img2img.errors import DataError
from img2img.model_format.checkpoint import load_model, load_state
from img2img.training import train
from img2img.training.presets import resolve
from img2img.training.run_folder import states_of
from tests import broken_sets
from tests.broken_sets import save, scene
from tests.conftest import Main, into

SMALL = {
    "generator_options": {"width": 4, "norm": "instance"},
    "discriminator_options": {"width": 4, "layers": 1},
}
SIZES = {"crop_size": 32, "load_size": 32, "working_size": 0, "batch_size": 2, "steps": 2}


def pairs(root: Path) -> int:
    """Twelve pairs, of which one is damaged, one lacks its partner and one is there twice."""
    broken_sets.foreign_file(root)
    (root / "B" / "05.png").unlink()
    save(scene(7), root / "B" / "07.jpg")
    return 9


def sets(root: Path) -> int:
    broken_sets.foreign_file(root)
    (root / "B" / "04.png").write_bytes(b"no picture")
    return 11


def faces(root: Path) -> int:
    """Six rows, of which two are wrong, one has no picture and one a damaged one."""
    broken_sets.wrong_table(root)
    (root / "images" / "0.png").write_bytes(b"no picture")
    return 3


def photographs(root: Path) -> int:
    broken_sets.photographs_as_pairs(root)
    (root / "2.png").write_bytes(b"no picture")
    return 6


Make = Callable[[Path], int]
CASES: dict[str, tuple[str, Make, dict[str, Any], tuple[str, ...]]] = {
    "pairs": (
        "pix2pix",
        pairs,
        {},
        ("A/03.png: cannot be decoded", "A/05.png has no partner", "07.jpg have"),
    ),
    "sets": ("cyclegan", sets, {}, ("A/03.png: cannot be decoded", "B/04.png: cannot be decoded")),
    "faces": (
        "stargan",
        faces,
        {},
        ("images/0.png: cannot be decoded", "value '2'", "no picture gone.png"),
    ),
    "photographs": (
        "pix2pix",
        photographs,
        {"pairs": "degrade", "crops": 1},
        ("2.png: cannot be decoded",),
    ),
}


@pytest.mark.parametrize("cache_mb", [64, 0], ids=["memory", "file"])
@pytest.mark.parametrize("name", CASES)
def test_bad_pictures_are_left_out_and_recorded(name: str, cache_mb: int, tmp_path: Path) -> None:
    method, make, settings, words = CASES[name]
    left = make(tmp_path / "in")
    values: dict[str, Any] = {"method": method, "data": tmp_path / "in", "out": tmp_path / "run"}
    values |= SIZES | {"settings": SMALL | settings, "held_out": 0, "cache_mb": cache_mb}
    with pytest.raises(DataError):
        train(resolve(values))
    assert not states_of(tmp_path / "run")
    events: list[dict[str, Any]] = []
    path = train(resolve(values | {"skip_bad": True}), into(events))
    (start,) = [e for e in events if e["event"] == "start"]
    assert start["pictures"] == left
    (told,) = [e["text"] for e in events if "skip_bad" in e.get("text", "")]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    facts = load_state(states_of(tmp_path / "run")[0])["facts"]
    assert record["skipped"] == facts["skipped"] and len(record["skipped"]) >= len(words)
    assert told.startswith(f"`skip_bad=true` leaves out {len(record['skipped'])}: ")
    for word in words:
        assert word in told and sum(word in text for text in record["skipped"]) == 1, told
    assert str(tmp_path) not in json.dumps(record["skipped"])
    assert load_model(path)[1].training["skipped"] == len(record["skipped"])
    assert "left out" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_a_resume_leaves_out_the_same_and_tells_what_came_back(tmp_path: Path) -> None:
    sets(tmp_path / "in")
    values: dict[str, Any] = {"method": "cyclegan", "data": tmp_path / "in", "settings": SMALL}
    values |= SIZES | {"skip_bad": True, "schedule": "constant", "save_every": 1}
    train(resolve(values | {"out": tmp_path / "whole", "steps": 4}))
    train(resolve(values | {"out": tmp_path / "cut", "steps": 2}))
    events: list[dict[str, Any]] = []
    train(resolve(values | {"out": tmp_path / "cut", "steps": 4}), into(events))
    assert not any("not bit-exact" in e.get("text", "") for e in events)
    ends = [load_state(states_of(tmp_path / n)[0]) for n in ("whole", "cut")]
    for key, value in ends[0]["nets"]["G_ab"].items():
        assert value.equal(ends[1]["nets"]["G_ab"][key]), key
    with pytest.raises(DataError):  # what was left out is refused without the setting
        train(resolve(values | {"out": tmp_path / "cut", "skip_bad": False, "steps": 6}))
    save(scene(3), tmp_path / "in" / "A" / "03.png")
    train(resolve(values | {"out": tmp_path / "cut", "steps": 6}), into(events))
    assert any("the training pictures changed" in e.get("text", "") for e in events)


def test_nothing_usable_is_refused_all_the_same(tmp_path: Path, main: Main) -> None:
    for name in ("A", "B"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1.png").write_bytes(b"no picture")
    run = ("-o", tmp_path / "run", "--preset", "tiny", "--skip-bad")
    for method in ("pix2pix", "cyclegan", "stargan"):
        said = main("train", method, tmp_path / "in", *run)
        assert said.returncode == 2 and not (tmp_path / "run").exists(), said.stderr
    said = main("train", "pix2pix", tmp_path / "in", *run[:-1])
    assert "leave them out with --set skip_bad=true" in said.stderr

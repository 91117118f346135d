"""Translating with models of several domains, and with runs of two directions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.errors import DataError, UsageError
from img2img.images import read_picture
from img2img.inference import Naming, plan_domains
from img2img.model_format.domains import folders_of, targets_of, vector_of
from img2img.model_format.info import ModelInfo
from img2img.model_format.labels import Labels
from img2img.runners import open_runner
from tests.conftest import Cli, info_of, picture, small_generator, stargan


def model_of(*domains: str, **more: object) -> ModelInfo:
    return info_of(small_generator(), domains=domains, **more)


HAIR = model_of("Dark", "Fair", "Glasses", exclusive=(("Dark", "Fair"),))


def test_what_the_choices_mean() -> None:
    rows: list[tuple[str, tuple[int, ...] | None, tuple[float, ...]]] = [
        ("Dark", None, (1, 0, 0)),
        ("Dark+Glasses", None, (1, 0, 1)),
        ("Dark", (0, 1, 1), (1, 0, 1)),
        ("Glasses", (0, 1, 0), (0, 1, 1)),
        ("no-Glasses", (0, 1, 1), (0, 1, 0)),
        ("Fair+no-Glasses", (1, 0, 1), (0, 1, 0)),
    ]
    for requested, own, expected in rows:
        (target,) = targets_of(HAIR, [requested], labels=own is not None)
        assert vector_of(HAIR, target, own) == expected, requested
    assert [t.name for t in targets_of(HAIR, ["all", "Fair", "Glasses+Fair", "Fair+Glasses"])] == [
        "Dark", "Fair", "Glasses", "Glasses+Fair",
    ]  # fmt: skip
    odd = model_of("all", "no-x", "a+b", "x")
    assert [vector_of(odd, t) for t in targets_of(odd, ["all", "no-x", "a+b"])] == [
        (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0),
    ]  # fmt: skip


def test_impossible_domains_are_refused() -> None:
    folders = model_of("cat", "dog", one_hot=True)
    rows: list[tuple[ModelInfo, list[str], bool, str]] = [
        (HAIR, [], False, "several domains: Dark, Fair, Glasses; choose with `domains`"),
        (HAIR, ["Glases"], False, "no domain 'Glases'. Did you mean 'Glasses'"),
        (HAIR, ["Dark+Fair"], False, "Dark and Fair exclude each other"),
        (HAIR, ["no-Dark"], False, "give a table as `labels`"),
        (HAIR, ["Dark+no-Dark"], True, "sets and clears"),
        (folders, ["cat+dog"], False, "cat and dog exclude each other"),
        (folders, ["cat"], True, "leave `labels` out"),
        (model_of(), ["cat"], False, "has no domains; leave `domains` out"),
        (model_of(), [], True, "has no domains; leave `labels` out"),
    ]
    for info, requests, labels, words in rows:
        with pytest.raises(UsageError) as caught:
            targets_of(info, requests, labels)
        assert words in str(caught.value)


def test_folders_are_safe_and_different() -> None:
    names = ["a/b", "a:b", "A_B", "..", "con", "x. "]
    assert folders_of(targets_of(model_of(*names), ["all"])) == [
        "a_b", "a_b-2", "A_B-3", "_", "_con", "x",
    ]  # fmt: skip


def test_every_output_has_one_input(photos: Path, tmp_path: Path) -> None:
    (photos / "a.gif").write_bytes(b"")
    (photos / "a.png").write_bytes(b"")
    jobs = plan_domains([photos], tmp_path / "out", Naming(), HAIR, targets_of(HAIR, ["all"]))
    assert len(jobs) == 15 and len({str(job.target).casefold() for job in jobs}) == 15
    shutil.copytree(photos, tmp_path / "out" / "Dark")  # an input where outputs would land
    with pytest.raises(UsageError, match="would be read again"):
        plan_domains([tmp_path / "out" / "Dark"], tmp_path / "out", Naming(), HAIR,
                     targets_of(HAIR, ["all"]))  # fmt: skip


def test_labels_by_file_name(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,Fair,Dark\none.jpg,1,-1\nsub/one.jpg,0,1\n")
    labels = Labels(table, ("Dark", "Fair"))
    assert labels.of(Path("photos/one.jpg")) == (0, 1)
    assert labels.of(Path("photos/sub/one.jpg")) == (1, 0)
    assert labels.of(Path("two.jpg")) is None
    with pytest.raises(DataError, match=r"no attribute 'Drak'. Did you mean 'Dark'"):
        Labels(table, ("Drak",))
    table.write_text("file,Fair\none.jpg,2\ntwo.jpg,1,1\n")
    with pytest.raises(DataError, match=r"row 1 \(one.jpg\): value '2' .* \(and 1 more\)"):
        Labels(table, ("Fair",))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return stargan(tmp_path / "m.safetensors", exclusive=(("Dark", "Fair"),))


def outputs(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if ".img2img" not in str(p)
    )


def test_translate_to_domains(cli: Cli, photos: Path, model: Path, tmp_path: Path) -> None:
    names = ["one.jpg", "sub/one.jpg", "two.png"]
    done = cli("translate", photos, "-o", "one", "-m", model, "--domain", "Dark+Glasses")
    assert done.returncode == 0 and done.stdout.startswith("3 translated"), done.stderr
    assert outputs(tmp_path / "one") == names
    runner = open_runner(model, "cpu")
    pixels = read_picture(photos / "two.png").pixels
    given = np.asarray(Image.open(tmp_path / "one" / "two.png"))
    assert np.array_equal(given, runner(pixels, (1, 0, 1)))
    done = cli("translate", photos, "-o", "all", "-m", model, "--domain", "all", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[-1]["done"] == 9
    assert outputs(tmp_path / "all") == [
        f"{d}/{n}" for d in ("Dark", "Fair", "Glasses") for n in names
    ]
    for name, domain in (("Dark", (1, 0, 0)), ("Glasses", (0, 0, 1))):
        given = np.asarray(Image.open(tmp_path / "all" / name / "two.png"))
        assert np.array_equal(given, runner(pixels, domain))


@pytest.mark.slow
def test_labels_say_what_the_rest_is(cli: Cli, photos: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "list_attr.txt").write_text(
        "2\nGlasses Fair Dark\ntwo.png 1 1 -1\none.jpg 1 -1 1\n"
    )
    done = cli("translate", photos, "-o", "out", "-m", model, "--labels", "list_attr.txt",
               "--domain", "Dark", "--domain", "no-Glasses")  # fmt: skip
    assert done.returncode == 0, done.stderr
    runner = open_runner(model, "cpu")
    pixels = read_picture(photos / "two.png").pixels
    for name, domain in (("Dark", (1, 0, 1)), ("no-Glasses", (0, 1, 0))):
        given = np.asarray(Image.open(tmp_path / "out" / name / "two.png"))
        assert np.array_equal(given, runner(pixels, domain))
    picture(9, 9).save(photos / "three.png")
    done = cli("translate", photos, "-o", "out2", "-m", model, "--labels", "list_attr.txt",
               "--domain", "Dark")  # fmt: skip
    assert done.returncode == 1 and "1 failed" in done.stdout
    assert "three.png: no label in list_attr.txt" in done.stderr
    assert outputs(tmp_path / "out2") == ["one.jpg", "sub/one.jpg", "two.png"]


@pytest.mark.slow
def test_wrong_use_writes_nothing(
    cli: Cli, photos: Path, model: Path, model_file: Path, tmp_path: Path
) -> None:
    rows: list[tuple[list[object], str]] = [
        (["-m", model], "Dark, Fair, Glasses; choose with --domain"),
        (["-m", model, "--domain", "Glases"], "Did you mean 'Glasses'"),
        (["-m", model, "--domain", "Dark", "--labels", "none.csv"], "cannot be read"),
        (["-m", model_file, "--domain", "Dark"], "has no domains"),
        (["-m", model_file, "--direction", "BtoA"], "only a run folder has directions"),
    ]
    for more, text in rows:
        done = cli("translate", photos, "-o", "out", *more)
        assert done.returncode == 2 and text in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_runs_of_two_directions(cli: Cli, photos: Path, tmp_path: Path) -> None:
    from img2img.model_format.checkpoint import save_model

    run = tmp_path / "run"
    run.mkdir()
    for name, gain in (("AtoB", 0.3), ("BtoA", 0.4)):
        generator = small_generator(init_gain=gain)
        save_model(run / f"{name}.safetensors", generator, info_of(generator, name=name))
    for more, name in (([], "AtoB"), (["--direction", "BtoA"], "BtoA")):
        done = cli("translate", photos / "two.png", "-o", f"out{name}", "-m", "run", *more)
        assert done.returncode == 0 and f"model {name} " in done.stderr
        assert ("direction AtoB; --direction BtoA" in done.stderr) == (not more)
        assert outputs(tmp_path / f"out{name}") == ["two.png"]
    done = cli("translate", photos, "-o", "x", "-m", "run", "--direction", "BtoB")
    assert done.returncode == 2 and "Did you mean 'BtoA'" in done.stderr and "AtoB" in done.stderr
    done = cli("export", "run", "-o", "run/BtoA.onnx", "--direction", "BtoA")
    assert done.returncode == 0, done.stderr
    assert open_runner(run / "BtoA.onnx", "cpu").info.name == "BtoA"
    # An ONNX file of the other direction does not change what is taken for granted.
    done = cli("translate", photos / "two.png", "-o", "again", "-m", "run")
    assert "model AtoB " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("table", [True, False])
def test_a_run_publishes_what_its_domains_are(cli: Cli, tmp_path: Path, table: bool) -> None:
    for k in range(4):
        folder = tmp_path / "data" / ("images" if table else f"train/{'ab'[k % 2]}")
        folder.mkdir(parents=True, exist_ok=True)
        picture(32, 32, k).save(folder / f"{k}.png")
    more = []
    if table:
        rows = "".join(f"{k}.png,{k % 2},{1 - k % 2}\n" for k in range(4))
        (tmp_path / "data" / "t.csv").write_text("file,a,b\n" + rows)
        more = ["--set", 'exclusive=[["a", "b"]]']
    done = cli("train", "stargan", "data", "-o", "run", "--preset", "tiny", "--steps", "1", "--device", "cpu",
               "--set", "load_size=32", "--set", "crop_size=32", "--batch-size", "2", *more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(cli("models", "show", "run", "--json").stdout)
    assert shown["domains"] == ["a", "b"] and shown["one_hot"] == (not table)
    assert shown["exclusive"] == ([["a", "b"]] if table else [])
    done = cli("translate", "data", "-o", "out", "-m", "run", "--domain", "a+b")
    assert done.returncode == 2 and "exclude each other" in done.stderr


def test_a_model_that_is_given_the_change_needs_no_labels() -> None:
    info = replace(HAIR, relative=True)
    words = ["Fair", "no-Glasses", "Fair+no-Glasses"]
    found = [vector_of(info, t) for t in targets_of(info, words)]
    place = {name: info.domains.index(name) for name in info.domains}
    for vector, word in zip(found, words, strict=True):
        expected = [0.0] * len(info.domains)
        if "Fair" in word:
            expected[place["Fair"]] = 1.0
        if "Glasses" in word:
            expected[place["Glasses"]] = -1.0
        assert list(vector) == expected
    (fair,) = targets_of(info, ["Fair"])
    own = [1.0 if name == "Fair" else 0.0 for name in info.domains]
    assert not any(vector_of(info, fair, own))
    with pytest.raises(UsageError, match="leave `labels` out"):
        targets_of(info, ["Fair"], labels=True)
    with pytest.raises(UsageError, match="name what replaces it"):
        targets_of(info, ["no-Fair"])

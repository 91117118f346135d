"""`img2img data check`: what a folder of training data is, and what is wrong with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from img2img.cli.spelling import as_typed
from img2img.data import LabelledData, Loading, PairedData
from img2img.data.checks import Report, check_data, check_sheet
from img2img.data.demo import DEMOS, make_demo
from img2img.data.joining import join_pairs, split_pairs
from img2img.data.splitting import split_data
from img2img.data.store import Split
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.training import TrainConfig
from img2img.training.data_check import all_at_once, data_warnings, wanted
from img2img.training.presets import presets_of
from tests import broken_sets
from tests.broken_sets import BROKEN, save, scene
from tests.conftest import Main


def found(report: Report, kind: str) -> list[str]:
    return [str(f) for f in report.findings if f.kind == kind]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_set_is_named(name: str, tmp_path: Path) -> None:
    make, kind, stops, words = BROKEN[name]
    make(tmp_path)
    report = check_data(tmp_path).report
    texts = found(report, kind)
    assert any(all(word in text for word in words) for text in texts), report.findings
    assert report.refused == stops


def test_a_good_set_has_no_finding_but_its_size(tmp_path: Path) -> None:
    broken_sets.pairs(tmp_path, 16)
    report = check_data(tmp_path).report
    assert [f.kind for f in report.findings] == ["few"] and not report.refused
    assert report.method == "pix2pix" and report.counts == {"train A": 16, "train B": 16}
    assert report.registration["peak"] > 6.5 and report.registration["shift"] == [0, 0]
    assert report.command.startswith(f"img2img train pix2pix {tmp_path} -o runs/")


def test_pairs_in_one_file_are_recognised(tmp_path: Path) -> None:
    for k in range(8):
        both = Image.new("RGB", (2 * broken_sets.SIDE, broken_sets.SIDE))
        both.paste(scene(k), (0, 0))
        both.paste(broken_sets.drawn(scene(k)), (broken_sets.SIDE, 0))
        save(both, tmp_path / "train" / f"{k}.png")
    report = check_data(tmp_path).report
    assert report.layout == "pairs side by side in one file (A left, B right)"
    assert report.method == "pix2pix" and not report.refused


def test_several_faults_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_sets.domains(tmp_path, "cat", "dog")
    monkeypatch.setattr(broken_sets, "domains", lambda root, *names: None)  # once is enough
    names = ["empty domain", "loop", "grey", "1 pixel", "16 bits", "CMYK", "test in train"]
    for name in names:
        BROKEN[name][0](tmp_path)
    (tmp_path / "train" / "cat" / "4.png").write_bytes(b"%PDF-1.4 no picture")
    report = check_data(tmp_path).report
    texts = " ".join(map(str, report.findings))
    for word in ("bird has no pictures", "linked folder", "cat/2.png", "1x1", "16 bits", "CMYK"):
        assert word in texts, word
    assert {"mode", "leak", "empty", "links", "tiny", "unreadable"} <= {
        finding.kind for finding in report.findings
    }


def test_files_without_a_partner_are_counted_and_cut(tmp_path: Path) -> None:
    broken_sets.pairs(tmp_path, 12)
    for k in range(5):
        (tmp_path / "B" / f"{k:02}.png").unlink()
    report = check_data(tmp_path).report
    (text,) = found(report, "unpaired")
    assert text.startswith("5 files without a partner") and "and 2 more" in text
    assert "use cyclegan for unpaired image sets" in text and report.refused
    with pytest.raises(DataError, match="cyclegan, which learns from unpaired"):
        PairedData(tmp_path, "train", Loading(32))


def test_photographs_are_not_cut_into_pairs(tmp_path: Path) -> None:
    broken_sets.photographs_as_pairs(tmp_path)
    assert check_data(tmp_path).report.layout == "photographs only"
    report = check_data(tmp_path, wanted("pix2pix")).report
    (text,) = found(report, "photographs")
    assert report.refused and "pairs=degrade" in text and "side_by_side=true" in text
    with pytest.raises(DataError, match="7 pictures look like ordinary photographs"):
        PairedData(tmp_path, "train", Loading(32, held_out=0))
    assert len(PairedData(tmp_path, "train", Loading(32, held_out=0, side_by_side=True))) == 7
    assert not check_data(
        tmp_path, wanted("pix2pix"), settings=["side_by_side=true"]
    ).report.refused


def test_photographs_refused_as_pairs_can_be_seen_cut(tmp_path: Path, main: Main) -> None:
    data = tmp_path / "my photographs"
    broken_sets.photographs_as_pairs(data)
    said = main("train", "pix2pix", data, "-o", tmp_path / "run", "--preset", "tiny")
    assert said.returncode == 2
    command = said.stderr.rpartition("To see them cut: ")[2].strip()
    assert command == f"img2img data check '{data}' --method pix2pix --sheet look.png"
    shown = main(*shlex.split(command)[1:])
    assert command in shown.stdout
    with Image.open(tmp_path / "look.png") as sheet:  # seven halves above seven
        assert sheet.width > 7 * 128 and 2 * 128 < sheet.height < 3 * 128


def test_a_single_wrong_pair_is_found_with_its_partner(tmp_path: Path) -> None:
    swapped = {3: 9, 9: 3}
    broken_sets.pairs(tmp_path, 20, lambda k: swapped.get(k, k))
    checked = check_data(tmp_path)
    (text,) = found(checked.report, "mispaired")
    assert "2 pairs" in text and "A/03.png (fits better with B/09.png)" in text
    assert {a.name for a, _ in checked.suspected} == {"03.png", "09.png"}
    assert check_sheet(checked).width > 8 * 128


def test_some_of_the_pictures_in_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_sets.domains(tmp_path, "cat", "dog")
    monkeypatch.setattr("img2img.data.checks.pictures._CHUNK", 5)
    report = check_data(tmp_path, seconds=-1).report
    assert report.examined == 5 and report.total == 12 and not report.refused


def test_train_prints_what_does_not_stop_it(tmp_path: Path) -> None:
    broken_sets.grey_among_colour(tmp_path)
    config = TrainConfig(method="stargan", data=tmp_path, out=tmp_path / "run")
    texts = data_warnings(config)
    assert any("1 of 12 pictures are grey" in text for text in texts)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state-00000001.i2i").touch()
    assert data_warnings(config) == []


def without_partner(root: Path) -> None:
    """One of A without a partner, a damaged picture, and a partner in a damaged file."""
    broken_sets.pairs(root, 6)
    (root / "B" / "05.png").unlink()
    (root / "A" / "01.png").write_bytes(b"%PDF-1.4 no picture")


def bad_table(root: Path) -> None:
    broken_sets.wrong_table(root)
    (root / "images" / "0.png").write_bytes(b"no picture")


def empty_and_damaged(root: Path) -> None:
    broken_sets.empty_domain(root)
    (root / "train" / "cat" / "1.png").write_bytes(b"no picture")


REFUSED = {
    "unpaired": ("pix2pix", without_partner, ("without a partner", "use cyclegan", "A/01.png")),
    "table": ("stargan", bad_table, ("2 bad rows", "without a picture", "images/0.png")),
    "domain": ("stargan", empty_and_damaged, ("bird has no pictures", "cat/1.png")),
    "layout": (
        "pix2pix",
        broken_sets.wrong_layout,
        ("found photos/ (6 pictures), sketches/ (6 pictures)", "expected: pairs side by side"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_train_refuses_with_all_that_stops_it(name: str, tmp_path: Path, main: Main) -> None:
    method, make, words = REFUSED[name]
    make(tmp_path / "in")
    said = main("train", method, tmp_path / "in", "-o", tmp_path / "run", "--preset", "tiny")
    assert said.returncode == 2 and not (tmp_path / "run").exists()
    (line,) = [x for x in said.stderr.splitlines() if x.startswith("img2img: ")]
    for word in words:
        assert word in line, line
    report = check_data(tmp_path / "in", wanted(method)).report
    stops = [finding for finding in report.findings if finding.stops]
    assert stops and all(as_typed(str(finding)) in line for finding in stops)
    assert len(stops) == 1 or f"{len(stops)} problems stop the training (1) " in line


def test_a_refused_preview_and_a_refused_resume_name_all_too(tmp_path: Path, main: Main) -> None:
    without_partner(tmp_path / "in")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state-00000001.i2i").touch()
    where = (tmp_path / "in", "-o")
    for words in (
        ("data", "preview", *where, tmp_path / "look.png", "--method", "pix2pix"),
        ("train", "pix2pix", *where, tmp_path / "run", "--preset", "tiny"),
    ):
        said = main(*words)
        assert said.returncode == 2 and "2 problems stop the training (1) " in said.stderr, said


def test_what_the_data_set_takes_is_not_refused_by_the_look(tmp_path: Path) -> None:
    config = TrainConfig(method="pix2pix", data=tmp_path, out=tmp_path / "run")
    empty_and_damaged(tmp_path)
    with all_at_once(config):
        pass
    with (
        pytest.raises(DataError, match=r"^the style folder contains no pictures"),
        all_at_once(config.model_copy(update={"data": tmp_path / "none"})),
    ):
        raise DataError("the style folder contains no pictures")


@pytest.mark.parametrize("kind", DEMOS)
def test_a_demo_is_what_its_method_learns_from(kind: str, tmp_path: Path) -> None:
    method = make_demo(kind, tmp_path / "a", count=12)
    report = check_data(tmp_path / "a").report
    assert report.method == method and {f.kind for f in report.findings} <= {"few"}
    make_demo(kind, tmp_path / "b", count=12)
    assert all(
        p.read_bytes() == (tmp_path / "b" / p.relative_to(tmp_path / "a")).read_bytes()
        for p in (tmp_path / "a").rglob("*.png")
    )


SMALLER = ("crop_size=64", "load_size=64", "batch_size=1", "threads=1", "generator.width=8")


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEMOS)
def test_the_proposed_command_trains(kind: str, tmp_path: Path, main: Main) -> None:
    """With networks and crops made small, which the preset's are not."""
    make_demo(kind, tmp_path / "my set", count=10)
    command = main("data", "check", tmp_path / "my set").stdout.splitlines()[-1]
    words = shlex.split(command)[1:]
    assert words[0] == "train" and "--preset" in words
    settings = [word for text in SMALLER for word in ("--set", text)]
    said = main(*words, "--dry-run", *settings)
    assert said.returncode == 0 and "dry run: " in said.stderr, said.stderr


@pytest.mark.parametrize("cuda", [False, True])
def test_the_proposed_preset_suits_the_machine(
    cuda: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    for kind in DEMOS:
        method = make_demo(kind, tmp_path / kind, count=10)
        plain, task = ("gpu", "restore-gpu") if cuda else ("laptop", "restore")
        preset = task if kind == "photographs" else plain
        report = check_data(tmp_path / kind).report
        assert report.preset == preset and f"--preset {preset}" in report.command
        assert preset in presets_of(METHODS[method])
    style = check_data(tmp_path / "unpaired", wanted("stylize")).report
    assert style.preset == plain


def test_an_unknown_demo_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="paired"):
        make_demo("pairs", tmp_path / "new")
    save(scene(1), tmp_path / "x.png")
    with pytest.raises(UsageError, match="not empty"):
        make_demo("paired", tmp_path)


def test_pairs_joined_and_split_back_are_the_same(tmp_path: Path) -> None:
    broken_sets.pairs(tmp_path / "two", 3)
    a, b = tmp_path / "two" / "A", tmp_path / "two" / "B"
    assert join_pairs(a, b, tmp_path / "one") == 3
    assert split_pairs(tmp_path / "one", tmp_path / "back") == 3
    for path in (tmp_path / "two").rglob("*.png"):
        again = tmp_path / "back" / path.relative_to(tmp_path / "two")
        assert Image.open(again).tobytes() == Image.open(path).tobytes()


def test_pairs_are_joined_and_split_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    broken_sets.pairs(tmp_path, 6)
    a, b, out = tmp_path / "A", tmp_path / "B", tmp_path / "out"
    (a / "01.png").write_bytes(b"no picture")
    (b / "04.png").write_bytes(b"no picture")
    (b / "05.png").unlink()
    with pytest.raises(DataError, match=r"^3 files cannot be joined: ") as caught:
        join_pairs(a, b, out)
    for word in ("A/01.png: cannot", "B/04.png: cannot", "A/05.png has no partner", "Nothing was"):
        assert word in str(caught.value)
    assert not out.exists()
    save(scene(1).resize((95, 96)), a / "03.png")
    with pytest.raises(DataError, match=r"^2 pictures cannot be split: ") as caught:
        split_pairs(a, out)
    assert "A/01.png: cannot" in str(caught.value) and "A/03.png: its odd width of 95" in str(
        caught.value
    )
    with pytest.raises(DataError, match="2 pictures cannot be read: ") as caught:
        split_data(tmp_path, out)
    assert "A/01.png: cannot" in str(caught.value) and "B/04.png: cannot" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures to join"):
        join_pairs(tmp_path / "empty", tmp_path / "empty", out)
    assert not out.exists()


def test_a_split_keeps_near_duplicates_and_pairs_together(tmp_path: Path) -> None:
    broken_sets.pairs(tmp_path / "in", 12)
    for k in range(4):  # the same scenes again, saved smaller
        for side in "AB":
            image = Image.open(tmp_path / "in" / side / f"{k:02}.png")
            save(image.resize((90, 90)), tmp_path / "in" / side / f"again{k}.png")
    done = split_data(tmp_path / "in", tmp_path / "out", 0.4)
    assert done.train + done.test == 16 and 4 <= done.test <= 8 and done.together >= 4
    report = check_data(tmp_path / "out").report
    assert not found(report, "leak") and not found(report, "unpaired")


def test_a_split_loses_no_picture_to_one_of_the_same_name(tmp_path: Path) -> None:
    for k, place in enumerate(("train/cat/a.png", "test/cat/a.png", "train/dog/b.png")):
        save(scene(k), tmp_path / "in" / place)
    save(scene(9), tmp_path / "in" / "test" / "dog" / "c.png")
    with pytest.raises(DataError, match=r"1 names are used by several pictures; .*: cat/a\.png"):
        split_data(tmp_path / "in", tmp_path / "out", 0.4)
    assert not (tmp_path / "out").exists()


def test_the_command_says_it_in_words_and_in_json(tmp_path: Path, main: Main) -> None:
    broken_sets.empty_domain(tmp_path / "in")
    said = main("data", "check", tmp_path / "in", "--sheet", tmp_path / "look.png")
    assert said.returncode == 5 and "stops  domain bird has no pictures" in said.stdout
    assert Image.open(tmp_path / "look.png").width > 128
    row = json.loads(main("data", "check", tmp_path / "in", "--json").stdout)
    assert row["refused"] and row["findings"][0]["kind"] == "empty"
    assert main("data", "check", tmp_path / "none").returncode == 2


def test_an_attribute_table_is_split_as_celeba_is(tmp_path: Path, main: Main) -> None:
    broken_sets.table(tmp_path / "in")
    for k in range(6, 30):
        save(scene(k), tmp_path / "in" / "images" / f"{k}.png")
    save(scene(2).resize((90, 90)), tmp_path / "in" / "images" / "30.png")  # 2.png again, smaller
    rows = "\n".join(f"{k}.png {1 if k % 2 else -1} 1" for k in range(31))
    (tmp_path / "in" / "list_attr.txt").write_text(f"31\nSmiling Young\n{rows}\n")
    save(scene(99), tmp_path / "in" / "images" / "extra.png")  # of no row
    out = tmp_path / "out"
    said = main("data", "split", tmp_path / "in", "-o", out, "--share", "0.2")
    assert said.returncode == 0 and "25 to train on and 6 to test with" in said.stdout
    assert "1 groups of near-duplicates" in said.stdout
    parts = {split: LabelledData(out, split, Loading(32)) for split in ("train", "held-out")}
    names = {split: set(data.names) for split, data in parts.items()}
    assert len(names["train"]) == 25 and len(names["held-out"]) == 6
    assert names["train"].isdisjoint(names["held-out"])
    assert any({"2.png", "30.png"} <= some for some in names.values())
    label = parts["train"].rows[0]
    assert label.label == (float(int(label.name[:-4]) % 2), 1.0)
    report = check_data(out).report
    assert report.counts == {"train": 25, "held out": 6} and not found(report, "leak")
    # A near-duplicate on both sides is found.
    text = (out / "list_eval_partition.txt").read_text()
    swapped = {"2.png 0": "2.png 2", "2.png 2": "2.png 0"}
    old = next(row for row in swapped if f"\n{row}\n" in f"\n{text}")
    (out / "list_eval_partition.txt").write_text(
        "\n".join(swapped[old] if row == old else row for row in text.splitlines())
    )
    assert "1 picture" in found(check_data(out).report, "leak")[0]


def test_a_partition_is_read_as_it_comes_and_refused_where_it_is_wrong(tmp_path: Path) -> None:
    broken_sets.table(tmp_path)

    def names(split: Split) -> list[str]:
        return LabelledData(tmp_path, split, Loading(32)).names

    path = tmp_path / "list_eval_partition.csv"
    path.write_text("image_id,partition\n" + "".join(f"{k}.png,{k // 2}\n" for k in range(6)))
    assert names("train") == ["0.png", "1.png"] and names("held-out") == ["2.png", "3.png"]
    path.write_text(path.read_text().replace("1\n", "2\n"))  # no validation, a test
    assert names("held-out") == ["2.png", "3.png", "4.png", "5.png"]
    path.unlink()
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("0.png 0\n1.png 3\n2.png\n")
    with pytest.raises(
        DataError,
        match=r"2 rows are not a file name and 0, 1 or 2: '1.png 3'; '2.png'",
    ):
        names("train")
    assert any("0, 1 or 2" in text for text in found(check_data(tmp_path).report, "layout"))
    path.write_text("".join(f"{k}.png 0\n" for k in range(5)))
    with pytest.raises(DataError, match=r"1 rows missing: no row for 5\.png"):
        names("train")

"""Real or fake: what the page holds, what it refuses, and the score against closed forms."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2img.errors import DataError, EnvironmentFault, PictureError, UsageError
from img2img.evaluation import human
from img2img.evaluation.human import FORMAT, score_answers, write_human_page
from img2img.metrics.intervals import wilson as wilson_interval
from tests.conftest import picture

Folders = tuple[list[Path], list[Path]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Reals are reddish JPEGs of 640x480, fakes bluish PNGs of 300x300."""
    folder = tmp_path_factory.mktemp("pictures")
    reals = [folder / f"secret-real-{k}.jpg" for k in range(8)]
    fakes = [folder / f"secret-fake-{k}.png" for k in range(8)]
    for k, path in enumerate(reals):
        Image.new("RGB", (640, 480), (200, 10 * k, 20)).save(path)
    for k, path in enumerate(fakes):
        Image.new("RGB", (300, 300), (20, 10 * k, 200)).save(path)
    return reals, fakes


def settings(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="settings">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


def shown(page: Path) -> list[tuple[bool, bytes]]:
    """What the page holds, in its order: whether it is a fake, and the file."""
    return [
        (mark.bit_count() % 2 == 1, base64.b64decode(data))
        for mark, data in settings(page)["pictures"]
    ]


def test_half_are_real_and_all_are_saved_alike(folders: Folders, tmp_path: Path) -> None:
    page = write_human_page(*folders, tmp_path / "p.html", 12, 1, title="Test")
    assert page == tmp_path / "p.html"
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]
    assert settings(page)["side"] == 300
    seen = shown(page)
    assert sum(fake for fake, _ in seen) == 6 and len({data for _, data in seen}) == 12
    kinds = set()
    for fake, data in seen:
        image = Image.open(io.BytesIO(data))
        red, _, blue = np.asarray(image).reshape(-1, 3).mean(0)
        assert fake == (blue > red), "the mark contradicts the picture"
        assert image.format == "JPEG" and max(image.size) == 300
        assert len(data) % 8192 == 0
        kinds.add(str(image.quantization) + str(image.info.keys()))
    assert len(kinds) == 1, "reals and fakes are compressed differently"
    order = [fake for fake, _ in seen]
    assert order != sorted(order) and order != sorted(order, reverse=True)


def test_the_page_names_no_file(folders: Folders, tmp_path: Path) -> None:
    text = write_human_page(*folders, tmp_path / "p.html", 8, title="Test").read_text("utf-8")
    assert "secret" not in text and str(folders[0][0].parent) not in text


def test_the_seed_decides(folders: Folders, tmp_path: Path) -> None:
    pages = [
        write_human_page(*folders, tmp_path / f"{k}.html", 8, seed, title="Test").read_bytes()
        for k, seed in enumerate((5, 5, 6))
    ]
    assert pages[0] == pages[1]
    assert pages[0] != pages[2]
    chosen = [[data for _, data in shown(tmp_path / f"{k}.html")] for k in (0, 2)]
    assert set(chosen[0]) != set(chosen[1]), "other seeds take other pictures"


def test_marks_alone_do_not_tell(folders: Folders, tmp_path: Path) -> None:
    marks: dict[bool, list[int]] = {False: [], True: []}
    for seed in range(6):
        page = write_human_page(*folders, tmp_path / "p.html", 16, seed, title="Test")
        for mark, _ in settings(page)["pictures"]:
            marks[mark.bit_count() % 2 == 1].append(mark)
    for values in marks.values():
        assert {value % 2 for value in values} == {0, 1}
        assert max(values) > 2**31 > min(values)


def test_a_title_is_text(folders: Folders, tmp_path: Path) -> None:
    title = "</script><b>{{settings}}\u202e"
    page = write_human_page(*folders, tmp_path / "p.html", 2, title=title)
    text = page.read_text(encoding="utf-8")
    assert settings(page)["title"] == "</script><b>{{settings}}\\u202e"
    assert f"<title>{html.escape(title[:-1])}\\u202e</title>" in text
    assert text.count("</script>") == 2


def test_large_pictures_are_reduced_until_the_page_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for path in paths:
        Image.fromarray(noise).save(path)
    page = write_human_page(paths[:2], paths[2:], tmp_path / "p.html", 4, title="Test")
    assert settings(page)["side"] == 512
    monkeypatch.setattr(human, "MAX_BYTES", 600_000)
    page = write_human_page(paths[:2], paths[2:], tmp_path / "p.html", 4, title="Test")
    assert settings(page)["side"] in (320, 256)
    assert page.stat().st_size < 640_000


def test_transparent_grey_and_deep_pictures(tmp_path: Path) -> None:
    clear, deep = tmp_path / "clear.png", tmp_path / "deep.png"
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(clear)
    Image.fromarray(np.full((40, 40), 0x8000, np.uint16)).save(deep)
    page = write_human_page([clear], [deep], tmp_path / "p.html", 2, title="Test")
    means = {fake: np.asarray(Image.open(io.BytesIO(data))).mean() for fake, data in shown(page)}
    assert means[False] == 255 and means[True] == pytest.approx(128, abs=1)


def test_what_is_refused(folders: Folders, tmp_path: Path) -> None:
    reals, fakes = folders
    out = tmp_path / "p.html"
    (tmp_path / "folder.html").mkdir()
    for arguments, words in [
        ((reals, fakes, out, 7), "even number"),
        ((reals, fakes, out, 0), "even number"),
        ((reals, fakes, out, -2), "even number"),
        ((reals, fakes, out, 602), "at most 600"),
        ((reals[:3], fakes, out, 8), "need 4 real ones, and there are 3; .* at most 6"),
        ((reals, fakes[:2], out, 8), "need 4 fake ones, and there are 2; .* at most 4"),
        ((reals, reals, out, 8), "among both the real and the fake"),
        ((reals, fakes, tmp_path / "p.txt", 8), "suffix .html"),
        ((reals, fakes, tmp_path / "none" / "p.html", 8), "no such folder"),
        ((reals, fakes, tmp_path / "folder.html", 8), "is a folder"),
    ]:
        with pytest.raises(UsageError, match=words):
            write_human_page(*arguments, title="Test")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"broken\.png"):
        write_human_page([broken], fakes, out, 2, title="Test")
    assert not out.exists()


def test_a_full_disk_leaves_the_older_page(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.html"
    out.write_text("older")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EnvironmentFault, match=r"p\.html: not written: disk full"):
        write_human_page(*folders, out, 2, title="Test")
    assert out.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]


def saved(mode: str = "unlimited", wrong: tuple[int, int] = (1, 3), each: int = 10) -> dict:
    """Answers to `each` reals and fakes; of the reals the first `wrong[0]` are wrong ones, of the
    fakes the first `wrong[1]`."""
    answers = []
    for truth, other, errors in (("real", "fake", wrong[0]), ("fake", "real", wrong[1])):
        answers += [
            {
                "picture": len(answers) + k,
                "truth": truth,
                "answer": other if k < errors else truth,
                "exposure_ms": 100 + 10 * (k // 4) if mode == "timed" else None,
            }
            for k in range(each)
        ]
    return {"format": FORMAT, "version": 1, "mode": mode, "seed": 7, "page": "0123456789ab",
            "count": 2 * each, "answers": answers}  # fmt: skip


def score(data: object, folder: Path) -> human.HumanScore:
    path = folder / "answers.json"
    path.write_text(json.dumps(data))
    return score_answers(path)


def test_rates_are_shares_of_wrong_answers(tmp_path: Path) -> None:
    got = score(saved(), tmp_path)
    assert (got.reals, got.fakes, got.real_errors, got.fake_errors) == (10, 10, 1, 3)
    assert got.real_error_rate == 0.1 and got.fake_error_rate == 0.3 and got.error_rate == 0.2
    assert got.protocol == "HYPE_infinity" and got.threshold_ms is None
    assert (got.seed, got.page) == (7, "0123456789ab")
    assert got.interval == wilson_interval(4, 20)


def test_the_threshold_is_the_exposure_shown_most_often(tmp_path: Path) -> None:
    # 100 and 110 ms stand eight times each, 120 four times.
    assert score(saved("timed"), tmp_path).threshold_ms == 105
    data = saved("timed")
    for answer in data["answers"][:9]:
        answer["exposure_ms"] = 720
    got = score(data, tmp_path)
    assert got.threshold_ms == 720 and got.protocol == "HYPE_time"


def test_the_interval_solves_its_equation() -> None:
    """Its ends are the shares p from which hits/n lies z standard errors away: closed form."""
    for hits, count in [(0, 10), (1, 7), (4, 20), (50, 100), (10, 10)]:
        for end in wilson_interval(hits, count):
            away = (hits / count - end) ** 2
            assert away == pytest.approx(1.959963984540054**2 * end * (1 - end) / count, abs=1e-12)
    low, high = wilson_interval(50, 100)
    assert (low, high) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    for count in range(1, 200):
        assert wilson_interval(0, count)[0] == pytest.approx(0, abs=1e-12)
        assert wilson_interval(0, count)[0] >= 0 and wilson_interval(count, count)[1] <= 1


def changed(**more: object) -> dict:
    return saved() | more


def test_a_file_that_holds_no_answers_is_refused(tmp_path: Path) -> None:
    one_sided = saved(each=2)
    one_sided |= {"answers": one_sided["answers"][:2], "count": 2}
    odd = saved()
    odd["answers"][4]["answer"] = "maybe"
    long, named, none = saved("timed"), saved("timed"), saved("timed")
    long["answers"][2]["exposure_ms"] = 1010
    named["answers"][2]["exposure_ms"] = "500"
    none["answers"][2]["exposure_ms"] = float("nan")
    for data, words in [
        ([], "contains no answers"),
        ({"score": 1}, "contains no answers"),
        (changed(version=2), "of version 2; this img2img reads 1"),
        (changed(mode="quick"), "mode 'quick'"),
        (changed(mode=["timed"]), "neither 'timed'"),
        (changed(seed=None), "seed or page"),
        (changed(page=3), "seed or page"),
        (changed(count=21), "answers are missing"),
        (changed(answers=None), "answers are missing"),
        (changed(answers=[1] * 20), "answer 1 is not an object"),
        (odd, "answer 5 is neither"),
        (one_sided, "both reals and fakes"),
        (long, "exposure of answer 3 is not 100 to 1000 ms"),
        (named, "exposure of answer 3"),
        (none, "exposure of answer 3"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=words) as caught:
            score(data, tmp_path)
        assert "answers.json: " in str(caught.value) and "\n" not in str(caught.value)
    path = tmp_path / "page.html"
    for content in (b"<!DOCTYPE html>", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"page\.html: is not JSON"):
            score_answers(path)
    with pytest.raises(DataError, match=r"none\.json: cannot be read: no such file"):
        score_answers(tmp_path / "none.json")


def test_staircase_balances_at_three_right_answers_in_four() -> None:
    assert human.DOWN * 0.75 == human.UP * 0.25
    assert human.LEAST <= human.START <= human.MOST


def test_pictures_smaller_than_any_side_stay_as_they_are(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    for k, path in enumerate(paths):
        picture(32, 20, k).save(path)
    page = write_human_page(paths[:1], paths[1:], tmp_path / "p.html", 2, title="Test")
    assert {Image.open(io.BytesIO(data)).size for _, data in shown(page)} == {(32, 20)}


def test_the_documented_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parent.parent / "docs" / "how-to" / "evaluate.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text.split("## Human evaluation")[1], re.S)
    monkeypatch.chdir(tmp_path)
    for folder, suffix in (("photographs", "jpg"), ("translated", "png")):
        Path(folder).mkdir()
        for k in range(50):
            Image.new("RGB", (16, 16), (k, k, k)).save(f"{folder}/{k}.{suffix}")
    Path("answers.json").write_text(json.dumps(saved("timed")))
    scope: dict[str, object] = {}
    for block in blocks:
        exec(block, scope)
    assert settings(Path("judge.html"))["seed"] == 0 and len(shown(Path("judge.html"))) == 100
    assert capsys.readouterr().out.startswith("HYPE_time 0.2 (")

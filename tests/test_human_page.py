"""The page that asks what is real, in a real browser: keys, touch, masks, and what it saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from img2img.evaluation.human import HumanScore, score_answers, write_human_page
from img2img.metrics.intervals import wilson as wilson_interval
from tests.browser import Tab

COUNT = 6
READY = "!document.querySelector('#choices button').disabled"
SHOWS = "document.querySelector('#stage').dataset.shows"
ENDED = "!document.querySelector('#end').hidden"
# Every change of what the stage shows, in order; a test then need not catch the moment.
WATCH = (
    "(stage => { window.seen = [];"
    " new MutationObserver(() => seen.push([stage.dataset.shows,"
    " ...[...stage.children].map(e => getComputedStyle(e).visibility)]))"
    ".observe(stage, {attributes: true}); })(document.querySelector('#stage'))"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reals are red, fakes blue."""
    folder = tmp_path_factory.mktemp("human")
    paths = []
    for kind, colour in (("real", (200, 30, 30)), ("fake", (30, 30, 200))):
        paths.append([folder / f"{kind}{k}.png" for k in range(COUNT // 2)])
        for path in paths[-1]:
            Image.new("RGB", (120, 90), colour).save(path)
    return write_human_page(*paths, folder / "page.html", COUNT, 4, title="<i>Test</i>")


def start(tab: Tab, page: Path, mode: str) -> None:
    tab.open(page.as_uri())
    tab.run(WATCH)
    tab.page.locator(f"[value={mode}]").check()
    tab.page.locator("#start button").click()


def is_fake(tab: Tab) -> bool:
    """By the colour of the picture itself, whatever is shown now."""
    return tab.run(
        "(() => { const c = document.createElement('canvas'); c.width = c.height = 1;"
        " const pen = c.getContext('2d'); pen.drawImage(document.querySelector('#picture'), 0, 0, 1, 1);"
        " const [r, g, b] = pen.getImageData(0, 0, 1, 1).data; return b > r; })()"
    )


def judge(tab: Tab, right: list[bool]) -> None:
    for number, good in enumerate(right, 1):
        tab.wait(READY)
        assert tab.run("document.querySelector('#number').textContent") == (
            f"Picture {number} of {len(right)}"
        )
        tab.page.keyboard.press("F" if is_fake(tab) == good else "r")
    tab.wait(ENDED)


def save(tab: Tab, folder: Path) -> tuple[HumanScore, dict[str, Any]]:
    with tab.page.expect_download() as download:
        tab.page.locator("#save").click()
    assert download.value.suggested_filename.endswith(".json")
    path = folder / "answers.json"
    download.value.save_as(path)
    return score_answers(path), json.loads(path.read_text())


def rows(tab: Tab) -> list[list[str]]:
    return tab.run(
        "[...document.querySelectorAll('#rates tr')].map(r => [...r.children].map(c => c.textContent.replaceAll('\\u00a0', ' ')))"
    )


@pytest.mark.slow
def test_without_a_limit_by_keys(tab: Tab, written: Path, tmp_path: Path) -> None:
    start(tab, written, "unlimited")
    right = [True, False, True, True, False, True]
    judge(tab, right)
    kinds = tab.run("seen.map(s => s[0])")
    assert kinds == ["cross", "picture"] * COUNT, "without a limit nothing covers the picture"
    got, data = save(tab, tmp_path)
    assert got.mode == "unlimited" and got.threshold_ms is None and got.seed == 4
    assert got.error_rate == pytest.approx(2 / 6) and got.reals == got.fakes == 3
    assert [a["truth"] == a["answer"] for a in data["answers"]] == right
    assert [a["picture"] for a in data["answers"]] == list(range(COUNT))
    assert data["protocol"] == got.protocol == "HYPE_infinity" and data["title"] == "<i>Test</i>"
    assert all(a["response_ms"] > 0 and a["exposure_ms"] is None for a in data["answers"])
    # The page's own score is that of Python.
    for name, wrong, count in (
        ("real", got.real_errors, 3),
        ("fake", got.fake_errors, 3),
        ("all", 2, 6),
    ):
        reported = data["score"][name]
        assert reported["errors"] == wrong and reported["count"] == count
        assert reported["interval"] == pytest.approx(wilson_interval(wrong, count), abs=1e-12)
    assert rows(tab)[2] == ["All", "2 of 6", "33.3 %", "9.7\u201370.0 %"]
    assert tab.run("document.querySelector('#verdict').textContent").startswith("33.3")
    assert tab.run("document.activeElement.id") in ("end", "save")
    assert tab.run("document.querySelectorAll('#pictures figure').length") == 2


def test_in_time_a_mask_replaces_the_picture(tab: Tab, written: Path, tmp_path: Path) -> None:
    start(tab, written, "timed")
    tab.wait(READY)
    assert tab.run(SHOWS) == "mask"
    left, top, width, height = (round(v) for v in tab.box("#stage"))
    middle = tab.screenshot()[top : top + height, left : left + width].reshape(-1, 3).astype(int)
    assert middle.std(0).min() > 20, "noise, not the flat picture"
    right = [True, True, True, False, True, False]
    judge(tab, right)
    seen = tab.run("seen")
    states = {"cross": ["visible", "hidden", "hidden"], "picture": ["hidden", "visible", "hidden"],
              "mask": ["hidden", "hidden", "visible"]}  # fmt: skip
    assert all(visible == states[shows] for shows, *visible in seen), "one thing at a time"
    kinds = [shows for shows, *_ in seen]
    turns = [k for k, before in zip(kinds, [None, *kinds], strict=False) if k != before]
    assert turns == ["cross", "picture", "mask"] * COUNT
    assert kinds.count("mask") == 4 * COUNT, "four masks for each picture"
    got, data = save(tab, tmp_path)
    assert [a["exposure_ms"] for a in data["answers"]] == [500, 490, 480, 470, 500, 490]
    assert got.threshold_ms == data["score"]["threshold_ms"] == 495
    assert got.protocol == data["protocol"] == "HYPE_time"
    assert all(a["shown_ms"] > 0 for a in data["answers"])
    assert "495 ms" in tab.run("document.querySelector('#verdict').textContent")
    points = tab.run("document.querySelector('#line').points.length")
    assert points == COUNT


def test_reduced_motion_has_one_mask(tab: Tab, written: Path) -> None:
    tab.page.emulate_media(reduced_motion="reduce")
    start(tab, written, "timed")
    tab.wait(READY)
    assert tab.run("seen.map(s => s[0])") == ["cross", "picture", "mask"]


@pytest.mark.slow
def test_no_key_counts_before_the_mask(tab: Tab, written: Path) -> None:
    start(tab, written, "timed")
    tab.wait(READY)
    # At once, in the page: no frame passes between the answer and the keys after it.
    tab.run(
        "(() => { for (const key of 'ffrfr') document.dispatchEvent(new KeyboardEvent('keydown', {key}));"
        " document.querySelector('#choices button').click(); })()"
    )
    tab.wait(READY)
    number = "document.querySelector('#number').textContent"
    assert tab.run(number) == "Picture 2 of 6"
    for keys in ("Control+f", "Alt+r", "x", "Enter"):
        tab.page.keyboard.press(keys)
    assert tab.run(number) == "Picture 2 of 6" and tab.run(SHOWS) == "mask"


@pytest.mark.slow
def test_by_touch_and_then_again(phone: Tab, written: Path) -> None:
    phone.open(written.as_uri())
    phone.page.locator("label:has([value=unlimited])").tap()
    phone.page.locator("#start button").tap()
    for number in range(COUNT):
        phone.wait(READY)
        if number == 0:
            _, top, _, height = phone.box("#choices")
            assert top + height <= 800 and height >= 48
        phone.page.locator("#choices [value=real]").tap()
    phone.wait(ENDED)
    assert rows(phone)[0][1:3] == ["0 of 3", "0.0 %"]
    assert rows(phone)[1][1:3] == ["3 of 3", "100.0 %"]
    assert phone.run("document.documentElement.scrollWidth <= innerWidth")
    leaving = (
        "(() => { const event = new Event('beforeunload', {cancelable: true});"
        " dispatchEvent(event); return event.defaultPrevented; })()"
    )
    assert phone.run(leaving), "closing the page asks, too"
    phone.page.once("dialog", lambda dialog: dialog.dismiss())
    phone.page.locator("#again").tap()
    assert phone.run(ENDED), "unsaved answers stay unless given up"
    phone.page.once("dialog", lambda dialog: dialog.accept())
    phone.page.locator("#again").tap()
    assert phone.run("!document.querySelector('#start').hidden") and not phone.run(leaving)


def test_what_assistive_programs_hear(tab: Tab, written: Path) -> None:
    tab.open(written.as_uri())
    names = [node["name"]["value"] for node in tab.accessible("radio")]
    assert [name.split()[0] for name in names] == ["Unlimited", "Timed"]
    start(tab, written, "unlimited")
    tab.wait(READY)
    assert [node["name"]["value"] for node in tab.accessible("button")] == ["F Fake", "R Real"]
    assert [node["name"]["value"] for node in tab.accessible("image")] == ["The picture to judge"]


@pytest.mark.slow
def test_no_network_no_complaint_and_no_foreign_code(tab: Tab, written: Path) -> None:
    start(tab, written, "unlimited")
    judge(tab, [False] * COUNT)
    assert tab.run("document.querySelector('h1').textContent") == "<i>Test</i>"
    assert tab.requests() == [written.as_uri()]
    assert tab.complaints() == []
    tab.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x.png\">');"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}))"
    )
    tab.settle()
    assert tab.run("typeof window.evil") == "undefined"
    assert len([text for text in tab.complaints() if "Content Security Policy" in text]) == 2

"""Sheets, and the page of a job: what is written, how, and that it is whole or not there."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.errors import EnvironmentFault, UsageError
from img2img.inference.gallery import (
    GAP,
    MAX_SHEET_SIDE,
    Gallery,
    compare_sheet,
    side_for,
)
from img2img.system.pages import shown_name
from tests.conftest import picture

NASTY = [
    "<script>alert(1)</script>.png",
    "\"quotes\" & 'more'.png",
    "{{entries}}{{counts}}{{size}}.png",
    "two\nlines\r\t\0.png",
    "photo\u202egpj.exe",
    "\udcff\udce9 is no UTF-8.png",
    "lone \ud83d surrogate.png",
    "مرحبا.png",
    "</figure></script>-->",
    "👩‍🎨 é.png",
]


def flat(width: int, height: int, colour: tuple[int, ...]) -> np.ndarray:
    return np.full((height, width, len(colour)), colour, np.uint8)


def gallery(path: Path, count: int = 1) -> Gallery:
    about = {"Model": "test <b>", "Licence": "free"}
    return Gallery(path, about, count, title="A & B {{counts}}")


class Parsed(HTMLParser):
    """The elements of a page, and its text by element."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and data.strip():
            self.texts.append((self.elements[-1][0], data))


def test_a_sheet_shows_both_at_equal_height() -> None:
    sheet = compare_sheet(flat(30, 20, (255, 0, 0)), flat(60, 40, (0, 0, 255)))
    assert sheet.shape == (40, 60 + GAP + 60, 3) and sheet.dtype == np.uint8
    assert (sheet[:, :60] == (255, 0, 0)).all() and (sheet[:, -60:] == (0, 0, 255)).all()
    assert (sheet[:, 60 : 60 + GAP] == sheet[0, 60, 0]).all()


def test_a_sheet_keeps_the_pixels_of_pictures_that_are_not_large() -> None:
    before = np.asarray(picture(333, 250, 1))
    after = np.asarray(picture(333, 250, 2))
    sheet = compare_sheet(before, after)
    assert (sheet[:, :333] == before).all() and (sheet[:, -333:] == after).all()


def test_a_sheet_of_large_deep_and_grey_pictures() -> None:
    before = np.zeros((40, 20000, 3), np.uint16)
    before[:] = 65535
    after = np.zeros((40, 20000, 1), np.uint8)
    sheet = compare_sheet(before, after)
    assert sheet.shape == (16, 2 * MAX_SHEET_SIDE + GAP, 3) and sheet.shape[1] <= 16383
    assert (sheet[:, :MAX_SHEET_SIDE] == 255).all() and (sheet[:, -MAX_SHEET_SIDE:] == 0).all()
    tall = compare_sheet(flat(2, 30000, (1, 2, 3)), flat(2, 30000, (1, 2, 3)))
    assert tall.shape[0] == MAX_SHEET_SIDE and tall.shape[1] == 1 + GAP + 1


def test_names_are_shown_without_what_is_invisible() -> None:
    assert shown_name("a\nb") == "a\\nb"
    assert shown_name("photo\u202egpj.exe") == "photo\\u202egpj.exe"
    assert shown_name("\udcff.png") == "\\xff.png"
    assert shown_name("👩‍🎨 é مرحبا <b>") == "👩‍🎨 é مرحبا <b>"


def test_the_page_holds_every_name_escaped(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with gallery(path, len(NASTY)) as page:
        for name in NASTY:
            page.add(name, flat(8, 6, (255, 0, 0)), flat(8, 6, (0, 255, 0)), [f"note {name}"])
            page.fail(name, f"reason {name}")
    text = path.read_bytes().decode()
    parsed = Parsed(text)
    tags = [tag for tag, _ in parsed.elements]
    assert tags.count("script") == 1 and tags.count("style") == 1
    assert tags.count("figure") == 2 * len(NASTY)
    shown = [data for tag, data in parsed.texts if tag == "bdi"]
    assert shown[0] == "A & B {{counts}}" and shown[1] == "test <b>"
    ordered = sorted(NASTY, key=lambda name: [part.casefold() for part in Path(name).parts])
    assert shown[3:] == [shown_name(name) for name in ordered for _ in range(2)]
    labels = [a["aria-label"] for _, a in parsed.elements if a.get("role") == "slider"][:-1]
    assert labels == [shown_name(name) + ", before and after" for name in ordered]
    notes = [data for tag, data in parsed.texts if tag == "p" and data.startswith("reason")]
    assert notes == [f"reason {shown_name(name)}" for name in ordered]
    assert f"{len(NASTY)} translated, {len(NASTY)} failed" in text
    assert sorted(os.listdir(tmp_path)) == ["page.html"]


def test_the_page_refers_to_nothing_outside(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with gallery(path) as page:
        page.add("one", flat(8, 6, (255, 0, 0)), flat(8, 6, (0, 255, 0)))
    text = path.read_text(encoding="utf-8")
    for _, attributes in Parsed(text).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert set(re.findall(r"url\(\s*['\"]?(\w+:)", text)) == {"data:"}
    assert re.findall(r"https?://[^'\" ]*", text) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in text and "fetch(" not in text and "import(" not in text


def test_the_policy_admits_exactly_the_page_s_own_code(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    gallery(path).close()
    text = path.read_bytes().decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html.unescape(policy)
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_pictures_are_reduced_and_right(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    before = np.asarray(picture(1000, 500, 1))
    after = before.astype(np.uint16) * 257
    with gallery(path) as page:
        page.add("a large", before, after)
        page.add("b grey", flat(5, 4, (9, 9, 9)), flat(5, 4, (200,)))
    found = re.findall(
        r'width="(\d+)" height="(\d+)".*?src="data:image/webp;base64,([^"]+)"', path.read_text()
    )
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for _, _, data in found]
    assert [image.size for image in images] == [(640, 320)] * 2 + [(5, 4)] * 2
    assert [(int(w), int(h)) for w, h, _ in found] == [image.size for image in images]
    expected = np.asarray(picture(1000, 500, 1).resize((640, 320)), np.int16)
    for image in images[:2]:
        assert np.abs(np.asarray(image, np.int16) - expected).mean() < 3
    assert abs(int(np.asarray(images[2]).mean()) - 200) < 4


def test_many_pictures_are_smaller_ones() -> None:
    assert [side_for(n) for n in (0, 1000, 1001, 4000, 4001, 10**6)] == [
        640,
        640,
        360,
        360,
        240,
        240,
    ]


@pytest.mark.slow
def test_pictures_done_earlier_come_from_their_files(tmp_path: Path) -> None:
    see_through = picture(2000, 1500, 1).convert("RGBA")
    see_through.putalpha(0)
    see_through.save(tmp_path / "in.png")
    picture(2000, 1500, 2).save(tmp_path / "out.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    path = tmp_path / "page.html"
    with gallery(path) as page:
        page.add_files(tmp_path / "in.png", tmp_path / "out.png", "sub/in.png")
        page.add_files(tmp_path / "in.png", tmp_path / "bad.png", "sub/bad.png")
        page.add_files(tmp_path / "gone.png", tmp_path / "out.png", "sub/gone.png")
    text = path.read_text()
    assert "1 already there, 2 failed" in text
    assert text.count('data-status="there"') == 1 and text.count('data-status="failed"') == 2
    assert "<p>result: " in text and "<p>source: no such file or folder</p>" in text
    assert str(tmp_path) not in text
    data = re.findall(r'class="before".*?base64,([^"]+)"', text)[0]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) > 250).all()


def test_the_foot_says_how_large_the_page_is(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    noise = np.random.default_rng(0).integers(0, 256, (600, 640, 3), np.uint8)
    with gallery(path) as page:
        page.add("noise", noise, noise)
    (reported,) = re.findall(r"This page \(([\d.]+) MB\)", path.read_text())
    assert abs(float(reported) - path.stat().st_size / 1e6) < 0.06 and float(reported) > 0.2


def test_entries_stand_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["b.png", "sub/a.png", "A.png", "c.png", "sub.png", "sub/B.png"]
    with gallery(tmp_path / "page.html") as page:
        for name in names:
            page.fail(name, f"why {name}")
    text = (tmp_path / "page.html").read_text()
    found = re.findall(r"<bdi>([^<]*)</bdi><p>why ([^<]*)</p>", text)
    assert [a for a, _ in found] == ["A.png", "b.png", "c.png", "sub/a.png", "sub/B.png", "sub.png"]
    assert all(a == b for a, b in found)


def test_an_error_leaves_the_older_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("older")
    with pytest.raises(KeyError), gallery(path) as page:
        page.fail("one", "why")
        raise KeyError("in the job")
    assert path.read_text() == "older" and os.listdir(tmp_path) == ["page.html"]
    page = gallery(path)
    page.fail("one", "why")
    assert path.read_text() == "older"
    page.close()
    assert "<!DOCTYPE html>" in path.read_text() and os.listdir(tmp_path) == ["page.html"]
    page.discard()
    assert "<!DOCTYPE html>" in path.read_text()


def test_a_killed_job_leaves_the_older_page_and_the_next_one_sweeps(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("older")
    program = (
        "import sys, os, signal; from img2img.inference.gallery import Gallery;"
        "g = Gallery(sys.argv[1], {}); g.fail('one', 'why'); g._file.flush();"
        "os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.read_text() == "older" and len(os.listdir(tmp_path)) == 2
    if os.name == "posix":
        gallery(path).close()
        assert os.listdir(tmp_path) == ["page.html"]


def test_what_cannot_be_a_gallery_is_refused_before_the_job(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    for name, words in [
        ("page.txt", "suffix .html"),
        ("folder.html", "is a folder"),
        ("none/page.html", "no such folder"),
    ]:
        with pytest.raises(UsageError, match=words):
            gallery(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.html"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    page = gallery(tmp_path / "page.html")
    page._file.close()
    page._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(EnvironmentFault, match=r"page\.html: not written: disk full"):
        page.fail("one", "why")
    page._file.close()
    page.discard()
    assert os.listdir(tmp_path) == []


def test_threads_may_add_at_once(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with gallery(path) as page:
        threads = [
            threading.Thread(
                target=lambda k=k: [page.fail(f"{k}-{n}", "x" * 5000) for n in range(50)]
            )
            for k in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    names = re.findall(r"<bdi>(\d+-\d+)</bdi>", path.read_text())
    assert sorted(names) == sorted(f"{k}-{n}" for k in range(8) for n in range(50))
    assert "400 failed" in path.read_text()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    with gallery(tmp_path / "page.html") as page:
        for k in range(100):
            page.add(f"{k}", noise, noise)
        before = resident()
        for k in range(400):
            page.add(f"{k}", noise, noise)
        grown = resident() - before
    assert (tmp_path / "page.html").stat().st_size > 20e6
    assert grown < 4e6

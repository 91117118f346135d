"""The page of a job in a real browser: mouse, touch, keys, search, print, and no network."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from img2img.inference.gallery import Gallery
from tests.browser import Tab

RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("gallery") / "page.html"
    before, after = (np.full((300, 400, 3), colour, np.uint8) for colour in (RED, BLUE))
    with Gallery(path, {"Model": "test"}, title="Test") as made:
        for name in ("beach/1.jpg", "beach/<script>alert(1)</script>.jpg", "été.png", "Wood.png"):
            made.add(name, before, after)
        for k in range(40):
            made.add(f"more {k}", before, after, status="there")
        made.fail("broken.jpg", "cannot be decoded: truncated")
    return path.as_uri()


@pytest.fixture
def opened(tab: Tab, written: str) -> Tab:
    tab.open(written)
    return tab


def share(tab: Tab, box: tuple[float, float, float, float]) -> float:
    """Which part of the width of a slider shows what was before, measured in a screenshot."""
    left, top, width, height = (round(v) for v in box)
    row = tab.screenshot()[top + height - 12, left + 2 : left + width - 2].astype(int)
    reddish = (row[:, 0] > row[:, 2] + 60).mean()
    bluish = (row[:, 2] > row[:, 0] + 60).mean()
    assert reddish + bluish > 0.95, "neither of the two pictures"
    return float(reddish)


def value(tab: Tab, selector: str = ".slider") -> int:
    return int(tab.run(f"document.querySelector('{selector}').getAttribute('aria-valuenow')"))


def test_a_mouse_drags_the_slider(opened: Tab) -> None:
    box = left, top, width, height = opened.box(".slider")
    assert share(opened, box) == pytest.approx(0.5, abs=0.02)
    middle = top + height / 2
    opened.drag(
        (left + width / 2, middle), (left + width * 0.6, middle), (left + width * 0.8, middle)
    )
    assert share(opened, box) == pytest.approx(0.8, abs=0.02)
    assert value(opened) == pytest.approx(80, abs=1)
    opened.drag((left + width * 0.1, middle))
    assert share(opened, box) == pytest.approx(0.1, abs=0.02)
    # Let go of outside, it stops there.
    opened.drag((left + width / 2, middle), (left - 100, middle))
    assert share(opened, box) == 0 and value(opened) == 0
    opened.page.mouse.move(left + width / 2, middle)
    assert value(opened) == 0


def test_a_finger_drags_the_slider_and_scrolls_the_page(
    phone: Tab,
    written: str,
) -> None:
    phone.open(written)
    box = left, top, width, height = phone.box(".slider")
    at = [(left + width * k / 20, top + height / 2) for k in range(10, 16)]
    phone.swipe(*at)
    assert share(phone, box) == pytest.approx(0.75, abs=0.05)
    assert value(phone) == pytest.approx(75, abs=5)
    scrolled = phone.run("scrollY")
    phone.swipe(*[(left + width / 2, top + height / 2 - 30 * k) for k in range(8)])
    phone.wait(f"scrollY > {scrolled} + 50")
    assert phone.run("document.documentElement.scrollWidth <= innerWidth")


def test_keys_move_the_slider(opened: Tab) -> None:
    box = opened.box(".slider")
    opened.run("document.querySelector('#which').focus()")
    opened.page.keyboard.press("Tab")
    assert opened.run("document.activeElement === document.querySelector('.slider')")
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    steps = [("ArrowRight", 52), ("ArrowUp", 54), ("ArrowLeft", 52), ("ArrowDown", 50),
             ("PageUp", 60), ("PageDown", 50), ("End", 100), ("ArrowRight", 100), ("Home", 0)]  # fmt: skip
    for key, expected in steps:
        opened.page.keyboard.press(key)
        assert value(opened) == expected, key
    assert share(opened, box) == 0
    opened.page.keyboard.press("Shift+ArrowRight")
    opened.page.keyboard.press("PageUp")
    assert value(opened) == 20 and share(opened, box) == pytest.approx(0.2, abs=0.02)
    words = opened.run("document.activeElement.getAttribute('aria-valuetext')")
    assert words == "20 % before"
    sliders = opened.accessible("slider")
    assert sliders[0]["name"]["value"] == "beach/1.jpg, before and after"
    assert sliders[0]["value"]["value"] in (20, "20", "20 % before")


def visible(tab: Tab) -> list[str]:
    return tab.run(
        "[...document.querySelectorAll('figure:not([hidden]) bdi')].map(e => e.textContent)"
    )


def test_search_and_choice(opened: Tab) -> None:
    assert len(visible(opened)) == 45
    opened.page.keyboard.press("/")
    opened.page.keyboard.insert_text("WOOD")
    assert visible(opened) == ["Wood.png"]
    assert opened.run("document.querySelector('#shown').value") == "1 of 45"
    for text, names in [
        ("e\u0301te\u0301", ["été.png"]),
        ("<script>", ["beach/<script>alert(1)</script>.jpg"]),
        ("nowhere", []),
    ]:
        opened.run("document.querySelector('#search').select()")
        opened.page.keyboard.insert_text(text)
        assert visible(opened) == names
    assert opened.run("!document.querySelector('#none').hidden")
    choose = "(w => { w.value = 'failed'; w.dispatchEvent(new Event('change')); })"
    opened.run(choose + "(document.querySelector('#which'))")
    opened.run(
        "(s => { s.value = ''; s.dispatchEvent(new Event('input')); })(document.querySelector('#search'))"
    )
    assert visible(opened) == ["broken.jpg"]


def test_the_enlarged_view(opened: Tab) -> None:
    left, top, width, height = opened.box("figure button")
    opened.drag((left + width / 2, top + height / 2))
    opened.wait("document.querySelector('dialog').open")
    assert opened.run("document.activeElement === document.querySelector('dialog .slider')")
    box = opened.box("dialog .slider")
    assert box[2] > 700 and box[1] >= 0 and box[1] + box[3] <= 800
    opened.page.keyboard.press("PageUp")
    assert share(opened, box) == pytest.approx(0.6, abs=0.02)
    assert opened.run("document.querySelector('#earlier').disabled")
    opened.run("document.querySelector('#later').click()")
    assert (
        opened.run("document.querySelector('#name').textContent")
        == "beach/<script>alert(1)</script>.jpg"
    )
    opened.page.keyboard.press("Escape")
    opened.wait("!document.querySelector('dialog').open")
    opened.wait("document.activeElement === document.querySelectorAll('figure button')[1]")


def test_dark_and_light(opened: Tab) -> None:
    opened.page.emulate_media(color_scheme="light")
    light = opened.screenshot()[5, 5].mean()
    opened.page.emulate_media(color_scheme="dark")
    dark = opened.screenshot()[5, 5].mean()
    assert light > 230 and dark < 40


def test_on_paper_both_pictures_stand_whole_beside_each_other(opened: Tab) -> None:
    opened.page.emulate_media(media="print")
    boxes = opened.run(
        "['.before', '.after'].map(c => { const b = document.querySelector('figure ' + c)"
        ".getBoundingClientRect(); return [b.left, b.right, b.width]; })"
    )
    assert boxes[0][1] <= boxes[1][0] and boxes[0][2] == pytest.approx(boxes[1][2], abs=1)
    assert opened.run("getComputedStyle(document.querySelector('.tools')).display") == "none"
    opened.page.emulate_media(media="null")
    pdf = opened.page.pdf(print_background=True)
    assert pdf.count(b"/Subtype /Image") >= 2
    placed = sum(_drawn(part) for part in pdf.split(b"stream\n")[1:])
    assert placed >= 88, "pictures that were never scrolled to are missing on paper"


def _drawn(stream: bytes) -> int:
    try:
        return zlib.decompressobj().decompress(stream.lstrip(b"\r\n")).count(b" Do\n")
    except zlib.error:
        return 0


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_of(
    opened: Tab, written: str
) -> None:
    opened.run("scrollTo(0, document.body.scrollHeight)")
    opened.run("document.querySelector('figure button').click()")
    opened.settle()
    assert opened.requests() == [written]
    assert opened.complaints() == []


def test_the_policy_stops_what_is_not_ours(opened: Tab) -> None:
    opened.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x.png\">');"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}))"
    )
    opened.settle()
    assert opened.run("typeof window.evil") == "undefined"
    assert len([text for text in opened.complaints() if "Content Security Policy" in text]) == 2

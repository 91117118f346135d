"""The page of a training in a real browser: curves, history, before and after, no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2img.training.report import write_comparison, write_report
from img2img.training.runs import read_run
from tests.browser import Tab
from tests.test_report import run_at


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_at(tmp_path / "run", sheets=3)


def test_curves_and_samples_are_drawn_without_a_network(run: Path, tab: Tab) -> None:
    page = write_report(read_run(run)).as_uri()
    tab.open(page)
    assert tab.requests() == [page] and tab.complaints() == []
    titles = tab.run("[...document.querySelectorAll('.plots figcaption')].map(f => f.textContent)")
    assert len(titles) == 5 and titles[0].startswith("psnr") and titles[0].endswith("17")
    assert tab.run("document.querySelectorAll('.plots path').length") >= 5
    newest = tab.run("document.getElementById('sheet').src")
    tab.run("document.querySelector('#history input').focus()")
    tab.page.keyboard.press("Home")
    assert tab.run("document.querySelector('#history output').value") == "step 13"
    assert tab.run("document.getElementById('sheet').src") != newest
    colour = "getContext('2d').getImageData(8, 8, 1, 1).data[0]"
    tab.wait(f"document.querySelector('canvas.after').{colour} === 15")
    left, top, width, height = tab.box("#compare .slider")
    tab.drag((left + width / 2, top + height / 2), (left + width * 0.8, top + height / 2))
    at = tab.run("document.querySelector('#compare .slider').getAttribute('aria-valuenow')")
    assert int(at) == pytest.approx(80, abs=2)


def test_the_pages_fit_a_phone(run: Path, tmp_path: Path, phone: Tab) -> None:
    both = tmp_path / "both.html"
    write_comparison(both, [run, run_at(tmp_path / "other", steps=20)])
    for page in (write_report(read_run(run)), both):
        phone.open(page.as_uri())
        assert phone.run("document.documentElement.scrollWidth <= innerWidth")
        assert phone.complaints() == []

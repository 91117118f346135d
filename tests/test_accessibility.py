"""Every page by axe-core: no serious violation, in light and dark, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2img.evaluation.evaluate import evaluate
from img2img.evaluation.human import write_human_page
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.writing import write_reports
from img2img.exporting.web import write_page
from img2img.inference.gallery import Gallery
from img2img.training.report import write_comparison, write_report
from img2img.training.runs import read_run
from tests.browser import Tab
from tests.conftest import picture, stargan
from tests.test_report import run_at
from tests.test_serve_running import serving
from tests.test_web import READY, ROOT, Server, runtime

pytestmark = pytest.mark.browser
__all__ = ["runtime"]

FILES = ("gallery", "evaluation", "comparison", "training", "runs", "human")


@pytest.fixture(scope="session")
def axe() -> str:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of the pages that are files."""
    folder = tmp_path_factory.mktemp("pages")
    sides = {}
    for side in ("fake", "real"):
        sides[side] = folder / side
        sides[side].mkdir()
        for k in range(6):
            noise = np.asarray(picture(64, 48, k)).astype(int) + 20 * (side == "fake")
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(sides[side] / f"{k}.png")
    with Gallery(folder / "gallery.html", {"Model": "test"}, title="Test") as made:
        for k in range(3):
            made.add(f"beach/{k}.jpg", *(np.asarray(picture(80, 60, k + n)) for n in (0, 1)))
        made.fail("broken.jpg", "cannot be decoded: truncated")
    results = [
        evaluate(EvaluateRequest(fake=sides[one], real=sides[other], networks=("none",)))
        for one, other in (("fake", "real"), ("real", "fake"))
    ]
    for name, some in (("evaluation", results[:1]), ("comparison", results)):
        (folder / name).mkdir()
        write_reports(folder / name, some)
    run, other = run_at(folder / "run", sheets=3), run_at(folder / "other", steps=20)
    write_comparison(folder / "runs.html", [run, other])
    paths = [[*sorted(sides[side].iterdir())] for side in ("real", "fake")]
    found = {
        "gallery": folder / "gallery.html",
        "evaluation": folder / "evaluation" / "report.html",
        "comparison": folder / "comparison" / "report.html",
        "training": write_report(read_run(run)),
        "runs": folder / "runs.html",
        "human": write_human_page(*paths, folder / "human.html", 12, 4, title="Test"),
    }
    return {name: path.as_uri() for name, path in found.items()}


def serious(tab: Tab, axe: str) -> list[str]:
    """What axe-core calls serious or critical, with the elements."""
    tab.settle()
    found: dict[str, Any] = tab.run(
        f"(async () => {{ {axe}; return await axe.run(document, {{resultTypes: ['violations']}}); }})()"
    )
    assert found["passes"] or found["incomplete"] or found["violations"], "axe looked at nothing"
    return [
        f"{each['id']} ({each['impact']}): {[node['html'][:120] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def outside(tab: Tab) -> list[str]:
    """What the tab requested from elsewhere: a page that is a file needs nothing but itself."""
    url = tab.page.url
    own = url if url.startswith("file:") else "/".join(url.split("/")[:3]) + "/"
    return [request for request in tab.requests() if not request.startswith(own)]


def look(tab: Tab, axe: str, name: str, folder: Path) -> None:
    """Both schemes; the screenshots stay in the folder of the test."""
    assert outside(tab) == [], name
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert serious(tab, axe) == [], (name, scheme)
        assert tab.run("document.documentElement.scrollWidth <= innerWidth"), (name, scheme)
        tab.page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)


@pytest.fixture(params=["desktop", pytest.param("phone", marks=pytest.mark.slow)])
def screen(request: pytest.FixtureRequest) -> Iterator[Tab]:
    browser = request.getfixturevalue("browser")
    opened = Tab(browser, phone=request.param == "phone")
    if request.param == "phone":
        opened.page.set_viewport_size({"width": 375, "height": 800})
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_page_that_is_a_file(
    name: str, pages: dict[str, str], screen: Tab, axe: str, tmp_path: Path
) -> None:
    screen.open(pages[name])
    look(screen, axe, name, tmp_path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["runs", "evaluation", "comparison"])
def test_a_table_that_continues_sideways_shows_it(
    name: str, scheme: str, pages: dict[str, str], phone: Tab
) -> None:
    phone.page.set_viewport_size({"width": 375, "height": 800})
    phone.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    phone.open(pages[name])
    table = "document.querySelector('.wide')"
    assert phone.run(f"{table}.scrollWidth > {table}.clientWidth")

    def edges() -> list[bool]:
        """Whether there is a shadow at the left and at the right edge."""
        left, top, width, height = map(round, phone.box(".wide"))
        shown = phone.screenshot().astype(int)
        scale = shown.shape[1] // 375
        rows = shown[scale * (top + 2) : scale * (top + height - 2)]
        ground = shown[scale * (top - 4), 1]
        at = (scale * left + 1, scale * (left + width) - 2)
        return [bool(np.abs(np.median(rows[:, x], 0) - ground).max() > 20) for x in at]

    assert edges() == [False, True]
    phone.run(f"{table}.scrollLeft = 1e6")
    assert edges() == [True, False]


def test_what_a_field_asks_for_is_not_cut(pages: dict[str, str], phone: Tab) -> None:
    phone.page.set_viewport_size({"width": 375, "height": 800})
    phone.open(pages["gallery"])
    assert phone.run(
        "(() => { const field = document.querySelector('#search'), style = getComputedStyle(field);"
        " const pen = document.createElement('canvas').getContext('2d'); pen.font = style.font;"
        " const room = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);"
        " const clear = 2 * parseFloat(style.fontSize);"  # the button that clears the field keeps its room
        " return pen.measureText(field.placeholder).width + clear < room; })()"
    )


@pytest.mark.slow
def test_the_page_of_the_server(screen: Tab, axe: str, tmp_path: Path) -> None:
    picture(60, 40).save(tmp_path / "one.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with serving() as address:
        screen.open(address)
        screen.wait("document.querySelector('#status').textContent === 'Ready.'")
        look(screen, axe, "server", tmp_path)
        screen.page.locator("#file").set_input_files([tmp_path / "one.png", tmp_path / "bad.png"])
        screen.wait("document.querySelector('#status').textContent === '1 of 2 translated.'")
        look(screen, axe, "server-done", tmp_path)
        screen.open(f"{address}/docs")
        look(screen, axe, "api", tmp_path)
        assert [node["name"]["value"] for node in screen.accessible("region")] == ["Example"]


@pytest.mark.slow
def test_the_token_and_the_domains_of_the_server(screen: Tab, axe: str, tmp_path: Path) -> None:
    model = stargan(tmp_path / "faces.safetensors")
    secret = "a-long-secret"
    with serving(models=(str(model),), runner="torch", token=secret) as address:
        screen.open(address)
        screen.wait(
            "document.querySelector('#status').textContent === 'This server needs a token.'"
        )
        look(screen, axe, "server-token", tmp_path)
        screen.page.locator("#token").fill(secret)
        screen.page.locator("#token").press("Enter")
        screen.wait("document.querySelector('#status').textContent === 'Ready.'")
        assert screen.page.get_by_role("group", name="Translate to").is_visible()
        look(screen, axe, "server-domains", tmp_path)


@pytest.mark.slow
def test_the_page_of_the_web_export(screen: Tab, axe: str, runtime: Any, tmp_path: Path) -> None:
    write_page(ROOT / "weights" / "sketch2avatar.onnx", tmp_path / "page", runtime)
    server = Server(tmp_path / "page")
    screen.open(server.url)
    screen.wait(READY)
    look(screen, axe, "web", tmp_path)
    server.close()


def test_what_axe_finds_is_seen(tab: Tab, axe: str, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<!doctype html><html lang=en><title>x</title><main><h1>x</h1><img src='data:,'>"
        "<p style='color:#999;background:#aaa'>pale</p>"
        "<img src='http://127.0.0.1:9/x.png' alt='from elsewhere'></main>"
    )
    tab.open((tmp_path / "bad.html").as_uri())
    found = " ".join(serious(tab, axe))
    assert "image-alt" in found and "color-contrast" in found
    assert outside(tab) == ["http://127.0.0.1:9/x.png"]

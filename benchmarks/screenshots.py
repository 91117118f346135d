"""Screenshots of every page: desktop and phone, light and dark, one sheet for each page.

    python benchmarks/screenshots.py PHOTOS RUN OTHER_RUN OUT

PHOTOS are translated with the shipped `painting` for the gallery, the evaluation, the server (its
page of the API and its question for a token are shown too) and the web export (left out without the
files of onnxruntime-web in the cache); RUN and OTHER_RUN are run folders. OUT receives NAME.jpg, in
the order desktop light, desktop dark, phone light, phone dark. Needs Chromium and Playwright (`pip
install -e '.[dev]'`).
"""

from __future__ import annotations

import argparse
import functools
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from img2img.errors import Img2ImgError
from img2img.evaluation.human import write_human_page
from img2img.exporting.web import write_page
from img2img.exporting.web_runtime import find_runtime
from img2img.model_format.find import find_model
from img2img.training.report import write_comparison, write_report
from img2img.training.runs import read_run
from tests.browser import FLAGS, Tab, chromium
from tests.test_serve_running import serving
from tests.test_web import DONE, READY, Server

SIZES = {False: (1200, 800), True: (375, 800)}
_TALLEST = 1600  # of a screenshot; longer pages are cut off there


def main() -> None:
    """Make the pages, then a sheet of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("runs", type=Path, nargs=2)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as api:
        browser = api.chromium.launch(
            executable_path=chromium(), args=list(FLAGS), chromium_sandbox=False
        )
        for page, address in files(options.photos, options.runs, Path(name)).items():
            show = functools.partial(Tab.open, url=address)
            sheet(browser, show, options.out / f"{page}.jpg")
        with serving(models=("painting", "drawing")) as service:
            sheet(
                browser,
                lambda tab: served(tab, service, options.photos),
                options.out / "server.jpg",
            )
            show = functools.partial(Tab.open, url=f"{service}/docs")
            sheet(browser, show, options.out / "api.jpg")
        with serving(models=("painting",), token="a-token-of-this-script") as service:
            sheet(browser, lambda tab: locked(tab, service), options.out / "token.jpg")
        with exported(Path(name) / "web") as page_of_web:
            if page_of_web:
                sheet(
                    browser,
                    lambda tab: in_page(tab, page_of_web, options.photos),
                    options.out / "web.jpg",
                )
        browser.close()


def files(photos: Path, runs: list[Path], folder: Path) -> dict[str, str]:
    """Addresses of the pages that are files."""
    out = folder / "out"
    img2img("translate", photos, "-o", out, "--gallery", folder / "gallery.html")
    img2img(
        "evaluate", "painting", photos, "-o", folder / "evaluation", "--features", "mobilenetv2"
    )
    write_comparison(folder / "runs.html", runs)
    real, fake = (
        sorted(p for p in d.iterdir() if p.suffix in (".jpg", ".png")) for d in (photos, out)
    )
    found = {
        "gallery": folder / "gallery.html",
        "evaluation": folder / "evaluation" / "report.html",
        "training": write_report(read_run(runs[0])),
        "runs": folder / "runs.html",
        "human": write_human_page(real, fake, folder / "human.html", 10, 0, title="Paintings"),
    }
    return {name: path.resolve().as_uri() for name, path in found.items()}


def img2img(*arguments: object) -> None:
    """A command, which must succeed."""
    command = [sys.executable, "-m", "img2img.cli", *map(str, arguments), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def served(tab: Tab, address: str, photos: Path) -> None:
    """The server's page with pictures translated."""
    tab.open(address)
    tab.wait(READY)
    some = sorted(photos.glob("*.jpg"))[:2]
    tab.page.locator("#file").set_input_files(some)
    tab.wait(
        f"document.querySelector('#status').textContent.startsWith('{len(some)} of {len(some)} ')"
    )


def locked(tab: Tab, address: str) -> None:
    """The server's page before a token was given."""
    tab.open(address)
    tab.wait("!document.querySelector('#key').hidden")


@contextmanager
def exported(folder: Path) -> Iterator[str | None]:
    """The web page of `painting` on a server of this process, or None without its runtime."""
    try:
        runtime = find_runtime()
    except Img2ImgError as error:
        print(f"web: left out ({error})")
        yield None
        return
    write_page(find_model("painting", (".onnx",)), folder, runtime)
    server = Server(folder)
    yield server.url
    server.close()


def in_page(tab: Tab, address: str, photos: Path) -> None:
    """The page of the web export with a picture translated."""
    tab.open(address)
    tab.wait(READY)
    tab.page.locator("#file").set_input_files(sorted(photos.glob("*.jpg"))[:1])
    tab.wait(DONE)


def sheet(browser: Browser, show: Callable[[Tab], None], path: Path) -> None:
    """Four screenshots beside each other."""
    shots = []
    for phone, (width, height) in SIZES.items():
        tab = Tab(browser, phone=phone)
        tab.page.set_viewport_size({"width": width, "height": height})
        show(tab)
        for scheme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=scheme)
            tab.settle()
            shot = Image.open(io.BytesIO(tab.page.screenshot(full_page=True))).convert("RGB")
            shots.append(shot.crop((0, 0, shot.width, min(shot.height, _TALLEST))))
        tab.close()
    gap = 16
    whole = Image.new(
        "RGB",
        (sum(s.width for s in shots) + 3 * gap, max(s.height for s in shots)),
        (128, 128, 128),
    )
    left = 0
    for shot in shots:
        whole.paste(shot, (left, 0))
        left += shot.width + gap
    whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS).save(
        path, quality=85
    )
    print(path, whole.size)


if __name__ == "__main__":
    main()

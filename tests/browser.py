"""Pages in a headless Chromium, driven by Playwright for Python.

`browser` is one Chromium for a module, `tab` a new tab for each test that collects what the tab
requests and what it writes to the console. The Chromium of the system is used: nothing is
downloaded. Tests skip, with a reason, where Playwright or Chromium is missing.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Beside Playwright's own flags, of which --disable-background-networking matters where there is no network.
FLAGS = ("--disable-gpu", "--disable-quic", "--disable-sync")
TIMEOUT = 120_000  # ms; a busy machine is slow, and a test must not judge by that


def chromium() -> str | None:
    """Where Chromium is, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module: Playwright's event loop ends with it, so that no other test meets it."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = chromium()
    if program is None:
        pytest.skip(f"no Chromium found (looked for {', '.join(NAMES)})")
    # Chromium refuses its sandbox to root.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program,
            args=list(FLAGS),
            chromium_sandbox=os.name == "posix" and not root,
            timeout=TIMEOUT,
        )
        yield opened
        opened.close()


class Tab:
    """One tab, in a context of its own. `page` is Playwright's page; the rest is what tests share."""

    def __init__(self, browser: Browser, phone: bool = False):
        self._context = browser.new_context(
            viewport={"width": 390 if phone else 1200, "height": 800},
            is_mobile=phone,
            has_touch=phone,
        )
        self._context.set_default_timeout(TIMEOUT)
        self.page = self._context.new_page()
        self._requests: list[str] = []
        self._complaints: list[str] = []
        self._context.on("request", lambda request: self._requests.append(request.url))
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self._complaints.append(str(error)))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning", "assert"):
            self._complaints.append(message.text)

    def open(self, url: str) -> None:
        self.page.goto(url)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        return self.page.evaluate(expression)

    def wait(self, expression: str) -> None:
        """Until the JavaScript expression is true.

        Playwright's `wait_for_function` evaluates in the page, where our Content Security Policy
        forbids it; this asks from outside.
        """
        end = time.monotonic() + TIMEOUT / 1000
        while not self.run(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            self.page.wait_for_timeout(20)

    def settle(self) -> None:
        """Until everything before has been drawn, and its events have arrived."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the viewport; the element is scrolled to its middle first."""
        found = self.page.locator(selector).first.evaluate(
            "e => { e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; }"
        )
        left, top, width, height = found
        return left, top, width, height

    def drag(self, *path: tuple[float, float]) -> None:
        """Press the left button at the first point, move over the others, release at the last."""
        self.page.mouse.move(*path[0])
        self.page.mouse.down()
        for point in path[1:]:
            self.page.mouse.move(*point)
        self.page.mouse.up()

    def swipe(self, *path: tuple[float, float]) -> None:
        """One finger down at the first point, over the others, up. Playwright itself only taps."""
        session = self._context.new_cdp_session(self.page)
        for number, (x, y) in enumerate(path):
            kind = "touchMove" if number else "touchStart"
            points = [{"x": x, "y": y}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        session.detach()

    def accessible(self, role: str) -> list[dict[str, Any]]:
        """What Chromium tells assistive programs of the elements with this role."""
        session = self._context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        return [node for node in nodes if node.get("role", {}).get("value") == role]

    def screenshot(self) -> NDArray[np.uint8]:
        """The viewport, (H, W, 3)."""
        self.settle()
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def drop(self, selector: str, path: Path) -> None:
        """A file dragged from outside and dropped on the element."""
        self.page.locator(selector).drop({"files": path})

    def requests(self) -> list[str]:
        """Addresses requested by the page and its workers, without `data:` and `blob:`."""
        self.settle()
        return [url for url in self._requests if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, refusals and uncaught exceptions."""
        self.settle()
        return list(self._complaints)

    def close(self) -> None:
        self._context.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    opened = Tab(browser)
    yield opened
    opened.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Tab]:
    """A tab of a narrow screen that is touched."""
    opened = Tab(browser, phone=True)
    yield opened
    opened.close()

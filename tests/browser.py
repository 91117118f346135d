"""A headless Chromium driven over its DevTools pipe: no driver program, no package, no port.

`browser` is a fixture for the session, `page` a new tab for each test that counts what the tab
asks of the network and what it writes to the console. Tests skip where there is no Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads from descriptor 3 and writes to 4.
LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(text), fcntl.F_DUPFD, 10) for text in sys.argv[1:3])
os.dup2(read, 3); os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35,
        "PageUp": 33, "PageDown": 34, "Tab": 9, "Escape": 27, "Enter": 13, "/": 191}  # fmt: skip


def chromium() -> str | None:
    """Where Chromium is, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One Chromium process."""

    def __init__(self, program: str, profile: Path):
        mine, theirs = os.pipe(), os.pipe()
        flags = [*FLAGS, f"--user-data-dir={profile}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")
        command = [sys.executable, "-c", LAUNCH, str(theirs[0]), str(mine[1]), program, *flags]
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs[0], mine[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs[0])
        os.close(mine[1])
        self._read, self._write = mine[0], theirs[1]
        self._buffer, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result; events that come meanwhile are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for answer in self.receive(end - time.monotonic()):
                if answer.get("id") == number:
                    if "error" in answer:
                        raise AssertionError(f"{method}: {answer['error']}")
                    return answer["result"]
        raise AssertionError(f"{method}: no answer from Chromium")

    def receive(self, seconds: float) -> list[dict[str, Any]]:
        """The messages that are there, or come within so many seconds."""
        if not select.select([self._read], [], [], max(0.0, seconds))[0]:
            return []
        data = os.read(self._read, 1 << 20)
        if not data:
            raise AssertionError(f"Chromium ended with code {self._process.wait(10)}")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        parsed = [json.loads(message) for message in messages]
        self.events += [message for message in parsed if "method" in message]
        return parsed

    def close(self) -> None:
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)


class Page:
    """One tab, in a context of its own."""

    def __init__(self, browser: Browser, width: int = 1200, height: int = 800):
        self.browser = browser
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        self.target = browser.call(
            "Target.createTarget", url="about:blank", browserContextId=self.context
        )["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        browser.events.clear()
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def size(self, width: int, height: int, scale: float = 1, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def scheme(self, name: str) -> None:
        """`light` or `dark`."""
        wish = [{"name": "prefers-color-scheme", "value": name}]
        self.call("Emulation.setEmulatedMedia", features=wish)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        done = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            raise AssertionError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Until what was asked for is on the screen."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the viewport; the element is scrolled into it first."""
        found = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.left, b.top, b.width, b.height]; }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        left, top, width, height = found
        return left, top, width, height

    def mouse(self, *path: tuple[float, float]) -> None:
        """Press at the first point, move over the others, release at the last."""
        self._mouse("mouseMoved", path[0], "none", 0)
        self._mouse("mousePressed", path[0], "left", 1)
        for point in path[1:]:
            self._mouse("mouseMoved", point, "left", 1)
        self._mouse("mouseReleased", path[-1], "left", 0)

    def _mouse(self, kind: str, at: tuple[float, float], button: str, buttons: int) -> None:
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=at[0],
            y=at[1],
            button=button,
            buttons=buttons,
            clickCount=0 if kind == "mouseMoved" else 1,
        )

    def touch(self, *path: tuple[float, float]) -> None:
        """One finger down at the first point, over the others, up."""
        for kind, point in zip(["touchStart"] + ["touchMove"] * (len(path) - 1), path, strict=True):
            where = [{"x": point[0], "y": point[1]}]
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=where)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, shift: bool = False) -> None:
        parameters = {"key": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": 8 * shift}
        if key in ("Enter", "/"):
            parameters["text"] = {"Enter": "\r", "/": "/"}[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", **parameters)
        self.call("Input.dispatchKeyEvent", type="keyUp", **parameters)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def files(self, selector: str, *paths: Path) -> None:
        """Choose files in an <input type=file>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(p.resolve()) for p in paths], nodeId=node)

    def drop(self, at: tuple[float, float], *paths: Path) -> None:
        """Files dragged from outside and let go there."""
        data = {"items": [], "files": [str(p.resolve()) for p in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=at[0], y=at[1], data=data)

    def screenshot(self, path: Path | None = None, whole: bool = False) -> NDArray[np.uint8]:
        """The viewport, or the whole page, as (H, W, 3); also written to `path`."""
        self.settle()
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        raw = base64.b64decode(data["data"])
        if path:
            path.write_bytes(raw)
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))

    def events(self, method: str) -> list[dict[str, Any]]:
        """What was told under this name so far, to this tab."""
        self.browser.receive(0)
        return [
            event["params"]
            for event in self.browser.events
            if event["method"] == method and event.get("sessionId") == self.session
        ]

    def requests(self) -> list[str]:
        """Addresses asked for, without `data:` and `blob:`."""
        sent = [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, refusals and uncaught exceptions, in words."""
        found = [
            str(event["args"])
            for event in self.events("Runtime.consoleAPICalled")
            if event["type"] in ("error", "warning", "assert")
        ]
        found += [
            str(event["exceptionDetails"]) for event in self.events("Runtime.exceptionThrown")
        ]
        entries = [event["entry"] for event in self.events("Log.entryAdded")]
        return found + [e["text"] for e in entries if e["level"] in ("error", "warning")]

    def close(self) -> None:
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    if os.name != "posix" or program is None:
        pytest.skip(f"no Chromium here ({', '.join(NAMES)})")
    opened = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    tab = Page(browser)
    yield tab
    tab.close()

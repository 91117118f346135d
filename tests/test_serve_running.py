"""The HTTP service as a process, and its page in a browser."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from img2img.errors import EnvironmentFault, MissingExtra
from img2img.server import running
from img2img.server.request import ServeRequest
from img2img.server.running import Ready, listening, serve
from tests.browser import Tab
from tests.conftest import Main, picture, stargan

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "how-to" / "serve.md").read_text()


@contextlib.contextmanager
def serving(**more: object) -> Iterator[str]:
    """A server in a thread of this process; its address."""
    stop, there = threading.Event(), threading.Event()
    ready: list[Ready] = []

    def tell(reported: Ready) -> None:
        ready.append(reported)
        there.set()

    request = ServeRequest(port=0, **{"runner": "onnxruntime", "device": "cpu"} | more)  # type: ignore[arg-type]
    thread = threading.Thread(target=serve, args=(request, tell, stop.is_set), daemon=True)
    thread.start()
    assert there.wait(120)
    try:
        yield ready[0].address
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def impatient() -> Iterator[str]:
    with serving(pause=0.3) as found:
        yield found


def connected(address: str) -> socket.socket:
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"POST /v1/translate HTTP/1.1\r\nHost: local", b""),
        (b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 408"),
    ],
    ids=["silent", "half a head", "half a body"],
)  # fmt: skip
def test_who_stops_sending_is_cut_off(impatient: str, sent: bytes, answer: bytes) -> None:
    with connected(impatient) as client:
        client.sendall(sent)
        assert ended(client)[:12] == answer


def ended(client: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(4096):
            received += piece
    return received


def test_silent_connections_shut_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_CONNECTIONS", 4)
    with serving(queue=2, pause=3600) as address, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(address)) for _ in range(20)]
        assert httpx.get(f"{address}/healthz", timeout=120).status_code == 200
        assert [ended(client) for client in silent[:14]] == [b""] * 14
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert ended(silent[-1]).startswith(b"HTTP/1.1 200")


def test_where_all_connections_work_a_new_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_CONNECTIONS", -3)
    head = b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    with serving(queue=6, pause=3600) as address, contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(connected(address))
            client.sendall(head + b"Expect: 100-continue\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 100"  # in work, and waits for the body
        with connected(address) as another:
            assert ended(another) == b""
        client.close()
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                assert httpx.get(f"{address}/healthz", timeout=120).status_code == 200
                break
            assert time.monotonic() < end, "no room again"


def test_the_python_of_the_page_works(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(40, 30).save("photo.jpg")
    program = PAGE.split("<!-- python -->")[1].split("```python\n")[1].split("```")[0]
    assert "http://127.0.0.1:8000" in program
    exec(program.replace("http://127.0.0.1:8000", address), {})
    assert Image.open("painted.jpg").size == (40, 30)


@pytest.mark.skipif(shutil.which("curl") is None or os.name != "posix", reason="curl in a shell")
def test_the_curl_of_the_page_works(address: str, tmp_path: Path) -> None:
    picture(40, 30).save(tmp_path / "photo.jpg")
    program = PAGE.split("<!-- curl -->")[1].split("```sh\n")[1].split("```")[0]
    script = "set -e\n" + program.replace("http://127.0.0.1:8000", address).replace("-f ", "-sSf ")
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    assert Image.open(tmp_path / "painted.jpg").format == "JPEG"
    assert Image.open(tmp_path / "painted.png").format == "PNG"
    with zipfile.ZipFile(tmp_path / "painted.zip") as archive:
        assert archive.namelist() == ["photo.jpg", "photo-2.jpg"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_of_the_page_works(address: str, tmp_path: Path) -> None:
    picture(40, 30).save(tmp_path / "photo.jpg")
    program = PAGE.split("<!-- javascript -->")[1].split("```javascript\n")[1].split("```")[0]
    assert "http://127.0.0.1:8000" in program
    (tmp_path / "ask.mjs").write_text(program.replace("http://127.0.0.1:8000", address))
    done = subprocess.run(["node", "ask.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "painted.jpg").size == (40, 30)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_what_is_in_work_is_finished_at_the_end(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "img2img.cli",
        "serve",
        "--port",
        "0",
        "--runner",
        "onnxruntime",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        picture(300, 200).save(tmp_path / "photo.jpg")
        with connected(address) as client:
            data = (tmp_path / "photo.jpg").read_bytes()
            head = f"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
            client.sendall(head.encode() + data)
            while (
                "img2img_accepted_pictures 1"
                not in httpx.get(f"{address}/metrics", timeout=120).text
            ):
                if 'status="done"' in httpx.get(f"{address}/metrics", timeout=120).text:
                    break
            process.send_signal(signal.SIGTERM)
            received = b""
            while piece := client.recv(65536):
                received += piece
        assert received.startswith(b"HTTP/1.1 200")  # what was in work is finished
        assert process.wait(60) == 143
    finally:
        process.kill()
        process.communicate()


def test_a_taken_port_is_reported_in_one_line(main: Main) -> None:
    with listening("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with (
            pytest.raises(EnvironmentFault, match=r"choose another `port`, or 0"),
            listening("127.0.0.1", port),
        ):
            pass
        done = main("serve", "--port", str(port))
        assert done.returncode == 4 and f"--port {port}" in done.stderr
    for wrong, words in (
        (["--host", "0.0.0.0"], "--host 0.0.0.0"),
        (["--token", "short"], "--token: needs 12"),
        (["--port", "70000"], "--port 70000"),
        (["nothing-such", "--port", "0"], "no model named 'nothing-such'"),
    ):
        done = main("serve", *wrong)
        assert done.returncode == 2 and words in done.stderr, done.stderr


def test_without_the_extra_one_line_says_so(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    done = main("serve")
    assert done.returncode == MissingExtra.exit_code
    assert re.fullmatch(r"img2img: serve needs the 'serve' extra: .*\n", done.stderr)


def test_the_page_translates(address: str, tab: Tab, tmp_path: Path) -> None:
    for k, name in enumerate(("one.png", "two.jpg")):
        picture(60, 40, k).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    tab.open(address)
    tab.wait("document.querySelector('#status').textContent === 'Ready.'")
    files = [tmp_path / name for name in ("one.png", "two.jpg", "bad.png")]
    tab.page.locator("#file").set_input_files(files)
    tab.wait("document.querySelector('#status').textContent === '2 of 3 translated.'")
    words = tab.page.locator(".card.bad .state").inner_text()
    assert words == "Not translated: not a picture of a known format"
    slider = tab.page.locator(".slider").first
    slider.focus()
    slider.press("End")
    tab.wait("document.querySelector('.slider').getAttribute('aria-valuenow') === '100'")
    named = [node["name"]["value"] for node in tab.accessible("slider")]
    assert {"Before and after: one.png", "Before and after: two.jpg"} <= {*named}
    with tab.page.expect_download() as one:
        tab.page.locator(".save").first.click()
    data = (tmp_path / "one.png").read_bytes()
    expected = httpx.post(f"{address}/v1/translate", content=data, timeout=120).content
    assert one.value.path().read_bytes() == expected
    with tab.page.expect_download() as every:
        tab.page.locator("#all").click()
    with zipfile.ZipFile(io.BytesIO(every.value.path().read_bytes())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["one-painting.png", "two-painting.jpg"]
        assert archive.read("one-painting.png") == expected
    tab.page.locator("#clear").click()
    assert tab.page.locator(".card").count() == 0
    assert all(url.startswith(address) for url in tab.requests())
    assert all("415" in text for text in tab.complaints())


def test_the_page_is_used_by_drop_paste_and_keyboard(tab: Tab, tmp_path: Path) -> None:
    """Every way in, both options, and no mouse from the chosen picture to the saved one."""
    for k, name in enumerate(("dropped.png", "pasted.png")):
        picture(60, 40, k).save(tmp_path / name)
    data = (tmp_path / "pasted.png").read_bytes()
    with serving(models=("painting", "drawing")) as address:

        def expected(name: str, **options: str) -> bytes:
            content = (tmp_path / name).read_bytes()
            return httpx.post(
                f"{address}/v1/translate", params=options, content=content, timeout=120
            ).content

        def saved_by_enter() -> bytes:
            with tab.page.expect_download() as one:
                tab.page.keyboard.press("Enter")
            return one.value.path().read_bytes()

        def pressed_until(key: str, selector: str) -> None:
            """From element to element, as people without a mouse go."""
            for _ in range(20):
                tab.page.keyboard.press(key)
                if tab.run(f"document.activeElement.matches({selector!r})"):
                    return
            raise AssertionError(f"{key} does not reach {selector}")

        def finished(count: int) -> None:
            tab.wait(
                f"document.querySelector('#status').textContent === '{count} of {count} translated.'"
            )

        tab.open(address)
        tab.wait("document.querySelector('#status').textContent === 'Ready.'")
        tab.drop("#drop", tmp_path / "dropped.png")
        finished(1)
        tab.page.locator("#file").focus()
        pressed_until("Tab", "#model")
        tab.page.keyboard.press("d")
        assert tab.run("document.querySelector('#model').value") == "drawing"
        pressed_until("Tab", "#strength")
        for _ in range(10):
            tab.page.keyboard.press("ArrowLeft")
        assert tab.run("document.querySelector('#percent').textContent") == "50 %"
        # After its own pause, whose timer ends before this one, the page translates anew.
        tab.run("new Promise(done => setTimeout(done, 300))")
        finished(1)
        pressed_until("Tab", ".save")
        assert saved_by_enter() == expected("dropped.png", model="drawing", strength="0.5")
        tab.run(
            "(() => { const held = new DataTransfer();"
            f" held.items.add(new File([new Uint8Array({[*data]})], 'pasted.png', {{type: 'image/png'}}));"
            " document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: held, bubbles: true})); })()"
        )
        finished(2)
        assert tab.run("document.querySelectorAll('.name')[1].textContent") == "pasted.png"
        pressed_until("Tab", ".card:nth-child(2) .save")
        assert saved_by_enter() == expected("pasted.png", model="drawing", strength="0.5")
        assert tab.complaints() == [] and all(url.startswith(address) for url in tab.requests())


def test_the_page_asks_for_the_token_and_the_domain(tab: Tab, tmp_path: Path) -> None:
    model = stargan(tmp_path / "faces.safetensors")
    picture(40, 32).save(tmp_path / "one.png")
    secret = "a-long-secret"
    with serving(models=(str(model),), runner="torch", token=secret) as address:
        tab.open(address)
        tab.wait("document.querySelector('#status').textContent === 'This server needs a token.'")
        for given, words in (("wrong", "This token is not valid."), (secret, "Ready.")):
            tab.page.locator("#token").fill(given)
            tab.page.locator("#token").press("Enter")
            tab.wait(
                f"document.querySelector('#status').textContent === {words!r}".replace('"', "`")
            )
        tab.page.get_by_label("Glasses").check()
        tab.page.locator("#file").set_input_files([tmp_path / "one.png"])
        with tab.page.expect_download() as one:
            tab.page.locator(".save").first.click()
        expected = httpx.post(
            f"{address}/v1/translate",
            params={"domain": "Dark+Glasses"},
            content=(tmp_path / "one.png").read_bytes(),
            headers={"Authorization": f"Bearer {secret}"},
            timeout=120,
        )
        assert one.value.path().read_bytes() == expected.content
        tab.open(f"{address}/#token={secret}")
        tab.wait("location.hash === ''")

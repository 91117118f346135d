"""Faults of a server, counted: the rows `serving` of `python -m tests.faults`.

Each row starts the real command as a process, sends it what a hostile or a slow client sends, and
requires that the same good picture comes back byte for byte as before, from the same process.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

from benchmarks.serve import children_of, memory
from tests import hostile
from tests.faults import Place, Row, Seen, _unless
from tests.makers import chunk

_MB = 1_000_000
_LIMIT = 2  # MB of a request
_PAUSE = 120.0  # seconds that a busy machine may take for an answer


class Server:
    """A server in a process of its own, and a good picture with its answer."""

    def __init__(self, place: Place, *more: str):
        self.folders = place.folder / "temporary"
        self.folders.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "img2img.cli", "serve", str(place.model), "--port", "0"]
        limits = ["--runner", "onnxruntime", "--max-upload", str(_LIMIT), "--max-megapixels", "1"]
        self.process = subprocess.Popen(
            [*command, *limits, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(self.folders)},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.picture = png(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
        self.answer = self.ask(self.picture).content

    def ask(self, content: bytes, **more: Any) -> httpx.Response:
        """The answer to a picture."""
        address = f"{self.address}/v1/translate"
        return httpx.post(address, content=content, timeout=_PAUSE, **more)

    def well(self) -> str | None:
        """A complaint unless the good picture is answered as before."""
        if self.process.poll() is not None:
            return f"the server ended with {self.process.returncode}"
        try:
            answer = self.ask(self.picture)
        except httpx.HTTPError as error:
            return f"no answer to a good picture: {error!r}"
        if answer.status_code != 200 or answer.content != self.answer:
            return f"a good picture: {answer.status_code}, {len(answer.content)} bytes"
        return None

    def connected(self) -> socket.socket:
        """A plain connection."""
        parts = urlsplit(self.address)
        assert parts.hostname and parts.port
        return socket.create_connection((parts.hostname, parts.port), timeout=_PAUSE)

    def left(self) -> list[Path]:
        """Its folder of uploads, and what lies in it, while there is one."""
        found = self.folders.glob(f"img2img-serve-{self.process.pid}-*")
        return [path for folder in found for path in (folder, *folder.rglob("*"))]

    def end(self) -> str | None:
        """Stop it by a signal; a complaint unless that went well and nothing is left."""
        children = children_of(self.process.pid)
        self.process.terminate()
        try:
            _, said = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "it did not end within 60 s"
        if self.process.returncode != 143 or "Traceback" in said:
            return f"ended with {self.process.returncode}: {said[-200:]}"
        if left := self.left():
            return f"it left {left[0].name}"
        return _orphans(children)


def _orphans(children: list[int]) -> str | None:
    """A complaint unless these processes end. They see their pipes close, which takes a moment."""
    end = time.monotonic() + 60
    while any(_runs(child) for child in children):
        if time.monotonic() > end:
            return "its decoders outlived it"
        time.sleep(0.05)
    return None


def _runs(pid: int) -> bool:
    """Whether it does more than wait for its end to be taken note of, as Linux tells it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def serving(place: Place, seen: Seen, *more: str) -> Iterator[Server]:
    """A server that must end well too."""
    server = Server(place, *more)
    try:
        yield server
        seen.judge("the end", server.end())
    finally:
        if server.process.poll() is None:
            server.process.kill()


def png(pixels: np.ndarray) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _claims(width: int, height: int, whole: bytes) -> bytes:
    """A PNG that says it is that large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return whole[:8] + chunk(b"IHDR", head) + whole[33:]


def _polyglot(whole: bytes) -> bytes:
    return whole + b"<script>alert(1)</script>PK\x03\x04"


def hostile_uploads(whole: bytes) -> dict[str, tuple[bytes, dict[str, Any], tuple[int, ...]]]:
    """What is sent by name: body, options of the request, and the codes that answer it."""
    rng = np.random.default_rng(7)
    refused, unread = (422,), (415, 422)
    boundary = _typed("multipart/form-data; boundary=x")

    def form(name: str, body: bytes, field: str = "picture") -> bytes:
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        return head.encode("utf-8", "surrogateescape") + body + b"\r\n--x--\r\n"

    return {
        "nothing": (b"", {}, (400,)),
        "text": (b"hello", {}, (415,)),
        "HTML": (b"<html><script>alert(1)</script>", {}, (415,)),
        "SVG with an entity bomb": (b"<!DOCTYPE s [<!ENTITY a 'b'>]><svg>&a;</svg>", {}, (415,)),
        "PostScript": (b"%!PS\n(/etc/passwd) (r) file\n", {}, (415,)),
        "PDF": (b"%PDF-1.7\n", {}, (415,)),
        "an archive": (b"PK\x03\x04" + bytes(200), {}, (415,)),
        "a pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", {}, (415,)),
        "a cut picture": (whole[: len(whole) // 2], {}, refused),
        "a picture's head": (whole[:40], {}, unread),
        "30 000 x 30 000 claimed": (_claims(30_000, 30_000, whole), {}, refused),
        "0 x 0 claimed": (_claims(0, 0, whole), {}, unread),
        "2 147 483 647 x 1 claimed": (_claims(2**31 - 1, 1, whole), {}, refused),
        "a bomb of zeros": (png(np.zeros((4000, 4000), np.uint8)), {}, refused),
        "a text bomb": (hostile.text_bomb(rng).data, {}, (200, 422)),
        "a bomb of scans": (hostile.scan_bomb(rng, 400).data, {}, (200, 422)),
        "a polyglot": (_polyglot(whole), {}, (200, 422)),
        "more than the limit": (bytes(_LIMIT * _MB + 1), {}, (413,)),
        "a name that climbs": (form("../../../../etc/passwd", whole), boundary, (200,)),
        "a name with NUL": (form("a\x00b.png", whole), boundary, (200, 400)),
        "a name of 4000 letters": (form("a" * 4000 + ".png", whole), boundary, (200, 400)),
        "a form without an end": (form("a.png", whole)[:-8], boundary, (400,)),
        "a form with another field": (form("a.png", whole, "file"), boundary, (400,)),
        "a form without a boundary": (form("a.png", whole), _typed("multipart/form-data"), (400,)),
        "a model as a path": (whole, {"params": {"model": "../../secret.onnx"}}, (400,)),
        "a model as an address": (whole, {"params": {"model": "http://127.0.0.1/m"}}, (400,)),
        "an unknown option": (whole, {"params": {"out": "/etc/cron.d/x"}}, (400,)),
    }


def _typed(kind: str) -> dict[str, Any]:
    return {"headers": {"Content-Type": kind}}


def uploads(place: Place) -> Seen:
    """Each of the 27 uploads, `count` times in a drawn order; in between a good picture."""
    seen = Seen()
    with serving(place, seen) as server:
        cases = [*hostile_uploads(server.picture).items()]
        for _ in range(place.count):
            for number in place.rng.permutation(len(cases)):
                name, (body, options, codes) = cases[number]
                try:
                    answer = server.ask(body, **options)
                    wrong = _unless(answer.status_code in codes, f"answered {answer.status_code}")
                    reported = _unless("Traceback" not in answer.text, answer.text[:200])
                except httpx.HTTPError as error:
                    wrong, reported = f"no answer: {error!r}", None
                seen.judge(name, wrong, reported, server.well())
        seen.figure = f"{len(cases)} kinds"
    return seen


def large_bodies(place: Place) -> Seen:
    """400 MB by its length, and in pieces of unknown length: refused long before its end."""
    seen, most = Seen(), 0
    size, piece = 400 * _MB, bytes(65536)
    with serving(place, seen) as server:
        for trial in range(place.count):
            chunked = bool(trial % 2)
            length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
            head = f"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n"
            sent = 0
            with server.connected() as client:
                client.sendall(head.encode())
                with contextlib.suppress(ConnectionError):
                    while sent < size:
                        client.sendall(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                        sent += len(piece)
                answer = b""
                with contextlib.suppress(ConnectionError, TimeoutError):
                    answer = client.recv(4096)
            most = max(most, sent)
            seen.judge(
                f"trial {trial}",
                _unless(sent < size // 2, f"took {sent / _MB:.0f} MB"),
                _unless(answer[9:12] in (b"413", b""), f"answered {answer[:60]!r}"),
                server.well(),
            )
        seen.figure = f"at most {most / _MB:.0f} of {size / _MB:.0f} MB were taken"
    return seen


def slow_senders(place: Place) -> Seen:
    """`count` connections that send a byte now and then, all at once, while good ones come."""
    seen, done = Seen(), threading.Event()
    with serving(place, seen) as server:
        heads = (b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nX-", b"",
                 b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n")  # fmt: skip
        slow = [server.connected() for _ in range(place.count)]
        for number, client in enumerate(slow):
            client.sendall(heads[number % len(heads)])

        def drip() -> None:
            while not done.wait(0.5):
                for client in slow:
                    with contextlib.suppress(OSError):
                        client.sendall(b"a")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        try:
            for trial in range(5):
                seen.judge(f"a good picture meanwhile, {trial}", server.well())
            for number, client in enumerate(slow):
                seen.judge(f"connection {number}", _cut_off(client))
        finally:
            done.set()
            dripping.join()
            for client in slow:
                client.close()
        seen.figure = f"{place.count} at once"
    return seen


def _cut_off(client: socket.socket) -> str | None:
    client.settimeout(_PAUSE)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return "still open"
    except OSError:
        pass
    return None


def foreign(place: Place) -> Seen:
    """Pages and names that are not the server's, methods and paths that it does not have."""
    seen = Seen()
    with serving(place, seen) as server:
        asked: list[tuple[str, Callable[[], httpx.Response], tuple[int, ...]]] = [
            (f"{name} {value}", _with(server, {name: value}), codes)
            for name, value, codes in (
                ("Host", "evil.example", (421,)),
                ("Host", "127.0.0.1.evil.example", (421,)),
                ("Origin", "http://evil.example", (403,)),
                ("Origin", "null", (403,)),
                ("Sec-Fetch-Site", "cross-site", (403,)),
            )
        ]
        for path in ("/../../etc/passwd", "/v1/translate/..%2f..%2fetc", "/static/%2e%2e/x", "/v1"):
            asked.append(
                (path, lambda p=path: httpx.get(server.address + p, timeout=_PAUSE), (404,))
            )  # type: ignore[misc]
        for method in ("PUT", "DELETE", "TRACE"):
            asked.append((method, lambda m=method: httpx.request(
                m, f"{server.address}/v1/translate", timeout=_PAUSE), (405,)))  # type: ignore[misc]  # fmt: skip
        for _ in range(place.count):
            for name, send, codes in asked:
                answer = send()
                wrong = _unless(answer.status_code in codes, f"answered {answer.status_code}")
                seen.judge(name, wrong, server.well())
    return seen


def _with(server: Server, headers: dict[str, str]) -> Callable[[], httpx.Response]:
    return lambda: server.ask(server.picture, headers=headers)


def requests(place: Place) -> Seen:
    """`count` pictures in a row: the memory of the server and its decoders stays flat."""
    seen = Seen()
    with serving(place, seen) as server, httpx.Client(timeout=_PAUSE) as client:
        early, began = 0.0, time.monotonic()
        for number in range(place.count):
            answer = client.post(f"{server.address}/v1/translate", content=server.picture)
            seen.judge(
                f"request {number}",
                _unless(answer.status_code == 200, f"answered {answer.status_code}"),
                _unless(answer.content == server.answer, "another picture"),
            )
            if number == place.count // 3:
                early = _memory(server)
        late, seconds = _memory(server), time.monotonic() - began
        seen.judge("memory", _unless(late - early < 20, f"{early:.0f} to {late:.0f} MiB"))
        seen.figure = f"{early:.0f} MiB, then {late:.0f}; {place.count / seconds:.0f} pictures/s"
    return seen


def killed_server(place: Place) -> Seen:
    """SIGKILL amid an upload, while another server works: no process outlives it, and the next
    start removes what it left, but nothing of the other's."""
    seen = Seen()
    with serving(place, seen) as other:
        for trial in range(place.count):
            killed = Server(place)
            with killed.connected() as client:
                head = b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
                client.sendall(head + killed.picture[:100])
                _until(lambda: any(path.is_file() and path.name == "0" for path in killed.left()))  # noqa: B023
                children = children_of(killed.process.pid)
                killed.process.kill()
                killed.process.communicate()
            left = len(killed.left())
            orphans = _orphans(children)
            with serving(place, seen) as following:
                swept = _unless(killed.left() == [], "its folder was not removed")
                seen.judge(
                    f"trial {trial}",
                    _unless(left > 0, "nothing was left: the trial tried nothing"),
                    orphans,
                    swept,
                    _unless(other.left() != [], "the other server lost its folder"),
                    other.well(),
                    following.well(),
                )
    return seen


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PAUSE
    while not true():
        assert time.monotonic() < end, "never true"
        time.sleep(0.02)


def _memory(server: Server) -> float:
    return memory(server.process.pid) if Path("/proc/self/status").exists() else 0.0


ROWS: dict[str, Row] = {
    "uploads": Row(uploads, "each refused or answered in words; the server goes on", 1, 20),
    "bodies": Row(large_bodies, "refused before the end; the server goes on", 2, 20),
    "slow": Row(slow_senders, "cut off; others are answered meanwhile", 6, 200),
    "foreign": Row(foreign, "refused by name, page, path and method", 1, 20),
    "killed-server": Row(
        killed_server, "nothing outlives it, the next start removes what it left", 1, 20
    ),
    "requests": Row(requests, "each answered alike, memory flat", 60, 10_000),
}

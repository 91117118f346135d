"""The HTTP service, in this process: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from img2img.errors import UsageError
from img2img.inference import TranslateRequest, translate_folder
from img2img.server.app import create_app
from img2img.server.guards import Body, Refused
from img2img.server.metrics import Metrics
from img2img.server.queue import Batcher, Busy, Room
from img2img.server.request import ServeRequest
from img2img.server.service import Service
from img2img.server.uploads import plain_name
from tests.conftest import picture, stargan
from tests.makers import chunk

HOST = "http://127.0.0.1:8000"
Ask = Callable[..., httpx.Response]


def asked(service: Service, method: str, path: str, **more: Any) -> httpx.Response:
    return asyncio.run(together(service, [(method, path, more)]))[0]


async def together(
    service: Service, requests: list[tuple[str, str, dict[str, Any]]]
) -> list[httpx.Response]:
    """Requests that are sent at the same time."""
    transport = httpx.ASGITransport(app=create_app(service))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
        answers: list[Awaitable[httpx.Response]] = [
            client.request(method, path, **more) for method, path, more in requests
        ]
        return await asyncio.gather(*answers)


MODEL: dict[str, Any] = {"runner": "onnxruntime", "device": "cpu"}  # of painting, without torch


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    request = ServeRequest(
        models=("painting",), **MODEL, max_upload=1, max_pictures=3, max_megapixels=0.01,
        queue=6, pause=1,
    )  # fmt: skip
    opened = Service(request)
    yield opened
    opened.close()


@pytest.fixture
def ask(service: Service) -> Ask:
    return functools.partial(asked, service)


def file_of(image: Image.Image, format: str, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **more)
    return file.getvalue()


PNG = file_of(picture(40, 30), "PNG")


def test_a_file_is_what_translate_writes(ask: Ask, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6  # upright by turning
    (tmp_path / "a.jpg").write_bytes(file_of(picture(40, 30), "JPEG", exif=exif, dpi=(300, 300)))
    (tmp_path / "b.png").write_bytes(file_of(picture(40, 30, mode="RGBA"), "PNG"))
    (tmp_path / "c.webp").write_bytes(file_of(picture(21, 33), "WEBP"))
    names = ("a.jpg", "b.png", "c.webp")
    out = tmp_path / "out"
    inputs = tuple(tmp_path / name for name in names)
    list(translate_folder(TranslateRequest(inputs=inputs, out=out, model="painting", **MODEL)))
    for name in names:
        answer = ask("POST", "/v1/translate", content=(tmp_path / name).read_bytes())
        assert answer.status_code == 200, answer.text
        assert answer.content == (out / name).read_bytes()
        kind = {"a.jpg": "image/jpeg", "b.png": "image/png", "c.webp": "image/webp"}[name]
        assert answer.headers["content-type"] == kind


def test_options_are_those_of_translate(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    request = TranslateRequest(
        inputs=(tmp_path / "a.png",), out=tmp_path / "a.jpg", model="painting",
        strength=0.5, quality=80, metadata="strip", **MODEL,
    )  # fmt: skip
    list(translate_folder(request))
    options = {"strength": "0.5", "quality": "80", "metadata": "strip", "format": "jpg"}
    expected = (tmp_path / "a.jpg").read_bytes()
    assert ask("POST", "/v1/translate", params=options, content=PNG).content == expected
    form = {"files": {"picture": ("x.png", PNG)}, "data": options}
    answer = ask("POST", "/v1/translate", **form)
    assert answer.content == expected
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''x.jpg"


def test_several_pictures_give_an_archive(ask: Ask) -> None:
    alone = ask("POST", "/v1/translate", content=PNG).content
    files = [
        ("picture", ("a.png", PNG)),
        ("picture", ("../../A.png", PNG)),
        ("picture", ("bad", b"x")),
    ]
    answer = ask("POST", "/v1/translate", files=files)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["x-img2img-failed"] == "1"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["a.png", "A-2.png", "failed.json"]
        assert archive.read("a.png") == archive.read("A-2.png") == alone
        (failed,) = json.loads(archive.read("failed.json"))
    assert failed == {"name": "bad", "detail": "not a picture of a known format"}
    mixed = ask("POST", "/v1/translate", files=files, headers={"Accept": "multipart/mixed"})
    kind, _, boundary = mixed.headers["content-type"].partition("; boundary=")
    parts = mixed.content.split(f"--{boundary}".encode())
    assert kind == "multipart/mixed" and len(parts) == 5 and alone in parts[1]
    assert ask("POST", "/v1/translate", files=[("picture", ("a", b"x"))] * 2).status_code == 422


@pytest.mark.parametrize(
    ("given", "plain"),
    [("../../etc/passwd", "passwd"), ("C:\\a\\b.png", "b"), ("..", "picture"), ("", "picture"),
     ("a\r\nb.png", "ab"), (".png", "png"), ("x" * 300 + ".png", "x" * 100)],
)  # fmt: skip
def test_a_name_from_a_client_leads_nowhere(given: str, plain: str) -> None:
    assert plain_name(given) == plain


def bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", head) + PNG[33:]


@pytest.mark.parametrize(
    ("content", "options", "code", "words"),
    [
        (b"", {}, 400, "no picture was sent"),
        (b"GIF?", {}, 415, "not a picture of a known format"),
        (PNG[:200], {}, 422, ""),
        (bomb(), {}, 422, "30000x30000 is more than the limit of 0.01 megapixels"),
        (bytes(1_000_001), {}, 413, "exceeds the limit of 1 MB"),
        (PNG, {"model": "painter"}, 400, "no model named 'painter'"),
        (PNG, {"model": "../../etc/passwd"}, 400, "no model named"),
        (PNG, {"model": "https://host/a.onnx"}, 400, "no model named"),
        (PNG, {"domain": "Blond"}, 400, "has no domains; leave `domain` out"),
        (PNG, {"strength": "2"}, 400, "`strength` 2.0: needs a number from 0 to 1"),
        (PNG, {"strength": "nan"}, 400, "`strength` nan"),
        (PNG, {"quality": "nan"}, 400, "`quality` nan"),
        (PNG, {"format": "exe"}, 400, "unknown picture format 'exe'"),
        (PNG, {"metadata": "all"}, 400, "metadata all: give keep"),
        (PNG, {"out": "/etc"}, 400, "unknown option 'out'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    ask: Ask, content: bytes, options: dict[str, str], code: int, words: str
) -> None:
    answer = ask("POST", "/v1/translate", params=options, content=content)
    assert answer.status_code == code
    assert words in answer.json()["detail"]
    assert "img2img-serve" not in answer.text and "lifts it" not in answer.text


def test_forms_are_bounded(ask: Ask, service: Service) -> None:
    four = [("picture", ("a.png", PNG))] * 4
    assert ask("POST", "/v1/translate", files=four).status_code == 400
    assert "send it as 'picture'" in ask("POST", "/v1/translate", files={"x": PNG}).text
    plain = {"url": "https://host/a.jpg"}
    assert ask("POST", "/v1/translate", data=plain).status_code == 415
    files = {"picture": ("a.png", PNG)}
    answer = ask("POST", "/v1/translate", files=files, data=plain)
    assert answer.status_code == 400 and "unknown option 'url'" in answer.text
    assert list(service.folder.iterdir()) == [] and service.room.pictures == 0


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost:9000"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "a b"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": HOST}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_other_hosts_and_pages_are_refused(ask: Ask, headers: dict[str, str], code: int) -> None:
    assert ask("POST", "/v1/translate", content=PNG, headers=headers).status_code == code


def test_a_token_opens() -> None:
    with pytest.raises(UsageError, match=r"`host` 0\.0\.0\.0.*IMG2IMG_TOKEN"):
        ServeRequest(host="0.0.0.0").check()
    with pytest.raises(UsageError, match=r"12 to 200 visible"):
        ServeRequest(token="short").check()
    secret = "a-long-secret"
    ServeRequest(host="0.0.0.0", token=secret).check()
    service = Service(ServeRequest(models=("painting",), token=secret, **MODEL))
    try:
        for path in ("/v1/models", "/metrics"):
            answer = asked(service, "GET", path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            wrong = {"Authorization": "Bearer a-long-secreT"}
            assert asked(service, "GET", path, headers=wrong).status_code == 401
            right = {"Authorization": f"Bearer {secret}"}
            assert asked(service, "GET", path, headers=right).status_code == 200
        for path in ("/", "/healthz", "/docs", "/openapi.json", "/assets/look.css"):
            assert asked(service, "GET", path).status_code == 200
    finally:
        service.close()


def test_domains_are_chosen_by_name(tmp_path: Path) -> None:
    path = stargan(tmp_path / "faces.safetensors")
    service = Service(ServeRequest(models=(str(path), str(path)), device="cpu"))
    try:
        models = asked(service, "GET", "/v1/models").json()
        assert [m["name"] for m in models] == ["faces", "faces-2"]
        assert models[0]["domains"] == ["Dark", "Fair", "Glasses"]
        for domain, vector in (("Fair", (0, 1, 0)), ("Dark+Glasses", (1, 0, 1))):
            answer = asked(service, "POST", "/v1/translate", params={"domain": domain}, content=PNG)
            pixels = np.asarray(Image.open(io.BytesIO(PNG)))
            expected = service.models["faces"](pixels, domains=vector)
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected)
        for wrong, words in (
            ({}, "choose with `domain`"),
            ({"domain": "Bald"}, "no domain 'Bald'"),
        ):
            answer = asked(service, "POST", "/v1/translate", params=wrong, content=PNG)
            assert answer.status_code == 400 and words in answer.json()["detail"]
    finally:
        service.close()


def test_pictures_that_wait_are_translated_together(service: Service) -> None:
    pixels = np.asarray(picture(16, 16))
    network = service.models[next(iter(service.models))].network()
    batcher = Batcher()
    batcher._change.acquire()  # the thread cannot start before all are there
    tasks = [batcher.submit(network, pixels, None) for _ in range(3)]
    tasks.append(batcher.submit(network, np.asarray(picture(18, 16)), None))
    left = batcher.submit(network, pixels, None)
    left.drop()
    batcher._change.release()
    answers = [task.future.result(60)[0] for task in tasks]
    assert (batcher.batches, batcher.pictures) == (2, 4)
    assert np.array_equal(answers[0], answers[2]) and answers[3].shape == (16, 18, 3)
    batcher.close()
    assert left.future.cancelled()


def test_a_full_queue_says_when_to_come_again(service: Service) -> None:
    requests = [("POST", "/v1/translate", {"content": PNG})] * 10
    answers = asyncio.run(together(service, requests))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * 6 + [503] * 4
    for answer in answers:
        assert answer.status_code == 200 or 1 <= int(answer.headers["retry-after"]) <= 60
    assert service.room.pictures == service.room.bytes == 0
    room = Room(10, 100)
    with room.take(1, 100), pytest.raises(Busy), room.take(1, 1):
        pass
    assert room.bytes == 0


def test_a_client_that_leaves_takes_its_pictures_along(service: Service) -> None:
    async def leave() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/v1/translate", "query_string": b"",
            "headers": [(b"host", b"localhost")], "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        messages = [{"type": "http.request", "body": PNG}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await create_app(service)(scope, receive, send)
        assert sent[0]["status"] == 499

    before = service.batcher.pictures
    service.batcher._change.acquire()
    asyncio.run(leave())
    service.batcher._change.release()
    assert service.batcher.pictures == before and service.room.pictures == 0


def test_a_slow_sender_is_cut_off() -> None:
    async def slow() -> None:
        async def receive() -> Any:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b"x", "more_body": True}

        body = Body(receive, ServeRequest(pause=0.1))
        with pytest.raises(Refused) as refused:
            while True:  # never a pause, and never fast enough
                await body()
        assert refused.value.status_code == 408

    asyncio.run(slow())


def test_metrics_and_descriptions(ask: Ask) -> None:
    ask("POST", "/v1/translate", content=PNG)
    text = ask("GET", "/metrics").text
    assert 'img2img_pictures_total{model="painting",status="done"}' in text
    assert 'img2img_seconds_bucket{model="painting",le="+Inf"}' in text
    assert 'img2img_requests_total{code="200"}' in text
    assert ask("GET", "/healthz").json() == {"status": "ok"}
    paths = ask("GET", "/openapi.json").json()["paths"]
    assert {*paths} == {"/v1/translate", "/v1/models", "/healthz", "/metrics"}
    page = ask("GET", "/docs")
    assert "POST /v1/translate" in page.text and "https://" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert ask("GET", "/assets/..%2fpages.py").status_code == 404


def test_counters_keep_their_digits() -> None:
    metrics = Metrics()
    metrics.describe("requests", "Requests.", "counter")
    metrics.describe("seconds", "Seconds.", "histogram")
    metrics.count("requests", 1_234_567)
    metrics.observe("seconds", 1_234_567.0625)
    lines = metrics.text().splitlines()
    assert "requests 1234567" in lines
    assert "seconds_sum 1234567.0625" in lines and 'seconds_bucket{le="0.05"} 0' in lines


def test_serving_a_shipped_model_imports_no_torch() -> None:
    program = (
        "import sys; from img2img.server.running import create_app\n"
        "from img2img.server.service import Service; from img2img.server.request import ServeRequest\n"
        "service = Service(ServeRequest(models=('painting',), runner='onnxruntime', device='cpu'))\n"
        "create_app(service); service.close(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr

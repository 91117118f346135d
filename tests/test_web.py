"""The page that translates in a browser: what is written, and what a real Chromium does with it."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.errors import EnvironmentFault, ModelError, UsageError
from img2img.exporting import web_runtime as webruntime
from img2img.exporting.graphs import read_graph
from img2img.exporting.onnx import export_onnx
from img2img.exporting.web import check_folder, write_page
from img2img.exporting.web_runtime import SHA256, VERSION, WebRuntime, find_runtime
from img2img.images import working_shape
from img2img.model_format.checkpoint import save_model
from img2img.model_format.find import find_model
from img2img.runners import open_runner
from tests.browser import Tab
from tests.conftest import ROOT, Cli, info_of, picture, small_generator
from tests.graph_makers import inverting

STANDS_IN = WebRuntime("0.0", dict.fromkeys(SHA256, b"\x00asm"), False)
READY = "document.querySelector('#status').textContent === 'Ready.'"
DONE = "!document.querySelector('#save').disabled"
STATUS = "document.querySelector('#status').textContent"
BAD = "document.querySelector('#status.bad') !== null"
HEAR_STATUS = """(() => {
    window.statuses = [];
    new MutationObserver(() => window.statuses.push(document.querySelector('#status').textContent))
        .observe(document.querySelector('#status'), {childList: true});
})()"""


# What is written


def test_a_graph_says_what_it_takes(tmp_path: Path) -> None:
    graph = read_graph(inverting(tmp_path / "a.onnx", "uint8", ("A", "B")))
    assert graph.io == "uint8" and graph.any_size
    assert [(t.name, t.type, t.shape) for t in graph.inputs] == [
        ("input", "uint8", (None, None, None, 3)),
        ("domain", "float32", (None, 2)),
    ]
    graph = read_graph(inverting(tmp_path / "b.onnx", "float", size=(64, 32)))
    assert graph.io == "float" and not graph.any_size
    assert graph.inputs[0].shape == (None, 3, 64, 32) and graph.output.name == "output"


def test_what_is_no_model_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    whole = inverting(path).read_bytes()
    for data, words in [
        (b"rubbish", "not an ONNX file"),
        (whole[:40] + b"!" + whole[41:], "damaged"),
        (whole[: len(whole) // 2], "not an ONNX file"),
    ]:
        path.write_bytes(data)
        with pytest.raises(ModelError, match=words):
            read_graph(path)
    inverting(path, domains=("A",))
    with pytest.raises(ModelError, match="one input, and one output; its graph has 2"):
        read_graph(_altered(path, b'"domains": ["A"]', b'"domains": []   '))
    with pytest.raises(ModelError, match="no such file"):
        read_graph(tmp_path / "missing.onnx")


def _altered(path: Path, old: bytes, new: bytes) -> Path:
    """The file with other metadata of the same length, and a digest that is right."""
    from img2img.onnx_format.reading import digest_of

    data = path.read_bytes().replace(old, new)
    digest, place = digest_of(data)
    path.write_bytes(data[:place] + digest.encode() + data[place + len(digest) :])
    return path


def test_the_page_holds_all_it_needs_and_escapes_its_texts(tmp_path: Path) -> None:
    nasty = '</script><script>alert("1")</script>{{stamp}}'
    model = inverting(tmp_path / "m.onnx", domains=(nasty, "B"), name=nasty, licence=nasty)
    files = write_page(model, tmp_path / "page", STANDS_IN)
    assert sorted(p.relative_to(tmp_path / "page").as_posix() for p in files) == sorted(
        p.relative_to(tmp_path / "page").as_posix()
        for p in (tmp_path / "page").rglob("*")
        if p.is_file()
    )
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count("<script") == 3 and "alert(" in text and nasty not in text
    assert "{{" not in text.replace("{{stamp}}", "")
    assert "MIT License" in (tmp_path / "page" / "ort" / "LICENSE").read_text()
    assert (tmp_path / "page" / "model.onnx").read_bytes() == model.read_bytes()
    for path in files:
        if path.suffix in (".html", ".css", ".js"):
            found = set(re.findall(r"https?://[^'\" ]*", path.read_text()))
            assert found <= {"http://www.w3.org/2000/svg"}, path


def test_only_a_new_folder_or_a_page_of_ours_is_written_into(tmp_path: Path) -> None:
    model = inverting(tmp_path / "m.onnx")
    write_page(model, tmp_path / "page", STANDS_IN)
    before = (tmp_path / "page" / "index.html").read_text()
    write_page(inverting(model, name="other"), tmp_path / "page", STANDS_IN)
    assert (tmp_path / "page" / "index.html").read_text() != before
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "index.html").write_text("mine")
    for folder, words in [
        (tmp_path / "taken", "is not empty"),
        (model, "is a file"),
        (tmp_path / "none" / "page", "no such folder"),
    ]:
        with pytest.raises(UsageError, match=words):
            check_folder(folder)
    with pytest.raises(UsageError, match="one fixed size"):
        write_page(inverting(model, size=(64, 64)), tmp_path / "fixed", STANDS_IN)
    assert not (tmp_path / "fixed").exists()


def test_a_runtime_given_by_hand(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an unpacked onnxruntime-web"):
        find_runtime(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        find_runtime(tmp_path / "none")
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    for name in SHA256:
        (dist / name).write_bytes(b"rubbish")
    with pytest.raises(UsageError, match="not those of onnxruntime-web"):
        find_runtime(tmp_path)
    (dist / "ort.wasm.min.mjs").write_bytes(b"/*!\n * ONNX Runtime Web v9.8.7\n */")
    (dist / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm....")
    for folder in (tmp_path, tmp_path / "package", dist):
        found = find_runtime(folder)
        assert found.version == "9.8.7" and not found.tested and set(found.files) == set(SHA256)
    (dist / "ort.wasm.min.mjs").write_bytes(f"/* ONNX Runtime Web v{VERSION} */".encode())
    with pytest.raises(EnvironmentFault, match="SHA-256 differs"):
        find_runtime(tmp_path)


def test_without_npm_it_is_reported_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"npm is not installed .* `web_runtime`"):
        find_runtime(cache=tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for npm")
def test_an_npm_that_fails_or_brings_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    for script, words in [
        ("echo offline >&2; exit 1", r"could not fetch .*\(offline\).*`web_runtime`"),
        ("echo rubbish > a.tgz", "cannot be unpacked"),
        (
            "mkdir -p package/dist; for f in " + " ".join(SHA256) + "; do echo x > package/dist/$f;"
            " done; tar czf a.tgz package; rm -r package",
            "SHA-256 of ort.wasm.min.mjs differs",
        ),
    ]:
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        with pytest.raises(EnvironmentFault, match=words):
            find_runtime(cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_damaged_cache_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / f"onnxruntime-web-{VERSION}"
    place.mkdir()
    for name in SHA256:
        (place / name).write_bytes(b"cut of")
    fresh = dict.fromkeys(SHA256, b"fresh")
    monkeypatch.setattr(webruntime, "_fetched", lambda: fresh)
    assert find_runtime(cache=tmp_path).files == fresh
    assert (place / "ort.wasm.min.mjs").read_bytes() == b"fresh"


# What a browser does with it


@pytest.fixture(scope="session")
def runtime() -> WebRuntime:
    try:
        return find_runtime()
    except EnvironmentFault as error:
        pytest.skip(str(error))


class Server:
    """Serves a folder as `python -m http.server` does; with `fresh`, nothing may be cached."""

    def __init__(self, folder: Path, fresh: bool = False):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *details: object) -> None:
                pass

            def end_headers(self) -> None:
                if fresh:
                    self.send_header("Cache-Control", "no-store")
                super().end_headers()

        handler = functools.partial(Handler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


Opener = Callable[[Path], Tab]


@pytest.fixture
def served(tab: Tab, runtime: WebRuntime, tmp_path: Path) -> Iterator[Opener]:
    """Write a page for a model, serve it, and open it in a tab."""
    servers = []

    def opened(model: Path) -> Tab:
        write_page(model, tmp_path / "page", runtime)
        servers.append(Server(tmp_path / "page"))
        tab.open(servers[-1].url)
        tab.wait(READY)
        return tab

    yield opened
    for server in servers:
        assert all(url.startswith(server.url) for url in tab.requests())
        server.close()


def shown(tab: Tab, selector: str = "#after") -> np.ndarray:
    """The pixels of a canvas, (H, W, 4)."""
    width, height, data = tab.run(
        f"(() => {{ const c = document.querySelector('{selector}');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let s = '';"
        " for (let i = 0; i < d.length; i += 4096) s += String.fromCharCode(...d.subarray(i, i + 4096));"
        " return [c.width, c.height, btoa(s)]; })()"
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def levels(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(
    ("name", "picture_of"),
    [
        pytest.param("sketch2avatar", "sketches/003010.png", marks=pytest.mark.slow),
        ("painting", "photos/kitten-on-lawn.jpg"),
    ],
)
def test_a_shipped_model_gives_what_onnxruntime_gives(
    name: str, picture_of: str, served: Opener, tmp_path: Path
) -> None:
    model = find_model(name, (".onnx",))
    tab = served(model)
    runner = open_runner(model, "cpu")
    example, odd = tmp_path / "example.png", tmp_path / "odd.png"  # browsers decode JPEG their way
    with Image.open(ROOT / "examples" / picture_of) as opened:
        whole = opened.convert("RGB")
    whole.thumbnail((400, 400))
    whole.save(example)
    whole.resize((301, 173)).save(odd)
    for path in (example, odd):
        tab.drop("#drop", path)
        source = np.asarray(Image.open(path).convert("RGB"))
        size = f"{source.shape[1]} x {source.shape[0]}"
        height, width = working_shape(*source.shape[:2], runner.working_size)
        tab.wait(f"{DONE} && {STATUS}.startsWith('Translated {width} x {height} ')")
        if (width, height) != (source.shape[1], source.shape[0]):
            tab.page.select_option("#size", str(max(source.shape[:2])))
        tab.wait(f"{DONE} && {STATUS}.startsWith('Translated {size} ')")
        assert levels(shown(tab, "#before")[:, :, :3], source) == 0
        result = shown(tab)
        assert levels(result[:, :, :3], runner(source)) <= 1 and (result[:, :, 3] == 255).all()
        assert np.abs(result[:, :, :3].astype(int) - source).mean() > 8
    assert tab.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fast", {"levels": 2}),
        ("fast", {"output": "mask", "tail": "resize"}),
        ("fast", {"output": "chroma"}),
        ("fast", {"scale": 2, "shrink": 1}),
        ("fast", {"whole": True}),
        ("curve", {}),
    ],
)
def test_a_network_of_each_kind_gives_what_onnxruntime_gives(
    name: str, options: dict[str, object], served: Opener, tmp_path: Path
) -> None:
    generator = small_generator(name, **options)
    save_model(tmp_path / "m.safetensors", generator, info_of(generator, working_size=0))
    export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    tab, runner = served(tmp_path / "m.onnx"), open_runner(tmp_path / "m.onnx", "cpu")
    picture(61, 40, 2).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    source = np.asarray(Image.open(tmp_path / "p.png"))
    made = runner(source)
    assert levels(shown(tab)[:, :, :3], made) <= 1
    assert made.shape[0] > 40 or np.abs(made.astype(int) - source).mean() > 0.5
    assert tab.complaints() == []


def test_the_result_is_compared_and_saved(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx"))
    picture(320, 200, 1).save(tmp_path / "my photo.png")
    tab.drop("#drop", tmp_path / "my photo.png")
    tab.wait(DONE)
    left, top, width, height = tab.box("#view")
    tab.drag((left + width / 2, top + height / 2), (left + width * 0.9, top + height / 2))
    tab.page.keyboard.press("PageDown")
    assert tab.run("document.querySelector('#view').getAttribute('aria-valuenow')") == "80"
    screen = tab.screenshot().astype(int)
    source = np.asarray(picture(320, 200, 1)).astype(int)
    y = round(top + height * 0.8)
    for part, expected in ((0.7, source), (0.9, 255 - source)):
        pixel = expected[round(200 * 0.8), round(320 * part)]
        assert np.abs(screen[y, round(left + width * part)] - pixel).max() < 12
    with tab.page.expect_download() as download:
        tab.page.click("#save")
    assert download.value.suggested_filename == "my photo-inverting.png"
    saved = download.value.path()
    assert (np.asarray(Image.open(saved).convert("RGB")) == 255 - source).all()


@pytest.mark.parametrize("io", ["uint8", "float"])
def test_both_kinds_of_graph_and_their_domains(served: Opener, tmp_path: Path, io: str) -> None:
    groups = (("Black", "Fair"),)
    tab = served(inverting(tmp_path / "m.onnx", io, ("Black", "Fair", "Smile"), exclusive=groups))
    source = np.full((40, 60, 3), 200, np.uint8)
    Image.fromarray(source).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    assert (shown(tab)[:, :, :3] == 56).all()
    boxes = "document.querySelectorAll('#domains input')"
    for click, value, on in [(2, 60, [1, 0, 1]), (1, 61, [0, 1, 1]), (2, 57, [0, 1, 0])]:
        tab.run(f"{boxes}[{click}].click()")
        tab.wait(DONE)
        assert tab.run(f"[...{boxes}].map(b => Number(b.checked))") == on
        assert (shown(tab)[:, :, :3] == value).all()
    words = tab.run("[...document.querySelectorAll('#domains label')].map(e => e.textContent)")
    assert words == ["Black", "Fair", "Smile"]


def test_a_model_that_enlarges_gives_the_larger_picture(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx", times=2))
    pixels = np.asarray(picture(60, 40, 1, "RGBA")).copy()
    pixels[:, :30, 3], pixels[:, 30:, 3] = 255, 128
    Image.fromarray(pixels).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(f"{DONE} && {STATUS}.startsWith('Enlarged 60 x 40 pixels to 120 x 80 in ')")
    before, after = shown(tab, "#before"), shown(tab)
    assert before.shape == after.shape == (80, 120, 4)
    expected = np.repeat(np.repeat(255 - pixels, 2, 0), 2, 1)
    opaque = after[:, :58]
    assert levels(opaque[:, :, :3], expected[:, :58, :3]) == 0 and (opaque[:, :, 3] == 255).all()
    # Between both halves the transparency is interpolated.
    assert (after[:, 62:, 3] == 128).all() and 128 < after[0, 60, 3] < after[0, 59, 3] < 255
    wide = np.repeat(np.repeat(pixels, 2, 0), 2, 1)[:, :58, :3].astype(int)
    assert np.abs(before[:, :58, :3] - wide).mean() < 4
    # A smaller size is enlarged from there, and then the first again.
    picture(600, 400, 1).save(tmp_path / "q.png")
    tab.drop("#drop", tmp_path / "q.png")
    tab.wait(f"{DONE} && {STATUS}.startsWith('Enlarged 600 x 400 pixels to 1200 x 800 in ')")
    tab.page.select_option("#size", "256")
    tab.wait(f"{DONE} && {STATUS}.startsWith('Enlarged 256 x 171 pixels to 512 x 342 in ')")
    assert tab.run(STATUS).endswith("Reduced from 600 x 400.")
    assert shown(tab).shape == (342, 512, 4)
    assert tab.complaints() == []


def test_one_domain_of_several_is_a_choice_of_one(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx", "uint8", ("a", "b", "c"), one_hot=True))
    Image.new("RGB", (9, 8), (100, 100, 100)).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    assert (shown(tab)[:, :, :3] == 156).all()
    tab.run("document.querySelectorAll('#domains input')[2].click()")
    tab.wait(DONE)
    assert (shown(tab)[:, :, :3] == 159).all()


def test_grey_networks_and_transparent_pictures(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx", "float", channels=1))
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:, :, 0], pixels[:, :, 3] = 200, 255
    pixels[:, :10, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    result = shown(tab)
    assert (result[:, 10:] == (195, 195, 195, 255)).all()
    assert (result[:, :10, 3] == 0).all()


@pytest.mark.slow
def test_large_pictures_are_offered_smaller(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx"))
    picture(1600, 800, 1).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    options = tab.run("[...document.querySelector('#size').options].map(o => o.text)")
    assert options == ["256 x 128", "512 x 256", "1024 x 512", "1600 x 800 (full)"]
    assert shown(tab).shape == (512, 1024, 4) and "Reduced from 1600 x 800" in tab.run(STATUS)
    small = np.asarray(picture(1600, 800, 1).resize((1024, 512), Image.Resampling.BILINEAR))
    assert np.abs(shown(tab)[:, :, :3].astype(int) - (255 - small.astype(int))).mean() < 2
    tab.page.select_option("#size", "1600")
    tab.wait(DONE)
    whole = 255 - np.asarray(picture(1600, 800, 1))
    assert levels(shown(tab)[:, :, :3], whole) == 0


def test_the_page_works_at_the_size_of_the_model(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx", working_size=300))
    picture(1600, 800, 1).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    options = tab.run("[...document.querySelector('#size').options].map(o => o.text)")
    assert options[:3] == ["256 x 128", "300 x 150", "512 x 256"]
    words = tab.run(STATUS)
    assert words.startswith("Translated 300 x 150") and "Enlarged to 1600 x 800" in words
    result = shown(tab)[:, :, :3].astype(int)
    assert result.shape == (800, 1600, 3)
    assert np.abs(result - (255 - np.asarray(picture(1600, 800, 1)).astype(int))).mean() < 2


def test_a_chosen_and_a_pasted_picture(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx"))
    Image.new("RGB", (12, 10), (10, 20, 30)).save(tmp_path / "p.png")
    tab.page.set_input_files("#file", tmp_path / "p.png")
    tab.wait(DONE)
    assert (shown(tab)[:, :, :3] == (245, 235, 225)).all()
    data = base64.b64encode((tmp_path / "p.png").read_bytes()).decode()
    tab.run(
        f"fetch('model.onnx').then(() => {{ const raw = Uint8Array.from(atob('{data}'), c => c.charCodeAt());"
        " const held = new DataTransfer(); held.items.add(new File([raw], 'pasted.png', {type: 'image/png'}));"
        " document.querySelector('#save').disabled = true;"
        " document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: held, bubbles: true})); })"
    )
    tab.wait(DONE)
    assert (shown(tab)[:, :, :3] == (245, 235, 225)).all()


def test_a_photograph_stands_upright(served: Opener, tmp_path: Path) -> None:
    tab = served(inverting(tmp_path / "m.onnx"))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(60, 30, 1).save(tmp_path / "p.jpg", exif=exif)
    tab.drop("#drop", tmp_path / "p.jpg")
    tab.wait(DONE)
    assert shown(tab).shape == (60, 30, 4)


def test_what_goes_wrong_is_reported_and_the_next_picture_works(
    served: Opener, tmp_path: Path
) -> None:
    tab = served(inverting(tmp_path / "m.onnx"))
    (tmp_path / "letter.txt").write_text("no picture")
    tab.drop("#drop", tmp_path / "letter.txt")
    tab.wait(BAD)
    assert tab.run(STATUS) == "letter.txt is not a picture that this browser can read."
    Image.new("RGB", (12, 10)).save(tmp_path / "p.png")
    tab.drop("#drop", tmp_path / "p.png")
    tab.wait(DONE)
    assert not tab.run(BAD)


@pytest.mark.slow
def test_a_network_that_fails_is_reported_in_words(
    tab: Tab,
    runtime: WebRuntime,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "page"
    model = inverting(tmp_path / "m.onnx")
    write_page(model, folder, runtime)
    index = folder / "index.html"
    whole = index.read_text()
    Image.new("RGB", (12, 10)).save(tmp_path / "p.png")
    server = Server(folder, fresh=True)
    try:
        index.write_text(whole.replace('"output": "output"', '"output": "other"'))
        tab.open(server.url)
        tab.wait(READY)
        tab.run(HEAR_STATUS)
        tab.drop("#drop", tmp_path / "p.png")
        tab.wait(BAD)
        # The network is loaded again at once; what went wrong stays readable meanwhile.
        tab.wait("document.querySelector('progress').hidden && window.statuses.length > 0")
        assert tab.run(STATUS).startswith("The picture could not be translated: ")
        statuses = tab.run("window.statuses")
        assert not [text for text in statuses if text.startswith("Loading")], statuses
        index.write_text(whole)
        (folder / "model.onnx").write_bytes(b"cut off")
        tab.open(server.url)
        tab.wait(BAD)
        assert "model.onnx ended after 7 of" in tab.run(STATUS)
        (folder / "model.onnx").unlink()
        tab.open(server.url)
        tab.wait(BAD)
        assert "model.onnx is missing (404)" in tab.run(STATUS)
        assert tab.run("document.querySelector('progress').hidden")
    finally:
        server.close()
    tab.open(index.as_uri())
    assert tab.run(STATUS).startswith("This page has to be served by a web server")


def test_work_can_be_stopped_and_the_page_does_not_freeze(
    tab: Tab,
    runtime: WebRuntime,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "page"
    write_page(inverting(tmp_path / "m.onnx"), folder, runtime)
    worker = folder / "worker.js"
    endless = "for (;;);"
    text = worker.read_text()
    assert "async function run(" in text
    worker.write_text(text.replace("const feeds =", endless + " const feeds =", 1))
    Image.new("RGB", (12, 10)).save(tmp_path / "p.png")
    server = Server(folder)
    try:
        tab.open(server.url)
        tab.wait(READY)
        tab.drop("#drop", tmp_path / "p.png")
        tab.wait(f"/^Translating 12 x 10 pixels: [0-9]+ s$/.test({STATUS})")
        tab.page.click("#stop")
        tab.wait(f"{STATUS}.startsWith('Stopped.')")
        assert tab.run("document.querySelector('#stop').hidden")
    finally:
        server.close()


# The command


def test_the_command_writes_a_page(cli: Cli, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    for name in SHA256:
        (dist / name).write_bytes(b"\0asm")
    (dist / "ort.wasm.min.mjs").write_bytes(b"/* ONNX Runtime Web v9.8.7 */")
    done = cli("export", "sketch2avatar", "--web", "page", "--web-runtime", "dist")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"onnxruntime-web 9.8.7 is used; the page was tested with {VERSION}\n"
    assert "python -m http.server -d page" in done.stdout
    assert (tmp_path / "page" / "index.html").is_file()
    done = cli("export", "sketch2avatar", "--web", "page", "--web-runtime", "dist", "--json")
    assert '"event": "web"' in done.stdout
    for arguments, words in [
        (["sketch2avatar"], "nothing to write"),
        (["sketch2avatar", "--web", "dist", "--web-runtime", "dist"], "is not empty"),
        (["sketch2avatar", "-o", "x.onnx", "--web-runtime", "dist"], "--web-runtime needs --web"),
    ]:
        done = cli("export", *arguments)
        assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "x.onnx").exists()


def test_a_model_that_is_not_yet_exported(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    done = cli("export", model_file, "--web", "page", "--web-runtime", tmp_path)
    assert done.returncode == 2 and "add -o FILE.onnx" in done.stderr

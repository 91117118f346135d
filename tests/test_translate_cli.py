"""`img2img translate` as people type it: streams, names, sheets, galleries, folders that fill."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.images import read_picture, scale_pixels
from img2img.inference import Job
from img2img.inference.workload import pixels_to_come
from img2img.model_format.checkpoint import load_model, save_model
from img2img.runners import open_runner
from tests.commands import without_override
from tests.conftest import Cli, picture


def files(folder: Path) -> list[str]:
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in found if p.parts[0] != ".img2img")


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_standard_streams(cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    source = photos / "two.png"
    expected = open_runner(onnx_file, "cpu")(read_picture(source).pixels)
    command = [sys.executable, "-m", "img2img.cli", "translate", "-m", str(onnx_file)]
    for inputs, more, format in (
        ("-", [], "PNG"),
        (str(source), [], "PNG"),
        ("-", ["--format", "bmp"], "BMP"),
    ):
        done = subprocess.run(
            [*command, inputs, "-o", "-", *more], input=source.read_bytes(), capture_output=True
        )
        assert done.returncode == 0, done.stderr
        with Image.open(io.BytesIO(done.stdout)) as image:
            assert image.format == format and np.array_equal(np.asarray(image), expected)
    done = subprocess.run(
        [*command, "-", "-o", "out"], input=source.read_bytes(), capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0 and files(tmp_path / "out") == ["stdin.png"]


@pytest.mark.parametrize(
    ("data", "more", "code", "said"),
    [
        (b"", [], 2, "standard input is empty"),
        (b"no picture", [], 1, "not a picture"),
        (b"", ["--json"], 2, "--json"),
        (b"", ["--watch"], 2, "--watch"),
        (b"\x89PNG\r\n\x1a\n", [], 1, "failed"),
    ],
)
def test_wrong_streams(onnx_file: Path, data: bytes, more: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "img2img.cli", "translate", "-", "-o", "-", "-m", onnx_file, *more],
        input=data, capture_output=True,
    )  # fmt: skip
    assert done.returncode == code and said in done.stderr.decode() and done.stdout == b""
    assert "Traceback" not in done.stderr.decode()


def test_one_picture_to_one_file(cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    done = cli("translate", photos / "one.jpg", "-o", "x/y.webp", "-m", onnx_file)
    assert done.returncode == 0, done.stderr
    assert read_picture(tmp_path / "x" / "y.webp").format == "WEBP"
    assert files(tmp_path / "x") == ["y.webp"] and not (tmp_path / "x" / ".img2img").exists()
    itself = photos / "one.jpg"
    before = itself.read_bytes()
    for target in (itself, photos / "sub" / ".." / "one.jpg", photos / "ONE.jpg"):
        done = cli("translate", itself, "-o", target, "-m", onnx_file, "--overwrite")
        assert done.returncode == 2 and "replace an input" in done.stderr
    assert itself.read_bytes() == before


@pytest.mark.slow
def test_an_output_never_replaces_an_input(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    deep = tmp_path / "p" / "p"
    deep.mkdir(parents=True)
    picture(9, 9).save(tmp_path / "p" / "a.png")
    picture(8, 8).save(deep / "a.png")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.png")}
    for more in ([], ["--overwrite"]):  # p/p/a.png would become ./p/a.png
        done = cli("translate", "p", "-o", ".", "-m", onnx_file, *more)
        assert done.returncode == 2 and "replace an input" in done.stderr
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*.png")}


@pytest.mark.slow
def test_name_templates(cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    done = cli("translate", photos, "-o", "out", "-m", onnx_file, "--name", "{number:03}_{model}")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == ["001_test.jpg", "003_test.png", "sub/002_test.jpg"]
    for template, said in (
        ("x", "needs {stem} or {number}"),
        ("{stem}/{number}", "cannot contain"),
        ("{stem.__class__}", "known are"),
        ("{stem!r}", "known are"),
        ("{stem", "expected"),
        ("{number:>99}", "five digits"),
    ):
        done = cli("translate", photos, "-o", "no", "-m", onnx_file, "--name", template)
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "no").exists()


def test_sheets_and_gallery(cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"nothing")
    more = ["--compare", "sheets", "--gallery", "page.html"]
    done = cli("translate", photos, "-o", "out", "-m", onnx_file, *more)
    assert done.returncode == 1
    assert files(tmp_path / "sheets") == ["one.jpg", "sub/one.jpg", "two.png"]
    assert read_picture(tmp_path / "sheets" / "two.png").pixels.shape == (47, 33 * 2 + 6, 3)
    page = (tmp_path / "page.html").read_text()
    assert (
        page.count('data-status="translated"') == 3
        and "bad.png" in page
        and str(tmp_path) not in page
    )
    done = cli("translate", photos, "-o", "out", "-m", onnx_file, "--gallery", "again.html")
    again = (tmp_path / "again.html").read_text()
    assert again.count('data-status="there"') == 3 and "as before" in again
    for folder, said in (
        (photos / "sheets", "lies in the input"),
        ("out", "folder of the outputs"),
    ):
        done = cli("translate", photos, "-o", "out", "-m", onnx_file, "--compare", folder)
        assert done.returncode == 2 and said in done.stderr


@pytest.mark.slow
def test_every_file_of_a_folder_is_named(
    cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    (photos / "one").write_bytes((photos / "one.jpg").read_bytes())  # a picture without a suffix
    (photos / "raw.NEF").write_bytes(b"II*\0" + bytes(100))
    (photos / ".hidden.jpg").write_bytes(b"")
    (photos / "text.txt").write_text("x")
    (photos / "folder.png").mkdir()
    wanted = {"one": "done", "raw.NEF": "ignored", ".hidden.jpg": "ignored", "text.txt": "ignored"}
    if os.name == "posix":
        (photos / "link.jpg").symlink_to("one.jpg")
        (photos / "dead.jpg").symlink_to("nowhere.jpg")
        (photos / "loop").symlink_to(".")
        os.mkfifo(photos / "fifo.png")
        wanted |= {"link.jpg": "ignored", "dead.jpg": "ignored", "loop": "ignored"}
        wanted |= {"fifo.png": "ignored"}
    wanted |= {"one.jpg": "done", "two.png": "done", "sub/one.jpg": "done"}
    rows = lines(cli("translate", photos, "-o", "out", "-m", onnx_file, "--json"))
    reported = {
        Path(str(r["input"])).relative_to(photos).as_posix(): r["status"]
        for r in rows if r["event"] == "picture"
    }  # fmt: skip
    assert reported == wanted
    assert rows[-1]["done"] == 4 and rows[-1]["ignored"] == len(wanted) - 4
    said = cli("translate", photos, "-o", "out2", "-m", onnx_file)
    assert "camera raw" in said.stderr and "text.txt" not in said.stderr
    if os.name == "posix":
        rows = lines(
            cli("translate", photos, "-o", "o3", "-m", onnx_file, "--json", "--follow-links")
        )
        inputs = [os.path.realpath(str(r["input"])) for r in rows if r.get("status") == "done"]
        assert len(inputs) == len(set(inputs)) == 4


def test_long_names_are_cut_and_stay_apart(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    stem = "ä" * 125
    for last in "ab":
        picture(9, 9).save(folder / f"{stem}{last}.bmp")
    rows = lines(
        cli("translate", folder, "-o", "out", "-m", onnx_file, "--format", "webp", "--json")
    )
    assert rows[-1]["done"] == 2
    names = files(tmp_path / "out")
    assert len(names) == 2 and all(len(os.fsencode(n)) <= 255 for n in names)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_folder_that_fills(photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "fills"
    empty.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "img2img.cli", "translate", "fills", "-o", "out", "-m", onnx_file,
         "--watch", "--json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["event"] == "start"
        for name, status in (("a.jpg", "done"), ("b.png", "done"), ("bad.png", "failed")):
            if status == "done":
                picture(30, 20).save(empty / name)
            else:
                (empty / name).write_bytes(b"nothing")
            row = json.loads(process.stdout.readline())
            assert (Path(row["input"]).name, row["status"]) == (name, status)
        picture(31, 21).save(empty / "a.jpg")  # changed
        row = json.loads(process.stdout.readline())
        assert (row["status"], row["width"], row.get("redone")) == ("done", 31, True)
    finally:
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors
    assert "watching fills: new and changed pictures are translated as they arrive" in errors
    summary = json.loads(rest.splitlines()[-1])
    assert (summary["done"], summary["redone"], summary["failed"]) == (3, 1, 1)
    assert files(tmp_path / "out") == ["a.jpg", "b.png"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="descriptors are closed the POSIX way")
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_standard_streams(cli: Cli, photos: Path, onnx_file: Path, closed: int) -> None:
    """As under cron and some services. The next file opened must not get the free number."""
    done = cli(
        "translate", photos, "-o", "out", "-m", onnx_file, preexec_fn=lambda: os.close(closed)
    )
    assert done.returncode == 0, done.stderr
    assert ("3 translated" in done.stdout) == (closed != 1)
    assert files(photos.parent / "out") == ["one.jpg", "sub/one.jpg", "two.png"]
    done = cli(
        "translate", "-", "-o", "-", "-m", onnx_file, preexec_fn=lambda: os.close(closed),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert "standard input is" in done.stderr or closed == 2


def test_ctrl_c_while_the_command_loads() -> None:
    program = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'img2img.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from img2img.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.slow
def test_what_the_system_refuses_is_no_defect(cli: Cli, photos: Path, onnx_file: Path) -> None:
    """Names that are too long, and folders that may not be entered."""
    drop = without_override()
    locked = photos.parent / "locked"
    (locked / "sub").mkdir(parents=True)
    picture(4, 4).save(locked / "sub" / "a.png")
    locked.chmod(0)
    long = "x" * 5000
    try:
        for arguments in (
            [long, "-o", "out", "-m", onnx_file],
            [photos, "-o", long, "-m", onnx_file],
            [photos, "-o", "out", "-m", long],
            *([
                [locked / "sub" / "a.png", "-o", "out", "-m", onnx_file],
                [locked / "sub", "-o", "out", "-m", onnx_file],
                [photos, "-o", locked / "sub", "-m", onnx_file],
                [photos, "-o", "out", "-m", locked / "sub" / "a.onnx"],
                [photos, "-o", "out", "-m", onnx_file, "--compare", locked / "x"],
                [photos, "-o", "out", "-m", onnx_file, "--gallery", locked / "x.html"],
            ] if os.name == "posix" else []),
        ):  # fmt: skip
            done = cli("translate", *arguments, preexec_fn=drop)
            assert done.returncode in (2, 3, 4), done.stderr
            assert "defect" not in done.stderr and "Traceback" not in done.stderr
            assert sum(line.startswith("img2img: ") for line in done.stderr.splitlines()) == 1
    finally:
        locked.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_whoever_reads_the_messages_may_leave(
    photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    for k in range(50):
        (photos / f"bad{k}.png").write_bytes(b"nothing")
    process = subprocess.Popen(
        [sys.executable, "-m", "img2img.cli", "translate", photos, "-o", "out", "-m", onnx_file],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(60) == 1  # some failed; the job itself went on
    assert files(tmp_path / "out") == ["one.jpg", "sub/one.jpg", "two.png"]


@pytest.mark.parametrize("option", ["--timeout", "--max-megapixels"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e12"])
def test_numbers_that_are_none(cli: Cli, photos: Path, option: str, value: str) -> None:
    done = cli("translate", photos, "-o", "out", option, value)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert option in done.stderr


@pytest.mark.slow
def test_the_working_size_is_reported_obeyed_and_remembered(
    cli: Cli, tmp_path: Path, model_file: Path
) -> None:
    generator, info = load_model(model_file)
    path = tmp_path / "m.safetensors"
    save_model(path, generator, dataclasses.replace(info, working_size=48))
    (tmp_path / "in").mkdir()
    picture(120, 90).save(tmp_path / "in" / "a.png")
    command = ("translate", "in", "-o", "out", "-m", path, "--device", "cpu")
    runner = open_runner(path, "cpu")
    source = np.asarray(picture(120, 90))

    done = cli(*command)
    assert "trained at 64 px, working at 48; --size changes it" in done.stderr.splitlines()
    wanted = scale_pixels(runner(scale_pixels(source, 48, 36)), 120, 90)
    out = tmp_path / "out" / "a.png"
    assert np.abs(read_picture(out).pixels.astype(int) - wanted).max() <= 1
    again = cli(*command, "--size", "48", "--json")  # the same, so there is nothing to do
    start, row = lines(again)[:2]
    assert row["status"] == "skipped"
    facts = {"trained_size": 64, "working_size": 48, "upsampling": "plain"}
    assert facts.items() <= start.items()
    other = cli(*command, "--size", "full")
    assert other.returncode == 2 and "working_size 48, not 0" in other.stderr
    for size in ("full", "0"):
        done = cli(*command, "--size", size, "--overwrite")
        assert "working at each picture's own size" in done.stderr
    assert np.abs(read_picture(out).pixels.astype(int) - runner(source)).max() <= 1

    for size, words in (
        ("4", "--size 4: model test works at 8 to 65536 pixels"),
        ("half", "--size half: give a long side in pixels up to 65536, or full"),
        ("-3", "--size -3: give a long side"),
    ):
        done = cli(*command, "--size", size)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    shown = cli("models", "show", path, "--all")
    assert "working_size: 48" in shown.stdout.splitlines()
    assert (
        json.loads(cli("models", "show", "sketch2avatar", "--json").stdout)["working_size"] == 128
    )


@pytest.mark.parametrize(
    ("size", "pixels"), [(640, 2 * 307200 + 30), (0, 2 * 3_000_000 + 30), (128, 2 * 12288 + 30)]
)
def test_the_pixels_that_the_network_will_see(
    tmp_path: Path, photos: Path, size: int, pixels: int
) -> None:
    sizes = {"a.jpg": 10**6, "b.jpg": 10**6, "c.jpg": 10}
    for name, count in sizes.items():
        (tmp_path / name).write_bytes(bytes(count))
    jobs = [Job(tmp_path / name, tmp_path / "out" / name) for name in sizes]
    assert pixels_to_come(jobs, size) == pixels

"""What `img2img translate` answers to a command that cannot be meant so, in one line with the way
out; and what it prints of a job."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from img2img.cli import streams
from img2img.cli.progress import Listener, in_words
from img2img.errors import UsageError
from img2img.inference import Note, PictureEvent, Started, Summary, TileProgress
from img2img.model_format.checkpoint import load_model, save_model
from tests.conftest import Cli, Main, info_of, picture, small_generator


def test_inputs_and_outputs_that_cannot_be(
    main: Main, photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    two = [photos / "one.jpg", photos / "two.png"]
    (tmp_path / "model.safetensors").write_bytes(b"")
    rows: list[tuple[list[object], str]] = [
        (["https://host/a.jpg", "-o", "out"], "https://host/a.jpg: a URL; pictures are read from"),
        ([photos, "-o", "https://host/out"], "-o https://host/out: a URL; give a folder or a file"),
        ([photos, "-o", "out", "-m", "hf://x/y"], "-m hf://x/y: a URL; download the model"),
        ([photos / "one", "-o", "out"], f"no such file or folder; did you mean {photos / 'one.jpg'}?"),
        ([photos / "twp.png", "-o", "out"], f"did you mean {photos / 'two.png'}?"),
        ([*two, "-o", "two.jpg"], "-o two.jpg: the name of one picture, but 2 inputs would go into it; give a folder such as two"),
        ([photos, "-o", "all.png"], "-o all.png: the name of one picture, but a folder would"),
        ([two[0], "-o", "new.gif"], "-o new.gif: GIF can be read but not written; use new.png"),
        ([two[0], "-o", "new.jpgg"], "no picture format has the suffix .jpgg. Did you mean .jpg?"),
        ([two[0], "-o", "out", "-m", "model"], "model: no such model; did you mean model.safetensors?"),
        ([two[0], "-o", "a.png", "--watch"], "--watch needs a folder as -o"),
        ([two[0], "-o", "a.png", "--name", "{stem}-x"], "--name needs a folder as -o"),
        ([two[0], "-o", "out", "--strip-gps", "--strip-metadata"], "leave --strip-gps out"),
        ([two[0], "-o", "out", "--tile", "big"], "--tile big: give auto, off, or a side"),
    ]  # fmt: skip
    for arguments, words in rows:
        done = main("translate", *arguments)
        assert done.returncode == 2 and done.stdout == "", (arguments, done.stderr)
        assert words in done.stderr and done.stderr.count("\n") == 1, (arguments, done.stderr)
    assert not (tmp_path / "two.jpg").exists() and not (tmp_path / "out").exists()


def test_a_pattern_of_one_picture_may_go_to_a_file(
    cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    done = cli("translate", "photos/*.png", "-o", "new.webp", "-m", onnx_file)
    assert done.returncode == 0 and (tmp_path / "new.webp").is_file(), done.stderr
    (tmp_path / "folder.jpg").mkdir()  # a folder of that name is one
    done = cli("translate", "photos", "-o", "folder.jpg", "-m", onnx_file)
    assert done.returncode == 0 and (tmp_path / "folder.jpg" / "two.png").is_file(), done.stderr


def test_the_standard_input_is_answered_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Standard(io.BytesIO):
        def __init__(self, data: bytes = b"", terminal: bool = False, fault: OSError | None = None):
            super().__init__(data)
            self.buffer, self.terminal, self.fault = self, terminal, fault

        def isatty(self) -> bool:
            return self.terminal

        def read(self, size: int | None = -1) -> bytes:
            if self.fault:
                raise self.fault
            return super().read(size)

    for given, words in (
        (None, "standard input is closed"),
        (Standard(), "standard input is empty"),
        (Standard(terminal=True), "reads a picture from standard input"),
        (Standard(fault=IsADirectoryError(21, "Is a directory")), "cannot be read: Is a directory"),
        (Standard(fault=OSError(5, "Input/output error")), "cannot be read: Input/output error"),
    ):
        monkeypatch.setattr(sys, "stdin", given)
        with pytest.raises(UsageError, match=words) as caught:
            streams._from_stdin(tmp_path)
        assert "send one picture: img2img translate - -o new.jpg < old.jpg" in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="a stream that cannot be read")
def test_a_standard_input_that_cannot_be_read(onnx_file: Path, tmp_path: Path) -> None:
    stream = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "img2img.cli", "translate", "-", "-o", "-", "-m", onnx_file],
            stdin=stream, capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
    finally:
        os.close(stream)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "standard input: cannot be read: " in done.stderr, done.stderr


@pytest.mark.slow
def test_another_model_into_the_same_folder(
    cli: Cli, photos: Path, onnx_file: Path, model_file: Path, tmp_path: Path
) -> None:
    generator, _ = load_model(model_file)
    other = tmp_path / "other.safetensors"
    save_model(other, generator, info_of(small_generator(), name="other"))
    assert cli("translate", photos, "-o", "out", "-m", onnx_file).returncode == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    done = cli("translate", photos, "-o", "out", "-m", other, "--device", "cpu")
    assert done.returncode == 2 and done.stdout == "", done.stderr
    (line,) = done.stderr.splitlines()
    assert line == (
        "img2img: out: holds 3 pictures made by model test, not other; give --overwrite to "
        "replace, or another folder as -o"
    )
    assert before == {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    done = cli("translate", photos, "-o", "out", "-m", other, "--device", "cpu", "--overwrite")
    assert done.returncode == 0 and "3 updated" in done.stdout


def test_why_no_other_runner_was_chosen_is_in_the_json_only(capsys: pytest.CaptureFixture) -> None:
    info = info_of(small_generator())
    for runner, reason, shown in (
        ("onnxruntime cpu fp32", "OpenVINO is not installed", False),
        ("openvino cpu bf16", "2.1 times as fast as onnxruntime", True),
    ):
        for json in (False, True):
            Listener(json)(Started(info, runner, reason, 64, 2, 2))
            said = capsys.readouterr()
            assert (reason in said.out) == json
            assert (reason in said.err) == (shown and not json)


def test_progress_moves_within_a_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("img2img.cli.progress.time.monotonic", lambda: now)
    listen = Listener(False)
    listen(Started(info_of(small_generator()), "r", "", 0, 2, 2))
    capsys.readouterr()
    for step in range(1, 5):
        now += 6
        listen(TileProgress(step, 4))
    now += 6
    listen(PictureEvent(Path("a"), Path("b"), "done"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "0/2 and 50% of a picture, 0.0 pictures/s, 36 s left"
    assert lines[-1].startswith("1/2, ") and len(lines) == 2


def test_what_is_printed_of_each_event(capsys: pytest.CaptureFixture) -> None:
    listen = Listener(False)
    listen(Note("a note"))
    listen(PictureEvent(Path("a"), Path("b"), "failed", reason="broken"))
    listen(PictureEvent(Path("c"), Path("d"), "ignored", reason="hidden"))
    listen(PictureEvent(Path("e"), Path("f"), "ignored", reason="a link"))
    listen(PictureEvent(Path("g"), Path("h"), "done", notes=("16 bits reduced to 8",)))
    stdin = Path("/tmp/img2img-x/stdin.png")
    listen(PictureEvent(stdin, Path("j"), "failed", reason="truncated"))
    assert capsys.readouterr().err.splitlines() == [
        "a note", "failed: a: broken", "ignored: e: a link", "note: g: 16 bits reduced to 8",
        "failed: standard input: truncated",
    ]  # fmt: skip
    summary = Summary(3, 1, 2, 1, [(Path("x"), "y")], 4, 2.0)
    assert in_words(summary, Path("out")) == (
        "3 translated into out in 2.0 s, 1 updated because the source or the settings changed, 2 "
        "already there (--overwrite translates them again), 1 other files ignored, 1 failed, 4 not "
        "reached; the same command resumes"
    )


def test_a_picture_in_tiles_says_so(
    main: Main, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2img.tiling.tiles.free_memory", lambda: 2**23)
    (tmp_path / "in").mkdir()
    picture(500, 400).save(tmp_path / "in" / "a.png")
    done = main("translate", "in", "-o", "out", "-m", onnx_file, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "500x400 in tiles of" in done.stderr

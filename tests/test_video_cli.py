"""`img2img translate clip.mp4` and `img2img evaluate --video` as people type them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.clip_makers import Seen, clip, panning
from tests.conftest import Main

pytest.importorskip("av")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return clip(tmp_path / "a.mp4", panning(6), sound="aac")


def test_one_clip(source: Path, onnx_file: Path, tmp_path: Path, main: Main) -> None:
    command = ("translate", str(source), "-o", str(tmp_path / "b.mp4"), "-m", str(onnx_file))
    done = main(*command)
    assert done.returncode == 0 and done.stdout.startswith("1 clip translated into ")
    assert "(6 frames)" in done.stdout and "1 clip, model test" in done.stderr
    done = main(*command)
    assert done.returncode == 0 and "1 already there (--overwrite translates them" in done.stdout
    done = main(*command, "--overwrite", "--quiet", "--temporal-blend", "0", "--codec", "hevc")
    assert done.returncode == 0 and done.stderr == "" and Seen(tmp_path / "b.mp4").codec == "hevc"


def test_json_and_several_clips(source: Path, onnx_file: Path, tmp_path: Path, main: Main) -> None:
    shutil.copy(source, tmp_path / "c.mov")
    (tmp_path / "d.avi").write_bytes(b"nothing")
    inputs = [str(tmp_path / name) for name in ("a.mp4", "c.mov", "d.avi")]
    more = ("--json", "--name", "{stem}-{number:02}", "--format", "mkv", "-m", str(onnx_file))
    done = main("translate", *inputs, "-o", str(tmp_path / "out"), *more)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["event"] for row in rows] == ["start", "clip", "clip", "clip", "summary"]
    assert [row.get("status") for row in rows[1:4]] == ["done", "done", "failed"]
    assert rows[1]["output"] == str(tmp_path / "out" / "a-01.mkv") and rows[1]["frames"] == 6
    assert "not a picture" not in rows[3]["reason"] and "damaged at its start" in rows[3]["reason"]
    assert (rows[-1]["done"], rows[-1]["failed"], rows[-1]["frames"]) == (2, 1, 12)
    # The same again: nothing to do; other settings are refused.
    done = main("translate", *inputs[:2], "-o", str(tmp_path / "out"), *more)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["skipped"] == 2
    done = main("translate", *inputs[:2], "-o", str(tmp_path / "out"), *more, "--strength", "0.5")
    assert done.returncode == 2 and "strength 1.0, not 0.5" in done.stderr


def test_a_damaged_clip(source: Path, onnx_file: Path, tmp_path: Path, main: Main) -> None:
    whole = clip(tmp_path / "whole.mkv", panning(60))
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    target = str(tmp_path / "b.mkv")
    done = main(
        "translate", str(tmp_path / "cut.mkv"), "-o", target, "-m", str(onnx_file), "--quiet"
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "damaged: " in done.stderr and "lost from second 0." in done.stderr
    assert "1 of them incomplete" in done.stdout and len(Seen(Path(target)).times) > 10


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("-o", "b.mp4", "--codec", "h263"), "--codec h263: is not written"),
        (
            ("-o", "b.webm", "--codec", "h264"),
            "--codec h264: cannot be stored in webm; use vp9 or av1",
        ),
        (("-o", "b.gif"), "clips are written as m4v, mkv, mov, mp4, webm, not as .gif"),
        (("-o", "b.avi"), "use b.mp4"),
        (("-o", "out", "--format", "png"), "unknown video format 'png'"),
        (("-o", "b.mp4", "--format", "mkv"), "--format mkv and -o b.mp4 contradict"),
        (("-o", "a.mp4"), "would replace an input"),
        (("-o", "."), "would replace an input"),
        (("-o", "-"), "not to standard output"),
        (("-o", "out", "--watch"), "--watch is for pictures"),
        (("-o", "out", "--gallery", "g.html"), "--gallery is for pictures"),
        (("-o", "out", "--compare", "sheets"), "--compare is for pictures"),
        (("-o", "out", "--salvage"), "--salvage is for pictures"),
        (("-o", "out", "--timeout", "5"), "--timeout is for pictures"),
        (("-o", "b.mp4", "--temporal-blend", "1"), "--temporal-blend 1: needs a number from 0"),
        (("-o", "b.mp4", "--name", "x{stem}"), "--name needs a folder"),
        (("b.mp4", "-o", "out"), "b.mp4: no such file or folder"),
        (("photo.jpg", "-o", "out"), "translate clips with a separate command"),
        (("-o", "b.mp4", "--size", "3"), "--size 3"),
    ],
)
def test_wrong_use_is_one_line(
    more: tuple[str, ...], said: str, source: Path, onnx_file: Path, main: Main,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = main("translate", "a.mp4", *more, "-m", str(onnx_file))
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) in (["a.mp4"], ["a.mp4", "out"])


def test_several_clips_do_not_go_into_one(
    source: Path, onnx_file: Path, tmp_path: Path, main: Main
) -> None:
    shutil.copy(source, tmp_path / "c.mp4")
    done = main("translate", str(source), str(tmp_path / "c.mp4"), "-o", str(tmp_path / "b.mp4"))
    assert done.returncode == 2 and "the name of one clip, but 2 inputs" in done.stderr


def test_options_of_clips_are_refused_for_pictures(photos: Path, main: Main) -> None:
    for more in (("--codec", "h264"), ("--temporal-blend", "0.5")):
        done = main("translate", str(photos), "-o", "out", *more)
        assert done.returncode == 2 and f"{more[0]} is for video clips" in done.stderr


def test_clips_in_a_folder_are_left_alone_and_that_is_reported(
    source: Path, onnx_file: Path, photos: Path, tmp_path: Path, main: Main
) -> None:
    shutil.copy(source, photos / "clip.mp4")
    done = main("translate", str(photos), "-o", str(tmp_path / "out"), "-m", str(onnx_file))
    assert done.returncode == 0 and "3 translated" in done.stdout
    assert "clip.mp4: a video clip; clips are translated only if given by" in done.stderr
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(source, clips / "clip.mp4")
    done = main("translate", str(clips), "-o", str(tmp_path / "out2"), "-m", str(onnx_file))
    assert done.returncode == 2 and "no picture in this folder, but video clips" in done.stderr
    done = main("translate", f"{clips}/*.mp4", "-o", str(tmp_path / "out3"), "-m", str(onnx_file))
    assert done.returncode == 0 and (tmp_path / "out3" / "clip.mp4").exists()


def test_flicker(source: Path, tmp_path: Path, main: Main) -> None:
    done = main("evaluate", "--video", str(source), "--source", str(source))
    assert done.returncode == 0 and "flicker  0.000 levels" in done.stdout
    done = main("evaluate", "--video", str(source), "--source", str(source), "--json")
    row = json.loads(done.stdout)
    assert row["flicker"] == 0 and row["pairs"] == 5
    done = main("evaluate", "--video", str(source))
    assert done.returncode == 2 and "--source IN are needed together" in done.stderr
    done = main("evaluate", "painting", "--video", str(source), "--source", str(source))
    assert done.returncode == 2 and "cannot be combined with a model" in done.stderr
    done = main("evaluate", "--video", str(tmp_path / "none.mp4"), "--source", str(source))
    assert done.returncode == 1 and "none.mp4" in done.stderr

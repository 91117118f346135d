"""What is left of a translation of clips that is stopped or killed, and how it resumes."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from img2img.errors import EnvironmentFault
from img2img.inference.video import ClipProgress, VideoOptions
from img2img.inference.video.ahead import Ahead
from tests.clip_makers import Seen, apart, clip, coarse, ended, panning, translated

pytest.importorskip("av")


def test_a_full_disk_ends_the_job(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.inference.video.encoding import Segment

    source = clip(tmp_path / "a.mp4", panning(20))
    inner, count = Segment._frame, [0]

    def full(self: Segment, pixels: np.ndarray) -> object:
        count[0] += 1
        if count[0] == 13:
            raise OSError(errno.ENOSPC, "No space left on device")
        return inner(self, pixels)

    monkeypatch.setattr(Segment, "_frame", full)
    video = VideoOptions(segment=5)
    with pytest.raises(EnvironmentFault, match=r"work\.nut: disk full"):
        translated(source, tmp_path / "b.mp4", onnx_file, video=video)
    assert not (tmp_path / "b.mp4").exists()
    events, _ = translated(source, tmp_path / "b.mp4", onnx_file, video=video)
    assert ended(events).resumed == 10 and ended(events).frames == 20


def test_a_stopped_job_resumes_and_gives_the_same(onnx_file: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", panning(40), sound="aac")
    video = VideoOptions(segment=8)
    translated(source, tmp_path / "whole.mp4", onnx_file, video=video, strength=0.2)
    done = [0]

    def stop() -> bool:
        return done[0] >= 20

    from img2img.inference import TranslateRequest
    from img2img.inference.video import ClipSummary, translate_clips

    request = TranslateRequest(
        inputs=(source,), out=tmp_path / "b.mp4", model=onnx_file, strength=0.2
    )
    for event in translate_clips(request, video, stop):
        if isinstance(event, ClipProgress) and event.stage == "translating":
            done[0] = event.done
    assert isinstance(event, ClipSummary) and event.not_reached == 1
    assert not (tmp_path / "b.mp4").exists() and (tmp_path / ".img2img").exists()
    events, _ = translated(source, tmp_path / "b.mp4", onnx_file, video=video, strength=0.2)
    assert 20 <= ended(events).resumed < 40 and ended(events).frames == 40
    a, b = Seen(tmp_path / "whole.mp4"), Seen(tmp_path / "b.mp4")
    assert a.times == b.times and a.sound == b.sound
    # The stop ended a segment early; the frames differ by how they were encoded alone.
    assert max(apart(coarse(a.rgb(k)), coarse(b.rgb(k))) for k in range(40)) < 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "whole.mp4"]


KILLED = """
import os, signal, sys, time
from pathlib import Path
from img2img.inference import TranslateRequest
from img2img.inference.video import ClipProgress, VideoOptions, translate_clips
source, out, model = map(Path, sys.argv[1:])
request = TranslateRequest(inputs=(source,), out=out, model=model)
for event in translate_clips(request, VideoOptions(segment=8)):
    if isinstance(event, ClipProgress) and event.stage == "translating" and event.done >= 30:
        while len([*out.parent.glob(".img2img/*/0*.nut")]) < 3:
            time.sleep(0.01)  # they are written by another thread
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_job_does_only_the_rest(onnx_file: Path, tmp_path: Path) -> None:
    source, out = clip(tmp_path / "a.mp4", panning(40), sound="aac"), tmp_path / "b.mp4"
    command = [sys.executable, "-c", KILLED, str(source), str(out), str(onnx_file)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not out.exists()
    segments = sorted(p.name for p in (tmp_path / ".img2img").rglob("0*.nut"))
    assert len(segments) >= 3 and segments[0] == "000000000-000000007.nut"
    video = VideoOptions(segment=8)
    events, _ = translated(source, out, onnx_file, video=video)
    assert ended(events).resumed == 8 * len(segments)
    assert {e.before for e in events if isinstance(e, ClipProgress)} == {8 * len(segments)}
    assert not [e for e in events if isinstance(e, ClipProgress) and e.stage == "reading"]
    translated(source, tmp_path / "whole.mp4", onnx_file, video=video)
    assert Seen(out).packets == Seen(tmp_path / "whole.mp4").packets
    assert not (tmp_path / ".img2img").exists()


def test_how_many_frames_go_at_once_does_not_depend_on_how_fast_they_are_read(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since the number decides the rounding: eight to a segment, also where one frame at a time is
    read ahead."""
    from img2img.inference.network import Network

    source, inner, sizes = clip(tmp_path / "a.mp4", panning(20)), Network.run, []

    def run(self: Network, pictures: list[np.ndarray], *more: object) -> object:
        sizes.append(len(pictures))
        return inner(self, pictures, *more)

    monkeypatch.setattr(Network, "run", run)
    for ahead in (64, 1):
        monkeypatch.setattr(
            "img2img.inference.video.work.Ahead", lambda items, most, n=ahead: Ahead(items, n)
        )
        out = tmp_path / f"{ahead}.mp4"
        translated(source, out, onnx_file, video=VideoOptions(segment=8))
    assert sizes == [8, 8, 4, 8, 8, 4]
    assert Seen(out).packets == Seen(tmp_path / "64.mp4").packets


def test_other_options_begin_anew(onnx_file: Path, tmp_path: Path) -> None:
    source, out = clip(tmp_path / "a.mp4", panning(40)), tmp_path / "b.mp4"
    command = [sys.executable, "-c", KILLED, str(source), str(out), str(onnx_file)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    events, _ = translated(source, out, onnx_file, strength=0.5, video=VideoOptions(segment=8))
    assert ended(events).resumed == 0 and ended(events).frames == 40
    assert not (tmp_path / ".img2img").exists()


def test_one_job_at_a_time_for_an_output(onnx_file: Path, tmp_path: Path) -> None:
    from img2img.inference.video.state import State

    source, out = clip(tmp_path / "a.mp4", panning(4)), tmp_path / "b.mp4"
    first = State(out, "key")
    _, summary = translated(source, out, onnx_file)
    assert summary.failed == [(source, f"another img2img is translating into {out}")]
    first.remove()
    assert translated(source, out, onnx_file)[1].done == 1
    first = State(tmp_path / "out" / "a.mp4", "key")
    assert translated(source, tmp_path / "out", onnx_file)[1].failed
    first.remove()
    assert translated(source, tmp_path / "out", onnx_file)[1].done == 1

"""`translate_clips`: what a clip keeps, what is said, and what survives a stop, a kill and damage."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from img2img.errors import MissingExtra, UsageError
from img2img.inference import Note
from img2img.inference.network import blend
from img2img.inference.video import ClipEvent, VideoOptions
from img2img.inference.video.reading import Reader
from tests.clip_makers import (
    BASE,
    CORNERS,
    Seen,
    apart,
    clip,
    coarse,
    ended,
    panning,
    photo,
    translated,
)
from tests.conftest import stargan

pytest.importorskip("av")
AS_IT_IS = VideoOptions(temporal_blend=0)


def test_time_stamps_and_sound_are_kept(onnx_file: Path, tmp_path: Path) -> None:
    gaps = [512, 519, 1800, 300, 512, 1, 900] * 3
    times = [int(t) for t in 700 + np.cumsum(gaps)]
    exact = {"movie_timescale": str(BASE.denominator)}
    source = clip(tmp_path / "a.mp4", panning(21), times=times, sound="aac", container=exact)
    events, summary = translated(source, tmp_path / "b.mp4", onnx_file)
    before, after = Seen(source), Seen(tmp_path / "b.mp4")
    assert after.times == before.times == [t * BASE for t in times]
    assert [p[1] for p in after.packets] == [*np.diff(times), before.packets[-1][1]]
    assert before.packets[-1][1] > 1
    assert after.sounds == ["aac"] and after.sound == before.sound
    assert summary.done == 1 and not summary.failed and ended(events).frames == 21
    assert not ended(events).notes and not (tmp_path / ".img2img").exists()


def test_the_frames_are_translated_as_pictures_are(onnx_file: Path, tmp_path: Path) -> None:
    """Without hold and blend each frame is what the picture pipeline makes of it."""
    from img2img.runners import open_runner

    source = clip(tmp_path / "a.mkv", panning(3), options={"qp": "0"}, pixels="yuv444p")
    options = VideoOptions(temporal_blend=0, hold=False)
    translated(source, tmp_path / "b.mkv", onnx_file, video=options, quality=100, strength=0.2)
    runner, before, after = open_runner(onnx_file, "cpu"), Seen(source), Seen(tmp_path / "b.mkv")
    for k in range(3):
        expected = blend(before.rgb(k), runner(before.rgb(k)), 0.2)
        assert apart(coarse(after.rgb(k)), coarse(expected)) < 1.5
        assert apart(coarse(after.rgb(k)), coarse(before.rgb(k))) > 3


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_becomes_upright(rotation: int, onnx_file: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", [CORNERS] * 3, rotation=rotation)
    assert Seen(source).rotations != {0}
    events, _ = translated(source, tmp_path / "b.mp4", onnx_file, strength=0)
    upright = np.rot90(CORNERS, rotation // 90)
    after = Seen(tmp_path / "b.mp4")
    assert after.rotations == {0}
    assert (ended(events).height, ended(events).width) == after.rgb(0).shape[:2]
    assert after.rgb(1).shape == upright.shape and apart(after.rgb(1), upright) < 5


def test_odd_sizes(onnx_file: Path, tmp_path: Path) -> None:
    wide = photo()[100:147, 100:175]
    source = clip(tmp_path / "a.webm", [wide] * 3, codec="libvpx-vp9")
    events, _ = translated(source, tmp_path / "b.mp4", onnx_file, strength=0)
    (said,) = ended(events).notes
    assert said.startswith("75x47 becomes 76x48: h264 needs even sides")
    after = Seen(tmp_path / "b.mp4").rgb(0)
    assert after.shape == (48, 76, 3) and apart(after[:47, :75], wide) < 6
    assert apart(after[47], after[46]) < 4
    events, _ = translated(source, tmp_path / "b.webm", onnx_file, strength=0)
    assert not ended(events).notes and Seen(tmp_path / "b.webm").rgb(0).shape == (47, 75, 3)
    events, _ = translated(
        source, tmp_path / "c.mp4", onnx_file, strength=0, video=VideoOptions(codec="av1")
    )
    assert not ended(events).notes and Seen(tmp_path / "c.mp4").rgb(0).shape == (47, 75, 3)


def test_what_an_encoder_refuses_is_one_line(onnx_file: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", [CORNERS[:8, :16]] * 2)
    _, summary = translated(source, tmp_path / "b.mp4", onnx_file, video=VideoOptions(codec="hevc"))
    said = "libx265 cannot write frames of 16x8: Invalid argument"
    assert summary.failed == [(source, said)] and not (tmp_path / "b.mp4").exists()


def test_ten_bits_stay_ten_bits(onnx_file: Path, tmp_path: Path) -> None:
    ramp = np.linspace(20000, 30000, 256).astype(np.uint16)
    grey = np.repeat(np.tile(ramp, (64, 1))[:, :, None], 3, axis=2)
    source = clip(tmp_path / "a.mkv", [grey] * 3, codec="libx265", pixels="yuv420p10le")
    with Reader(source) as reader:
        pixels = next(iter(reader.frames())).pixels()
    assert pixels.dtype == np.uint16 and len(np.unique(pixels[32, :, 1])) > 80
    assert apart(pixels[8:56], grey[8:56]) < 150
    translated(source, tmp_path / "b.mp4", onnx_file, strength=0)
    after = Seen(tmp_path / "b.mp4")
    assert (after.codec, after.pixels, after.tag) == ("hevc", "yuv420p10le", "hvc1")
    assert len(np.unique(after.rgb(0, "rgb48le")[32, :, 1])) > 80
    assert apart(after.rgb(0, "rgb48le")[8:56], grey[8:56]) < 300
    events, _ = translated(
        source, tmp_path / "b.webm", onnx_file, strength=0, video=VideoOptions(codec="vp9")
    )
    assert Seen(tmp_path / "b.webm").pixels == "yuv420p" and "10 bits" in ended(events).notes[0]


@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_matrix_and_range_are_kept(matrix: int, span: int, onnx_file: Path, tmp_path: Path) -> None:
    context: dict[str, object] = {"colorspace": matrix, "color_range": span}
    source = clip(tmp_path / "a.mp4", [CORNERS] * 2, context=context)
    with Reader(source) as reader:
        assert apart(next(reader.frames()).pixels(), CORNERS) < 5
    translated(source, tmp_path / "b.mp4", onnx_file, strength=0)
    after = Seen(tmp_path / "b.mp4")
    assert after.colour == (matrix, span) and apart(after.rgb(0), CORNERS) < 5


def test_an_unspecified_matrix_is_that_of_players(onnx_file: Path, tmp_path: Path) -> None:
    high = np.repeat(np.repeat(CORNERS, 16, axis=0), 2, axis=1)  # 768 pixels: high definition
    source = clip(tmp_path / "a.mp4", [high], context={"colorspace": 1})
    with Reader(source) as reader:
        assert reader.clip.colour.matrix == 1
    low = clip(tmp_path / "b.mp4", [CORNERS])
    with Reader(low) as reader:
        assert reader.clip.colour.matrix == 6


def test_sound_is_encoded_anew_where_the_container_needs_it(
    onnx_file: Path, tmp_path: Path
) -> None:
    source = clip(tmp_path / "a.mp4", panning(15), sound="aac")
    events, _ = translated(source, tmp_path / "b.webm", onnx_file)
    after = Seen(tmp_path / "b.webm")
    assert after.sounds == ["opus"] and len(after.sound) > 10
    assert ended(events).notes == ("its sound (aac) is re-encoded as opus",)
    for kind, suffix in (("mp3", ".mkv"), ("pcm_s16le", ".mov"), ("flac", ".mkv")):
        source = clip(tmp_path / f"{kind}{suffix}", panning(6), sound=kind)
        target = tmp_path / f"{kind}-new{suffix}"
        translated(source, target, onnx_file)
        assert Seen(target).sound == Seen(source).sound and Seen(target).sound


def test_a_pixel_that_is_not_square_stays_so(onnx_file: Path, tmp_path: Path) -> None:
    context: dict[str, object] = {"sample_aspect_ratio": Fraction(4, 3)}
    source = clip(tmp_path / "a.mp4", [CORNERS] * 2, context=context)
    translated(source, tmp_path / "b.mp4", onnx_file)
    assert Seen(tmp_path / "b.mp4").aspect == Fraction(4, 3)
    source = clip(tmp_path / "c.mp4", [CORNERS] * 2, context=context, rotation=90)
    translated(source, tmp_path / "d.mp4", onnx_file)
    assert Seen(tmp_path / "d.mp4").aspect == Fraction(3, 4)


@pytest.mark.parametrize("choice", ["keep", "no-gps", "strip"])
def test_metadata(choice: str, onnx_file: Path, tmp_path: Path) -> None:
    given = {"title": "A trip", "location": "+52.5000+013.4000/"}
    source = clip(tmp_path / "a.mp4", panning(2), metadata=given)
    translated(source, tmp_path / "b.mp4", onnx_file, metadata=choice)
    found = Seen(tmp_path / "b.mp4").metadata
    assert (found.get("title") == "A trip") == (choice != "strip")
    assert any("location" in name for name in found) == (choice == "keep")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_clip_that_is_cut_off_loses_its_tail_alone(
    suffix: str, onnx_file: Path, tmp_path: Path
) -> None:
    frames = panning(60)
    whole = clip(
        tmp_path / f"whole{suffix}", frames, sound="aac", container={"movflags": "+faststart"}
    )
    data = whole.read_bytes()
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(data[: int(0.6 * len(data))])
    events, summary = translated(broken, tmp_path / "b.mp4", onnx_file)
    event = ended(events)
    after = Seen(tmp_path / "b.mp4")
    assert 15 < len(after.times) == event.frames < 55 and after.sound
    assert event.status == "done" and event.lost_from is not None
    assert abs(event.lost_from - event.frames / 30) < 0.1
    assert event.loss.startswith(f"lost from second {event.lost_from:.2f} on")
    assert summary.damaged == [(broken, event.loss)]


def test_damage_amid_a_clip_costs_what_is_damaged(onnx_file: Path, tmp_path: Path) -> None:
    import av

    each_alone = {"crf": "8", "preset": "ultrafast", "g": "1"}
    source = clip(tmp_path / "a.mp4", panning(60), sound="aac", options=each_alone)
    whole = Seen(source)
    with av.open(str(source)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(source.read_bytes())
    for place, size in places[20:25]:
        data[place : place + size] = bytes([255]) * size
    source.write_bytes(data)
    events, summary = translated(source, tmp_path / "b.mp4", onnx_file)
    event, after = ended(events), Seen(tmp_path / "b.mp4")
    assert event.status == "done" and event.frames == 55 and event.gap
    assert after.times == whole.times[:20] + whole.times[25:]  # nothing moves up
    assert after.sound == whole.sound
    assert event.lost_from is not None and abs(event.lost_from - 20 / 30) < 1e-3
    assert summary.damaged == [(source, event.loss)]
    assert event.loss.startswith("damaged at second 0.67: what could not be decoded there")


def test_what_cannot_be_read_fails_alone(onnx_file: Path, tmp_path: Path) -> None:
    import av

    good = clip(tmp_path / "good.mp4", panning(3))
    bad = {
        "empty.mp4": b"",
        "text.mp4": b"no clip at all" * 50,
        "moov.mp4": good.read_bytes()[:2000],
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        voice = out.add_stream("aac", rate=48000, layout="mono")
        audio = av.AudioFrame.from_ndarray(np.zeros((1, 4800), "f4"), "fltp", "mono")
        audio.sample_rate = 48000
        out.mux(voice.encode(audio))
        out.mux(voice.encode(None))
    paths = [tmp_path / name for name in (*bad, "sound.mp4", "good.mp4")]
    _, summary = translated(paths, tmp_path / "out", onnx_file)
    assert summary.done == 1 and (tmp_path / "out" / "good.mp4").exists()
    reasons = {path.name: reason for path, reason in summary.failed}
    assert reasons["empty.mp4"] == "an empty file"
    assert reasons["sound.mp4"] == "contains no video stream"
    assert reasons["text.mp4"].startswith("not a video clip, or damaged at its start")
    assert "moov.mp4" in reasons and len(reasons) == 4
    # Again: what is done is skipped, what failed is reported as before.
    _, summary = translated(paths, tmp_path / "out", onnx_file)
    assert (summary.done, summary.skipped, len(summary.failed)) == (0, 1, 4)


def test_tiles_and_domains(onnx_file: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", panning(20, (160, 96)))
    translated(source, tmp_path / "whole.mp4", onnx_file, video=AS_IT_IS, quality=100)
    translated(source, tmp_path / "tiles.mp4", onnx_file, video=AS_IT_IS, tile=64, quality=100)
    a, b = Seen(tmp_path / "whole.mp4"), Seen(tmp_path / "tiles.mp4")
    assert max(apart(a.rgb(k), b.rgb(k)) for k in (0, 10, 19)) < 1
    model = stargan(tmp_path / "faces.safetensors")
    with pytest.raises(UsageError, match="several domains"):
        translated(source, tmp_path / "x.mp4", model)
    events, _ = translated(source, tmp_path / "out", model, domains=("all",))
    ends = [event for event in events if isinstance(event, ClipEvent)]
    assert [e.domain for e in ends] == ["Dark", "Fair", "Glasses"]
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/*/*.mp4"))
    assert made == ["Dark/a.mp4", "Fair/a.mp4", "Glasses/a.mp4"]


def test_a_model_that_cannot_hold_says_so_and_one_without_norms_does_not(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.runners.onnx import OnnxRunner

    source = clip(tmp_path / "a.mp4", panning(3))
    events, _ = translated(source, tmp_path / "b.mp4", onnx_file)
    assert not [e for e in events if isinstance(e, Note)]

    def refuse(self: object) -> None:
        raise UsageError("it looks at everything")

    monkeypatch.setattr(OnnxRunner, "_tiles", refuse)
    events, _ = translated(source, tmp_path / "c.mp4", onnx_file)
    (note,) = (e for e in events if isinstance(e, Note))
    assert "normalised independently: it looks at everything" in note.text
    events, _ = translated(source, tmp_path / "d.mp4", onnx_file, video=VideoOptions(hold=False))
    assert not [e for e in events if isinstance(e, Note)]


def test_without_pyav_the_extra_is_named(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "a.mp4", panning(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match="a video clip needs the 'video' extra"):
        translated(source, tmp_path / "b.mp4", onnx_file)


def test_frames_stream(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a clip is, few of its frames are in memory."""
    from img2img.inference.video import reading, work

    alive, most = [0], [0]
    inner = reading.Frame.pixels

    class Counted(np.ndarray):
        def __del__(self) -> None:
            alive[0] -= self.base is None

    def counted(self: reading.Frame) -> np.ndarray:
        pixels = inner(self)
        made = np.ndarray.__new__(Counted, pixels.shape, pixels.dtype)
        made[:] = pixels
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return made

    monkeypatch.setattr(reading.Frame, "pixels", counted)
    source = clip(tmp_path / "a.mp4", panning(90))
    translated(source, tmp_path / "b.mp4", onnx_file, batch=1)
    assert 2 < most[0] <= 4 + work._READ + work._WRITTEN + 6

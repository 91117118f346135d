"""What keeps a clip from flickering, each part for itself, and the figure that judges it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from img2img.errors import UsageError
from img2img.evaluation.flicker import Flicker, evaluate_video
from img2img.images import Pixels
from img2img.images.motion import Motion, Overlap, change
from img2img.inference.video.ahead import Ahead
from img2img.inference.video.blending import Blend
from img2img.inference.video.survey import Cuts, Shot, Survey
from img2img.runners import open_runner
from img2img.runners.held import HeldRunner
from img2img.tiling.tiles import gather_moments, translate_tiled
from tests.clip_makers import Seen, clip, panning, photo, translated
from tests.conftest import stargan


def noisy(pixels: Pixels, seed: int, levels: float = 2.0) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, levels, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shift", [(0, 0), (0, 3), (2, -7), (-5, 11)])
@pytest.mark.parametrize("deep", [False, True])
def test_a_shift_of_the_whole_picture_is_found(shift: tuple[int, int], deep: bool) -> None:
    wide = photo(width=640)
    down, right = shift
    a, b = wide[40:300, 60:460], wide[40 + down : 300 + down, 60 + right : 460 + right]
    a, b = noisy(a, 1), noisy(b, 2)
    if deep:
        a, b = a.astype(np.uint16) * 257, b.astype(np.uint16) * 257
    motion = Motion()
    assert motion(a) == (0, 0) and motion(b) == shift
    part = Overlap.of(*a.shape[:2], shift)
    assert np.asarray(change(a[part.before], b[part.now])).mean() < 6


def test_no_shift_is_made_up() -> None:
    motion = Motion()
    motion(photo("kitten-on-lawn")[:200, :200])
    assert motion(photo()[:200, :200]) == (0, 0)
    assert motion(photo()[:100, :200]) == (0, 0)  # of another size
    blank = np.zeros((64, 64, 3), np.uint8)
    motion(blank)
    assert motion(blank) == (0, 0)


@pytest.mark.parametrize(("scale", "deep"), [(1, False), (1, True), (2, False)])
def test_what_stands_still_is_blended_and_what_moves_is_not(scale: int, deep: bool) -> None:
    source = np.full((40, 60, 3), 90, np.uint8)
    other = source.copy()
    other[10:30, 20:40] = 200  # something appears
    first = np.full((40 * scale, 60 * scale, 3), 100, np.uint8)
    second = np.full_like(first, 140)
    if deep:
        source, other, first, second = (p.astype(np.uint16) * 257 for p in (source, other, first, second))  # fmt: skip
    unit = 257 if deep else 1
    blend = Blend(0.5)
    assert np.array_equal(blend(source, first), first)
    mixed = blend(other, second) / unit
    assert np.abs(mixed[: 8 * scale] - 120).max() <= 1
    assert np.abs(mixed[12 * scale : 28 * scale, 22 * scale : 38 * scale] - 140).max() <= 1
    blend.cut()
    assert np.array_equal(blend(other, second), second)


def test_the_blend_follows_a_panning_camera() -> None:
    frames = panning(2, (200, 120), step=6)
    blend, answers = Blend(0.5), [frames[0], 255 - frames[1]]
    blend(frames[0], answers[0])
    mixed = blend(frames[1], answers[1]).astype(int)
    moved = frames[1][:, :-6].astype(int)  # the frame before, where it is now
    assert np.abs(mixed[:, :-6] - (moved + 255 - moved) / 2).mean() < 2
    assert np.array_equal(mixed[:, -6:], answers[1][:, -6:])  # what has just come into view


def test_amounts_of_the_blend() -> None:
    frames, answers = panning(2), panning(2)
    none = Blend(0)
    assert none(frames[0], answers[0]) is answers[0] and none(frames[1], answers[1]) is answers[1]
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(UsageError, match="`temporal_blend`"):
            Blend(wrong)
    grey = Blend(0.5)
    assert grey(frames[0], answers[0][:, :, :1]).shape == (64, 96, 1)
    assert grey(frames[1], answers[1][:, :, :1]).shape == (64, 96, 1)


def test_cuts() -> None:
    def small(pixels: Pixels) -> Pixels:
        return pixels[:36, :64]

    cuts = Cuts()
    wide = photo()
    assert cuts(small(wide))
    assert not any(cuts(small(wide[k:, 2 * k :])) for k in range(1, 20))
    assert cuts(small(photo("kitten-on-lawn")))
    assert not cuts(small(noisy(photo("kitten-on-lawn"), 1)))


def test_a_survey_is_written_and_read() -> None:
    given = ((np.arange(3, dtype=np.float32), np.ones(3, np.float32)),)
    survey = Survey((5, 9, 12, 20), 28, (Shot(0, given), Shot(2)), 1.5, True)
    again = Survey.from_bytes(survey.to_bytes())
    assert (again.times, again.end, again.lost_from, again.resumed) == (
        (5, 9, 12, 20),
        28,
        1.5,
        True,
    )
    assert [shot.first for shot in again.shots] == [0, 2] and again.shots[1].given == ()
    for one, two in zip(again.shots[0].given[0], given[0], strict=True):
        assert np.array_equal(one, two)
    assert [survey.shot_of(k) for k in range(4)] == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", ["torch", "onnxruntime", "domains"])
def test_held_statistics(kind: str, model_file: Path, onnx_file: Path, tmp_path: Path) -> None:
    """Those of the picture itself change nothing; those of another one make its answer depend on
    its own neighbourhood alone."""
    path = {"torch": model_file, "onnxruntime": onnx_file}.get(kind)
    runner = open_runner(path or stargan(tmp_path / "faces.safetensors"), "cpu")
    domain = [1.0, 0.0, 1.0] if kind == "domains" else None
    pixels = np.ascontiguousarray(photo()[20:151, 30:175])
    moments = gather_moments(runner, pixels, domain, None)
    for own, tiled in zip(moments, gather_moments(runner, pixels, domain, 64), strict=True):
        assert own.count == tiled.count
        assert np.allclose(own.mean, tiled.mean, atol=1e-4)
        assert np.allclose(own.m2, tiled.m2, rtol=1e-3)
    held = HeldRunner(runner, [m.statistics() for m in moments])
    whole = runner(pixels, domain).astype(int)
    assert np.abs(held(pixels, domain) - whole).max() <= 1
    tiles = translate_tiled(held, pixels, domain, 64)
    assert tiles is not None and np.abs(tiles - whole).max() <= 1
    other = pixels.copy()
    other[:, -8:] = 255  # far from the left edge
    assert np.abs(held(other, domain)[:, :40].astype(int) - whole[:, :40]).max() <= 1
    assert np.abs(runner(other, domain)[:, :40].astype(int) - whole[:, :40]).max() > 3
    held.close()
    runner(pixels, domain)  # is open still


def test_flicker_counts_what_the_source_does_not_do() -> None:
    frames = panning(6, (160, 96))
    same, worse = Flicker(), Flicker()
    for k, frame in enumerate(frames):
        same.add(frame, 255 - frame)
        worse.add(
            frame, np.clip(frame.astype(int) // 2 + 60 + 5 * (k % 2), 0, 255).astype(np.uint8)
        )
    assert same.value == 0 and same.pairs == 5 and same.still > 0.9
    assert 4 < worse.value <= 5.5


def test_flicker_passes_over_cuts_and_what_moves() -> None:
    flicker = Flicker()
    a, b = photo()[:96, :160], photo("kitten-on-lawn")[:96, :160]
    flicker.add(a, a)
    flicker.add(b, b)
    flicker.add(b, b)
    assert (flicker.pairs, flicker.value) == (1, 0.0)
    moving = a.copy()
    moving[:, :80] = 255 - moving[:, :80]
    answer = a.copy()
    answer[:, :80] = 0  # changes a lot, as its source does
    two = Flicker()
    two.add(a, a)
    two.add(moving, answer)
    assert two.value == 0 and 0.4 < two.still < 0.6
    assert math.isnan(Flicker().value)


@pytest.mark.parametrize("step", [0, 2], ids=["still camera", "panning camera"])
def test_hold_and_blend_lower_the_flicker(step: int, onnx_file: Path, tmp_path: Path) -> None:
    from img2img.inference.video import VideoOptions

    pytest.importorskip("av")
    frames = []
    for k, frame in enumerate(panning(24, (160, 96), step)):
        frame = noisy(frame, k, 1.0)
        if step == 0:
            frame[30:60, 6 * k : 6 * k + 16] = 255  # something bright goes through the picture
        frames.append(frame)
    source = clip(tmp_path / "a.mp4", frames)
    found = {}
    for name, hold, amount in (("alone", False, 0.0), ("held", True, 0.0), ("both", True, 0.5)):
        options = VideoOptions(hold=hold, temporal_blend=amount)
        target = tmp_path / f"{name}.mp4"
        translated(source, target, onnx_file, video=options)
        found[name] = evaluate_video(target, source).flicker
    if step == 0:  # where the camera pans, each stroke changes by the shift alone
        assert found["held"] < 0.9 * found["alone"]
    assert found["both"] < 0.5 * found["alone"]


def test_evaluate_video(onnx_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    source = clip(tmp_path / "a.mp4", panning(8, (96, 64)))
    report = evaluate_video(source, source)
    assert report.flicker == 0 and report.frames == 7 and not report.notes
    short = clip(tmp_path / "b.mp4", panning(5, (192, 128)))
    report = evaluate_video(short, source)
    assert report.notes == ("the clips are not of equally many frames; the rest is left out",)
    assert report.row["pairs"] == report.frames
    with pytest.raises(UsageError, match="at least two frames"):
        evaluate_video(clip(tmp_path / "c.mp4", panning(1)), source)
    assert len(Seen(source).times) == 8


def test_a_thread_reads_a_bounded_number_ahead() -> None:
    taken = [0]

    def numbers() -> object:
        for k in range(100):
            taken[0] = k + 1
            yield k

    ahead: Ahead[int] = Ahead(numbers(), 4)  # type: ignore[arg-type]
    assert ahead.take(5.0) == 0 and ahead.take(5.0) == 1
    assert taken[0] <= 2 + 4 + 1
    ahead.close()

    def broken() -> object:
        yield 1
        raise UsageError("no more")

    ahead = Ahead(broken(), 2)  # type: ignore[arg-type]
    assert ahead.take(5.0) == 1
    with pytest.raises(UsageError, match="no more"):
        ahead.take(5.0)
    ahead.close()
    ahead = Ahead([1], 2)
    assert ahead.take(5.0) == 1 and ahead.take(5.0) is None and ahead.ended
    ahead.close()

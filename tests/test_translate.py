"""Folder in, folder out: nothing lost, nothing half-written, every failure named."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.errors import EnvironmentFault, UsageError
from img2img.images import Pixels, read_picture
from img2img.inference import (
    Job,
    JobEvent,
    Manifest,
    Naming,
    PictureEvent,
    check_output,
    plan,
    run_jobs,
    watch,
)
from img2img.inference.manifest import Unrecorded
from img2img.system.atomic import atomic_path
from tests.conftest import Each, picture


def invert(pixels: Pixels) -> Pixels:
    return 255 - pixels


def test_the_tree_is_kept_and_every_picture_translated(photos: Path, tmp_path: Path) -> None:
    events: list[JobEvent] = []
    jobs = plan([photos], tmp_path / "out")
    summary = run_jobs(jobs, Each(invert), listen=events.append)
    assert (summary.done, summary.skipped, summary.failed) == (3, 0, [])
    for name in ("one.jpg", "two.png", "sub/one.jpg"):
        before, after = read_picture(photos / name), read_picture(tmp_path / "out" / name)
        assert after.format == before.format
        difference = np.abs(255 - before.pixels.astype(int) - after.pixels.astype(int))
        assert difference.mean() < (3 if name.endswith("jpg") else 0.01)
    ended = [e for e in events if isinstance(e, PictureEvent)]
    assert [e.status for e in ended] == ["done"] * 3
    assert {(e.width, e.height) for e in ended} == {(40, 30), (33, 47), (20, 20)}


def test_a_bad_picture_does_not_stop_the_good(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"not a picture")
    whole = (photos / "one.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    summary = run_jobs(plan([photos], tmp_path / "out"), Each(invert))
    assert summary.done == 3
    assert {(p.name, bool(reason)) for p, reason in summary.failed} == {
        ("bad.jpg", True), ("cut.jpg", True),
    }  # fmt: skip
    assert not any(str(photos) in reason for _, reason in summary.failed)
    names = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert names == {"one.jpg", "two.png"}


def test_what_is_there_is_skipped_unless_requested_otherwise(photos: Path, tmp_path: Path) -> None:
    jobs = plan([photos], tmp_path / "out")
    run_jobs(jobs, Each(invert))
    (tmp_path / "out" / "two.png").unlink()
    before = (tmp_path / "out" / "one.jpg").stat().st_mtime_ns
    summary = run_jobs(jobs, Each(invert))
    assert (summary.done, summary.skipped) == (1, 2)
    assert (tmp_path / "out" / "one.jpg").stat().st_mtime_ns == before
    assert run_jobs(jobs, Each(invert), manifest=Unrecorded(overwrite=True)).done == 3


def test_names_are_injective_and_decided_before_the_first_write(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.jpg", "a.png", "A.webp", "b.gif", "b.png.png", "sub/a.jpg", "c.jpeg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(4, 4).save(folder / name)
    jobs = plan([folder], tmp_path / "out", Naming(".png"))
    names = sorted(str(j.target.relative_to(tmp_path / "out")) for j in jobs)
    assert names == sorted(
        ["a.png", "a.jpg.png", "A.webp.png", "b.png", "b.png.png", os.path.join("sub", "a.png"),
         "c.png"]
    )  # fmt: skip
    other = [str(j.target.name) for j in plan([folder], tmp_path / "out", Naming(".jpg"))]
    assert "c.jpeg" in other
    twice = plan([folder / "a.jpg", folder / "sub" / "a.jpg"], tmp_path / "out")
    assert len({str(j.target).casefold() for j in twice}) == 2


def test_a_picture_given_twice_is_done_once(photos: Path, tmp_path: Path) -> None:
    jobs = plan([photos, photos / "sub" / "..", photos / "one.jpg"], tmp_path / "out")
    assert sorted(j.source.name for j in jobs) == ["one.jpg", "one.jpg", "two.png"]


def test_random_names_never_meet(tmp_path: Path) -> None:
    draw = random.Random(0)
    folder = tmp_path / "in"
    folder.mkdir()
    stems = ["a", "A", "a-2", "a.png", "ä", "a\u0308", "x[red]", "%s", "a.jpg-2"]
    for stem in stems:
        for suffix in draw.sample([".jpg", ".png", ".bmp", ".gif", ".tif", ".PNG"], 4):
            (folder / (stem + suffix)).write_bytes(b"x")
    for suffix in (None, ".png", ".jpg", ".tif"):
        jobs = plan([folder], tmp_path / "out", Naming(suffix))
        assert len(jobs) == len(list(folder.iterdir()))
        assert len({str(j.target).casefold() for j in jobs}) == len(jobs)
        assert {j.source for j in jobs} == set(folder.iterdir())


@pytest.mark.parametrize("where", ["photos", "photos/out", "photos/sub/deep", "photos/../photos/x"])
def test_an_output_inside_the_input_is_refused(photos: Path, where: str) -> None:
    with pytest.raises(UsageError, match="would be read again"):
        plan([photos], photos.parent / where)


def test_an_output_beside_a_single_input_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="output folder is that of the input"):
        plan([photos / "one.jpg"], photos)


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "text.txt").write_text("x")
    with pytest.raises(UsageError, match="no such file or folder"):
        plan([tmp_path / "missing"], tmp_path / "out")
    with pytest.raises(UsageError, match="no picture in this folder"):
        plan([tmp_path / "empty"], tmp_path / "out")


def test_an_output_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        check_output(tmp_path / "file")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        check_output(tmp_path / "file" / "below")


@pytest.mark.skipif(os.name != "posix", reason="limits of the file size are set the POSIX way")
def test_a_full_disk_stops_the_job_and_keeps_what_is_done(tmp_path: Path) -> None:
    import resource
    import signal

    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    for k in range(6):
        Image.fromarray(noise if k == 3 else noise[:20, :20]).save(folder / f"{k}.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(EnvironmentFault, match=r"3.png: not written: disk full"):
            run_jobs(plan([folder], tmp_path / "out"), Each(invert))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    for path in (tmp_path / "out").iterdir():
        assert path.name != "3.png" and not path.name.startswith(".")
        read_picture(path)


def test_stopping_leaves_whole_pictures_and_the_rest_for_later(
    photos: Path, tmp_path: Path
) -> None:
    jobs = plan([photos], tmp_path / "out")
    events: list[JobEvent] = []
    summary = run_jobs(
        jobs, Each(invert), listen=events.append, should_stop=lambda: len(events) > 0
    )
    there = [job for job in jobs if job.target.exists()]
    assert 1 <= summary.done == len(there) == len(events)
    again = run_jobs(jobs, Each(invert))
    assert (again.done, again.skipped) == (3 - len(there), len(there))


def test_an_unexpected_fault_of_the_network_is_not_swallowed(photos: Path, tmp_path: Path) -> None:
    def broken(pixels: Pixels) -> Pixels:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_jobs([Job(photos / "one.jpg", tmp_path / "out" / "one.jpg")], Each(broken))


def test_stale_files_of_a_killed_process_are_swept(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    stale = out / ".i2i-4194304-deadbeef.tmp"
    # In a container the killed process had the number that this one has.
    same = out / f".i2i-{os.getpid()}-deadbeef.tmp"
    for name in (stale.name, same.name, ".other-123.tmp"):
        (out / name).write_bytes(b"x")
    with atomic_path(out / "page.html") as mine:
        mine.write_bytes(b"x")
        run_jobs(plan([photos], out), Each(invert))
        assert mine.exists()
    assert (not stale.exists() and not same.exists()) or os.name != "posix"
    assert (out / ".other-123.tmp").exists() and (out / "page.html").exists()


def test_folders_without_end_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    deep = folder
    for _ in range(700):
        deep = deep / "a"
        deep.mkdir()
    picture(4, 4).save(folder / "x.png")
    picture(4, 4).save(folder / "a" / "a" / "y.png")
    jobs = plan([folder], tmp_path / "out")
    assert [job.source.name for job in jobs if job.ignored is None] == ["y.png", "x.png"]
    (ignored,) = [job.ignored for job in jobs if job.ignored is not None]
    assert "more than 200 others" in ignored


def test_a_model_name_is_no_path(photos: Path, tmp_path: Path) -> None:
    jobs = plan([photos / "one.jpg"], tmp_path / "out", Naming(None, "{stem} {model}", "a/b:c"))
    assert [job.target.name for job in jobs] == ["one a_b_c.jpg"]


def test_no_output_takes_the_name_of_a_folder(tmp_path: Path) -> None:
    folder, other = tmp_path / "in", tmp_path / "other"
    (folder / "x.PNG").mkdir(parents=True)
    other.mkdir()
    picture(4, 4).save(folder / "x.PNG" / "a.png")
    picture(4, 4).save(folder / "x.gif")
    picture(4, 4).save(other / "x.png")
    summary = run_jobs(plan([folder, other], tmp_path / "out"), Each(invert))
    assert (summary.done, summary.failed) == (3, [])


def test_a_file_in_the_way_of_a_folder_costs_that_folder_only(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("mine")
    summary = run_jobs(plan([photos], tmp_path / "out"), Each(invert))
    ((path, reason),) = summary.failed
    assert summary.done == 2 and path == photos / "sub" / "one.jpg" and "exists" in reason
    assert (tmp_path / "out" / "sub").read_text() == "mine"


def test_a_watched_picture_keeps_its_output_when_another_takes_its_name(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    picture(4, 4).save(folder / "a.gif")
    manifest = Manifest(out, {})
    looks = 0

    def look() -> list[Job]:
        nonlocal looks
        looks += 1
        if looks == 4:  # a.png is now the output of a.png
            picture(9, 9).save(folder / "a.png")
        return plan([folder], out)

    for jobs in watch(look, lambda: looks > 8, 0.01):
        assert run_jobs(jobs, Each(invert), manifest=manifest).failed == []
    assert read_picture(out / "a.png").pixels.shape == (9, 9, 3)
    assert read_picture(out / "a.gif.png").pixels.shape == (4, 4, 3)

"""The same command again: exactly the rest, what changed, and what failed when asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from img2img.errors import EnvironmentFault, UsageError
from img2img.images import Pixels, read_picture
from img2img.inference import JobEvent, Manifest, PictureEvent, Summary, plan, run_jobs
from img2img.inference.jobs import Job
from tests.conftest import Each, picture


def invert(pixels: Pixels) -> Pixels:
    return 255 - pixels


def again(
    photos: Path, settings: str = "a", overwrite: bool = False, retry: bool = False
) -> Summary:
    out = photos.parent / "out"
    jobs = plan([photos], out)
    manifest = Manifest(out, {"model": settings}, overwrite, retry, settings.upper(), jobs)
    events: list[JobEvent] = []
    summary = run_jobs(jobs, Each(invert), manifest=manifest, listen=events.append)
    manifest.close()
    assert len(events) == summary.seen == 3 + (photos / "bad.jpg").exists()
    return summary


def test_the_same_again_does_nothing(photos: Path) -> None:
    assert again(photos).done == 3
    before = {p: p.stat().st_mtime_ns for p in (photos.parent / "out").rglob("*.*g")}
    second = again(photos)
    assert (second.done, second.skipped) == (0, 3)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_what_changed_is_done_again(photos: Path) -> None:
    again(photos)
    picture(40, 30, 99).save(photos / "one.jpg")
    os.utime(photos / "two.png", (1, 1))  # a new date alone is no change
    changed = again(photos)
    assert (changed.done, changed.redone, changed.skipped) == (1, 1, 2)
    (photos.parent / "out" / "two.png").unlink()
    missing = again(photos)
    assert (missing.done, missing.redone, missing.skipped) == (1, 0, 2)


def test_what_another_model_made_is_not_replaced_quietly(photos: Path) -> None:
    again(photos)
    mine = photos.parent / "out" / "one.jpg"
    before = mine.read_bytes()
    (photos.parent / "out" / "two.png").unlink()  # this one would be new
    with pytest.raises(UsageError, match=r"holds 2 pictures made by model A, not B; .*`overwrite`"):
        again(photos, "b")
    shutil.rmtree(photos / "sub")
    with pytest.raises(UsageError, match="holds 1 picture made by model A"):
        again(photos, "b")
    assert mine.read_bytes() == before
    (photos / "sub").mkdir()
    picture(20, 20, 3).save(photos / "sub" / "one.jpg")
    assert again(photos, "b", overwrite=True).redone == 2
    assert again(photos, "b").skipped == 3
    picture(41, 30, 5).save(photos / "one.jpg")  # a changed picture is no other model
    assert (again(photos, "b").redone, again(photos, "b").skipped) == (1, 3)


def test_other_settings_and_old_records_say_what_differs(photos: Path) -> None:
    out = photos.parent / "out"
    jobs = plan([photos], out)
    first = Manifest(out, {"model": "x", "quality": 80}, model="mine", jobs=jobs)
    run_jobs(jobs, Each(invert), manifest=first)
    for settings, model, words in (
        ({"model": "x", "quality": 95}, "mine", r"with other settings \(quality 80, not 95\)"),
        ({"model": "y", "quality": 80}, "mine", "by another version of model mine"),
        ({"model": "y", "quality": 80}, "new", "by model mine, not new"),
    ):
        with pytest.raises(UsageError, match=words):
            Manifest(out, settings, model=model, jobs=jobs)
    path = out / ".img2img" / "manifest.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.pop("model", None)  # as version 0.1.0 wrote it
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match="made by another model than new"):
        Manifest(out, {"model": "y", "quality": 80}, model="new", jobs=jobs)


def test_another_domain_in_the_same_names_is_refused_but_not_another_label(photos: Path) -> None:
    out = photos.parent / "out"
    jobs = [replace(job, domain=(1.0, 0.0)) for job in plan([photos], out)]
    run_jobs(jobs, Each(invert), manifest=Manifest(out, {}, jobs=jobs))
    others = [replace(job, domain=(0.0, 1.0)) for job in jobs]
    with pytest.raises(UsageError, match=r"holds 3 pictures made with .*another domain"):
        Manifest(out, {}, jobs=others)
    labelled = Manifest(out, {}, jobs=others, labelled=True)
    assert run_jobs(others, Each(invert), manifest=labelled).redone == 3


def test_while_watching_what_another_model_made_is_left_alone(photos: Path) -> None:
    again(photos)
    jobs = plan([photos], photos.parent / "out")
    manifest = Manifest(photos.parent / "out", {"model": "b"})  # they came after the start
    events: list[JobEvent] = []
    summary = run_jobs(jobs, Each(invert), manifest=manifest, listen=events.append)
    assert (summary.done, summary.skipped) == (0, 3)
    assert all("another model" in e.reason for e in events if isinstance(e, PictureEvent))


def test_a_copied_source_is_the_same_source(photos: Path) -> None:
    again(photos)
    copied = photos.parent / "copied"
    shutil.copytree(photos, copied, copy_function=shutil.copyfile)
    assert again(copied).skipped == 3


def test_what_we_did_not_write_is_left_alone(photos: Path) -> None:
    out = photos.parent / "out"
    out.mkdir()
    (out / "one.jpg").write_bytes(b"mine")
    assert again(photos).skipped == 1
    picture(5, 5).save(out / "two.png")  # edited after we wrote it
    (out / "sub" / "one.jpg").unlink()
    second = again(photos, "b")
    assert (second.done, second.skipped) == (1, 2)
    assert (out / "one.jpg").read_bytes() == b"mine"
    assert read_picture(out / "two.png").pixels.shape == (5, 5, 3)
    assert again(photos, "b", overwrite=True).done == 3
    assert read_picture(out / "one.jpg").pixels.shape == (30, 40, 3)


def test_failures_are_remembered_and_tried_again_when_asked(photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"nothing")
    assert len(again(photos).failed) == 1
    ((_, reason),) = again(photos).failed
    assert "as before; `retry_failed`" in reason
    ((_, reason),) = again(photos, retry=True).failed
    assert "as before" not in reason
    shutil.copyfile(photos / "one.jpg", photos / "bad.jpg")
    assert again(photos).done == 1
    shutil.copyfile(__file__, photos / "bad.jpg")  # it worked before: the old output stays
    failed = again(photos)
    assert len(failed.failed) == 1 and failed.done == 0
    assert (photos.parent / "out" / "bad.jpg").exists()
    assert "as before" in again(photos).failed[0][1]


def test_an_output_that_a_power_cut_emptied_is_made_again(photos: Path) -> None:
    again(photos)
    (photos.parent / "out" / "one.jpg").write_bytes(b"")
    second = again(photos)
    assert (second.done, second.redone, second.skipped) == (1, 1, 2)


def test_a_torn_or_foreign_line_is_passed_over(photos: Path) -> None:
    again(photos)
    path = photos.parent / "out" / ".img2img" / "manifest.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines()
    path.write_bytes(
        b"\n".join(
            [
                b"null",
                b"{}",
                b'{"output": 3}',
                b"\xff\x00",
                b"[" * 99999,
                b'{"output": "a", "status": "done", "is": [1e999, 1], "of": []}',
                *lines,
            ]
        )[:-30]
    )
    second = again(photos)
    assert (second.done, second.skipped) == (0, 3)  # the torn one is there, of unknown origin
    for line in path.read_text(errors="replace").splitlines()[-1:]:
        assert json.loads(line)["settings"]


@pytest.mark.skipif(os.name != "posix", reason="open files can be moved")
@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_an_output_folder_that_disappears_ends_the_job(photos: Path, how: str) -> None:
    out = photos.parent / "out"
    manifest = Manifest(out, {})

    def disappearing(pixels: Pixels) -> Pixels:
        if how == "removed":
            shutil.rmtree(out, ignore_errors=True)
        elif not (photos.parent / "moved").exists():  # the folder may have been made again
            out.rename(photos.parent / "moved")
        return pixels

    with pytest.raises(EnvironmentFault, match="has disappeared; was the output folder"):
        run_jobs(plan([photos], out), Each(disappearing), manifest=manifest)
    assert not list(out.rglob("*.*g"))


def test_a_manifest_that_is_no_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos.parent / "out" / ".img2img"
    (folder / "manifest.jsonl").mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match="not a regular file"):
        Manifest(folder.parent, {})
    if os.name == "posix":
        (folder / "manifest.jsonl").rmdir()
        os.mkfifo(folder / "manifest.jsonl")
        with pytest.raises(EnvironmentFault, match="not a regular file"):
            Manifest(folder.parent, {})
    shutil.rmtree(folder)
    folder.write_text("x")
    with pytest.raises(EnvironmentFault):
        Manifest(folder.parent, {})


@pytest.mark.skipif(os.name != "posix", reason="limits of the file size are set the POSIX way")
def test_a_line_that_is_written_in_part_is_a_full_disk(tmp_path: Path) -> None:
    import resource

    manifest = Manifest(tmp_path, {})
    size = (tmp_path / ".img2img" / "manifest.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        with pytest.raises(EnvironmentFault, match="disk full"):
            manifest.failed(plan_of_one(tmp_path), "no reason")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def plan_of_one(folder: Path) -> Job:
    return Job(folder / "a.png", folder / "b.png")

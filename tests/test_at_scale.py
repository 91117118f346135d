"""Translating for a cluster without one: places, plan, records and stages in this process."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec", reason="the extra `scale` is not installed")
pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")

import fsspec
import pyarrow.parquet as pq

from img2img.errors import EnvironmentFault, UsageError
from img2img.inference import PictureEvent, TranslateRequest, load, translate_folder
from img2img.inference.naming import Naming, plan
from img2img.inference.scale import Cluster, check_room, records, spill
from img2img.inference.scale.plan import Plan, Task
from img2img.inference.scale.records import Record, Records
from img2img.inference.scale.rows import tasks_table
from img2img.inference.scale.run import ScaleSummary, translate_remote
from img2img.inference.scale.sources import Inputs
from img2img.inference.scale.spill import Spill, key_of
from img2img.inference.scale.stages import Translate, Work, decode, write
from img2img.system import cpu, places
from img2img.system.places import Place, same_stamp
from tests.conftest import ROOT, Main, picture
from tests.test_remote import web_server


def here(
    tasks: list[Task], work: Work, stop: Callable[[], bool], block: int = 5
) -> Iterator[dict[str, Any]]:
    """The stages one after another in this process."""
    model = Translate(work)
    try:
        for at in range(0, len(tasks), block):
            for decoded in decode(tasks_table(tasks[at : at + block]), work):
                for translated in model(decoded):
                    for text in write(translated, work)["end"].to_pylist():
                        yield json.loads(text)
    finally:
        cpu.share(None)  # the next tests run in this process


def run(
    request: TranslateRequest, execute: Any = here, **more: Any
) -> tuple[list[PictureEvent], ScaleSummary]:
    """The pictures' events and the summary."""
    events = list(translate_remote(request, execute, **more))
    assert isinstance(events[-1], ScaleSummary)
    return [e for e in events if isinstance(e, PictureEvent)], events[-1]


def counts(summary: ScaleSummary) -> tuple[int, int, int, int]:
    """done, skipped, ignored, failed."""
    return summary.done, summary.skipped, summary.ignored, len(summary.failed)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures that meet in one output, a damaged one, and other files."""
    root = tmp_path / "photos"
    (root / "sub" / "deep").mkdir(parents=True)
    for number, name in enumerate(
        ("a.png", "a.jpg", "A.bmp", "sub/b.JPG", "sub/deep/c.tif", "ü.gif", "a.jpg.png", "d.webp")
    ):
        mode = "RGBA" if name == "a.png" else "RGB"
        picture(20 + number, 24, number, mode).save(root / name)
    (root / "bad.png").write_bytes((root / "a.png").read_bytes()[:90])
    (root / "notes.txt").write_text("no picture")
    (root / "x.cr2").write_text("raw")
    (root / ".hidden.png").write_bytes(b"")
    return root


@pytest.fixture
def request_of(photos: Path, onnx_file: Path, tmp_path: Path) -> TranslateRequest:
    return TranslateRequest(inputs=(str(photos),), out=str(tmp_path / "out"), model=onnx_file)


@pytest.fixture
def memory() -> Iterator[str]:
    """A place that is no folder of this machine."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield "memory://bucket"
    fs.store.clear()


def tree(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and ".img2img" not in p.parts
    }


@pytest.mark.parametrize("format", [None, "png", "jpg"])
def test_outputs_and_events_are_those_of_one_machine(
    request_of: TranslateRequest, tmp_path: Path, format: str | None
) -> None:
    one = replace(request_of, out=str(tmp_path / "one"), format=format)
    before = [e for e in translate_folder(one) if isinstance(e, PictureEvent)]
    events, summary = run(replace(request_of, format=format))
    assert tree(tmp_path / "one") == tree(tmp_path / "out")
    mine = {str(e.source): {**e.row, "output": Path(str(e.target)).name} for e in events}
    theirs = {str(e.source): {**e.row, "output": Path(e.target).name} for e in before}
    assert mine == theirs
    assert counts(summary) == (8, 0, 3, 1)


def test_names_are_those_of_one_machine(photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    with load(onnx_file) as translator:
        info = translator.info
    for name in ("e.jpg", "e.webp", "E.png", f"{'n' * 250}.jpg"):
        picture(8, 8).save(photos / name)
    out = Place(tmp_path / "out")
    for naming in (Naming(), Naming(".png"), Naming(".png", "{stem}-{model}", "m")):
        wanted = {
            str(j.source): j.target.relative_to(tmp_path / "out").as_posix()
            for j in plan([photos], tmp_path / "out", naming)
            if j.ignored is None
        }
        folder = tmp_path / f"plan{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        request = TranslateRequest(inputs=(photos,), out=tmp_path / "out")
        inputs = Inputs(request.inputs, out)
        made = Plan(request, inputs, out, Records(out), "s", info, naming, folder)
        found = {inputs.places[0].full(t["name"]): t["output"] for t in made.tasks()}
        assert found == wanted
        assert len(set(map(str.casefold, found.values()))) == len(found)


def test_the_same_request_does_exactly_the_rest(
    request_of: TranslateRequest, photos: Path, tmp_path: Path
) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    _, first = run(request_of, should_stop=stop, wave=3)
    assert first.done + len(first.failed) + first.not_reached == 9 and first.not_reached == 3
    _, second = run(request_of, wave=3)
    assert second.done + len(second.failed) - (len(first.failed) > 0) == 3
    events, third = run(request_of)
    assert counts(third) == (0, 8, 3, 1)
    assert "as before" in third.failed[0][1]
    os.utime(photos / "a.png", (1, 1))  # only touched: its bytes are compared
    picture(30, 30, 99).save(photos / "d.webp")
    (tmp_path / "out" / "a.jpg").unlink()
    (tmp_path / "out" / "sub" / "b.JPG").write_bytes(b"somebody's")
    events, fourth = run(request_of)
    status = {Path(str(e.source)).name: (e.status, e.redone, e.reason) for e in events}
    assert status["a.png"] == ("skipped", False, "done already")
    assert status["d.webp"] == ("done", True, "")
    assert status["a.jpg"] == ("done", False, "")
    assert status["b.JPG"][2] == "the output was modified since; `overwrite` replaces it"
    assert counts(fourth) == (2, 6, 3, 1)
    _, fifth = run(replace(request_of, overwrite=True, retry_failed=True))
    assert (fifth.done, fifth.redone, len(fifth.failed)) == (8, 8, 1)
    assert "as before" not in fifth.failed[0][1]


def test_other_settings_are_refused(request_of: TranslateRequest, tmp_path: Path) -> None:
    run(request_of)
    before = tree(tmp_path / "out")
    with pytest.raises(UsageError, match="holds 8 pictures made by another model or with other"):
        run(replace(request_of, quality=50))
    assert tree(tmp_path / "out") == before
    (tmp_path / "out" / "foreign.png").write_bytes(b"")
    _, summary = run(replace(request_of, quality=50, overwrite=True))
    assert summary.redone == 8


def test_a_fault_stops_all_and_loses_nothing(request_of: TranslateRequest) -> None:
    def broken(tasks: list[Task], work: Work, stop: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        yield from here(tasks[:3], work, stop)
        yield {"fault": "disk full"}

    with pytest.raises(EnvironmentFault, match="disk full"):
        run(request_of, broken)
    _, summary = run(request_of)
    assert summary.done + summary.skipped == 8 and summary.seen == 12


def test_places_that_are_no_folder(
    request_of: TranslateRequest, photos: Path, memory: str, tmp_path: Path
) -> None:
    fs = fsspec.filesystem("memory")
    for name, data in tree(photos).items():
        fs.pipe_file(f"/bucket/scans/{name}", data)
    run(replace(request_of, out=str(tmp_path / "one")))
    request = replace(request_of, inputs=(f"{memory}/scans",), out=f"{memory}/out")
    events, summary = run(request)
    assert counts(summary) == (8, 0, 3, 1)
    assert all(str(e.source).startswith("memory://bucket/scans/") for e in events)
    for name, data in tree(tmp_path / "one").items():
        assert fs.cat_file(f"/bucket/out/{name}") == data
    assert counts(run(request)[1]) == (0, 8, 3, 1)


def test_an_archive_is_an_input(request_of: TranslateRequest, photos: Path, tmp_path: Path) -> None:
    file = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    run(request_of)
    request = replace(request_of, inputs=(f"zip://::{file}",), out=str(tmp_path / "zipped"))
    events, summary = run(request)
    assert counts(summary) == (8, 0, 3, 1)
    assert tree(tmp_path / "out") == tree(tmp_path / "zipped")
    assert any(str(e.source) == f"zip://sub/b.JPG::{file}" for e in events)
    with pytest.raises(UsageError, match="is read-only"):
        run(replace(request_of, out=f"zip://::{file}"))


def test_a_web_server_is_read_once(
    request_of: TranslateRequest, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    asked: list[str] = []
    with web_server(photos, asked) as address:
        request = replace(request_of, inputs=(address,))
        assert counts(run(request)[1]) == (8, 0, 3, 1)
        assert asked.count("GET /a.jpg") == 1
        asked.clear()
        summary = run(request)[1]  # what failed is tried again: nothing says that it is the same
        assert counts(summary) == (0, 8, 3, 1) and "GET /a.jpg" not in asked
        picture(31, 24, 99).save(photos / "a.jpg")
        os.utime(photos / "a.jpg", (2e9, 2e9))
        assert counts(run(request)[1]) == (1, 7, 3, 1)


def test_a_relative_path_is_that_of_its_maker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    packed = pickle.dumps(Place("out"))
    monkeypatch.chdir(tmp_path / "there")
    place = pickle.loads(packed)
    place.write("a", b"1")
    assert (tmp_path / "here" / "out" / "a").is_file() and place.full("a") == str(Path("out/a"))


def test_marks_that_are_no_digests_are_not_compared(
    request_of: TranslateRequest, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of Azure, or of S3 with keys of its own."""
    of_info = places._of_info

    def marked(name: str, info: dict[str, Any]) -> places.Entry:
        return of_info(name, info | {"etag": f'"0x{info.get("size", 0):x}"'})

    monkeypatch.setattr(places, "_of_info", marked)
    request = replace(request_of, out=f"{memory}/out")
    assert counts(run(request)[1]) == (8, 0, 3, 1)
    assert {row.reason for row in run(request)[0] if row.status == "skipped"} == {"done already"}
    with pytest.raises(UsageError, match="holds 8 pictures made by another model or with other"):
        run(replace(request, quality=50))


def test_the_digest_of_a_google_bucket_is_read() -> None:
    info = {"size": 7, "etag": "CK==", "md5Hash": base64.b64encode(bytes(range(16))).decode()}
    assert places._of_info("a", info).stamp == f"7:{bytes(range(16)).hex()}"


def test_an_object_that_vanishes_or_changes_meanwhile_is_one_row(
    request_of: TranslateRequest, photos: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = fsspec.filesystem("memory")
    for name in ("a.png", "a.jpg", "d.webp"):
        fs.pipe_file(f"/bucket/scans/{name}", (photos / name).read_bytes())

    def meddled(tasks: list[Task], work: Work, stop: Callable[[], bool]) -> Iterator[Any]:
        fs.rm_file("/bucket/scans/a.png")
        fs.pipe_file("/bucket/scans/a.jpg", (photos / "sub/b.JPG").read_bytes())
        yield from here(tasks, work, stop)

    request = replace(request_of, inputs=(f"{memory}/scans",), out=f"{memory}/out")
    events, summary = run(request, meddled)
    reasons = {str(e.source)[-5:]: (e.status, e.reason) for e in events}
    assert reasons["a.png"] == ("failed", "no longer there")
    assert reasons["a.jpg"][0] == "done" and summary.done == 2
    # What was read is what was recorded: nothing is left, and nothing is done twice.
    assert counts(run(request)[1]) == (0, 2, 0, 0)
    changes = iter(range(100))
    read = Place.read

    def restless(place: Place, name: str, *more: Any) -> bytes:
        data = read(place, name, *more)
        if name == "new.png":
            fs.pipe_file("/bucket/scans/new.png", data + bytes([next(changes)]))
        return data

    fs.pipe_file("/bucket/scans/new.png", (photos / "a.png").read_bytes())
    monkeypatch.setattr(Place, "read", restless)
    _, summary = run(request)
    assert summary.failed[0][1] == "it changes while being read"


def test_a_listing_that_is_old_does_nothing_twice(
    request_of: TranslateRequest, photos: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(request_of, out=f"{memory}/out")
    run(request)
    entries = Place.entries
    old = lambda place, below="": (  # noqa: E731
        e for e in entries(place, below) if below or ".img2img" in e.name
    )
    monkeypatch.setattr(Place, "entries", old)
    _, summary = run(request)
    assert counts(summary) == (0, 8, 3, 1)


def test_a_storage_that_refuses_one_picture_is_tried_again(
    request_of: TranslateRequest, photos: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = fsspec.filesystem("memory")
    for name in ("a.png", "d.webp"):
        fs.pipe_file(f"/bucket/scans/{name}", (photos / name).read_bytes())
    read = fs.cat_file

    def refusing(path: str, *more: Any, **named: Any) -> bytes:
        if path.endswith("d.webp"):
            raise PermissionError(13, "AccessDenied")
        return read(path, *more, **named)

    request = replace(request_of, inputs=(f"{memory}/scans",), out=f"{memory}/out")
    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "cat_file", staticmethod(refusing))
        _, summary = run(request)
        assert [reason for _, reason in summary.failed] == ["access denied"]
    assert counts(run(request)[1]) == (1, 1, 0, 0)


def test_domains_get_folders(tmp_path: Path, photos: Path) -> None:
    request = TranslateRequest(
        inputs=(photos / "sub",), out=tmp_path / "out", model="avatars", domains=("all",), size=64
    )
    one = replace(request, out=tmp_path / "one")
    list(translate_folder(one))
    _, summary = run(request)
    assert tree(tmp_path / "one") == tree(tmp_path / "out") != {}
    assert run(request)[1].skipped == summary.done


@pytest.mark.parametrize(
    ("inputs", "out", "words"),
    [
        (("{photos}",), "{photos}/out", "the output lies in the input folder"),
        (("{photos}", "{photos}/sub"), "out", "given twice, or lies in another input"),
        (("{photos}/a.png", "{photos}/a.png"), "out", "given twice"),
        (("nowhere",), "out", "nowhere: no such file or folder"),
        (("memory://bucket/no",), "out", "memory://bucket/no: no such file"),
        (("ftpx://host/a",), "out", "Protocol not known"),
        (("{photos}",), "https://host/out", "is read-only"),
        (("{photos}",), "{photos}/a.png", "is a file"),
        (("{photos}/sub/deep",), "{photos}/sub", "would replace an input"),
    ],
)
def test_what_cannot_be_is_one_line(
    photos: Path, onnx_file: Path, memory: str, tmp_path: Path,
    inputs: tuple[str, ...], out: str, words: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if words.startswith("would replace"):
        (photos / "sub/deep/deep").mkdir()
        picture(9, 9).save(photos / "sub/deep/deep/x.png")
    request = TranslateRequest(
        inputs=tuple(text.format(photos=photos) for text in inputs),
        out=out.format(photos=photos), model=onnx_file,
    )  # fmt: skip
    with pytest.raises(UsageError, match=words) as error:
        run(request)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["watch", "compare", "gallery"])
def test_what_is_for_one_machine_is_refused(request_of: TranslateRequest, option: str) -> None:
    with pytest.raises(UsageError, match=f"`{option}` works on one machine only"):
        run(replace(request_of, **{option: Path("x") if option != "watch" else True}))


def test_a_folder_that_the_nodes_do_not_share_is_refused(
    request_of: TranslateRequest, tmp_path: Path
) -> None:
    def elsewhere(tasks: list[Task], work: Work, stop: Callable[[], bool]) -> Any:
        return here(tasks, replace(work, out=Place(tmp_path / "other")), stop)

    with pytest.raises(EnvironmentFault, match="this is not the folder of the command"):
        run(request_of, elsewhere)
    assert not tree(tmp_path / "out") and not tree(tmp_path / "other")


def test_a_node_without_the_model_file_fetches_it(
    request_of: TranslateRequest, tmp_path: Path
) -> None:
    def lacking(tasks: list[Task], work: Work, stop: Callable[[], bool]) -> Any:
        return here(tasks, replace(work, model="/nowhere/model.onnx"), stop)

    assert counts(run(request_of, lacking)[1]) == (8, 0, 3, 1)
    run(replace(request_of, out=str(tmp_path / "one")))
    assert tree(tmp_path / "out") == tree(tmp_path / "one")


def test_what_is_no_cluster_is_one_line(
    main: Main, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("translate", photos, "-o", tmp_path / "out", "--ray")
    if importlib.util.find_spec("ray") is not None:
        with web_server(tmp_path) as address:
            done = main(*command, address.removeprefix("http://"))
        assert done.returncode == 4 and "is not the head of a Ray cluster" in done.stderr
    monkeypatch.setitem(sys.modules, "ray", None)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "ray" else find(name, *more),
    )
    done = main(*command, "auto")
    assert done.returncode == 4 and "needs the 'scale' extra" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_cluster_needs_room_for_the_least_number_of_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray")
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}] * 2
    nodes += [{"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    for fitting in (
        Cluster("auto"), Cluster("auto", (3, 9)), Cluster("auto", gpus=1), Cluster("auto", gpus=0.25)
    ):  # fmt: skip
        check_room(fitting)
    for cluster, words in (
        (Cluster("auto", (4, 4)), "4 cores; at least 4.5 are needed for 4 models"),
        (Cluster("auto", gpus=2), "no node has 2 of a GPU"),
        (Cluster("auto", cpus=4), "4 cores; at least 4.5 are needed"),
    ):
        with pytest.raises(EnvironmentFault, match=words):
            check_room(cluster)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="gs:// needs the package gcsfs"):
        Place("gs://bucket/scans")


def record(number: int, reason: str = "", stamp: str = "1:a") -> Record:
    name = f"p{number}.png"
    return Record(key_of(name), name, f"in/{name}", "1:x", not reason, "s", "d", reason, stamp)


def parts(place: Place, what: str) -> list[str]:
    return [e.name for e in place.entries(f".img2img/{what}")]


def test_records_are_compacted_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "out")
    for number in range(30):
        Records(place).append([record(number), record(100 + number)])
    assert len(parts(place, "log")) == 30
    rows = Records(place)
    rows.compact()
    assert parts(place, "log") == [] and len(parts(place, "shards")) == 1
    assert len(rows.entries("")) == 60
    for number in range(records._PARTS):
        rows.append([record(number, "broken"), record(number, stamp=f"2:{number}")])
        rows.compact()
    assert len(parts(place, "shards")) == 1
    entry = rows.entries(key_of("p3.png"))["p3.png"]
    assert entry.done and entry.stamps == ("1:a", "2:3")
    monkeypatch.setattr(records, "_FEW", 10)  # more names now: 256 shards
    rows.append([record(7, "broken")])
    rows.compact(60)
    assert {len(name.split("/")[-2]) for name in parts(place, "shards")} == {2}
    assert len(rows.entries("")) == 60 and rows.entries("")["p7.png"].reason == "broken"
    assert set(rows.entries(key_of("p3.png"))) == {"p3.png"}
    rows.compact(1)  # and they stay
    assert {len(name.split("/")[-2]) for name in parts(place, "shards")} == {2}


def test_a_kill_during_compaction_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "out")
    rows = Records(place)
    rows.append([record(1), record(2)])
    with monkeypatch.context() as patch:
        patch.setattr(Place, "remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rows.compact()
    assert len(parts(place, "log")) == len(parts(place, "shards")) == 1
    rows.compact()
    assert len(rows.entries("")) == 2
    assert rows.entries("")["p1.png"].stamps == ("1:a",)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path / "out")
    place.write(".img2img/log/x.parquet", b"PAR1 no")
    with pytest.raises(EnvironmentFault, match=r"x\.parquet: not a part of a manifest"):
        Records(place).compact()


def test_the_manifest_is_read_by_other_programs(
    request_of: TranslateRequest, tmp_path: Path
) -> None:
    run(request_of)
    table = pq.read_table(tmp_path / "out" / ".img2img" / "shards")
    assert sorted(table["status"].to_pylist()) == ["done"] * 8 + ["failed"]
    # Older rows of an output stay; the program of the page counts the newest.
    run(replace(request_of, overwrite=True))
    run(request_of)
    page = (ROOT / "docs" / "how-to" / "translate-millions.md").read_text()
    program = page.split("```python\n")[1].split("```")[0].replace("painted/", f"{tmp_path}/out/")
    found: dict[str, Any] = {}
    exec(program, found)
    rows = found["newest"].to_pylist()
    assert sorted(row["status_last"] for row in rows) == ["done"] * 8 + ["failed"]


def test_groups_hold_few_rows_and_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "MOST", 8)
    rows = Spill(tmp_path / "spill")
    names = [f"scans/{n:05}.jpg" for n in range(5000)]
    for number, name in enumerate(names):
        rows.add(key_of(name), [number])
    seen = []
    for prefix, some in rows.groups():
        assert all(row[0].startswith(prefix) for row in some) and len(some) <= 8
        seen += [row[1] for row in some]
    assert sorted(seen) == list(range(5000))


def test_names_that_may_meet_have_one_key() -> None:
    assert key_of("s/a.png") == key_of("S/A.jpg") == key_of("s/a.jpg.png") == key_of("s/a-2.png")
    assert key_of("a.png") != key_of("b.png") != key_of("s/b.png")
    assert same_stamp("3:a", "3:a") and same_stamp("3:", "3:a")
    assert not same_stamp("3:a", "3:b") and not same_stamp("3:a", "4:a")

"""Training from and into addresses: the copy of the data, and the run that is published."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec", reason="the extra `scale` is not installed")

import fsspec

from img2img.data import mirror as mirrors
from img2img.data.mirror import FetchStopped, Mirrored, copy_of, mirror, read_index
from img2img.errors import DataError, EnvironmentFault, MissingExtra, UsageError
from img2img.model_format.checkpoint import read_model_info
from img2img.system.atomic import lock_file
from img2img.system.places import Entry, Place
from img2img.system.refusals import DiskFault
from img2img.training import TrainConfig, remote_run, train
from img2img.training.events import StepDone, TrainingEvent, Warned
from img2img.training.remote_run import MARK, STALE, RemoteRun
from img2img.training.run_folder import states_of
from tests.conftest import Main, into
from tests.test_training import config_of, final, same


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No pauses between attempts, and no cache but the test's."""
    monkeypatch.setattr(mirrors, "PAUSE", 0.0)
    monkeypatch.setattr(remote_run, "PAUSE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def memory() -> Iterator[dict[str, Any]]:
    """A store that is no folder of this machine: `memory://`; its files by path."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs.store
    fs.store.clear()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder of three files, read as file://."""
    folder = tmp_path / "store" / "data"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def tree(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def counts(done: Mirrored) -> tuple[int, int, int]:
    return done.files, done.fetched, done.removed


# --- the copy of the data


def test_the_copy_is_what_is_there_and_only_changes_are_fetched(
    store: Path, tmp_path: Path
) -> None:
    (store / ".hidden").write_bytes(b"x")
    address, cache = f"file://{store}", tmp_path / "cache"
    seen: list[tuple[int, ...]] = []
    first = mirror(address, cache, lambda *row: seen.append(row))
    copy = first.folder
    assert copy == copy_of(address, "data", cache) and copy.name == "data"
    assert counts(first) == (3, 3, 0) and first.bytes == 500 + 500 + 900
    assert seen[-1] == (3, 3, 1900, 1900)
    expected = tree(store)
    del expected[".hidden"]
    assert tree(copy) == expected
    assert counts(mirror(address, cache)) == (3, 0, 0)

    (store / "a.png").write_bytes(b"another content, of another size")
    (store / "b.png").unlink()
    (store / "d.png").write_bytes(b"new")
    shutil.rmtree(store / "sub")
    assert counts(mirror(address, cache)) == (2, 2, 2)
    del expected["b.png"], expected["sub/c.png"]
    assert tree(copy) == expected | {"a.png": b"another content, of another size", "d.png": b"new"}
    assert not (copy / "sub").exists()


def test_a_file_of_the_same_size_whose_stamp_changed_is_fetched(
    store: Path, tmp_path: Path
) -> None:
    address = f"file://{store}"
    copy = mirror(address, tmp_path).folder
    (store / "a.png").write_bytes(b"-" * 500)
    assert counts(mirror(address, tmp_path)) == (3, 1, 0)
    assert (copy / "a.png").read_bytes() == b"-" * 500


def test_a_spoiled_copy_is_fetched_again(store: Path, tmp_path: Path) -> None:
    address = f"file://{store}"
    copy = mirror(address, tmp_path).folder
    whole = tree(copy)
    times = (copy / "a.png").stat()
    for spoil in (
        lambda path: path.write_bytes(b"short"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"x" * 500),
    ):
        spoil(copy / "a.png")
        assert counts(mirror(address, tmp_path)) == (3, 1, 0)
        assert tree(copy) == whole
    # A bit that flipped on the disk changes neither size nor time.
    row = read_index(copy.parent)["a.png"]
    (copy / "a.png").write_bytes(b"x" * 500)
    os.utime(copy / "a.png", ns=(times.st_atime_ns, row.changed))
    assert counts(mirror(address, tmp_path)) == (3, 1, 0)
    assert tree(copy) == whole
    os.utime(copy / "b.png", ns=(0, 0))  # touched, and nothing else
    (copy / "stray.png").write_bytes(b"nobody's")
    assert counts(mirror(address, tmp_path)) == (3, 0, 1)
    assert tree(copy) == whole


def test_what_is_read_again_at_a_start_is_bounded_and_each_has_its_turn(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"file://{store}"
    copy = mirror(address, tmp_path).folder
    monkeypatch.setattr(mirrors, "CHECKED_BYTES", 900)
    read: list[str] = []
    digest = mirrors.file_sha256
    monkeypatch.setattr(
        mirrors, "file_sha256", lambda path: (read.append(path.name), digest(path))[1]
    )
    turns = []
    for _ in range(3):
        read.clear()
        mirror(address, tmp_path)
        turns.append(sorted(read))
    assert sorted(name for turn in turns for name in turn) == ["a.png", "b.png", "c.png"] and all(
        turns
    )
    assert len(tree(copy)) == 3


def test_a_download_that_is_cut_short_is_not_taken(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Place.download
    tries: list[str] = []

    def cut(self: Place, name: str, target: Path) -> None:
        whole(self, name, target)
        if name == "b.png":
            tries.append(name)
            os.truncate(target, 7)

    monkeypatch.setattr(Place, "download", cut)
    with pytest.raises(
        EnvironmentFault, match=r"1 files could not be fetched: .*b.png: 7 bytes arrived"
    ):
        mirror(f"file://{store}", tmp_path)
    assert len(tries) == mirrors.TRIES
    copy = copy_of(f"file://{store}", "data", tmp_path)
    assert sorted(tree(copy)) == ["a.png", "sub/c.png"]
    assert not tree(copy.parent / "partial")
    monkeypatch.setattr(Place, "download", whole)
    assert counts(mirror(f"file://{store}", tmp_path)) == (3, 1, 0)


def test_a_passing_fault_is_tried_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failed = Place.download, set()

    def once(self: Place, name: str, target: Path) -> None:
        if name not in failed:
            failed.add(name)
            raise EnvironmentFault("the storage does not answer")
        whole(self, name, target)

    monkeypatch.setattr(Place, "download", once)
    assert counts(mirror(f"file://{store}", tmp_path)) == (3, 3, 0) and len(failed) == 3


def test_what_was_stopped_or_killed_goes_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "_THREADS", 1)
    for number in range(20):
        (store / f"n{number}.png").write_bytes(b"n")
    came: list[int] = []
    with pytest.raises(FetchStopped, match="of 23 files; the same call fetches the rest"):
        mirror(
            f"file://{store}",
            tmp_path,
            lambda done, *_: came.append(done),
            should_stop=lambda: bool(came),
        )
    home = copy_of(f"file://{store}", "data", tmp_path).parent
    there = len(read_index(home))
    assert 0 < there < 23
    with open(home / "index.jsonl", "a") as index:
        index.write('["half a l')
    (home / "partial" / "half").write_bytes(b"a file")
    done = mirror(f"file://{store}", tmp_path)
    assert (done.files, done.fetched) == (23, 23 - there) and not tree(home / "partial")


def test_others_wait_and_the_processes_of_one_training_fetch_once(
    store: Path, tmp_path: Path
) -> None:
    address, notes = f"file://{store}", []
    home = copy_of(address, "data", tmp_path).parent
    home.mkdir(parents=True)
    waited = iter((False, True))
    with open(home / "lock", "a+") as file:
        lock_file(file.fileno())
        with pytest.raises(FetchStopped):
            mirror(address, tmp_path, note=notes.append, should_stop=lambda: next(waited))
    assert notes == [f"{address}: another process is fetching it; waiting"]
    assert counts(mirror(address, tmp_path, session="one")) == (3, 3, 0)
    (store / "new.png").write_bytes(b"new")
    assert counts(mirror(address, tmp_path, session="one")) == (3, 0, 0)
    assert counts(mirror(address, tmp_path, session="two")) == (4, 1, 0)


def test_names_that_would_leave_the_copy_are_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Place.entries

    def more(self: Place, below: str = "") -> Iterator[Entry]:
        yield from listed(self, below)
        yield from (Entry(name, 1, "1:") for name in ("../out.png", "sub//x.png", "c:\\x.png"))

    monkeypatch.setattr(Place, "entries", more)
    with pytest.raises(
        DataError, match=r"3 names that are impossible in a folder: '\.\./out\.png'"
    ):
        mirror(f"file://{store}", tmp_path / "cache")
    assert not list(tmp_path.rglob("out.png"))


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("file://{store}/nowhere", UsageError, "no such file, folder or bucket"),
        ("file://{store}/a.png", UsageError, "a file; give the folder that holds it"),
        ("file://{store}/empty", UsageError, "no files there"),
        ("gopher://x/y", UsageError, "known are a folder of this machine, s3://"),
    ],
)
def test_what_is_no_folder_is_one_line(
    store: Path, tmp_path: Path, address: str, error: type[Exception], words: str
) -> None:
    (store / "empty").mkdir()
    with pytest.raises(error, match=words) as caught:
        mirror(address.format(store=store), tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_copy_is_kept_where_the_storage_turns_out_empty(store: Path, tmp_path: Path) -> None:
    copy = mirror(f"file://{store}", tmp_path).folder
    for path in tree(store):
        (store / path).unlink()
    with pytest.raises(UsageError, match="no files there"):
        mirror(f"file://{store}", tmp_path)
    assert len(tree(copy)) == 3


def test_a_disk_without_room_is_one_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10, 10, 0)
    with monkeypatch.context() as patch:
        patch.setattr(mirrors.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(
            EnvironmentFault, match=r"0 MB are free; make room, or .*`cache_folder="
        ):
            mirror(f"file://{store}", tmp_path)

    def full(self: Place, name: str, target: Path) -> None:
        raise DiskFault(f"{target.parent}: disk full")

    monkeypatch.setattr(Place, "download", full)
    with pytest.raises(EnvironmentFault, match=r"disk full; make room, or .*`cache_folder="):
        mirror(f"file://{store}", tmp_path)
    assert tree(copy_of(f"file://{store}", "data", tmp_path)) == {}


def test_a_cache_that_cannot_be_made_is_one_line(store: Path, tmp_path: Path) -> None:
    (tmp_path / "remote").write_text("a file")
    with pytest.raises(EnvironmentFault, match="make room, or keep the copies elsewhere"):
        mirror(f"file://{store}", tmp_path)


@contextlib.contextmanager
def web_server(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The address of a web server of this machine that shows the folder; `asked` gets the requests,
    such as `GET /a.png`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *given: Any) -> None:
            if asked is not None:
                asked.append(f"{self.command} {self.path}")

    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def web(store: Path) -> Iterator[str]:
    """The store as a page of links of a web server of this machine."""
    pytest.importorskip("aiohttp")
    with web_server(store.parent) as address:
        yield address


def test_a_web_server_with_pages_of_links_is_read_and_nothing_else(
    web: str, store: Path, tmp_path: Path
) -> None:
    done = mirror(f"{web}/data", tmp_path / "cache")
    assert counts(done) == (3, 3, 0) and tree(done.folder) == tree(store)
    assert counts(mirror(f"{web}/data/", tmp_path / "cache")) == (3, 0, 0)
    (store / "index.html").write_text("<p>welcome")
    with pytest.raises(UsageError, match="shows no page of links"):
        mirror(f"{web}/data", tmp_path / "cache")
    with pytest.raises(UsageError, match="no such file"):
        mirror(f"{web}/none", tmp_path / "cache")
    with pytest.raises(UsageError, match=r"`out` http.*: not writable"):
        RemoteRun(f"{web}/runs/one", tmp_path / "one")


def test_an_archive_is_read(store: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "pictures"), "zip", store)
    done = mirror(f"zip://::{archive}", tmp_path / "cache")
    assert counts(done) == (3, 3, 0) and tree(done.folder) == tree(store)
    assert done.folder.name == "pictures.zip"


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtra, match="needs the 'scale' extra"):
        mirror("memory://x", tmp_path)


# --- the run


def remote(pairs: Path, tmp_path: Path, machine: str, **more: Any) -> TrainConfig:
    """A training from file:// into memory://, with the cache of one machine."""
    cache = {"cache_folder": tmp_path / machine, "log_every": 1}
    return config_of(f"file://{pairs}", "memory://bucket/runs/one", **cache | more)  # type: ignore[arg-type]


def published(memory: dict[str, Any]) -> dict[str, bytes]:
    head = "/bucket/runs/one/"
    return {k[len(head) :]: v.getvalue() for k, v in memory.items() if k.startswith(head)}


def train_until(step: int, config: TrainConfig) -> None:
    """Stop after `step`, whatever else asks whether to stop."""
    done: list[int] = []

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, StepDone):
            done.append(event.step)

    train(config, listen, should_stop=lambda: done[-1:] == [step])


def test_another_machine_goes_on_to_the_bit(
    pairs: Path, tmp_path: Path, memory: dict[str, Any]
) -> None:
    train(config_of(pairs, tmp_path / "whole"))
    events: list[dict[str, Any]] = []
    first = remote(pairs, tmp_path, "first")
    train_until(5, first)
    there = published(memory)
    assert "state-00000005.i2i" in there and MARK not in there and "run.lock" not in there
    assert there == {k: v for k, v in tree(first.out).items() if k != "run.lock"}

    second = remote(pairs, tmp_path, "second")
    model = train(second, into(events))
    kinds = [e["event"] for e in events]
    assert kinds.index("fetched") < kinds.index("start")
    assert next(e for e in events if e["event"] == "start")["step"] == 5
    # The first machine takes over what the second did, and has nothing left to do.
    train(first)
    for out in (second.out, first.out):
        assert same(final(out)["nets"], final(tmp_path / "whole")["nets"])
        assert same(final(out)["optimizers"], final(tmp_path / "whole")["optimizers"])
    there = published(memory)
    states = [f"state-{step:08}.i2i" for step in (8, 12)]
    assert sorted(name for name in there if name.startswith("state")) == states
    assert len([n for n in there if n.startswith("samples/")]) == 2
    assert {"model.safetensors", "metrics.jsonl", "run.json", "report.html"} < there.keys()
    assert there["model.safetensors"] == model.read_bytes()
    # What a run says of itself names the addresses and nothing of a machine.
    written = tomllib.loads(there["config.toml"].decode())
    assert written["data"] == f"file://{pairs}" and written["out"] == "memory://bucket/runs/one"
    assert not {"remote_data", "remote_out"} & written.keys()
    info = read_model_info(model)
    assert (info.name, info.training["data"]) == ("one", "pairs")
    page = there["report.html"].decode()
    assert "img2img translate PHOTOS -o OUT -m one" in page and "memory://bucket/runs/one" in page
    assert str(tmp_path / "second") not in page


def test_the_states_are_published_last(
    pairs: Path, tmp_path: Path, memory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = remote(pairs, tmp_path, "one")
    train(config)
    order: list[str] = []
    upload = Place.upload
    monkeypatch.setattr(
        Place, "upload", lambda self, path, name: (order.append(name), upload(self, path, name))
    )
    copy = shutil.copytree(config.out, tmp_path / "copy" / "one")
    RemoteRun("memory://bucket/runs/two", copy).publish()
    assert order[0] == "config.toml" and "model.safetensors" in order
    assert order[-2:] == ["state-00000008.i2i", "state-00000012.i2i"]


def test_a_dry_run_publishes_nothing(pairs: Path, tmp_path: Path, memory: dict[str, Any]) -> None:
    events: list[dict[str, Any]] = []
    train(remote(pairs, tmp_path, "one"), into(events), dry_run=True)
    assert published(memory) == {} and events[-1]["event"] == "dry-run"


def deny(self: Place, path: Path, name: str) -> None:
    raise EnvironmentFault(f"{self.full(name)}: access denied")


def test_what_cannot_be_published_stays_here_and_is_published_later(
    pairs: Path, tmp_path: Path, memory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config_of(pairs, tmp_path / "whole"))
    config = remote(pairs, tmp_path, "one")
    events: list[TrainingEvent] = []
    with monkeypatch.context() as patch:
        patch.setattr(Place, "upload", deny)
        with pytest.raises(
            EnvironmentFault, match=r"access denied; the run is complete in .*, and the same"
        ):
            train(config, events.append)
    assert states_of(config.out)[0].name == "state-00000012.i2i" and published(memory) == {}
    assert same(final(config.out)["nets"], final(tmp_path / "whole")["nets"])
    train(config)
    assert "state-00000012.i2i" in published(memory)


def test_trouble_is_reported_while_it_trains(
    pairs: Path, tmp_path: Path, memory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "upload", deny)
    failed = threading.Event()
    attempt = remote_run.Publisher._attempt

    def watched(self: Any, pause: Any) -> str:
        text = attempt(self, pause)
        self.trouble = text
        failed.set()
        return text

    monkeypatch.setattr(remote_run.Publisher, "_attempt", watched)
    texts: list[str] = []

    def listen(event: TrainingEvent) -> None:
        if event.kind == "saved" and event.step == 8:  # type: ignore[attr-defined]
            assert failed.wait(60)
        if isinstance(event, Warned):
            texts.append(event.text)

    with pytest.raises(EnvironmentFault):
        train(remote(pairs, tmp_path, "one"), listen)
    assert len([t for t in texts if "not published" in t and "the training continues in" in t]) == 1


def test_two_machines_are_refused_and_a_dead_one_is_not_waited_for_long(
    pairs: Path, tmp_path: Path, memory: dict[str, Any]
) -> None:
    now = [1000.0]
    runs = [
        RemoteRun("memory://bucket/runs/one", tmp_path / m / "one", lambda: now[0]) for m in "ab"
    ]
    for run in runs:
        run.folder.mkdir(parents=True)
    runs[0].claim()
    assert json.loads(published(memory)[MARK])["process"] == os.getpid()
    with pytest.raises(
        EnvironmentFault, match=r"process \d+ of .* is training into it \(last seen"
    ):
        runs[1].claim()
    runs[0].claim()  # the same copy after a crash
    now[0] += STALE + 1
    runs[1].claim()
    with pytest.raises(EnvironmentFault, match="is training into it"):
        runs[0].publish()
    runs[0].release()
    assert MARK in published(memory)
    runs[1].release()
    assert MARK not in published(memory)


def test_one_machine_does_not_train_twice_into_it(
    pairs: Path, tmp_path: Path, memory: dict[str, Any]
) -> None:
    config = remote(pairs, tmp_path, "one")
    held = RemoteRun(config.remote_out, config.out).held()
    with held, pytest.raises(EnvironmentFault, match="is already training into it"):
        train(config)
    assert published(memory) == {}


def test_an_unlike_training_is_not_overwritten_and_a_removed_one_not_revived(
    pairs: Path, tmp_path: Path, memory: dict[str, Any]
) -> None:
    mine, theirs = (remote(pairs, tmp_path, m) for m in ("mine", "theirs"))
    train_until(5, mine)
    memory.clear()
    with pytest.raises(
        UsageError, match=r"no longer exists there, and its copy in .* is at step 5"
    ):
        train(mine)
    train_until(2, theirs)
    with pytest.raises(
        UsageError, match=r"at step 2 that is not the one in .*, which is at step 5"
    ):
        train(mine)
    assert MARK not in published(memory) and "state-00000002.i2i" in published(memory)
    shutil.rmtree(mine.out)
    train(mine)
    assert "state-00000012.i2i" in published(memory)


def test_what_else_lies_there_is_left_alone(
    pairs: Path, tmp_path: Path, memory: dict[str, Any]
) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bucket/runs/one/inner/state-00000099.i2i", b"of another run")
    fs.pipe_file("/bucket/runs/one/notes.md", b"mine")
    first, second = (remote(pairs, tmp_path, m, steps=4) for m in ("first", "second"))
    train(first)
    (first.out / "evaluation").mkdir()
    (first.out / "evaluation" / "page.html").write_text("kept here")
    train(first)
    train(second)
    assert not (second.out / "inner").exists()
    there = published(memory)
    assert there["notes.md"] == b"mine" and "inner/state-00000099.i2i" in there
    assert "evaluation/page.html" not in there


def test_a_bucket_that_is_not_there(
    pairs: Path, tmp_path: Path, memory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: Any, **more: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(fsspec.filesystem("memory").__class__, "pipe_file", missing)
    with pytest.raises(UsageError, match="memory://bucket/runs/one: no such bucket"):
        train(remote(pairs, tmp_path, "one"))


# --- the settings and the command line


def test_addresses_become_copies(tmp_path: Path) -> None:
    config = config_of("s3://bucket/sets/data/", "s3://bucket/runs/one", cache_folder=tmp_path)  # type: ignore[arg-type]
    assert (config.data.name, config.out.name) == ("data", "one")
    assert config.data.is_relative_to(tmp_path / "remote")
    assert (config.remote_data, config.remote_out) == (
        "s3://bucket/sets/data",
        "s3://bucket/runs/one",
    )
    assert config.address_of("x") == "s3://bucket/runs/one/x"
    assert TrainConfig.parse(config.model_dump()) == config
    plain = config_of(tmp_path / "d", tmp_path / "o")
    assert (plain.remote_data, plain.address_of("x")) == ("", str(tmp_path / "o" / "x"))
    names = {copy_of(a, "data").parent for a in ("s3://a/x", "s3://b/x", "gs://a/x", "s3://a/x/")}
    assert len(names) == 3
    assert copy_of("zip://::s3://b/set.zip", "data").name == "set.zip"
    assert copy_of("s3://", "run").name == "run"


def test_the_command_line(pairs: Path, tmp_path: Path, main: Main) -> None:
    out = f"file://{tmp_path}/store/one"
    words = ["--preset", "tiny", "--steps", "2", "--set", "generator.width=4", "--set", "generator.depth=3",
             "--set", "discriminator.width=4", "--device", "cpu", "--threads", "1"]  # fmt: skip
    done = main("train", "pix2pix", f"file://{pairs}", "-o", out, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{out}/model.safetensors"
    assert f"file://{pairs}: 8 files, 8 of them fetched now" in done.stderr
    assert f"file://{pairs}: fetched 8 of 8 files, 0.0 of 0.0 MB" in done.stderr
    copy = copy_of(out, "run")
    assert f"copy of the run: {copy}" in done.stderr
    assert f"report: {out}/report.html" in done.stderr
    data = copy_of(f"file://{pairs}", "data")
    assert f"img2img evaluate {copy} {data} -o {copy}/evaluation" in done.stderr
    assert (tmp_path / "store" / "one" / "state-00000002.i2i").exists()
    again = main("train", "pix2pix", f"file://{pairs}", "-o", out, *words)
    assert "resumed at step 2" in again.stderr and "8 files, 0 of them fetched now" in again.stderr


def test_data_check_and_preview_of_an_address(pairs: Path, tmp_path: Path, main: Main) -> None:
    done = main("data", "check", f"file://{pairs}", "--set", f"cache_folder={tmp_path / 'here'}")
    assert done.returncode == 0 and done.stdout.startswith(f"file://{pairs}: ")
    assert f"img2img train pix2pix file://{pairs} -o runs/pairs" in done.stdout
    assert len(tree(copy_of(f"file://{pairs}", "data", tmp_path / "here"))) == 8
    row = json.loads(main("data", "check", f"file://{pairs}", "--json").stdout)
    assert row["root"] == f"file://{pairs}"


def refusals(tmp_path: Path) -> list[tuple[list[str], int, str]]:
    here, run = str(tmp_path / "pairs"), str(tmp_path / "run")
    return [
        ([f"file://{tmp_path}/none", "-o", run], 2, "no such file, folder or bucket"),
        ([here, "-o", "zip://x::a.zip"], 2, "-o zip://x::a.zip: not writable"),
        ([here, "-o", "gopher://x"], 2, "known are a folder of this machine"),
    ]


def test_a_refusal_is_one_line_of_the_command(pairs: Path, tmp_path: Path, main: Main) -> None:
    shutil.make_archive(str(tmp_path / "a"), "zip", pairs)
    for arguments, code, words in refusals(tmp_path):
        done = main("train", "pix2pix", *arguments, "--preset", "tiny")
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert words in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()

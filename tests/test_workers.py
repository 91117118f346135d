"""Batches made ahead by workers are those made here, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.data import Feed, LabelledData, Loading, PairedData, Request, UnpairedData
from img2img.errors import EnvironmentFault, PictureError
from img2img.system.atomic import process_alive
from img2img.training import train
from img2img.training.events import TrainingEvent
from tests.conftest import into
from tests.test_data import people, two_sets
from tests.test_loop import config_of, data, losses  # noqa: F401 - `data` is a fixture
from tests.test_training import Stop, final, same


def plan(count: int, epochs: int = 3) -> list[Request]:
    order = [tuple((i * 5 + k) % count for k in range(2)) for i in range(count)]
    return [Request(pair, epoch) for epoch in range(epochs) for pair in order]


def taken(feed: Feed, requests: list[Request]) -> list[dict[str, Any]]:
    with feed:
        feed.begin(requests)
        return [vars(feed.take(request)) for request in requests]


def equal(x: Any, y: Any) -> bool:
    if isinstance(x, torch.Tensor):
        return torch.equal(x, y) and x.stride() == y.stride() and x.dtype == y.dtype
    return bool(x == y)


def assert_same(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys() and all(equal(x[n], y[n]) for n in x)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_workers_make_the_batches_that_are_made_here(
    workers: int, pairs: Path, tmp_path: Path
) -> None:
    loading = Loading(40, cache=tmp_path / "cache", shared=True)
    paired = PairedData(pairs, "train", loading)
    assert paired.store.kind == "mapped"
    expected = taken(Feed(paired), plan(6))
    assert_same(taken(Feed(paired, workers), plan(6)), expected)


@pytest.mark.slow
def test_every_layout_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    two_sets(tmp_path / "sets", 3, 5)
    people(tmp_path / "people")
    for kind, root, count in ((UnpairedData, "sets", 5), (LabelledData, "people", 7)):
        opened = kind(tmp_path / root, "train", Loading(6))
        expected = taken(Feed(opened), plan(count))
        assert_same(taken(Feed(opened, 1), plan(count)), expected)


@pytest.mark.slow
def test_only_a_few_batches_are_made_ahead(pairs: Path) -> None:
    drawn: list[Request] = []

    def watched() -> Iterator[Request]:
        for request in plan(6, 1000):
            drawn.append(request)
            yield request

    with Feed(PairedData(pairs, "train", Loading(8)), 2) as feed:
        feed.begin(watched())
        for taken_so_far, request in enumerate(plan(6, 1)):
            assert len(drawn) == taken_so_far + 4
            feed.take(request)
        with pytest.raises(ValueError, match="not the next of the plan"):
            feed.take(Request((77,)))


class Slow:
    """Data whose batches are their own numbers."""

    def __init__(self, fail: str = ""):
        self.fail = fail

    def batch(self, indices: tuple[int, ...], epoch: int, share: slice) -> tuple[int, ...]:
        if self.fail and indices[0] == 3:
            if self.fail == "picture":
                raise PictureError("three.png: gone")
            raise ZeroDivisionError("a defect")
        return indices


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_lost_worker_is_replaced_once_at_the_same_batch(how: str) -> None:
    if how == "hung" and sys.platform == "win32":
        pytest.skip("a process cannot be stopped there")
    requests = [Request((k,)) for k in range(40)]
    said: list[str] = []

    def warn(text: str) -> None:
        said.append(text)
        feed._patience = 60.0  # the new worker has to start, on a busy machine

    def lose(place: int) -> None:
        process = feed._workers[place].process
        if how == "killed":
            process.kill()
        else:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            feed._patience = 1.0

    with Feed(Slow(), 2, warn=warn) as feed:
        feed.begin(requests)
        got = [feed.take(request) for request in requests[:10]]
        lose(0)
        got += [feed.take(request) for request in requests[10:20]]
        assert got == [(k,) for k in range(20)]
        why = "died" if how == "killed" else "did not answer for 1 s"
        assert said == [f"a data worker {why}; restarted at the same batch"]
        lose(1)
        with pytest.raises(EnvironmentFault, match=r"second one in this run.*`workers=1`"):
            for request in requests[20:]:
                feed.take(request)
        processes = [worker.process for worker in feed._workers]
    assert not any(process.is_alive() for process in processes)


@pytest.mark.slow
def test_what_goes_wrong_in_a_worker_is_raised_here() -> None:
    for fail, kind, text in (
        ("picture", PictureError, "^three.png: gone$"),
        ("defect", RuntimeError, "ZeroDivisionError: a defect"),
    ):
        with Feed(Slow(fail), 1) as feed:
            feed.begin(Request((k,)) for k in range(9))
            for k in range(3):
                feed.take(Request((k,)))
            with pytest.raises(kind, match=text):
                feed.take(Request((3,)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of a group are POSIX")
def test_an_interrupt_of_the_group_leaves_the_workers() -> None:
    with Feed(Slow(), 1) as feed:
        feed.begin(Request((k,)) for k in range(9))
        pid = feed._workers[0].process.pid
        assert pid is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)  # while it still imports
        assert feed.take(Request((0,))) == (0,)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        for k in range(1, 9):
            assert feed.take(Request((k,))) == (k,)
        assert feed._failures == 0


_SCRIPT = """
import sys, time
from pathlib import Path
from img2img.data import Feed, Loading, PairedData, Request

if __name__ == "__main__":
    with Feed(PairedData(Path(sys.argv[1]), "train", Loading(8)), 2) as feed:
        feed.begin(Request((k % 6,)) for k in range(100))
        feed.take(Request((0,)))
        print(*[worker.process.pid for worker in feed._workers], flush=True)
        time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="asks the POSIX way whether a process lives")
def test_workers_end_with_a_training_that_is_killed(pairs: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), str(pairs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        assert len(workers) == 2 and all(map(process_alive, workers))
        process.kill()
    end = time.monotonic() + 60
    while any(map(process_alive, workers)):
        assert time.monotonic() < end, "orphans"
        time.sleep(0.1)


# --- in a training


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "stargan"])
def test_a_training_with_workers_cut_and_resumed_is_the_one_without(
    method: str,
    data: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    train(config_of(method, data, tmp_path / "whole"))
    train(config_of(method, data, tmp_path / "cut", workers=2), should_stop=Stop(4))
    reported: list[dict[str, Any]] = []
    train(config_of(method, data, tmp_path / "cut", workers=1), into(reported))
    start = next(e for e in reported if e["event"] == "start")
    assert (start["workers"], start["pictures_from"], start["step"]) == (1, "mapped", 4)
    assert not [e for e in reported if e["event"] == "warning"]
    a, b = final(tmp_path / "whole"), final(tmp_path / "cut")
    for name in ("step", "nets", "optimizers", "trainer"):
        assert same(a[name], b[name]), name
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_on_the_device_or_from_a_file_the_training_is_the_same(
    data: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    kinds = {
        "memory": {},
        "mapped": {"cache_mb": 0},
        "device": {"on_device": "yes", "workers": 2, "accumulate": 2},
    }
    for name, more in kinds.items():
        reported: list[dict[str, Any]] = []
        more = {"steps": 4, "accumulate": 2} | more
        train(config_of("cyclegan", data, tmp_path / name, **more), into(reported))
        start = next(e for e in reported if e["event"] == "start")
        assert (start["pictures_from"], start["workers"]) == (name, 0)
    whole = final(tmp_path / "memory")
    for name in ("mapped", "device"):
        assert same(whole["nets"], final(tmp_path / name)["nets"])


@pytest.mark.slow
def test_a_second_loss_saves_and_the_same_command_goes_on(
    data: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of("pix2pix", data, tmp_path / "run", workers=1, save_every=100)
    train(config_of("pix2pix", data, tmp_path / "whole"))
    feeds: list[Feed] = []
    begin = Feed.begin

    def watched(self: Feed, requests: Any) -> None:
        feeds.append(self)
        begin(self, requests)

    monkeypatch.setattr(Feed, "begin", watched)
    warned: list[str] = []

    def kill(happened: TrainingEvent) -> None:
        event = happened.as_row()
        if event["event"] == "warning":
            warned.append(event["text"])
        if event["event"] == "step" and event["step"] in (1, 4):
            feeds[0]._workers[0].stop()

    with pytest.raises(EnvironmentFault, match="the same command resumes"):
        train(config, kill)
    assert len(warned) == 1 and 4 <= final(tmp_path / "run")["step"] <= 7
    train(config)
    assert same(final(tmp_path / "run")["nets"], final(tmp_path / "whole")["nets"])

"""A training whose processes are killed, stopped or told to stop: rows of
`python -m tests.faults training`."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import Place, Seen, _unless, _within
from tests.tinyruns import (
    STEPS,
    Work,
    config,
    differs,
    ending,
    events,
    finished,
    forked,
    left_behind,
    pictures,
    telling,
    undisturbed,
)

_LONG = 120.0  # seconds
_MMAP_THRESHOLD = -3  # of mallopt
_FEW = 5  # steps of a run that takes memory


def workers(place: Place) -> Seen:
    """One of two data workers killed, or stopped, which counts as hung, at a random batch: started
    again at the same one, and the run ends as if nothing had been."""
    seen = Seen()
    data, whole, _ = undisturbed(place, workers=2)
    for trial in range(place.count):
        out, told = place.folder / f"run{trial}", place.folder / f"told{trial}"
        sign, why = (
            (signal.SIGKILL, "a data worker died; restarted at the same batch"),
            (
                signal.SIGSTOP,
                "a data worker did not answer for 1 s; restarted at the same batch",
            ),
        )[trial % 2]
        # Later ones may be made already.
        at, worker = int(place.rng.integers(STEPS - 5)), int(place.rng.integers(2))
        run = telling(config(data, out, workers=2), told)
        code = forked(partial(_losing_a_worker, run, at, worker, sign))
        warned = [row["text"] for row in events(told, "warning")]
        seen.judge(
            f"trial {trial}, {sign.name} at batch {at}",
            _unless(code == 0, f"ended with {code}"),
            _unless(warned == [why], f"warned {warned}"), differs(out, whole),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"{seen.trials // 2} of them hung"
    return seen


def _losing_a_worker(work: Work, at: int, worker: int, sign: signal.Signals) -> None:
    """Do it with a signal to a data worker when the batch `at` is taken; one that is stopped is
    waited for in vain for a second."""
    from img2img.data import Feed

    take, answer, replace = Feed.take, Feed._answer, Feed._replace
    taken, hung = [0], set[int]()

    def hitting(feed: Feed, request: Any) -> Any:
        if taken[0] == at:
            pid = feed._workers[worker].process.pid
            assert pid is not None
            os.kill(pid, sign)
            hung.add(worker)
        taken[0] += 1
        return take(feed, request)

    def impatient(feed: Feed, place: int) -> Any:
        feed._patience = 1.0 if place in hung else _LONG
        return answer(feed, place)

    def renewed(feed: Feed, place: int, why: str) -> None:
        hung.discard(place)
        feed._patience = _LONG  # the new one has to start
        replace(feed, place, why)

    for name, method in (("take", hitting), ("_answer", impatient), ("_replace", renewed)):
        setattr(Feed, name, method)
    work()


def signals(place: Place) -> Seen:
    """SIGINT or SIGTERM to the whole command at a random moment, also while it starts, validates or
    saves: it ends within 10 s with 130 or 143 and without a traceback, and the same command does
    the rest. Every third time a second signal follows, which ends it at once."""
    seen = Seen()
    data = pictures(place.inside("data"))
    slowest = 0.0
    arguments = [
        "--steps", "30", "--set", "load_size=36", "--set", "crop_size=32", "--set", "save_every=1",
        "--set", "sample_every=2",
        "--set", "generator.width=4", "--set", "generator.depth=3", "--set", "discriminator.width=4",
        "--set", "discriminator.layers=1", "--threads", "1", "--device", "cpu", "--precision", "fp32",
    ]  # fmt: skip
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

    def started(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "img2img.cli", "train", "pix2pix", data, "-o", out]
        return subprocess.Popen(
            [*map(str, command), *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip

    reference = started(place.folder / "whole")
    began = time.monotonic()
    assert reference.wait() == 0
    seconds, whole = time.monotonic() - began, ending(place.folder / "whole")
    for trial in range(place.count):
        out, sign = place.folder / f"run{trial}", (signal.SIGINT, signal.SIGTERM)[trial % 2]
        process = started(out)
        time.sleep(float(place.rng.uniform(0.1, 1.0)) * seconds)
        process.send_signal(sign)
        sent = time.monotonic()
        if trial % 3 == 2:
            time.sleep(float(place.rng.uniform(0.002, 0.05)))
            process.send_signal(sign)  # nothing, where it has ended
        said = process.communicate(timeout=600)[1].decode(errors="replace")
        taken = time.monotonic() - sent
        slowest = max(slowest, taken)
        again = started(out)
        again.communicate()
        # A signal before Python has set its handlers ends the process as the system does.
        codes = (0, 128 + sign, -sign)
        seen.judge(
            f"trial {trial}, {sign.name}{' twice' if trial % 3 == 2 else ''}",
            _unless(process.returncode in codes, f"exit {process.returncode}"),
            _unless("Traceback" not in said or process.returncode == -sign, said[-200:]),
            _unless(taken <= _within(place, 10), f"{taken:.1f} s"),
            _unless(again.returncode == 0, f"the resumed command ended with {again.returncode}"),
            differs(out, whole), left_behind(out),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"slowest end {slowest:.1f} s"
    return seen


def memory(place: Place) -> Seen:
    """From a random step on the address space may grow by less than a step takes: the run ends with
    4 and says what to lower, what was saved is whole, and with room again it goes on."""
    seen = Seen()
    wide = {"load_size": 128, "crop_size": 128, "batch_size": 8, "steps": _FEW}
    data, whole, _ = undisturbed(place, **wide)
    words = "not enough memory for a step of 8 crops of 128x128: give `batch_size=4` and"
    for trial in range(place.count):
        out, said = place.folder / f"run{trial}", place.folder / f"said{trial}"
        run, at = config(data, out, **wide), int(place.rng.integers(1, _FEW))
        room = int(place.rng.integers(4 << 20))
        said.write_text("")
        code = forked(partial(_running_out, run, at, room), said=said)
        kept = differs(out, whole)  # whole, of another step
        again = forked(finished(run))
        seen.judge(
            f"{room >> 10} KB at step {at}",
            _unless(code == 4, f"ended with {code}"),
            _unless(said.read_text().startswith(words), f"said {said.read_text()!r}"),
            _unless(not (kept or "").startswith("no whole"), kept or ""), left_behind(out),
            _unless(again == 0, f"with room again it ended with {again}"),
            differs(out, whole),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    return seen


def _running_out(run: Any, at: int, room: int) -> None:
    """Train; from the step `at` on only so many more bytes can be had."""
    from img2img.training import train

    asked = [0]

    def look() -> bool:
        if asked[0] == at:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + room
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        asked[0] += 1
        return False

    # What a step gives back goes back to the system, so that the next one has to ask for it.
    ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 16)
    train(run, should_stop=look)

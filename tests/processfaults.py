"""A training whose processes are killed, stopped or told to stop: rows of
`python -m tests.faults training`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults import Place, Seen, _unless, _within
from tests.tinyruns import (
    config,
    differs,
    ending,
    finished,
    forked,
    left_behind,
    pictures,
    undisturbed,
)


def workers(place: Place) -> Seen:
    """One of two data workers killed at a random moment: started again at the same batch, and the
    run ends as if nothing had been."""
    seen = Seen()
    data, whole, seconds = undisturbed(place, workers=2)
    hit = 0
    for trial in range(place.count):
        out = place.folder / f"run{trial}"

        def kill(pid: int) -> None:
            nonlocal hit
            time.sleep(float(place.rng.uniform(0.1, 0.9)) * seconds)
            children = [c for c in _children(pid) if "resource_tracker" not in _command(c)]
            if children:
                hit += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(children[int(place.rng.integers(len(children)))], signal.SIGKILL)

        code = forked(finished(config(data, out, workers=2)), kill)
        seen.judge(f"trial {trial}", _unless(code == 0, f"ended with {code}"), differs(out, whole))
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"{hit} workers killed"
    return seen


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def signals(place: Place) -> Seen:
    """SIGINT or SIGTERM to the whole command at a random moment, also while it starts: it ends
    within 10 s with 130 or 143 and without a traceback, and the same command does the rest."""
    seen = Seen()
    data = pictures(place.inside("data"))
    slowest = 0.0
    arguments = [
        "--steps", "30", "--set", "load_size=36", "--set", "crop_size=32", "--set", "save_every=1",
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
        said = process.communicate(timeout=600)[1].decode(errors="replace")
        taken = time.monotonic() - sent
        slowest = max(slowest, taken)
        again = started(out)
        again.communicate()
        # A signal before Python has set its handlers ends the process as the system does.
        codes = (0, 128 + sign, -sign)
        seen.judge(
            f"trial {trial}",
            _unless(process.returncode in codes, f"exit {process.returncode}"),
            _unless("Traceback" not in said or process.returncode == -sign, said[-200:]),
            _unless(taken <= _within(place, 10), f"{taken:.1f} s"),
            _unless(again.returncode == 0, f"the resumed command ended with {again.returncode}"),
            differs(out, whole), left_behind(out),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"slowest end {slowest:.1f} s"
    return seen

"""A training under loss of power and under a clock that is set back: two rows of
`python -m tests.faults training`.

A loss of power is a real one of an ext4 file system in a loop device: the kernel is told to stop it
without writing its journal (`EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`, as xfstests does), so that
whatever no fsync had forced is gone; the file system is then mounted anew. What a disk itself holds
in its own write cache is not part of it. It takes root on Linux.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from img2img.errors import ModelError
from tests.faults import Place, Seen, _unless
from tests.tinyruns import (
    config,
    differs,
    events,
    finished,
    forked,
    telling,
    undisturbed,
)

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_WITHOUT_JOURNAL = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_SIZE = 48 << 20  # bytes of the disk
# Without the kernel's own remedy for programs that rename what they have not forced to the disk.
_AS = "loop,noauto_da_alloc"
_DAY = 86_400.0


class Disk:
    """An ext4 file system in a file, of which the power can be cut."""

    def __init__(self, folder: Path):
        self._image, self.at = folder / "disk.img", folder / "disk"
        self.at.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(_SIZE)
        _call("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", self._image)
        _call("mount", "-o", _AS, self._image, self.at)

    def lose_power(self) -> None:
        """From now on nothing is written any more, the journal neither."""
        import fcntl  # not on Windows

        handle = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _WITHOUT_JOURNAL))
        finally:
            os.close(handle)

    def start_again(self) -> None:
        """Mounted anew, as after a start of the machine: the journal is replayed."""
        _call("umount", self.at)
        _call("mount", "-o", _AS, self._image, self.at)

    def close(self) -> None:
        """Unmounted; the file is deleted with its folder."""
        _call("umount", self.at)


def _call(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Disk]:
    disk = Disk(folder)
    try:
        yield disk
    finally:
        disk.close()


@cache
def no_power() -> str | None:
    """Why the power of a disk cannot be cut here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a loss of power takes root on Linux"
    try:
        with tempfile.TemporaryDirectory() as folder, _disk(Path(folder)) as disk:
            disk.lose_power()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no ext4 in a loop device here: {error}"
    return None


def power(place: Place) -> Seen:
    """The power is lost at a random moment of a training that saves at every step: every state that
    it had called saved is there and whole, and the same command ends as if nothing had been."""
    if why := no_power():
        return Seen(not_tried=why)
    seen = Seen()
    data, whole, seconds = undisturbed(place)
    amid = 0
    for trial in range(place.count):
        folder = place.inside(f"trial{trial}")
        said = folder / "saved"  # on another file system, which keeps its power
        said.write_text("0")
        with _disk(folder) as disk:
            run = config(data, disk.at / "run")

            def cut(pid: int, disk: Disk = disk) -> None:
                time.sleep(float(place.rng.uniform(0.1, 1.0)) * seconds)
                disk.lose_power()
                os.kill(pid, signal.SIGKILL)

            forked(partial(_train_telling, run, said), cut)
            disk.start_again()
            promised, kept = int(said.read_text() or 0), _newest_whole(disk.at / "run")
            amid += promised > 0
            broken = _broken_models(disk.at / "run")
            again = forked(finished(run))
            seen.judge(
                f"trial {trial}",
                _unless(kept >= promised, f"step {promised} was saved, {kept} is there"),
                broken,
                _unless(again == 0, f"the resumed run ended with {again}"),
                differs(disk.at / "run", whole),
            )
        shutil.rmtree(folder)
    seen.figure = f"{amid} after the first save"
    return seen


def _train_telling(run: Any, said: Path) -> None:
    """Train, and write down each step that is called saved."""
    from img2img.training import train
    from img2img.training.events import Saved

    def listen(event: Any) -> None:
        if isinstance(event, Saved):
            said.with_suffix(".new").write_text(str(event.step))
            os.replace(said.with_suffix(".new"), said)

    train(run, listen)


def _newest_whole(out: Path) -> int:
    """The step of the newest state of a run that can be read; 0 without one."""
    from img2img.model_format.checkpoint import load_state
    from img2img.training.run_folder import states_of

    for path in states_of(out) if out.is_dir() else []:
        with contextlib.suppress(ModelError):
            return int(load_state(path)["step"])
    return 0


def _broken_models(out: Path) -> str | None:
    """Complains of a model file that is there and cannot be read."""
    from img2img.model_format.checkpoint import load_model

    for path in out.glob("*.safetensors"):
        try:
            load_model(path)
        except ModelError as error:
            return str(error)
    return None


def clock(place: Place) -> Seen:
    """The clock is set back by up to ten days at a random step, so that everything in the run
    folder comes from the future, and the older of the two states is then the younger file. The run,
    stopped some steps later, is resumed from its last step."""
    from img2img.training.run_folder import states_of

    seen = Seen()
    data, whole, _ = undisturbed(place)
    last = int(whole["step"])
    for trial in range(place.count):
        out, told = place.folder / f"run{trial}", place.folder / f"told{trial}"
        run = config(data, out)
        at = int(place.rng.integers(1, last - 2))
        stop, back = int(place.rng.integers(at + 1, last)), float(place.rng.uniform(1, 10)) * _DAY
        forked(partial(_train_set_back, run, at, stop, back))
        by_step = sorted(states_of(out), key=lambda path: path.name)
        for place_in_line, path in enumerate(reversed(by_step)):
            moment = time.time() + back * (1 + place_in_line)
            os.utime(path, (moment, moment))
        again = forked(telling(run, told))
        began = [row["step"] for row in events(told, "start")]
        seen.judge(
            f"back by {back / _DAY:.1f} days at step {at}, stopped at {stop}",
            _unless(len(by_step) == 2, f"{len(by_step)} states"),
            _unless(began == [stop], f"resumed from {began}"),
            _unless(again == 0, f"the resumed run ended with {again}"), differs(out, whole),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    return seen


def _train_set_back(run: Any, at: int, stop: int, back: float) -> None:
    """Train up to the step `stop`, with the clock set back by `back` seconds at the step `at`."""
    from img2img.training import train

    real, steps = time.time, [0]

    def look() -> bool:
        if steps[0] == at:
            time.time = lambda: real() - back
            time.time_ns = lambda: int((real() - back) * 1e9)
            for path in run.out.rglob("*"):
                moment = path.stat().st_mtime + back
                os.utime(path, (moment, moment))
        steps[0] += 1
        return steps[0] > stop

    train(run, should_stop=look)

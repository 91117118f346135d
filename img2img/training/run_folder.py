"""The folder of one training: who holds it, what it logs, what a resume needs.

config.toml            every setting, resolved
metrics.jsonl          one object for each logged step and validation
run.json               where and how it runs, its state, time and memory
report.html            all of this to look at, in one page
samples/step-N.jpg     fixed held-out pictures
state-N.i2i            what a resume needs; the newest two are kept
cache/                 decoded pictures that do not fit in memory; may be deleted between runs
model.safetensors      the generator to share (CycleGAN: AtoB and BtoA)
tensorboard/           the same rows and sheets for TensorBoard, when asked for
run.lock               held while a process trains here
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from img2img.errors import (
    DataError,
    EnvironmentFault,
    Img2ImgError,
    ModelError,
    describe_os_error,
)
from img2img.model_format.checkpoint import load_state, save_state
from img2img.system.atomic import lock_file, sweep_stale, write_atomic
from img2img.training.events import Listener, Warned
from img2img.training.state import compare_facts

Row = dict[str, Any]
_KEPT_STATES = 2


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold the run folder for this process.

    Raises EnvironmentFault when another process trains there, or it cannot be written.
    """
    try:
        (out / "samples").mkdir(parents=True, exist_ok=True)
        lock = open(out / "run.lock", "a+")  # noqa: SIM115 - held for the whole run
    except OSError as error:
        raise EnvironmentFault(f"{out}: {describe_os_error(error)}") from None
    with lock:
        _lock(out, lock)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        sweep_stale(out)
        yield


def refuse_second(out: Path) -> None:
    """Raise EnvironmentFault where another process trains in `out` now, before anything is read;
    `claimed` alone keeps it out. Touches nothing."""
    with contextlib.suppress(OSError), open(out / "run.lock", "r+") as lock:
        _lock(out, lock)


def _lock(out: Path, lock: TextIO) -> None:
    try:
        lock_file(lock.fileno())
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        raise EnvironmentFault(f"{out}: process {owner} is already training here") from None


@contextlib.contextmanager
def left_as_found(out: Path) -> Iterator[None]:
    """Where a run is refused inside, take away what decoding has put into its new folder: nothing
    is left behind for weights or settings, and of pictures only whole files, to be used again."""
    new = not out.exists()
    try:
        yield
    except Img2ImgError as error:
        whole = any((out / "cache").glob("*.json"))
        if new and not (whole and isinstance(error, DataError)):
            shutil.rmtree(out / "cache", ignore_errors=True)
            with contextlib.suppress(OSError):
                out.rmdir()
        raise


class Log:
    """metrics.jsonl; on a resume, rows of steps that will be done again are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
        self._guard(lambda: write_atomic(path, "".join(kept).encode()))

    def write(self, row: Row) -> None:
        """Append one row."""

        def append() -> None:
            with open(self.path, "a") as file:
                file.write(json.dumps({k: v for k, v in row.items() if k != "eta_seconds"}) + "\n")

        self._guard(append)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            raise EnvironmentFault(f"{self.path}: {describe_os_error(error)}") from None


def states_of(out: Path) -> list[Path]:
    """The training states in a run folder, newest step first."""
    found = [p for p in out.glob("state-*.i2i") if p.stem[6:].isdigit()]
    return sorted(found, key=lambda p: int(p.stem[6:]), reverse=True)


def store_state(out: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write the state of `step` and remove all but the newest two."""
    save_state(out / f"state-{step:08d}.i2i", state)
    for old in states_of(out)[_KEPT_STATES:]:
        with contextlib.suppress(OSError):
            old.unlink()


def newest_state(out: Path, now: Mapping[str, Any], listen: Listener) -> dict[str, Any] | None:
    """The newest whole state, or None in a new run. `now` are the facts of the present call.

    Raises:
        ModelError: no state can be read, or it belongs to another training; the difference is
            named.
    """
    found = states_of(out)
    for k, path in enumerate(found):
        try:
            state = load_state(path)
        except ModelError as error:
            if k == len(found) - 1:
                raise
            listen(Warned(f"{error}; falling back to the state before it"))
            continue
        compare_facts(path, state["facts"], now, listen)
        return state
    return None

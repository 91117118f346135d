"""Observes other processes on Linux: their memory, their open files, and how both grow."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

LINUX = sys.platform == "linux"
QUICK = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Write `count` small PNGs below `folder`, a thousand in each subfolder."""
    folder.mkdir()
    one = folder.parent / "one.png"
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(one)
    for number in range(count):
        below = folder / str(number // 1000)
        below.mkdir(exist_ok=True)
        (below / f"{number:06}.png").write_bytes(one.read_bytes())


def statuses() -> Iterator[tuple[int, list[str]]]:
    """Every process with the fields of `/proc/PID/stat` after its name."""
    if not LINUX:
        return
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"{entry.path}/stat", "rb") as file:
                text = file.read().decode("ascii", "replace")
                yield int(entry.name), text.rpartition(")")[2].split()


def of_session(session: int) -> list[int]:
    """The running processes of a session."""
    return [pid for pid, status in statuses() if status[3] == str(session) and status[0] != "Z"]


def memory_of(pid: int) -> int:
    """Memory of a process in bytes, shared pages divided among their users (Linux)."""
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
    return 0


def handles_of(pid: int) -> int:
    """Number of open files of a process (Linux)."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def memory_of_session(session: int) -> int:
    """Memory of all processes of a session in bytes (Linux)."""
    return sum(map(memory_of, of_session(session)))


@dataclass(frozen=True)
class Slope:
    """Growth during a job: bytes and open files of all processes per picture."""

    pictures: int
    bytes: float
    handles: float
    memory: int
    seconds: float


def slope(arguments: Sequence[object], every: int = 50, skip: float = 0.25) -> Slope:
    """Run a job and fit lines to its memory and handles over the number of finished pictures, after
    the first quarter (`skip`), while buffers fill. Raises AssertionError if the job fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "img2img.cli", "translate", *map(str, arguments), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **QUICK},
        start_new_session=True,
    )
    assert process.stdout is not None
    points: list[tuple[int, int, int]] = []
    began = time.monotonic()
    done = 0
    for line in process.stdout:
        done += b'"picture"' in line
        if done % every == 0 and b'"picture"' in line:
            # The decoders' memory varies with their pictures; a leak would be in this process.
            handles = sum(map(handles_of, of_session(process.pid)))
            points.append((done, memory_of(process.pid), handles))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    # Towards the end the decoders exit one after the other.
    kept = points[int(len(points) * skip) : -max(1, len(points) // 10)]
    table = np.array([point for point in kept if point[1]], float)
    rise = [float(np.polyfit(table[:, 0], table[:, k], 1)[0]) for k in (1, 2)]
    peak = int(table[:, 1].max())
    return Slope(done, rise[0], rise[1], peak, time.monotonic() - began)

"""A training whose disk fills up, becomes read-only or loses the run folder: rows of
`python -m tests.faults training`.

As root on Linux, every second trial of a full disk has a small disk of its own, a tmpfs; otherwise
the size of a file is limited.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.faults import Place, Seen, _unless
from tests.tinyruns import (
    STEPS,
    config,
    differs,
    finished,
    forked,
    left_behind,
    pictures,
    stopping,
    undisturbed,
)

_ROOM = 64 << 20  # bytes of a disk with room


@contextlib.contextmanager
def _tmpfs(at: Path) -> Iterator[Callable[[str], None]]:
    """A tmpfs at the new folder `at`; yields a function that mounts it anew with other options."""

    def mount(options: str) -> None:
        _call("mount", "-t", "tmpfs", "-o", options, "tmpfs", at)

    at.mkdir()
    mount(f"size={_ROOM}")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        _call("umount", at)


def _call(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@cache
def _mounts() -> bool:
    """Whether a tmpfs can be mounted here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    try:
        with tempfile.TemporaryDirectory() as folder, _tmpfs(Path(folder) / "disk"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _wording(said: Path, words: str, out: Path) -> str | None:
    """Complains of an error that is not one line with these words and a path in the run."""
    text = said.read_text()
    good = words in text and str(out) in text and "\n" not in text
    return None if good else f"said {text!r}"


def full_disk(place: Place) -> Seen:
    """The disk is full from the fourth step on, a little before or after what the next state takes:
    the run ends with 4 and says so, what was saved stays whole, and with room again it goes on."""
    seen = Seen()
    data, whole, _ = undisturbed(place)
    small = 0
    for trial in range(place.count):
        folder = place.inside(f"trial{trial}")
        if trial % 2 and _mounts():
            small += 1
            with _tmpfs(folder / "disk") as mount_again:
                _fill_up(place, seen, data, folder, whole, mount_again)
        else:
            _fill_up(place, seen, data, folder, whole, None)
        shutil.rmtree(folder)
    seen.figure = f"{small} on a small disk, the others by a limit of file sizes"
    return seen


def _fill_up(
    place: Place,
    seen: Seen,
    data: Path,
    folder: Path,
    whole: dict[str, Any],
    mount_again: Callable[[str], None] | None,
) -> None:
    """One trial; on a disk of its own where that can be mounted again."""
    out, said = folder / "disk" / "run", folder / "said"
    run = config(data, out)
    forked(stopping(run, 4))
    size = next(iter(out.glob("state-*"))).stat().st_size
    room = int(place.rng.integers(1, size))

    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        finished(run)()

    if mount_again:
        used = os.statvfs(out)
        mount_again(f"size={(used.f_blocks - used.f_bfree) * used.f_frsize + room}")
        code = forked(finished(run), said=said)
        mount_again(f"size={_ROOM}")
    else:
        code = forked(cramped, said=said)
    kept = differs(out, whole)  # whole, of another step
    over = left_behind(out)
    again = forked(finished(run))
    seen.judge(
        f"room for {room} of {size} bytes",
        _unless(code == 4, f"ended with {code}"),
        _wording(said, "disk full", out),
        _unless(not (kept or "").startswith("no whole"), kept or ""), over,
        _unless(again == 0, f"with room again it ended with {again}"),
        differs(out, whole),
    )  # fmt: skip


# What becomes of the run folder, and what the error says of it.
_LOSSES = {
    "vanishes": "no such file or folder",
    "becomes a file": "Not a directory",
    "becomes read-only": "permission denied",
}


def gone(place: Place) -> Seen:
    """The run folder vanishes, becomes a file or becomes read-only at a random step, and nothing is
    logged before the next save: the run ends there with 4."""
    seen = Seen()
    data = pictures(place.inside("data"))
    for trial in range(place.count):
        how = list(_LOSSES)[trial % 3]
        if how == "becomes read-only" and sys.platform != "linux" and os.geteuid() == 0:
            continue  # root writes everywhere there
        folder, at = place.inside(f"trial{trial}"), int(place.rng.integers(1, STEPS - 1))
        out, said, asked = folder / "run", folder / "said", folder / "asked"
        run = config(data, out, log_every=1000)
        code = forked(partial(_losing_it, run, at, how, asked), said=said)
        times = int(asked.read_text())
        seen.judge(
            f"{how} at step {at}",
            _unless(code == 4, f"ended with {code}"), _wording(said, _LOSSES[how], out),
            _unless(times == at + 1, f"went on to step {times}"),
        )  # fmt: skip
        if out.is_dir():
            out.chmod(0o700)
        shutil.rmtree(folder)
    return seen


def _losing_it(run: Any, at: int, how: str, asked: Path) -> None:
    """Train; before the step `at` that happens to the run folder. `asked` counts the steps."""
    from img2img.training import train

    times = [0]

    def look() -> bool:
        if times[0] == at:
            if how == "becomes read-only":
                run.out.chmod(0o500)
            else:
                shutil.rmtree(run.out)
            if how == "becomes a file":
                run.out.write_text("")
        times[0] += 1
        asked.write_text(str(times[0]))
        return False

    _obey_permissions()
    train(run, should_stop=look)


def _obey_permissions() -> None:
    """Root, too, may from now on write only where it is allowed (Linux)."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc, version = ctypes.CDLL(None), struct.pack("Ii", 0x20080522, 0)
    sets = ctypes.create_string_buffer(24)
    assert libc.capget(version, sets) == 0
    (effective,) = struct.unpack_from("I", sets)
    struct.pack_into("I", sets, 0, effective & ~0b110)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(version, sets) == 0

"""The real command in real processes, looked at from outside: what it prints, what it leaves
behind, how much memory and how many handles its processes hold."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.watched import LINUX, QUICK, memory_of_session, of_session, statuses


@dataclass
class Ended:
    """What became of a command. `peak` is the largest memory of all its processes together, in
    bytes (resident, shared parts divided), 0 where it was not looked at."""

    code: int
    out: bytes
    errors: bytes
    seconds: float
    peak: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON events."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """The events of pictures."""
        return [row for row in self.rows if row["event"] == "picture"]

    def count(self, status: str) -> int:
        """How many pictures have this status."""
        return sum(row["status"] == status for row in self.pictures)


def translate(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    during: Callable[[subprocess.Popen[bytes]], None] | None = None,
    look: bool = False,
    timeout: float = 900,
    cwd: Path | None = None,
    json: bool = True,
) -> Ended:
    """Run `img2img translate` with `arguments` to its end.

    `before` is called in the child, `during` in a thread of its own while the command runs;
    `look` samples the memory. `wrong` of the answer lists what no fault excuses: a traceback, a
    process or a temporary file left behind.
    """
    command = [
        sys.executable,
        "-m",
        "img2img.cli",
        "translate",
        *(_text(a) for a in arguments),
    ]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, *(["--json"] if json else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **QUICK, **(env or {})},
        cwd=cwd,
        preexec_fn=before,
        start_new_session=os.name == "posix",
    )
    watch = _Memory(process.pid) if look and LINUX else None
    thread = None if during is None else threading.Thread(target=during, args=(process,))
    if thread is not None:
        thread.start()
    try:
        out, errors = process.communicate(timeout=timeout)
        hung = False
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        out, errors = process.communicate()
        hung = True
    if thread is not None:
        thread.join()
    peak = watch.close() if watch else 0
    ended = Ended(process.returncode, out, errors, time.monotonic() - began, peak)
    ended.wrong = [*_traces(errors), *(["hung"] if hung else [])]
    ended.wrong += [f"process {pid} was left behind" for pid in left_behind(process.pid)]
    return ended


def _text(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)


def _traces(errors: bytes) -> list[str]:
    found = [
        word for word in (b"Traceback", b"unexpected ", b"Exception ignored") if word in errors
    ]
    return [f"{word.decode()!r} on stderr: {errors[-300:]!r}" for word in found]


def left_over(folder: Path) -> list[str]:
    """Our temporary files below `folder`."""
    return [f"{path} was left over" for path in folder.rglob(".i2i-*")]


def left_behind(session: int, patience: float = 60) -> list[int]:
    """Processes of a session that are still there after some `patience`; none off Linux."""
    end = time.monotonic() + patience
    while (pids := of_session(session)) and time.monotonic() < end:
        time.sleep(0.05)
    return pids


def kill_session(session: int) -> None:
    """Kill every process of a session that this process has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


def decoders_of(pid: int) -> list[int]:
    """The decoding processes of a command, without a child between fork and exec: stopping that
    one would stop the parent, which waits for the exec."""
    children = [child for child, status in statuses() if status[1] == str(pid) and status[0] != "Z"]
    own = _program_of(pid)
    return [child for child in children if _program_of(child) not in (own, b"")]


def _program_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


class _Memory:
    def __init__(self, session: int):
        self._session, self._peak = session, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            self._peak = max(self._peak, memory_of_session(self._session))

    def close(self) -> int:
        self._end.set()
        self._thread.join()
        return self._peak


def without_override() -> Callable[[], None] | None:
    """For `before`: takes root's power over permissions from the child, so that what is unreadable
    is so for root; None where it is not needed, on other systems than Linux."""
    if not LINUX or os.getuid() != 0:
        return None
    import ctypes

    libc = ctypes.CDLL(None)

    def drop() -> None:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    return drop

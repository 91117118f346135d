"""A run folder whose place is an address: a local copy in which the run works, and its publishing.

CACHE/remote/run-KEY/NAME/            the run folder (`training.run_folder`)
CACHE/remote/run-KEY/published.json   what was uploaded or fetched, and this copy's own mark
CACHE/remote/run-KEY/lock             held while a process trains here
ADDRESS/running.json                  who trains; renewed every `HEARTBEAT` seconds while it does

A state is uploaded after all else, and an older one is removed after that, so what is there can be
resumed at any time, from any machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from img2img.data.mirror import PAUSE, TRIES, download
from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.system.atomic import lock_file, write_atomic
from img2img.system.places import Entry, Place
from img2img.system.refusals import Vanished

MARK = "running.json"
HEARTBEAT, STALE = 30.0, 180.0  # seconds
_STATE = re.compile(r"state-(\d+)\.i2i")
_FOLDERS = ("samples", "tensorboard")  # that are published
_APART = ("run.lock", MARK)
Known = list[Any]  # size and time of change of the local file, stamp of the remote one


class RemoteRun:
    """The local copy of a remote run folder.

    Raises:
        UsageError: the place cannot be written, whatever the rights.
        MissingExtra, EnvironmentFault: as `Place`.
    """

    def __init__(self, address: str, folder: Path, clock: Callable[[], float] = time.time):
        self.place, self.folder, self._home = Place(address), folder, folder.parent
        self._clock = clock
        if self.place.read_only:
            raise UsageError(f"`out` {address}: not writable")
        try:
            known = json.loads((self._home / "published.json").read_bytes())
        except (OSError, ValueError):
            known = {}
        self._mark: str = known.get("mark") or secrets.token_hex(8)
        self._files: dict[str, Known] = known.get("files", {})

    # --- the start

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the local copy for this process. Raises EnvironmentFault where another one does."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self._home / "lock", "a+")  # noqa: SIM115 - held for the whole run
        except OSError as error:
            raise EnvironmentFault(f"{self._home}: {describe_os_error(error)}") from None
        with lock:
            try:
                lock_file(lock.fileno())
            except OSError:
                words = "another process on this machine is already training into it"
                raise EnvironmentFault(f"{self.place.address}: {words}") from None
            yield

    def fetch(self) -> int:
        """Take over what another machine has published since; returns how many files came.

        Raises:
            UsageError: there is another training, or there was one.
            EnvironmentFault: the place cannot be read, or the copy not be written.
        """
        address = self.place.address
        there = {entry.name: entry for entry in self.place.entries() if _of_run(entry.name)}
        theirs, ours = _newest(there), _newest(self._local())
        if ours is None:
            self._files = {}
        if theirs is None:
            if any(map(_STATE.fullmatch, self._files)):
                raise UsageError(
                    f"{address}: the run no longer exists there, and its copy in {self.folder} is "
                    f"at step {_step(ours)}: remove that folder to start again, or copy it back"
                )
            return 0
        known = self._files.get(theirs)
        if known and known[2] == there[theirs].stamp:
            if ours is not None and _step(ours) >= _step(theirs):
                return 0
        elif ours is not None and _step(ours) > _step(theirs):
            raise UsageError(
                f"{address}: holds a training at step {_step(theirs)} that is not the one in "
                f"{self.folder}, which is at step {_step(ours)}: remove one of them"
            )
        try:
            return self._take(there)
        except OSError as error:
            raise EnvironmentFault(f"{self.folder}: {describe_os_error(error)}") from None
        except Vanished as error:
            raise EnvironmentFault(f"{error}: removed while it was fetched") from None

    def _take(self, there: dict[str, Entry]) -> int:
        """Make the local copy what is there, the states last."""
        partial, count = self._home / "partial", 0
        partial.mkdir(exist_ok=True)
        for name in sorted(there, key=_order):
            target = self.folder / name
            known = self._files.get(name)
            if known and known[2] == there[name].stamp and _identity(target) == known[:2]:
                continue
            row = download(self.place, there[name], target, partial)
            self._files[name] = [row.size, row.changed, row.stamp]
            self._remember()
            count += 1
        for name in self._local():
            if name not in there:
                (self.folder / name).unlink()
        self._files = {name: known for name, known in self._files.items() if name in there}
        self._remember()
        return count

    # --- the mark

    def claim(self) -> None:
        """Write the mark, by which other machines see that somebody trains.

        Raises:
            EnvironmentFault: another machine trains there, or it cannot be written.
            UsageError: no such bucket.
        """
        try:
            self.renew()
        except Vanished:
            raise UsageError(f"{self.place.address}: no such bucket") from None
        self._look_for_others()  # who wrote at the same moment

    def renew(self) -> None:
        """Say in the mark that this process still trains, unless another machine does. Raises
        Vanished, EnvironmentFault."""
        self._look_for_others()
        row = {
            "mark": self._mark,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "time": self._clock(),
        }
        self.place.draft(MARK, json.dumps(row).encode()).publish()

    def release(self) -> None:
        """Remove the mark, where it is this copy's. Raises EnvironmentFault."""
        if self._read_mark().get("mark") == self._mark:
            self.place.remove(MARK)

    def _read_mark(self) -> dict[str, Any]:
        try:
            row = json.loads(self.place.read(MARK))
            return row | {"time": float(row["time"])}
        except (Vanished, ValueError, TypeError, KeyError):
            return {}

    def _look_for_others(self) -> None:
        row = self._read_mark()
        if row.get("mark", self._mark) == self._mark or self._clock() - row["time"] > STALE:
            return
        when = datetime.fromtimestamp(row["time"], UTC).strftime("%H:%M:%S UTC")
        raise EnvironmentFault(
            f"{self.place.address}: process {row.get('process')} of {row.get('host')} is training "
            f"into it (last seen at {when}); if it is not, wait {STALE / 60:.0f} minutes or remove "
            f"{self.place.full(MARK)}"
        )

    # --- publishing

    def publish(self) -> None:
        """Upload what has changed, the states last, and remove states that are no more.

        Raises:
            EnvironmentFault: the place cannot be written, or another machine trains there.
        """
        self._look_for_others()
        for name in sorted(self._local(), key=_order):
            source = self.folder / name
            before = _identity(source)
            if before is None or self._files.get(name, [])[:2] == before:
                continue
            try:
                self.place.upload(source, name)
                there = self.place.entry(name)
            except Vanished as error:
                if not source.exists():  # an old state, removed meanwhile
                    continue
                raise EnvironmentFault(f"{error}: no such bucket, or removed meanwhile") from None
            if there.size != before[0] and _identity(source) == before:
                raise EnvironmentFault(
                    f"{self.place.full(name)}: {there.size} of {before[0]} bytes arrived"
                )
            self._files[name] = [*before, there.stamp]
            self._remember()
        for name in [name for name in self._files if _STATE.fullmatch(name)]:
            if not (self.folder / name).exists():
                self.place.remove(name)
                del self._files[name]
        self._remember()

    def _local(self) -> list[str]:
        """Names of the files of the run folder that are published."""
        found = []
        for folder in (self.folder, *(self.folder / name for name in _FOLDERS)):
            for path, inner, files in os.walk(folder):
                if folder == self.folder:
                    inner.clear()
                found += [(Path(path, name)).relative_to(self.folder).as_posix() for name in files]
        return list(filter(_of_run, found))

    def _remember(self) -> None:
        row = {"address": self.place.address, "mark": self._mark, "files": self._files}
        try:
            write_atomic(self._home / "published.json", json.dumps(row).encode())
        except OSError as error:
            raise EnvironmentFault(f"{self._home}: {describe_os_error(error)}") from None


class Publisher:
    """Publishes a run in a thread of its own while it trains, so that no step waits for it, and
    renews its mark in another.

    Attributes:
        trouble: why the last attempt failed, in one line; empty where it did not.
    """

    def __init__(self, run: RemoteRun):
        self._run = run
        self.trouble = ""
        self._wanted, self._ended, self._over = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()
        threading.Thread(target=self._renew, name="mark", daemon=True).start()

    def ask(self) -> None:
        """Let what has changed be published soon."""
        self._wanted.set()

    def close(self) -> str:
        """Publish the rest and remove the mark; returns why that failed, or an empty text."""
        self._ended.set()
        self._wanted.set()
        self._thread.join()
        trouble = self._attempt(time.sleep)
        self.leave()
        return trouble

    def leave(self) -> None:
        """Remove the mark, and do nothing more."""
        for event in (self._ended, self._wanted, self._over):
            event.set()
        with contextlib.suppress(EnvironmentFault):
            self._run.release()

    def _work(self) -> None:
        while self._wanted.wait() and not self._ended.is_set():
            self._wanted.clear()
            self.trouble = self._attempt(self._ended.wait)

    def _renew(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(EnvironmentFault, Vanished):
                self._run.renew()

    def _attempt(self, pause: Callable[[float], object]) -> str:
        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                pause(PAUSE * 2 ** (attempt - 1))
            try:
                self._run.publish()
            except EnvironmentFault as error:
                trouble = str(error)
            else:
                return ""
        return trouble


def _of_run(name: str) -> bool:
    """Whether a name in a run folder is published: its own files, but not what evaluations, other
    runs and the cache keep in folders below it."""
    *folders, last = name.split("/")
    wanted = not folders or folders[0] in _FOLDERS
    hidden = any(part.startswith(".") for part in (*folders, last))
    return wanted and not hidden and name not in _APART and "" not in folders


def _order(name: str) -> tuple[int, str]:
    """The settings first, so that what is there can be told; the states last, the oldest first."""
    return (2 if _STATE.fullmatch(name) else int(name != "config.toml"), name)


def _newest(names: Iterable[str]) -> str | None:
    states = [name for name in names if _STATE.fullmatch(name)]
    return max(states, key=_step, default=None)


def _step(name: str | None) -> int:
    match = _STATE.fullmatch(name or "")
    return int(match[1]) if match else 0


def _identity(path: Path) -> Known | None:
    """Size and time of change in nanoseconds."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]

"""A copy on this machine of a remote folder, brought up to date and verified at each start.

CACHE/remote/data-KEY/NAME/         the copy: the files below the address, under their names
CACHE/remote/data-KEY/index.jsonl   of each file: name, size, the storage's stamp, SHA-256, time
CACHE/remote/data-KEY/partial/      downloads that are not whole yet
CACHE/remote/data-KEY/lock          held while one process fetches; others wait
CACHE/remote/data-KEY/session       the training whose processes have this copy

KEY is a hash of the address. A file is renamed to its place when all of it is there, and its row is
appended then, so what a killed process leaves is whole or is fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from img2img.data.store import listing
from img2img.errors import DataError, EnvironmentFault, UsageError, describe_os_error
from img2img.system.atomic import lock_file, write_atomic
from img2img.system.cache import cache_folder
from img2img.system.digest import file_sha256
from img2img.system.places import Entry, Place, same_stamp
from img2img.system.refusals import DiskFault, Vanished

CHECKED_BYTES = 2 << 30  # read again at a start, at most, to compare their SHA-256
TRIES, PAUSE = 3, 1.0  # of a download; seconds before the second, doubled before the next
_THREADS = 8
_WEB = ("http", "https")
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_ELSEWHERE = "make room, or keep the copies elsewhere with `cache_folder=FOLDER`"


class FetchStopped(EnvironmentFault):
    """`should_stop` said so before all files were there; the same call fetches the rest."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index knows of a copy: size in bytes, the storage's stamp, SHA-256, and the time of
    the copy's last change in nanoseconds."""

    size: int
    stamp: str
    sha256: str
    changed: int


@dataclass(frozen=True)
class Mirrored:
    """A copy that is up to date: how many files it has, how many of them were fetched now, with
    how many bytes, and how many were removed."""

    folder: Path
    files: int
    fetched: int
    removed: int
    bytes: int


def copy_of(address: str, kind: str, cache: Path | None = None) -> Path:
    """The folder of this machine that stands for `address`; `kind` is `data` or `run`. Its name is
    the last one of the address. Nothing is read or made.

    Args:
        cache: by default img2img's folder below the cache of this system.
    """
    plain = address.rstrip("/")
    key = hashlib.sha256(plain.encode()).hexdigest()[:16]
    last = [part for part in re.split(r"[/\\]|::", plain.partition("://")[2]) if part][-1:]
    name = re.sub(r"[^\w .()+=-]", "_", "".join(last)).strip(". ") or kind
    return (cache or cache_folder()) / "remote" / f"{kind}-{key}" / name


def mirror(
    address: str,
    cache: Path | None = None,
    progress: Callable[[int, int, int, int], None] = lambda *counts: None,
    note: Callable[[str], None] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
    session: str = "",
) -> Mirrored:
    """Bring the copy of `address` up to date: fetch what is missing, what the storage says has
    changed, and what is no longer as it was fetched; remove what is no longer there.

    A copy whose size or time of change is not the recorded one is read again, and of the others at
    most `CHECKED_BYTES` at each start, those first that were not read for longest. Hidden files are
    left out. One process fetches at a time, and others wait.

    Args:
        progress: gets files done, files to fetch, bytes done, bytes to fetch.
        session: names the processes of one training; the first one fetches, for all.

    Raises:
        UsageError: no such place, a file, or no files there; DataError: names that no folder holds.
        MissingExtra: fsspec is not installed.
        EnvironmentFault: the place cannot be read, or the copy not be written.
        FetchStopped: see there.
    """
    place, folder = Place(address), copy_of(address, "data", cache)
    home = folder.parent
    try:
        (home / "partial").mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        with _alone(home / "lock", address, note, should_stop):
            session_file = home / "session"
            if session and session_file.exists() and session_file.read_text() == session:
                return Mirrored(folder, len(read_index(home)), 0, 0, 0)
            done = _Update(place, folder, progress, should_stop).run()
            write_atomic(session_file, session.encode())
            return done
    except OSError as error:
        words = describe_os_error(error)
        raise EnvironmentFault(f"{home}: {words}; {_ELSEWHERE}") from None


def download(place: Place, entry: Entry, target: Path, partial: Path) -> Row:
    """Copy one file to `target`, whole or not at all. Where its size is not the listed one, the
    storage is asked again, for it may have been replaced since.

    Raises:
        Vanished: it is not there any more.
        EnvironmentFault: it cannot be read or is cut short, `TRIES` times; DiskFault.
        OSError: it cannot be written.
    """
    temporary = partial / hashlib.sha256(entry.name.encode()).hexdigest()
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            place.download(entry.name, temporary)
            size = temporary.stat().st_size
            listed = entry.size or place.scheme not in _WEB  # some web servers list no size
            if listed and size != entry.size:
                words = f"{size} bytes arrived, {entry.size} are listed"
                entry = place.entry(entry.name)
                raise EnvironmentFault(f"{place.full(entry.name)}: {words}")
            break
        except DiskFault:
            raise
        except EnvironmentFault:
            if attempt == TRIES - 1:
                temporary.unlink(missing_ok=True)
                raise
    digest = file_sha256(temporary)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, target)
    return Row(size, entry.stamp, digest, target.stat().st_mtime_ns)


def read_index(home: Path) -> dict[str, Row]:
    """The rows of a copy by name, those first whose copies were not read for longest; a line that
    was cut short is left out."""
    rows: dict[str, Row] = {}
    with contextlib.suppress(FileNotFoundError), open(home / "index.jsonl", "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError, TypeError):
                name, *values = json.loads(line)
                rows.pop(name, None)
                rows[name] = Row(*values)
    return rows


def write_index(home: Path, rows: Iterable[tuple[str, Row]]) -> None:
    """Replace the index. Raises OSError."""
    write_atomic(home / "index.jsonl", b"".join(_line(name, row) for name, row in rows))


def _line(name: str, row: Row) -> bytes:
    return json.dumps([name, row.size, row.stamp, row.sha256, row.changed]).encode() + b"\n"


@contextlib.contextmanager
def _alone(
    path: Path, address: str, note: Callable[[str], None], should_stop: Callable[[], bool]
) -> Iterator[None]:
    """Hold the lock file; wait for whoever has it, and say so once."""
    with open(path, "a+") as file:
        for attempt in itertools.count():
            try:
                lock_file(file.fileno())
                break
            except OSError as error:
                if error.errno not in _HELD:
                    raise
            if not attempt:
                note(f"{address}: another process is fetching it; waiting")
            if should_stop():
                raise FetchStopped(f"{address}: stopped while another process was fetching it")
            time.sleep(0.1)
        yield


class _Update:
    def __init__(
        self,
        place: Place,
        folder: Path,
        progress: Callable[[int, int, int, int], None],
        should_stop: Callable[[], bool],
    ):
        self._place, self._folder, self._home = place, folder, folder.parent
        self._progress, self._should_stop = progress, should_stop
        self._rows = read_index(self._home)
        self._there: set[str] = set()  # names that the storage lists
        self._misnamed: list[str] = []
        self._failed: list[str] = []

    def run(self) -> Mirrored:
        place = self._place
        if not place.is_folder():
            raise UsageError(f"{place.address}: {self._no_folder()}")
        for left in (self._home / "partial").iterdir():
            left.unlink()
        with ThreadPoolExecutor(1 if place.scheme in ("zip", "tar") else _THREADS) as pool:
            wanted = [entry for entry in self._listed(pool) if not self._seems_whole(entry)]
            if not self._there and not self._misnamed:
                raise UsageError(f"{place.address}: {self._no_folder('no files there')}")
            changed = {entry.name for entry in wanted}
            wanted += self._spoiled(changed, pool)
            amount = sum(entry.size for entry in wanted)
            self._require_room(wanted, amount)
            fetched, arrived = self._fetch(wanted, amount, pool)
        if self._failed or self._misnamed:
            self._complain()
        removed = self._remove_others()
        for name in [name for name in self._rows if name not in self._there]:
            del self._rows[name]
        write_index(self._home, self._rows.items())
        return Mirrored(self._folder, len(self._rows), fetched, removed, arrived)

    def _no_folder(self, otherwise: str = "a file; give the folder that holds it") -> str:
        if self._place.scheme in _WEB:
            return "this web server shows no page of links, so its files cannot be listed"
        return otherwise

    def _listed(self, pool: ThreadPoolExecutor) -> Iterator[Entry]:
        entries = filter(self._usable, self._place.entries())
        if self._place.scheme in _WEB:  # a page of links states neither size nor time
            entries = filter(None, pool.map(self._asked, entries))
        for entry in entries:
            self._there.add(entry.name)
            yield entry

    def _usable(self, entry: Entry) -> bool:
        parts = entry.name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or {"\\", "\0"} & set(entry.name):
            self._misnamed.append(entry.name)
            return False
        sorted_by = self._place.scheme in _WEB and "?" in entry.name
        return not sorted_by and not any(part.startswith(".") for part in parts)

    def _asked(self, entry: Entry) -> Entry | None:
        try:
            return self._place.entry(entry.name)
        except Vanished:
            return None

    def _seems_whole(self, entry: Entry) -> bool:
        """By what the storage says and by the size of the copy."""
        row = self._rows.get(entry.name)
        if row is None or not same_stamp(row.stamp, entry.stamp):
            return False
        try:
            return (self._folder / entry.name).stat().st_size == row.size
        except OSError:
            return False

    def _spoiled(self, known: set[str], pool: ThreadPoolExecutor) -> list[Entry]:
        """Copies that are no longer what was fetched; those that were read move to the end."""
        read, left = [], CHECKED_BYTES
        for name, row in self._rows.items():
            if name not in self._there or name in known:
                continue
            touched = (self._folder / name).stat().st_mtime_ns != row.changed
            if touched or row.size <= left or left == CHECKED_BYTES:
                read.append(name)
                left = left if touched else max(0, left - row.size)
        spoiled = []
        for name, whole in zip(read, pool.map(self._is_whole, read), strict=True):
            row = self._rows.pop(name)
            changed = (self._folder / name).stat().st_mtime_ns if whole else 0
            self._rows[name] = replace(row, changed=changed)
            if not whole:
                spoiled.append(Entry(name, row.size, row.stamp))
        return spoiled

    def _is_whole(self, name: str) -> bool:
        try:
            return file_sha256(self._folder / name) == self._rows[name].sha256
        except OSError:
            return False

    def _require_room(self, wanted: list[Entry], amount: int) -> None:
        replaced = sum(self._rows[e.name].size for e in wanted if e.name in self._rows)
        free = shutil.disk_usage(self._folder).free
        if amount - replaced > free:
            raise EnvironmentFault(
                f"{self._folder}: {amount / 2**20:.0f} MB of {self._place.address} are to be "
                f"fetched and {free / 2**20:.0f} MB are free; {_ELSEWHERE}"
            )

    def _fetch(self, wanted: list[Entry], amount: int, pool: ThreadPoolExecutor) -> tuple[int, int]:
        """How many files came, and how many bytes."""
        fetched = arrived = done = 0
        waiting: dict[Future[Row], str] = {}
        ahead = iter(wanted)
        with open(self._home / "index.jsonl", "ab") as log:
            try:
                while True:
                    for entry in itertools.islice(ahead, 4 * _THREADS - len(waiting)):
                        target = self._folder / entry.name
                        where = (self._place, entry, target, self._home / "partial")
                        waiting[pool.submit(download, *where)] = entry.name
                    if not waiting:
                        return fetched, arrived
                    for future in wait(waiting, timeout=1, return_when=FIRST_COMPLETED).done:
                        row = self._arrived(future, waiting.pop(future), log.write)
                        log.flush()
                        done, fetched = done + 1, fetched + (row is not None)
                        arrived += row.size if row else 0
                        self._progress(done, len(wanted), arrived, amount)
                    if waiting and self._should_stop():
                        raise FetchStopped(
                            f"{self._place.address}: stopped after {done} of {len(wanted)} files; "
                            "the same call fetches the rest"
                        )
            finally:
                for future in waiting:
                    future.cancel()

    def _arrived(
        self, future: Future[Row], name: str, write: Callable[[bytes], object]
    ) -> Row | None:
        try:
            row = future.result()
        except Vanished:
            self._there.discard(name)
            return None
        except DiskFault as error:
            raise EnvironmentFault(f"{error}; {_ELSEWHERE}") from None
        except EnvironmentFault as error:
            self._failed.append(str(error))
            return None
        except OSError as error:  # a name that this system does not take, a folder of that name
            self._failed.append(f"{self._folder / name}: {describe_os_error(error)}")
            return None
        self._rows.pop(name, None)
        self._rows[name] = row
        write(_line(name, row))
        return row

    def _complain(self) -> None:
        address = self._place.address
        if self._failed:
            head = f"{address}: {len(self._failed)} files could not be fetched"
            raise EnvironmentFault(listing(head, self._failed))
        head = f"{address}: {len(self._misnamed)} names that are impossible in a folder"
        raise DataError(listing(head, [repr(name) for name in self._misnamed]))

    def _remove_others(self) -> int:
        """Remove what the storage does not have, and folders that are empty then."""
        removed = 0
        for path, folders, files in os.walk(self._folder, topdown=False):
            for file in files:
                full = Path(path, file)
                if full.relative_to(self._folder).as_posix() not in self._there:
                    full.unlink()
                    removed += 1
            for inner in folders:
                with contextlib.suppress(OSError):  # not empty
                    Path(path, inner).rmdir()
        return removed

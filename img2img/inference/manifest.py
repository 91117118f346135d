"""What was done already: a record beside the outputs, one line of JSON for each."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.inference.jobs import Job

FOLDER = ".img2img"
NAME = "manifest.jsonl"
THERE = "the output already exists"
_OTHER = "the output was made by another model or with other settings; `overwrite` replaces it"


def settings_hash(settings: dict[str, Any]) -> str:
    """A short name for what decides how outputs look."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def fingerprint(path: Path) -> str:
    """A digest of a file's bytes, 32 hexadecimal digits (BLAKE2b). Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a job: `do` it, `skip` it or report that it `failed` before."""

    what: str
    reason: str = ""
    replaces: bool = False


_DO = Verdict("do")


@dataclass(slots=True)
class _Entry:
    """The newest record of one output, and the stamps of every version of it that we wrote."""

    done: bool
    settings: str
    source: tuple[int, int, int]  # size, mtime_ns, ctime_ns
    digest: str
    reason: str
    stamps: tuple[tuple[int, int], ...]  # size, mtime_ns of the output


class Unrecorded:
    """Keeps no record: an output that exists is skipped, unless `overwrite`."""

    def __init__(self, overwrite: bool = False):
        self._overwrite = overwrite

    def verdict(self, job: Job) -> Verdict:
        """What to do with `job`."""
        if not os.path.lexists(job.target):
            return _DO
        if self._overwrite:
            return Verdict("do", replaces=True)
        return Verdict("skip", THERE)

    def done(self, job: Job, digest: str, temporary: Path) -> None:
        """Nothing."""

    def failed(self, job: Job, reason: str) -> None:
        """Nothing."""


class Manifest(Unrecorded):
    """Outputs of earlier commands in one output folder, and those of this one.

    A record is written before its output takes its name, with the size and time that the output
    will have; so after a kill at any moment an output is ours exactly when a record says so. Lines
    that a kill cut short are passed over.

    Args:
        out: the output folder; the file is `out/.img2img/manifest.jsonl`.
        settings: `settings_hash` of all that decides how outputs look, the model among it.
        overwrite: everything is to be done again.
        retry_failed: what failed before is tried again, also where nothing has changed.
        model: the model's name, for messages.
        jobs: what is planned; checked for outputs that another model or other settings made.
        labelled: the jobs' domains come from a table, so that another one is a changed input.

    Raises:
        EnvironmentFault: the file cannot be read or written.
        UsageError: `jobs` would replace what another model or other settings made, without
            `overwrite`.
    """

    def __init__(
        self,
        out: Path,
        settings: dict[str, Any],
        overwrite: bool = False,
        retry_failed: bool = False,
        model: str = "",
        jobs: Sequence[Job] = (),
        labelled: bool = False,
    ):
        super().__init__(overwrite)
        self._out = out
        self._model, self._meaning, self._labelled = model, settings, labelled
        self._headers: dict[str, dict[str, Any]] = {}
        self._settings = settings_hash(settings)
        self._retry = retry_failed
        self._lock = threading.Lock()
        self._path = out / FOLDER / NAME
        self._entries: dict[str, _Entry] = {}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and not self._path.is_file():
                raise EnvironmentFault(f"{self._path}: not a regular file; move it away")
            if self._path.exists():
                with open(self._path, "rb") as old:
                    self._load(old)
            self._refuse_others(jobs)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
            if self._path.stat().st_size and not _ends_with_newline(self._path):
                self._file.write(b"\n")
        except OSError as error:
            raise EnvironmentFault(f"{self._path}: {describe_os_error(error)}") from None
        self._write(
            {"settings": self._settings, "meaning": settings, "model": model, "time": _now()}
        )

    def verdict(self, job: Job) -> Verdict:
        """What to do with `job`, judged by its source, its output and the record."""
        entry = self._entries.get(self._name(job))
        stamp = _stamp(job.target)
        if entry is not None and stamp is not None and stamp[0] == 0:
            return Verdict("do", replaces=True)  # what a power cut left of an output of ours
        if stamp is None:
            return self._again(job, entry) if entry and not entry.done else _DO
        if self._overwrite:
            return Verdict("do", replaces=True)
        if entry is None or not entry.stamps:
            return Verdict("skip", THERE)
        if stamp not in entry.stamps:
            return Verdict("skip", "the output was modified since; `overwrite` replaces it")
        if self._is_other(entry, job):
            return Verdict("skip", _OTHER)
        if not entry.done:
            verdict = self._again(job, entry)
            return Verdict("do", replaces=True) if verdict is _DO else verdict
        if stamp == entry.stamps[-1] and self._same(job, entry):
            return Verdict("skip", "done already")
        return Verdict("do", replaces=True)

    def done(self, job: Job, digest: str, temporary: Path) -> None:
        """Record that `temporary` is about to become the output of `job`."""
        status = temporary.stat()
        self._record(job, True, digest, "", (status.st_size, status.st_mtime_ns))

    def failed(self, job: Job, reason: str) -> None:
        """Record that `job` cannot be done."""
        self._record(job, False, "", reason, None)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _again(self, job: Job, entry: _Entry) -> Verdict:
        if self._retry or self._overwrite or not self._same(job, entry, exactly=True):
            return _DO
        return Verdict("failed", f"{entry.reason} (as before; `retry_failed` tries again)")

    def _same(self, job: Job, entry: _Entry, exactly: bool = False) -> bool:
        if entry.settings != self._of(job):
            return False
        source = _source(job.source)
        if exactly:  # a changed permission shows in the ctime only
            return source == entry.source
        if source[:2] == entry.source[:2]:
            return True
        if source[0] != entry.source[0] or not entry.digest:
            return False
        try:
            return fingerprint(job.source) == entry.digest
        except OSError:
            return False

    def _is_other(self, entry: _Entry, job: Job) -> bool:
        """True for an output that another model, other settings or another domain made."""
        if self._labelled:
            return entry.settings.partition("/")[0] != self._settings
        return entry.settings != self._of(job)

    def _refuse_others(self, jobs: Sequence[Job]) -> None:
        if self._overwrite:
            return
        others = []
        for job in jobs:
            entry = self._entries.get(self._name(job))
            if job.ignored or entry is None or not self._is_other(entry, job):
                continue
            if (stamp := _stamp(job.target)) in entry.stamps and stamp != (0, 0):
                others.append(entry)
        if others:
            count = f"{len(others)} picture{'s' * (len(others) > 1)}"
            raise UsageError(
                f"{self._out}: holds {count} {self._made_by(others[0])}; give `overwrite` to "
                "replace, or another folder as `out`"
            )

    def _made_by(self, entry: _Entry) -> str:
        header = self._headers.get(entry.settings.partition("/")[0], {})
        meaning, model = header.get("meaning"), header.get("model")
        if not isinstance(meaning, dict) or meaning.get("model") != self._meaning.get("model"):
            if not isinstance(model, str) or not model:
                return f"made by another model than {self._model or 'this one'}"
            if model == self._model:
                return f"made by another version of model {model}"
            return f"made by model {model}, not {self._model}"
        names = [n for n in {**meaning, **self._meaning} if meaning.get(n) != self._meaning.get(n)]
        differences = [f"{n} {meaning.get(n)}, not {self._meaning.get(n)}" for n in names]
        return f"made with other settings ({'; '.join(differences) or 'another domain'})"

    def _of(self, job: Job) -> str:
        if job.domain is None:
            return self._settings
        return f"{self._settings}/{''.join(f'{v:g}' for v in job.domain)}"

    def _record(
        self, job: Job, done: bool, digest: str, reason: str, stamp: tuple[int, int] | None
    ) -> None:
        row: dict[str, Any] = {
            "output": self._name(job),
            "status": "done" if done else "failed",
            "source": str(job.source),
            "of": _source(job.source),
            "settings": self._of(job),
            "time": _now(),
        }
        row |= {"digest": digest, "is": stamp} if done else {"reason": reason}
        with self._lock:
            self._write(row)
            self._take(row)

    def _write(self, row: dict[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        try:
            whole = self._file.write(line) == len(line)
            # Nobody would find outputs again whose folder was removed or renamed meanwhile.
            there = os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            whole, there = True, False
        except OSError as error:
            raise EnvironmentFault(
                f"{self._path}: not written: {describe_os_error(error)}"
            ) from None
        if not whole:
            raise EnvironmentFault(f"{self._path}: not written: disk full")
        if not there:
            raise EnvironmentFault(
                f"{self._path}: has disappeared; was the output folder removed or renamed?"
            )

    def _load(self, file: BinaryIO) -> None:
        for line in file:
            try:
                row = json.loads(line)
                if "output" in row:
                    self._take(row)
                elif "settings" in row:
                    self._headers[str(row["settings"])] = row
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue

    def _take(self, row: dict[str, Any]) -> None:
        name, done = row["output"], row["status"] == "done"
        old = self._entries.get(name)
        stamps = old.stamps if old else ()
        if done:
            stamps = (*stamps, (int(row["is"][0]), int(row["is"][1])))[-8:]
        size, mtime, ctime = map(int, row["of"])
        self._entries[name] = _Entry(
            done,
            str(row["settings"]),
            (size, mtime, ctime),
            str(row.get("digest", "")),
            str(row.get("reason", "")),
            stamps,
        )

    def _name(self, job: Job) -> str:
        try:
            return job.target.relative_to(self._out).as_posix()
        except ValueError:
            return str(job.target)


def _source(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1, -1
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1) if os.path.lexists(path) else None
    return status.st_size, status.st_mtime_ns


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

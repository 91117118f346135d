"""The record of what was done, for more pictures than one memory holds: Parquet parts.

Tasks append parts to `.img2img/log/`, each written once. `compact` moves their rows into shards by
the digest of the pictures' names, `.img2img/shards/`, merges small parts, and removes what it has
read only when the new part is there. A row may stand in two parts, and the newest of an output
counts; so a kill at any moment loses nothing and doubles nothing.
"""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from img2img.errors import EnvironmentFault, first_line
from img2img.inference.manifest import FOLDER, settings_hash
from img2img.system.places import Place
from img2img.system.refusals import Vanished

if TYPE_CHECKING:
    import pyarrow as pa

_LOG, _SHARDS, _SETTINGS = f"{FOLDER}/log", f"{FOLDER}/shards", f"{FOLDER}/settings"
_ALL = "all"  # the shard of everything, while there is little
_FEW, _MANY = 100_000, 20_000_000  # names up to which there is one shard, or 256
_PARTS = 8  # parts of a shard before they are merged
_ROWS = 200_000  # rows that are distributed at a time
_VERSIONS = 8  # stamps of an output that are remembered
_COLUMNS = ("key", "output", "source", "of", "status", "settings", "digest", "reason", "is")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the manifest.

    Attributes:
        key: the digest of the picture's name, see `key_of`.
        output: the name of the output below the output place; `source`: the picture's address.
        of, stamp: stamps of the source as it was read and of the output.
        done: False where it failed, for `reason`.
        settings: short name of what decided how the output looks.
        digest: of the source's bytes.
    """

    key: str
    output: str
    source: str
    of: str
    done: bool
    settings: str
    digest: str = ""
    reason: str = ""
    stamp: str = ""


@dataclass(slots=True)
class Entry:
    """The newest record of an output, and the stamps of every version of it that we wrote."""

    done: bool
    settings: str
    of: str
    digest: str
    reason: str
    stamps: tuple[str, ...]


class Records:
    """The manifest of an output place.

    Raises EnvironmentFault (every method) when the storage refuses.
    """

    def __init__(self, place: Place):
        self._place = place
        self._shards: dict[str, list[str]] | None = None
        self._cached: tuple[str, Any] | None = None

    def append(self, records: Iterable[Record]) -> None:
        """Write one part with these records."""
        now = time.time_ns()
        rows = [
            (r.key, r.output, r.source, r.of, "done" if r.done else "failed", r.settings, r.digest,
             r.reason, r.stamp, now)
            for r in records
        ]  # fmt: skip
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self._write(_LOG, dict(zip((*_COLUMNS, "time"), columns, strict=True)))

    def settings(self, meaning: dict[str, Any], model: str) -> str:
        """Write down what a short name of settings means; returns it."""
        name = settings_hash(meaning)
        text = json.dumps({"settings": name, "meaning": meaning, "model": model}, sort_keys=True)
        self._place.write(f"{_SETTINGS}/{name}.json", text.encode())
        return name

    def meaning(self, settings: str) -> dict[str, Any]:
        """The `meaning` and the `model` of settings; empty where nothing is known."""
        try:
            row = json.loads(self._place.read(f"{_SETTINGS}/{settings.partition('/')[0]}.json"))
        except (Vanished, ValueError):
            return {}
        return row if isinstance(row, dict) else {}

    def entries(self, prefix: str) -> dict[str, Entry]:
        """By output, what is recorded of pictures whose keys begin with `prefix`. What was
        appended since the last `compact` is not seen."""
        import pyarrow.compute as pc

        found: dict[str, Entry] = {}
        for shard in sorted(self._listed()):
            part = "" if shard == _ALL else shard
            if not (part.startswith(prefix) or prefix.startswith(part)):
                continue
            table = self._table(shard)
            if len(prefix) > len(part) and len(table):
                table = table.filter(pc.starts_with(table["key"], prefix))
            for row in sorted(table.to_pylist(), key=lambda row: row["time"]):
                _take(found, row)
        return found

    def compact(self, expected: int = 0) -> None:
        """Move what was appended into the shards; `expected` names decide how many there are."""
        digits = 0 if expected <= _FEW else 2 if expected <= _MANY else 3
        there = self._list()
        digits = max([digits, *(len(s) for s in there if s != _ALL)])
        old = [
            part
            for shard, parts in there.items()
            if (0 if shard == _ALL else len(shard)) != digits
            for part in parts
        ]
        log = sorted(entry.name for entry in self._place.entries(_LOG))
        waiting: list[tuple[str, pa.Table]] = []
        rows = 0
        for name in (*log, *old):
            table = self._read(name)
            if table is None:
                continue
            waiting.append((name, table))
            rows += len(table)
            if rows >= _ROWS:
                self._distribute(waiting, digits)
                waiting, rows = [], 0
        self._distribute(waiting, digits)
        for shard, parts in self._list().items():
            if len(parts) > _PARTS:
                self._merge(shard, parts)
        self._shards = self._cached = None

    def _distribute(self, tables: Sequence[tuple[str, pa.Table]], digits: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not tables:
            return
        whole = pa.concat_tables([table for _, table in tables])
        if digits == 0:
            self._write(f"{_SHARDS}/{_ALL}", _latest(whole))
        else:
            shards = pc.utf8_slice_codeunits(whole["key"], 0, digits)
            whole = whole.append_column("shard", shards).sort_by("shard")
            counts = whole["shard"].value_counts().to_pylist()
            at = 0
            for row in sorted(counts, key=lambda row: row["values"]):
                some = whole.slice(at, row["counts"]).drop_columns("shard")
                self._write(f"{_SHARDS}/{row['values']}", _latest(some))
                at += row["counts"]
        for name, _ in tables:
            self._place.remove(name)

    def _merge(self, shard: str, parts: Sequence[str]) -> None:
        import pyarrow as pa

        tables = [table for name in parts if (table := self._read(name)) is not None]
        self._write(f"{_SHARDS}/{shard}", _latest(pa.concat_tables(tables)))
        for name in parts:
            self._place.remove(name)

    def _listed(self) -> dict[str, list[str]]:
        if self._shards is None:
            self._shards = self._list()
        return self._shards

    def _list(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for entry in self._place.entries(_SHARDS):
            if entry.name.endswith(".parquet"):
                found.setdefault(entry.name.split("/")[-2], []).append(entry.name)
        return found

    def _table(self, shard: str) -> pa.Table:
        import pyarrow as pa

        if self._cached is None or self._cached[0] != shard:
            tables = [self._read(name) for name in self._listed()[shard]]
            there = [table for table in tables if table is not None]
            self._cached = (shard, pa.concat_tables(there) if there else _empty())
        return self._cached[1]

    def _write(self, folder: str, rows: pa.Table | dict[str, list[Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(rows, schema=_schema()) if isinstance(rows, dict) else rows
        file = io.BytesIO()
        pq.write_table(table, file, compression="zstd")
        name = f"{time.time_ns():020}-{secrets.token_hex(8)}.parquet"
        self._place.write(f"{folder}/{name}", file.getvalue())

    def _read(self, name: str) -> pa.Table | None:
        """None for a part that another command has moved meanwhile."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not name.endswith(".parquet"):
            return None
        try:
            data = self._place.read(name)
        except Vanished:
            return None
        try:
            return pq.read_table(io.BytesIO(data), schema=_schema())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise EnvironmentFault(
                f"{self._place.full(name)}: not a part of a manifest ({first_line(error)}); "
                "move it away"
            ) from None


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([*((name, pa.string()) for name in _COLUMNS), ("time", pa.int64())])


def _empty() -> pa.Table:
    return _schema().empty_table()


def _latest(table: pa.Table) -> pa.Table:
    """Of each output the newest row, and before it the versions that were written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.count_distinct(table["output"]).as_py() == len(table):
        return table
    kept: list[dict[str, Any]] = []
    seen: dict[str, set[str]] = {}
    for row in sorted(table.to_pylist(), key=lambda row: row["time"], reverse=True):
        stamps = seen.get(row["output"])
        if stamps is None:
            seen[row["output"]] = {row["is"]} if row["status"] == "done" else set()
        elif row["status"] != "done" or row["is"] in stamps or len(stamps) >= _VERSIONS:
            continue
        else:
            stamps.add(row["is"])
        kept.append(row)
    return pa.Table.from_pylist(kept, schema=_schema())


def _take(found: dict[str, Entry], row: dict[str, Any]) -> None:
    done = row["status"] == "done"
    old = found.get(row["output"])
    stamps = old.stamps if old else ()
    if done:
        stamps = (*(s for s in stamps if s != row["is"]), row["is"])[-_VERSIONS:]
    found[row["output"]] = Entry(
        done, row["settings"], row["of"], row["digest"], row["reason"], stamps
    )

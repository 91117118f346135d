"""The three stages of a picture: decode, translate, write. Each takes and gives Arrow tables and
knows nothing of who calls it."""

from __future__ import annotations

import io
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from img2img.errors import (
    EnvironmentFault,
    Img2ImgError,
    MemoryFault,
    PictureError,
    UsageError,
    first_line,
)
from img2img.images import HOLDS_16_BITS, Pixels, Reading, with_pixels
from img2img.images.writing import encode
from img2img.inference.decoders import Decoded, Decoder, Watch
from img2img.inference.folder import translator_of
from img2img.inference.network import Network
from img2img.inference.output import Options, format_of, strangeness
from img2img.inference.request import TranslateRequest
from img2img.inference.scale.records import Record, Records
from img2img.inference.scale.rows import Row, pack, unpack
from img2img.inference.translator import Translator
from img2img.system import cpu
from img2img.system.digest import file_sha256
from img2img.system.places import UNKNOWN, Draft, Place, is_digest, same_stamp
from img2img.system.refusals import Vanished

if TYPE_CHECKING:
    import pyarrow as pa

_READS = 3  # times that a file which changes meanwhile is read
_WRITERS = 8  # objects that are written at a time


@dataclass(frozen=True)
class Work:
    """What every task of a job needs to know.

    Attributes:
        request, options: as on one machine.
        places: of the inputs; `out`: of the outputs.
        model: the model file where the command was given; `digest` its SHA-256, `stored` its name
            below `out`, where machines find it that do not have it.
        threads: of the processor, for one model.
    """

    request: TranslateRequest
    options: Options
    places: tuple[Place, ...]
    out: Place
    model: str
    digest: str
    stored: str
    threads: int


def decode(table: pa.Table, work: Work) -> Iterator[pa.Table]:
    """Read and decode a block of sources, one table for each."""
    decoder = _decoder(work.options.seconds)
    for row in unpack(table):
        try:
            _decode(row, work, decoder)
        except PictureError as error:
            row.about |= {"status": "failed", "reason": str(error), "record": True}
        except Vanished:
            row.about |= {"status": "failed", "reason": "no longer there"}
        except EnvironmentFault as error:
            address = work.places[row.task["place"]].full(row.task["name"])
            reason = str(error).removeprefix(f"{address}: ")
            row.about |= {"status": "failed", "reason": reason}
        yield pack(row)


class Translate:
    """Holds a model and translates the decoded pictures of a block, those of one size together."""

    def __init__(self, work: Work):
        cpu.share(work.threads)
        self._fault = ""
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        try:
            _check_shared(work)
            self._folder = tempfile.TemporaryDirectory(prefix="img2img-")
            self._translator = _opened(work, self._folder.name)
            self._network: Network = self._translator.network()
        except (Img2ImgError, Vanished) as error:
            self._fault = str(error)
        self._usual = work.options.usual

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """The block with the answers in place of the pictures."""
        waiting: dict[tuple[Any, ...], list[Row]] = {}
        for row in unpack(table):
            if self._fault:
                yield pack(Row(row.task, None, {"fault": self._fault}))
            elif row.picture is None:
                yield pack(row)
            else:
                pixels = row.picture.pixels
                kind = pixels.shape, pixels.dtype.str
                some = waiting.setdefault(kind, [])
                some.append(row)
                if len(some) >= self._network.limit(pixels):
                    yield from self._translated(waiting.pop(kind))
        for some in waiting.values():
            yield from self._translated(some)

    def _translated(self, rows: list[Row]) -> Iterator[pa.Table]:
        began = time.monotonic()
        try:
            answers = self._answers(rows)
        except (MemoryFault, MemoryError, UsageError) as error:
            if len(rows) > 1:
                for row in rows:
                    yield from self._translated([row])
                return
            reason = str(error) or "does not fit in memory"
            rows[0].picture = None
            rows[0].about |= {"status": "failed", "reason": reason, "record": True}
            yield pack(rows[0])
            return
        seconds = (time.monotonic() - began) / len(rows)
        for row, answer in zip(rows, answers, strict=True):
            source = row.picture
            assert source is not None
            row.picture = with_pixels(source, answer)
            row.picture.notes += strangeness(source, self._usual)
            row.about |= {"actor": self.name, "seconds": seconds}
            yield pack(row)

    def _answers(self, rows: Sequence[Row]) -> list[Pixels]:
        pictures = [row.picture.pixels for row in rows if row.picture is not None]
        domains = [row.task["domain"] for row in rows if "domain" in row.task]
        return self._network.run(pictures, domains or None)


def write(table: pa.Table, work: Work) -> pa.Table:
    """Encode a block, record it as one part of the manifest, then publish its outputs; gives the
    ends as JSON."""
    import pyarrow as pa

    rows = list(unpack(table))
    drafts: list[Draft] = []
    try:
        _check_shared(work)
        records = []
        for row in rows:
            draft = _draft(row, work)
            if draft is not None:
                drafts.append(draft)
            record = _record(row, work, draft)
            if record is not None:
                records.append(record)
        Records(work.out).append(records)
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(Draft.publish, drafts))
    except (EnvironmentFault, Vanished) as error:
        for draft in drafts:
            draft.discard()
        words = "the folder or bucket no longer exists"
        text = f"{error}: {words}" if isinstance(error, Vanished) else str(error)
        rows = [Row({}, None, {"fault": text})]
    ends = [row.about if "fault" in row.about else _end(row, work) for row in rows]
    return pa.table({"end": pa.array([json.dumps(end) for end in ends], pa.string())})


_lock = threading.Lock()
_decoders: dict[float, Decoder] = {}


def _decoder(seconds: float) -> Decoder:
    """The decoder of this process: its own process lasts from block to block."""
    with _lock:
        if seconds not in _decoders:
            _decoders[seconds] = Decoder(seconds)
            Watch([_decoders[seconds]])
        return _decoders[seconds]


def _decode(row: Row, work: Work, decoder: Decoder) -> None:
    task = row.task
    for stamp in task.get("stamps", ()):
        try:
            there = work.out.entry(task["output"]).stamp
        except Vanished:
            break
        if same_stamp(there, stamp):
            row.about |= {"status": "skipped", "reason": "done already"}
            return
    deep = format_of(Path(task["output"])) in HOLDS_16_BITS
    options = replace(work.options.reading, deep=work.options.reading.deep and deep)
    place = work.places[task["place"]]
    name, stamp = task["name"], task["stamp"]
    if stamp == UNKNOWN:
        stamp = place.entry(name).stamp
        if stamp == task.get("of"):
            row.about |= {"status": "skipped", "reason": "done already"}
            return
    for _ in range(_READS):
        if place.local:
            place.entry(name)  # Vanished, which is not recorded, goes before a fault of the file
            decoded = decoder.read(Path(place.path(name)), options)
        else:
            data = place.read(name)
            if not _is_of(data, stamp):
                found = place.entry(name).stamp
                if found != stamp or len(data) != int(found.partition(":")[0]):
                    stamp = found
                    continue
            decoded = _decoded(data, name, decoder, options)
        if place.local and not _unchanged(place, name, stamp):
            stamp = place.entry(name).stamp
            continue
        row.about |= {"digest": decoded.digest, "of": stamp}
        if task.get("digest") == decoded.digest:
            row.about |= {"status": "skipped", "reason": "done already"}
        else:
            row.picture = decoded.picture
        return
    raise PictureError("it changes while being read")


def _is_of(data: bytes, stamp: str) -> bool:
    """True when the stamp holds the digest of what was read, so that nothing need be asked."""
    import hashlib

    digest = is_digest(stamp)
    return digest is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() == digest


def _unchanged(place: Place, name: str, stamp: str) -> bool:
    return place.entry(name).stamp == stamp


def _decoded(data: bytes, name: str, decoder: Decoder, options: Reading) -> Decoded:
    """Through a file, so that the decoding process, which may be killed, is that of one machine."""
    with tempfile.TemporaryDirectory(prefix="img2img-") as folder:
        path = Path(folder) / f"picture{PurePosixPath(name).suffix}"
        path.write_bytes(data)
        return decoder.read(path, options)


def _check_shared(work: Work) -> None:
    """Raise EnvironmentFault where a folder as output is another one on this node than where the
    command stored the model in it: pictures would be scattered over the nodes."""
    if work.out.local and not Path(work.out.path(work.stored)).exists():
        raise EnvironmentFault(
            f"{work.out.address}: on {socket.gethostname()} this is not the folder of the command; "
            "give `out` a folder that all nodes share, or a bucket"
        )


def _opened(work: Work, folder: str) -> Translator:
    """The model, from a copy in `folder` where this node has no such file; runners read theirs
    again later."""
    path = Path(work.model)
    if path.is_file() and file_sha256(path) == work.digest:
        return translator_of(work.request, path)
    copy = Path(folder) / path.name
    copy.write_bytes(work.out.read(work.stored))
    return translator_of(work.request, copy)


def _draft(row: Row, work: Work) -> Draft | None:
    """The output, encoded; None, and the reason in `about`, where there is none."""
    picture, options = row.picture, work.options
    if picture is None:
        return None
    target = Path(row.task["output"])
    stripped = options.reading.metadata == "strip"
    picture.format = format_of(target)
    picture.software = "" if stripped else options.software
    file = io.BytesIO()
    try:
        encode(file, picture, options.quality)
    except Exception as error:
        reason = f"not written: {first_line(error)}"
        row.about |= {"status": "failed", "reason": reason, "record": True}
        return None
    height, width = picture.pixels.shape[:2]
    row.about |= {"status": "done", "record": True, "width": width, "height": height}
    return work.out.draft(row.task["output"], file.getvalue())


def _record(row: Row, work: Work, draft: Draft | None) -> Record | None:
    task, about = row.task, row.about
    if not about.get("record"):
        return None
    return Record(
        task["key"], task["output"], work.places[task["place"]].full(task["name"]),
        str(about.get("of", task["stamp"])), draft is not None, task["settings"],
        about.get("digest", ""), about.get("reason", ""), draft.stamp if draft else "",
    )  # fmt: skip


def _end(row: Row, work: Work) -> dict[str, Any]:
    task, about, picture = row.task, row.about, row.picture
    notes = picture.notes if picture is not None else []
    return {
        "source": work.places[task["place"]].full(task["name"]),
        "output": work.out.full(task["output"]),
        "domain": task["domain_name"],
        "status": about["status"],
        "reason": about.get("reason", ""),
        "width": about.get("width", 0),
        "height": about.get("height", 0),
        "notes": notes,
        "salvaged": picture is not None and picture.salvaged,
        "redone": bool(task.get("redone")) and about["status"] == "done",
        "actor": about.get("actor", ""),
        "seconds": about.get("seconds", 0.0),
    }

"""Translated files become an answer: one file, a ZIP archive or multipart/mixed."""

from __future__ import annotations

import json
import secrets
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from img2img.server.service import SUFFIXES, Answer

_PIECE = 64 * 1024
_IN_MEMORY = 8 * 2**20  # bytes of an archive; a longer one is written to the disk
_FAILED = "failed.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same pictures give the same archive
_NOTES = "X-Img2img-Notes"


@dataclass(frozen=True)
class Outcome:
    """What became of one upload: an answer, or why there is none."""

    name: str
    answer: Answer | None = None
    reason: str = ""


def one(outcome: Outcome) -> Response:
    """The file itself."""
    answer = outcome.answer
    assert answer is not None
    name = _named(outcome.name, answer)
    headers = {
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}",
        "Cache-Control": "no-store",
    }
    if answer.notes:
        headers[_NOTES] = quote("; ".join(answer.notes), safe=" ;,:'()")
    return Response(answer.data, media_type=answer.media_type, headers=headers)


def several(outcomes: Sequence[Outcome], multipart: bool) -> Response:
    """A ZIP archive, or multipart/mixed; what failed is listed in its part failed.json."""
    # Closed by the stream's end, or with the response object.
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    failed = [{"name": o.name, "detail": o.reason} for o in outcomes if o.answer is None]
    headers = {"Cache-Control": "no-store", "X-Img2img-Failed": str(len(failed))}
    if multipart:
        boundary = secrets.token_hex(16)
        _write_parts(file, outcomes, failed, boundary)
        kind = f"multipart/mixed; boundary={boundary}"
    else:
        _write_archive(file, outcomes, failed)
        kind = "application/zip"
        headers["Content-Disposition"] = 'attachment; filename="translated.zip"'
    headers["Content-Length"] = str(file.tell())
    file.seek(0)
    return StreamingResponse(_pieces(file), media_type=kind, headers=headers)


def _write_archive(file: IO[bytes], outcomes: Sequence[Outcome], failed: list) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, answer in _members(outcomes):
            archive.writestr(zipfile.ZipInfo(name, _DATE), answer.data)
        if failed:
            archive.writestr(zipfile.ZipInfo(_FAILED, _DATE), json.dumps(failed))


def _write_parts(file: IO[bytes], outcomes: Sequence[Outcome], failed: list, boundary: str) -> None:
    parts = [(name, answer.media_type, answer.data) for name, answer in _members(outcomes)]
    if failed:
        parts.append((_FAILED, "application/json", json.dumps(failed).encode()))
    for name, kind, data in parts:
        head = (
            f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
            f"Content-Disposition: attachment; filename*=UTF-8''{quote(name)}\r\n\r\n"
        )
        file.write(head.encode() + data + b"\r\n")
    file.write(f"--{boundary}--\r\n".encode())


def _members(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Answer]]:
    """Names that differ, also where a file system ignores case."""
    taken = {_FAILED}
    for outcome in outcomes:
        if outcome.answer is None:
            continue
        name, number = _named(outcome.name, outcome.answer), 2
        while name.casefold() in taken:
            name = _named(f"{outcome.name}-{number}", outcome.answer)
            number += 1
        taken.add(name.casefold())
        yield name, outcome.answer


def _named(stem: str, answer: Answer) -> str:
    return stem + SUFFIXES[answer.format]


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece

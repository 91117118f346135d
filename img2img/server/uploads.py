"""The body of a request becomes files of ours, whose names no client chooses."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from img2img.server.guards import Refused

_FIELDS, _FIELD = 20, 4096
_NAME = 100  # characters of a name that are kept
FIELD = "picture"


@dataclass(frozen=True)
class Upload:
    """One file: where it lies, and what the client calls it (for answers only)."""

    path: Path
    name: str


@dataclass(frozen=True)
class Uploads:
    """The pictures of a request, and its other fields."""

    files: list[Upload]
    fields: dict[str, str]


@asynccontextmanager
async def uploads(request: Request, folder: Path, most: int) -> AsyncIterator[Uploads]:
    """Receive a picture as the body, or `multipart/form-data` with one or several; the files are
    removed at the end. Raises Refused."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            yield await _form(request, place, most)
        else:  # curl calls any body a form
            yield Uploads([await _whole(request, place)], {})
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _whole(request: Request, place: Path) -> Upload:
    path = place / "0"
    with open(path, "wb") as file:
        async for piece in request.stream():
            file.write(piece)
    if path.stat().st_size == 0:
        raise Refused(400, "no picture was sent")
    return Upload(path, "picture")


async def _form(request: Request, place: Path, most: int) -> Uploads:
    files: list[Upload] = []
    fields: dict[str, str] = {}
    async with request.form(
        max_files=most, max_fields=_FIELDS, max_part_size=_FIELD
    ) as form:  # raises HTTPException for what is malformed
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[name] = value
            elif name != FIELD:
                raise Refused(400, f"a file in the field '{name[:40]}'; send it as '{FIELD}'")
            else:
                path = place / str(len(files))
                await run_in_threadpool(_copy, value, path)
                files.append(Upload(path, plain_name(value.filename or "")))
    if not files:
        raise Refused(400, f"no picture was sent; its field is '{FIELD}'")
    return Uploads(files, fields)


def _copy(upload: UploadFile, path: Path) -> None:
    with open(path, "wb") as file:
        shutil.copyfileobj(upload.file, file)


def plain_name(given: str) -> str:
    """The last part of a client's file name without its suffix, of printable characters; for the
    names in an answer."""
    last = PureWindowsPath(PurePosixPath(given).name).name
    shown = "".join(c for c in last if c.isprintable() and c not in '<>:"/\\|?*')
    stem = shown.rpartition(".")[0] or shown
    return stem[:_NAME].strip(". ") or "picture"

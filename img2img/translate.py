"""Folder in, folder out: every picture translated, none lost, every failure named."""

from __future__ import annotations

import os
import tempfile
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from img2img.atomic import sweep_stale
from img2img.domains import Target, folders_of, vector_of
from img2img.errors import EnvironmentFault, PictureError, UsageError, describe_os_error
from img2img.images import (
    HOLDS_16_BITS,
    Picture,
    Pixels,
    Reading,
    find_pictures,
    read_picture,
    write_picture,
    written_format,
)
from img2img.modelinfo import ModelInfo
from img2img.tables import Labels

Event = dict[str, Any]
_AHEAD = 3
_DEEP = Reading(deep=True)


# Anything that turns uint8 or uint16 (H, W, 3) into such, or (H, W, 1), of the same size. It is
# given the picture, and the job's domain vector where the job has one.
Translator = Callable[..., Pixels]


@dataclass(frozen=True)
class Job:
    """One picture to translate: where it is and where it will be; to which domain vector, if the
    model has domains; and a `problem` known beforehand, for which it fails unread."""

    source: Path
    target: Path
    domain: tuple[float, ...] | None = None
    problem: str | None = None


@dataclass
class Summary:
    """What became of the inputs: counts, and (file, reason) for each that failed."""

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)


def plan(inputs: Sequence[Path], out: Path, suffix: str | None = None) -> list[Job]:
    """Decide every output name before the first is written; the mapping is injective.

    Folders are searched recursively and their trees kept below `out`; single files land directly
    in it. `suffix` replaces the inputs' suffixes. Where two inputs would meet in one output (also
    where names are compared without case or by Unicode form), those keep their whole name:
    `a.jpg` and `a.png` become `a.jpg.png` and `a.png.png`.

    Raises:
        UsageError: an input is missing or no picture; a folder has none; `out` is, contains or
            lies in an input folder.
    """
    place = out.resolve()
    rows: list[tuple[Path, Path]] = []
    for source in inputs:
        if source.is_dir():
            folder = source.resolve()
            if place == folder or folder in place.parents:
                raise UsageError(
                    f"{out}: the output lies in the input folder {source} and would be read again; "
                    "use another -o"
                )
            found = list(find_pictures(source))
            if not found:
                raise UsageError(
                    f"{source}: no picture in this folder "
                    "(jpg, png, webp, avif, heic, tiff, bmp, gif)"
                )
            rows += [(p, p.relative_to(source)) for p in found]
        elif source.exists():
            if source.parent.resolve() == place:
                raise UsageError(
                    f"{out}: the output folder is that of the input {source.name}; use another -o"
                )
            rows.append((source, Path(source.name)))
        else:
            raise UsageError(f"{source}: no such file or folder")
    folders = {source.parent: source.parent.resolve() for source, _ in rows}
    once = {folders[source.parent] / source.name: (source, name) for source, name in reversed(rows)}
    rows = [*reversed(once.values())]  # a picture given twice is done once, as given first
    names = [_renamed(relative, suffix) for _, relative in rows]
    taken: dict[str, int] = {}
    for name in names:
        taken[_key(name)] = taken.get(_key(name), 0) + 1
    jobs: dict[str, Job] = {}
    for (source, relative), name in zip(rows, names, strict=True):
        if taken[_key(name)] > 1:
            name = relative.with_name(relative.name + name.suffix)
        number, unique = 2, name
        while _key(unique) in jobs:
            unique = name.with_name(f"{name.stem}-{number}{name.suffix}")
            number += 1
        jobs[_key(unique)] = Job(source, out / unique)
    return list(jobs.values())


def plan_domains(
    inputs: Sequence[Path],
    out: Path,
    suffix: str | None,
    info: ModelInfo,
    targets: Sequence[Target],
    labels: Labels | None = None,
    apart: bool = True,
) -> list[Job]:
    """`plan` for each of the `targets`, `apart` in a folder of its own below `out`; mapping and
    exceptions as there. With `labels`, a picture that they do not name fails with that reason."""
    folders = [out / name for name in folders_of(targets)] if apart else [out]
    jobs: list[Job] = []
    for target, folder in zip(targets, folders, strict=True):
        for job in plan(inputs, folder, suffix):
            own = labels.of(job.source) if labels else None
            problem = f"no label in {labels.path}" if labels and own is None else None
            jobs.append(replace(job, domain=vector_of(info, target, own), problem=problem))
    return jobs


def check_output(out: Path) -> None:
    """Make the output folder and see that a file can be written there, before a picture is read.

    Raises UsageError when `out` is a file, EnvironmentFault when nothing can be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; -o needs a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise EnvironmentFault(f"{out}: cannot be written: {describe_os_error(error)}") from None


def _renamed(relative: Path, suffix: str | None) -> Path:
    own = relative.suffix.lower()
    if suffix is None:  # what is read but not written (GIF, HEIC) becomes PNG
        return relative if written_format(relative) else relative.with_suffix(".png")
    same = {suffix, *({".jpg", ".jpeg", ".jpe", ".jfif"} if suffix == ".jpg" else ())}
    return relative if own in same else relative.with_suffix(suffix)


def _key(name: Path) -> str:
    return unicodedata.normalize("NFC", str(name)).casefold()


def translate(
    jobs: Sequence[Job],
    translator: Translator,
    quality: int = 95,
    overwrite: bool = False,
    listen: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    reading: Reading = _DEEP,
    software: str = "",
) -> Summary:
    """Translate `jobs`, reading and writing beside the network; outputs appear whole or not at all.

    An output that exists already is skipped unless `overwrite`. `listen` receives one event for
    each input: `{"event": "picture", "input", "output", "status": done|skipped|failed, ...}`.
    `software` is named in the outputs' metadata, unless `reading` strips it.

    Raises:
        EnvironmentFault: nothing can be written any more (disk full, read-only); what was
            finished stays.
    """
    summary = Summary()

    def tell(job: Job, status: str, **more: Any) -> None:
        row = {"event": "picture", "input": str(job.source), "output": str(job.target)}
        listen(row | {"status": status} | more)

    def fail(job: Job, reason: str) -> None:
        summary.failed.append((job.source, reason))
        tell(job, "failed", reason=reason)

    writing: deque[tuple[Job, Picture, Future[None]]] = deque()

    def finish(until: int) -> None:
        while len(writing) > until:
            job, picture, future = writing.popleft()
            try:
                future.result()
            except PictureError as error:
                fail(job, _without_path(error, job.target))
            else:
                summary.done += 1
                height, width = picture.pixels.shape[:2]
                more = {"salvaged": True} if picture.salvaged else {}
                tell(job, "done", width=width, height=height, notes=picture.notes, **more)

    for folder in {job.target.parent for job in jobs}:
        if folder.is_dir():
            sweep_stale(folder)
    with ThreadPoolExecutor(_AHEAD) as readers, ThreadPoolExecutor(2) as writers:
        try:
            for job, picture, reason in _read_ahead(jobs, overwrite, readers, reading):
                if should_stop():
                    break
                if picture is None:
                    if reason is None:
                        summary.skipped += 1
                        tell(job, "skipped", reason="the output is there already")
                    else:
                        fail(job, reason)
                    continue
                try:
                    also = () if job.domain is None else (job.domain,)
                    picture.pixels = translator(picture.pixels, *also)
                except MemoryError:
                    height, width = picture.pixels.shape[:2]
                    fail(job, f"{width}x{height} does not fit the memory")
                    continue
                picture.format = _format_of(job.target)
                picture.software = "" if reading.metadata == "strip" else software
                writing.append((job, picture, writers.submit(_write, job, picture, quality)))
                finish(until=2)
            finish(until=0)
        except EnvironmentFault:
            for _, _, future in writing:
                future.cancel()
            raise
    return summary


def _read_ahead(
    jobs: Iterable[Job], overwrite: bool, pool: ThreadPoolExecutor, reading: Reading
) -> Iterator[tuple[Job, Picture | None, str | None]]:
    """(job, picture, None), or (job, None, reason), or (job, None, None) for one to skip; in
    order, with `_AHEAD` pictures decoded ahead."""
    waiting: deque[tuple[Job, Future[Picture] | None]] = deque()

    def take() -> tuple[Job, Picture | None, str | None]:
        job, future = waiting.popleft()
        if future is None:
            return job, None, job.problem
        try:
            return job, future.result(), None
        except PictureError as error:
            return job, None, _without_path(error, job.source)

    for job in jobs:
        skip = job.problem is not None or (not overwrite and job.target.exists())
        # Read in the depth that will be written, so that values are rounded once.
        deep = reading.deep and _format_of(job.target) in HOLDS_16_BITS
        how = replace(reading, deep=deep)
        waiting.append((job, None if skip else pool.submit(read_picture, job.source, how)))
        if len(waiting) > _AHEAD:
            yield take()
    while waiting:
        yield take()


_folder_lock = threading.Lock()


def _write(job: Job, picture: Picture, quality: int) -> None:
    try:
        with _folder_lock:
            os.makedirs(job.target.parent, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{job.target.parent}: {describe_os_error(error)}") from None
    write_picture(job.target, picture, quality)


def _format_of(target: Path) -> str:
    format = written_format(target)
    if format is None:
        raise UsageError(f"{target}: no format that is written has this suffix")
    return format


def _without_path(error: PictureError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")

"""How a translated picture is written, and what is made beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from img2img.errors import (
    EnvironmentFault,
    PictureError,
    UsageError,
    describe_os_error,
    is_environment_fault,
)
from img2img.images import (
    Picture,
    Pixels,
    Reading,
    unlike,
    with_pixels,
    write_picture,
    written_format,
)
from img2img.inference.gallery import compare_sheet
from img2img.inference.jobs import Job

_DEEP = Reading(deep=True)


class Gallery(Protocol):
    """Where pictures are shown beside their sources; safe to call from several threads."""

    def add(self, name: str, before: Pixels, after: Pixels, notes: Sequence[str] = (), /) -> None:
        """One translated picture."""
        ...

    def add_files(self, source: Path, output: Path, name: str, /) -> None:
        """One that was translated before."""
        ...

    def fail(self, name: str, reason: str, /) -> None:
        """One that could not be translated."""
        ...


@dataclass(frozen=True)
class Extras:
    """What is made beside the outputs, named as they are below `out`: side-by-side sheets in the
    folder `compare`, and a gallery."""

    out: Path = Path()
    compare: Path | None = None
    gallery: Gallery | None = None

    def name(self, job: Job) -> Path:
        """The output's path below `out`."""
        return job.target.relative_to(self.out)


@dataclass(frozen=True)
class Options:
    """How a job is done.

    Attributes:
        quality: 1..100, for JPEG, WebP and AVIF.
        reading: how pictures are read.
        software: named in the outputs' metadata, unless `reading` strips it.
        seconds: how long one picture may take to decode.
        decoders: most decoding processes; None takes as many as there are cores, up to four.
        extras: what is made beside the outputs.
        usual: what the model's pictures are like (`ModelInfo.inputs`); others get a note.
    """

    quality: int = 95
    reading: Reading = _DEEP
    software: str = ""
    seconds: float = 60.0
    decoders: int | None = None
    extras: Extras = field(default_factory=Extras)
    usual: Mapping[str, Any] = field(default_factory=dict)


def write_output(
    job: Job, source: Picture, answer: Pixels, options: Options, before: Callable[[Path], None]
) -> Picture:
    """Write the `answer` of `source` to the target of `job`, and what `options` make beside it;
    `before` sees the finished file before it takes its name. Returns what was written.

    Raises PictureError, or EnvironmentFault where no other picture could be written either.
    """
    stripped = options.reading.metadata == "strip"
    picture = replace(
        with_pixels(source, answer),
        format=format_of(job.target),
        software="" if stripped else options.software,
        notes=[*source.notes, *strangeness(source, options.usual)],
    )
    _make_folder(job.target.parent)
    write_picture(job.target, picture, options.quality, before)
    extras = options.extras
    if extras.compare is not None:
        sheet = extras.compare / extras.name(job)
        _make_folder(sheet.parent)
        both = Picture(compare_sheet(source.pixels, answer), format=picture.format)
        write_picture(sheet, both, options.quality)
    if extras.gallery is not None:
        extras.gallery.add(str(extras.name(job)), source.pixels, answer, picture.notes)
    return picture


def strangeness(source: Picture, usual: Mapping[str, Any]) -> list[str]:
    """A note, or none, that says by what `source` is unlike what a model learned from."""
    by = unlike(source.pixels, usual)
    return [f"unlike the pictures that this model learned from ({by})"] if by else []


_folder_lock = threading.Lock()


def _make_folder(folder: Path) -> None:
    try:
        with _folder_lock:
            os.makedirs(folder, exist_ok=True)
    except OSError as error:
        words = f"{folder}: {describe_os_error(error)}"
        if is_environment_fault(error):
            raise EnvironmentFault(words) from None
        raise PictureError(words) from None


def format_of(target: Path) -> str:
    """The format that the suffix of `target` names; raises UsageError where it has none."""
    format = written_format(target)
    if format is None:
        raise UsageError(f"{target}: no format that is written has this suffix")
    return format

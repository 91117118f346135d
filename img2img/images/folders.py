"""Which files of a folder are pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import UsageError, describe_os_error
from img2img.images.formats import is_picture_name, sniff

# Camera raw files begin like TIFF; what a TIFF reader finds in them is a thumbnail.
RAW = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
        *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
    )
)
# Video clips, by their suffixes.
CLIPS = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".ogv", ".vob", ".webm", ".wmv"),
    )
)
A_CLIP = "a video clip; clips are translated only if given by name"
_DEEPEST = 200  # folders inside each other
NO_RAW = "a camera raw file, which is not read; develop it to TIFF, PNG or JPEG first"


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a folder, and why it is left alone (None: it is a picture, by its name)."""

    path: Path
    ignored: str | None = None


def find_pictures(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """Yield the picture files below `folder` in sorted order, by suffix; hidden names and the
    folder `skip` are left out, linked folders are not entered."""
    for found in survey(folder, follow_links=False, skip=skip, links_to_files=True):
        if found.ignored is None:
            yield found.path


def survey(
    folder: Path, follow_links: bool = False, skip: Path | None = None, links_to_files: bool = False
) -> Iterator[Found]:
    """Yield every file below `folder` once, in sorted order; what is no picture with the reason.

    A name without a suffix is judged by its first bytes. Links and what is no regular file (FIFOs,
    devices) are left alone, links to files unless `links_to_files`; with `follow_links` links are
    followed, and nothing is visited twice.

    Raises UsageError when `folder` itself cannot be listed.
    """
    visited: set[tuple[int, int]] = set()
    try:
        os.listdir(folder)
    except OSError as error:
        raise UsageError(f"{folder}: {describe_os_error(error)}") from None
    if follow_links:
        visited.add(_identity(os.stat(folder)))
    yield from _below(folder, follow_links, skip, links_to_files or follow_links, visited, _DEEPEST)


def _below(
    folder: Path,
    follow: bool,
    skip: Path | None,
    links_to_files: bool,
    visited: set[tuple[int, int]],
    deeper: int,
) -> Iterator[Found]:
    if deeper == 0:
        yield Found(folder, f"a folder nested in more than {_DEEPEST} others")
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield Found(folder, f"a folder that cannot be listed: {describe_os_error(error)}")
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            if entry.is_file(follow_symlinks=False):
                yield Found(path, "hidden")
            continue
        if os.path.isdir(path) if follow else entry.is_dir(follow_symlinks=False):
            if skip is not None and path.resolve() == skip:
                continue
            if follow and not _first_visit(entry, visited):
                yield Found(path, "a link to something already visited")
                continue
            yield from _below(path, follow, skip, links_to_files, visited, deeper - 1)
        else:
            yield Found(path, _why_not(entry, follow, links_to_files, visited))


def _why_not(
    entry: os.DirEntry[str], follow: bool, links_to_files: bool, visited: set[tuple[int, int]]
) -> str | None:
    if entry.is_symlink():
        try:
            os.stat(entry.path)
        except OSError:  # also a circle, and where one may not go
            return "a broken link"
        if os.path.isdir(entry.path):
            return "a linked folder (`follow_links` enters it)"
        if not links_to_files:
            return "a link (`follow_links` takes it)"
    if not entry.is_file(follow_symlinks=True):
        return "not a regular file"
    if follow and not _first_visit(entry, visited):
        return "a link to something already visited"
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in RAW:
        return NO_RAW
    if suffix:
        if suffix in CLIPS:
            return A_CLIP
        return None if is_picture_name(entry.name) else "not a picture"
    try:
        with open(entry.path, "rb") as file:
            return None if sniff(file.read(64)) else "not a picture"
    except OSError as error:
        return describe_os_error(error)


def _first_visit(entry: os.DirEntry[str], visited: set[tuple[int, int]]) -> bool:
    try:
        identity = _identity(os.stat(entry.path))
    except OSError:
        return True
    new = identity not in visited
    visited.add(identity)
    return new


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino

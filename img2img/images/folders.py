"""Which files of a folder are pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from img2img.errors import UsageError, describe_os_error
from img2img.images.formats import is_picture_name


def find_pictures(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """Yield the picture files below `folder` in sorted order, by suffix; hidden names and the
    folder `skip` are left out, linked folders are not entered."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder}: {describe_os_error(error)}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if skip is None or Path(entry.path).resolve() != skip:
                yield from find_pictures(Path(entry.path), skip)
        elif is_picture_name(entry.name):
            yield Path(entry.path)

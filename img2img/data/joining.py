"""Pairs in two folders become pictures side by side, and back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from img2img.data.demo import new_folder
from img2img.data.paired import match_stems
from img2img.data.skipping import Skipped
from img2img.data.store import listing
from img2img.errors import DataError, PictureError
from img2img.images import (
    Picture,
    Pixels,
    find_pictures,
    read_picture,
    resize_pixels,
    write_picture,
)

_DECODERS = 4


def join_pairs(a: Path, b: Path, out: Path) -> int:
    """Write each picture of `a` with the one of the same name in `b` on its right as PNG into the
    new folder `out`; B is scaled to the size of A. Returns how many.

    Raises:
        DataError: no pictures, files without a partner, or unreadable: all listed, and nothing is
            written.
        UsageError: `out` is not empty.
    """
    new_folder(out)
    alone = Skipped()
    pairs = match_stems(a, b, alone)
    files = [path for pair in pairs for path in (pair.a, pair.b) if path is not None]
    problems = [*alone.reasons, *_problems(files)]
    if problems:
        text = listing(f"{len(problems)} files cannot be joined", problems)
        raise DataError(f"{text}. Nothing was written: repair or remove them")
    if not pairs:
        raise DataError(f"{a} and {b}: no pictures to join")
    for pair in pairs:
        assert pair.b is not None
        left, right = read_picture(pair.a).pixels, read_picture(pair.b).pixels
        right = resize_pixels(right, left.shape[1], left.shape[0])
        _write(out / f"{pair.name}.png", np.concatenate([left, right], 1))
    return len(pairs)


def split_pairs(folder: Path, out: Path) -> int:
    """Write the halves of each picture of `folder` as PNG into `out`/A and `out`/B. Returns how
    many.

    Raises:
        DataError: no pictures, or unreadable ones and those of odd width: all listed, and nothing
            is written.
        UsageError: `out` is not empty.
    """
    files = list(find_pictures(folder))
    if not files:
        raise DataError(f"{folder}: no pictures to split")
    new_folder(out)
    if problems := _problems(files, halved=True):
        text = listing(f"{len(problems)} pictures cannot be split", problems)
        raise DataError(f"{text}. Nothing was written: repair or remove them")
    for path in files:
        pixels = read_picture(path).pixels
        half = pixels.shape[1] // 2
        name = path.relative_to(folder).with_suffix(".png")
        _write(out / "A" / name, pixels[:, :half])
        _write(out / "B" / name, pixels[:, half:])
    return len(files)


def _problems(files: Sequence[Path], halved: bool = False) -> list[str]:
    """Why some of `files` cannot be used, in words; `halved`: they are cut down the middle."""

    def look(path: Path) -> str:
        try:
            width = read_picture(path).pixels.shape[1]
        except PictureError as error:
            return str(error)
        odd = f"{path}: its odd width of {width} cannot be split into two pictures"
        return odd if halved and width % 2 else ""

    with ThreadPoolExecutor(_DECODERS) as pool:
        return [text for text in pool.map(look, files) if text]


def _write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, Picture(pixels, format="PNG"))

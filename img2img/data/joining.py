"""Pairs in two folders become pictures side by side, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from img2img.data.demo import new_folder
from img2img.data.paired import match_stems
from img2img.errors import DataError, PictureError
from img2img.images import (
    Picture,
    Pixels,
    find_pictures,
    read_picture,
    resize_pixels,
    write_picture,
)


def join_pairs(a: Path, b: Path, out: Path) -> int:
    """Write each picture of `a` with the one of the same name in `b` on its right as PNG into the
    new folder `out`; B is scaled to the size of A. Returns how many.

    Raises:
        DataError: files without a partner, or unreadable: all listed.
        UsageError: `out` is not empty.
    """
    pairs = match_stems(a, b)
    new_folder(out)
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
        DataError: no pictures, or one of odd width; nothing is written then.
        UsageError: `out` is not empty.
    """
    files = list(find_pictures(folder))
    if not files:
        raise DataError(f"{folder}: no pictures to split")
    new_folder(out)
    for path in files:
        pixels = read_picture(path).pixels
        half = pixels.shape[1] // 2
        if pixels.shape[1] % 2:
            raise PictureError(f"{path}: an odd width cannot be split into two pictures")
        name = path.relative_to(folder).with_suffix(".png")
        _write(out / "A" / name, pixels[:, :half])
        _write(out / "B" / name, pixels[:, half:])
    return len(files)


def _write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, Picture(pixels, format="PNG"))

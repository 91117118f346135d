"""A sheet of pictures of a folder of training data, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.data.checks.check import Checked
from img2img.data.checks.pairs import Pair
from img2img.errors import PictureError
from img2img.images import Pixels, contact_sheet, in_columns, read_picture, resize_pixels

_SIDE = 128
_COLUMNS = 8


def check_sheet(checked: Checked) -> Image.Image:
    """Pairs, A above B, suspected ones first; or a row of pictures for each set or domain."""
    layout = checked.layout
    good = {path for path, seen in checked.seen.items() if not seen.error}
    if layout.pairs:
        others: list[Pair] = [(a, b) for _, a, b in layout.pairs]
        some = list(dict.fromkeys([*checked.suspected[: 2 * _COLUMNS], *_some(others)]))
        both = [_pair(a, b) for a, b in some if a in good and (b is None or b in good)]
        rows = in_columns(both[: 4 * _COLUMNS], _COLUMNS)
    else:
        kept = [[p for p in files if p in good] for files in layout.groups.values()]
        rows = [[_fitted(read_picture(p).pixels) for p in _some(files)] for files in kept if files]
        if not rows:
            rows = [[_fitted(read_picture(p).pixels) for p in _some(sorted(good))]]
    rows = [row for row in rows if row]
    if not rows:
        raise PictureError("no picture can be read for a sheet")
    return Image.fromarray(contact_sheet(rows))


def _some(items: Sequence) -> list:
    """A row of them, spread over all."""
    count = min(_COLUMNS, len(items))
    return [items[k * len(items) // count] for k in range(count)]


def _pair(a: Path, b: Path | None) -> tuple[Pixels, Pixels]:
    left = read_picture(a).pixels
    if b is not None:
        return _fitted(left), _fitted(read_picture(b).pixels)
    half = left.shape[1] // 2
    return _fitted(left[:, :half]), _fitted(left[:, half:])


def _fitted(pixels: Pixels) -> Pixels:
    """The whole picture on a white square."""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    small = resize_pixels(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    top, left = (_SIDE - small.shape[0]) // 2, (_SIDE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square

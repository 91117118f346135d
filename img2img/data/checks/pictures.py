"""Every picture of a folder decoded once, in several threads, and what is kept of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.data.checks.seen import Seen
from img2img.data.checks.similar import THUMB, perceptual_hash
from img2img.data.halves import seam
from img2img.data.registration import small_grey
from img2img.errors import PictureError
from img2img.images import read_picture
from img2img.images.modes import is_deep, raw_mode

_THREADS = 4
_CHUNK = 64
Progress = Callable[[int, int], None]


def look(
    files: Sequence[Path], seconds: float | None = None, on_progress: Progress | None = None
) -> dict[Path, Seen]:
    """Decode `files`, in an order that is spread over them; after `seconds` the rest is left."""
    end = None if seconds is None else time.monotonic() + seconds
    order = _spread(files) if seconds is not None else list(files)
    found: dict[Path, Seen] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(order), _CHUNK):
            if found and end is not None and time.monotonic() > end:
                break
            for seen in pool.map(look_at, order[first : first + _CHUNK]):
                found[seen.path] = seen
                if on_progress:
                    on_progress(len(found), len(order))
    return {path: found[path] for path in files if path in found}


def look_at(path: Path) -> Seen:
    """Decode one picture."""
    try:
        picture = read_picture(path)
    except PictureError as error:
        return Seen(path, error=str(error).removeprefix(f"{path}: "))
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    thumb = np.asarray(Image.fromarray(pixels).resize((THUMB, THUMB), Image.Resampling.BOX))
    half = width // 2
    wide = width % 2 == 0 and width >= height and half > 1
    return Seen(
        path,
        width,
        height,
        _mode_of(path),
        str(picture.format),
        hashlib.blake2b(pixels.tobytes(), digest_size=16, key=b"%d" % width).digest(),
        perceptual_hash(thumb),
        thumb,
        small_grey(pixels),
        small_grey(pixels[:, :half]) if wide else None,
        small_grey(pixels[:, half:]) if wide else None,
        seam(pixels) if wide else 0.0,
        float(thumb.std((0, 1)).max()),
        tuple(picture.notes),
    )


def _mode_of(path: Path) -> str:
    try:
        with Image.open(path) as image:
            mode, deep = image.mode, is_deep(raw_mode(image))
            clear = "transparency" in image.info
    except Exception:  # a format that only `read_picture` knows
        return "RGB"
    kind = {"L": "grey", "1": "black and white", "P": "palette", "LA": "grey", "PA": "palette"}
    name = "grey" if mode.startswith(("I", "F")) else kind.get(mode, mode.removesuffix("A"))
    deep |= mode.startswith("I")
    clear |= mode in ("RGBA", "LA", "PA")
    return name + (", 16 bits" if deep else "") + (", alpha" if clear else "")


def _spread(files: Sequence[Path]) -> list[Path]:
    """In an order of which every beginning is spread over all of them."""
    count = len(files)
    if not count:
        return []
    step = next(s for s in range(max(1, round(count * 0.618)), 2 * count + 2) if _coprime(s, count))
    return [files[k * step % count] for k in range(count)]


def _coprime(a: int, b: int) -> bool:
    while b:
        a, b = b, a % b
    return a == 1

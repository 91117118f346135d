"""Pictures reduced to the size at which a network works, and its answers enlarged to the picture's.

All of it goes by strips of rows, so that beside the input and the output only a strip is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.images.values import LUMA, Pixels, as_values

# The local fit looks at 5x5 pixels of the working size: at 3x3 it follows noise, at 7x7 it flattens
# brush strokes (docs/explanation/log.md).
_RADIUS = 2
# In squared 8-bit levels: below this variance a window has no edge.
_EPSILON = 60.0
_STRIP = 2**19  # pixels of the output in one strip
_BICUBIC, _BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
_REACH = {_BICUBIC: 2.0, _BILINEAR: 1.0}


def working_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) in pixels at which a network of working size `size` sees a picture: its long
    side is `size`, or as it is where it is not longer; 0 stands for the picture's own size."""
    longer = max(height, width)
    if size == 0 or longer <= size:
        return height, width
    return max(1, round(height * size / longer)), max(1, round(width * size / longer))


def scale_pixels(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize uint8 or uint16 (H, W, 1 or 3) to (height, width) with Pillow's antialiased bicubic
    filter; the same type."""
    if pixels.shape[:2] == (height, width):
        return pixels
    out = np.empty((height, width, pixels.shape[2]), pixels.dtype)
    top = np.iinfo(pixels.dtype).max
    for rows in _strips(height, width):
        if pixels.dtype == np.uint8:
            out[rows] = _rows(pixels, width, height, rows, _BICUBIC)
        else:
            out[rows] = np.rint(_rows(pixels, width, height, rows, _BICUBIC).clip(0, top))
    return out


def enlarge_guided(answer: Pixels, source: Pixels, seen: Pixels) -> Pixels:
    """Enlarge a network's answer with the edges of the photograph.

    Where the answer follows the photograph's luminance, its edges are taken from the photograph at
    full size: a local linear model is fitted at the size of the answer and applied to the full
    luminance, as the fast guided filter does (He and Sun, arXiv 1505.00996). Where the answer goes
    its own way, in brush strokes and in what it leaves out, it is enlarged by the bicubic filter,
    so that no texture of the photograph returns. The squared correlation of both luminances in a
    window weighs the two.

    Args:
        answer: (h, w, 3) or (h, w, 1), of the type of `source`.
        source: the photograph, uint8 or uint16 (H, W, 3), H >= h and W >= w.
        seen: what the network was shown of it, (h, w, 3) of the same type.

    Returns: (H, W, channels of `answer`) of the same type.
    """
    height, width = source.shape[:2]
    if answer.shape[:2] == (height, width):
        return answer
    out = np.empty((height, width, answer.shape[2]), source.dtype)
    scale = answer.shape[0] / height
    margin = 2 * _RADIUS + 4  # two windows and the reach of the filters
    for rows in _strips(height, width):
        first = max(0, floor(rows.start * scale) - margin)
        last = min(answer.shape[0], ceil(rows.stop * scale) + margin)
        values = as_values(answer[first:last])
        fit = _fit(as_values(seen[first:last]) @ LUMA, values)
        box = rows.start * scale - first, rows.stop * scale - first
        slope, offset, weight = (_enlarged(part, width, rows, box, _BILINEAR) for part in fit)
        made = _enlarged(values, width, rows, box, _BICUBIC)
        slope *= (as_values(source[rows]) @ LUMA)[:, :, None]
        slope += offset
        slope -= made
        slope *= weight
        made += slope
        out[rows] = _pixels(made, source.dtype)
    return out


def enlarge_chroma(answer: Pixels, source: Pixels) -> Pixels:
    """Give a picture the colour of a network's answer and keep its own luminance (BT.601).

    Colour may be coarse where luminance is sharp, as in JPEG's and television's half chroma. Where
    a colour does not exist at the picture's luminance it is brought towards grey until it does, so
    that luminance stays within the rounding to whole levels.

    Args:
        answer: (h, w, 3), of the type of `source`.
        source: uint8 or uint16 (H, W, 3), H >= h and W >= w.

    Returns: (H, W, 3) of the same type.
    """
    height, width = source.shape[:2]
    out = np.empty_like(source)
    scale = answer.shape[0] / height
    for rows in _strips(height, width):
        first = max(0, floor(rows.start * scale) - 4)
        last = min(answer.shape[0], ceil(rows.stop * scale) + 4)
        values = as_values(answer[first:last])
        colour: NDArray[Any] = values - (values @ LUMA)[:, :, None]
        box = rows.start * scale - first, rows.stop * scale - first
        if answer.shape[:2] != (height, width):
            colour = _enlarged(colour, width, rows, box, _BICUBIC)
        grey = (as_values(source[rows]) @ LUMA)[:, :, None]
        room = np.where(colour > 0, 255 - grey, grey) / np.maximum(np.abs(colour), 1e-3)
        colour *= np.clip(room.min(2, keepdims=True), 0, 1)
        out[rows] = _pixels(colour + grey, source.dtype)
    return out


def _fit(guide: NDArray[np.float32], values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """For each pixel of the working size `slope` and `offset` (h, w, C) of values ~ slope * guide +
    offset in its window (arXiv 1505.00996, equations 3 to 5), and how far that holds, 0 to 1, as
    (h, w, 1)."""
    guide = guide[:, :, None]
    mean, mean_values = _mean(guide, _RADIUS), _mean(values, _RADIUS)
    variance = _mean(guide * guide, _RADIUS) - mean * mean
    covariance = _mean(guide * values, _RADIUS) - mean * mean_values
    slope = covariance / (variance + _EPSILON)
    offset = mean_values - slope * mean
    luma: NDArray[Any] = values if values.shape[2] == 1 else (values @ LUMA)[:, :, None]
    mean_luma = _mean(luma, _RADIUS)
    spread = _mean(luma * luma, _RADIUS) - mean_luma * mean_luma
    common = _mean(guide * luma, _RADIUS) - mean * mean_luma
    weight = common * common / ((variance + _EPSILON) * (spread + _EPSILON))
    return [_mean(part, 1) for part in (slope, offset, weight.clip(0, 1))]


def _mean(values: NDArray[Any], radius: int) -> NDArray[np.float32]:
    """Of the square window around each pixel of (h, w, C); the border is repeated outwards."""
    for axis in (0, 1):
        around = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
        padded = np.pad(values, around, mode="edge")
        length = values.shape[axis]
        total = padded.take(range(length), axis)
        for k in range(1, 2 * radius + 1):
            total += padded[k : k + length] if axis == 0 else padded[:, k : k + length]
        values = total / np.float32(2 * radius + 1)
    return values


def _strips(height: int, width: int) -> Iterator[slice]:
    step = max(32, _STRIP // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _rows(
    pixels: Pixels, width: int, height: int, rows: slice, filter: Image.Resampling
) -> NDArray:
    """Rows of the whole picture resized to (height, width): uint8 from uint8, else float32."""
    scale = pixels.shape[0] / height
    reach = _REACH[filter] * max(scale, 1.0) + 2
    first = max(0, floor(rows.start * scale - reach))
    last = min(pixels.shape[0], ceil(rows.stop * scale + reach))
    part = pixels[first:last]
    box = rows.start * scale - first, rows.stop * scale - first
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return _resized(part, width, rows, box, filter)
    if pixels.dtype == np.uint8:
        return _resized(part[:, :, 0], width, rows, box, filter)[:, :, None]
    return _enlarged(part.astype(np.float32), width, rows, box, filter)


def _enlarged(
    part: NDArray[np.float32],
    width: int,
    rows: slice,
    box: tuple[float, float],
    filter: Image.Resampling,
) -> NDArray[np.float32]:
    planes = [
        _resized(np.ascontiguousarray(part[:, :, k]), width, rows, box, filter)
        for k in range(part.shape[2])
    ]
    return np.stack(planes, 2)


def _resized(
    part: NDArray[Any], width: int, rows: slice, box: tuple[float, float], filter: Image.Resampling
) -> NDArray[Any]:
    place = (0.0, max(box[0], 0.0), float(part.shape[1]), min(box[1], float(part.shape[0])))
    image = Image.fromarray(part).resize((width, rows.stop - rows.start), filter, place)
    return np.asarray(image)


def _pixels(values: NDArray[np.float32], dtype: np.dtype) -> Pixels:
    if dtype == np.uint16:
        values *= np.float32(257)
    np.rint(values, out=values)
    return values.clip(0, np.iinfo(dtype).max, out=values).astype(dtype)

"""Pictures resized, and laid out beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from img2img.images.values import Picture, Pixels, to_8_bits


def resize_pixels(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize uint8 or uint16 (H, W, 1 or 3) with an antialiased bicubic filter, as the references
    do."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    top = np.iinfo(pixels.dtype).max
    planes = [
        np.asarray(
            Image.fromarray(pixels[:, :, k].astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for k in range(pixels.shape[2])
    ]
    return np.clip(np.rint(np.stack(planes, 2)), 0, top).astype(pixels.dtype)


def on_white(picture: Picture) -> Pixels:
    """The colours of `picture`; where it is transparent, uint8 (H, W, C) laid on white."""
    if picture.alpha is None:
        return picture.pixels
    cover = to_8_bits(picture.alpha)[:, :, None].astype(np.uint32)
    mixed = to_8_bits(picture.pixels).astype(np.uint32) * cover + 255 * (255 - cover)
    return ((mixed + 127) // 255).astype(np.uint8)


def in_columns(samples: Sequence[Sequence[Pixels]], across: int) -> list[list[Pixels]]:
    """Samples of equally many pictures each as rows for `contact_sheet`: `across` samples beside
    each other, the pictures of each below one another."""
    rows: list[list[Pixels]] = []
    for first in range(0, len(samples), across):
        rows += map(list, zip(*samples[first : first + across], strict=True))
    return rows


def contact_sheet(rows: list[list[Pixels]], titles: list[str] | None = None) -> Pixels:
    """Lay equally sized uint8 (H, W, 3) pictures out in rows, with `titles` above the columns."""
    from PIL import ImageDraw

    gap, head = 4, 16 if titles else 0
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = Image.new(
        "RGB", (columns * (width + gap) + gap, len(rows) * (height + gap) + gap + head), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for k, title in enumerate(titles or []):
        draw.text((gap + k * (width + gap), 2), title, fill="black")
    for r, row in enumerate(rows):
        for k, pixels in enumerate(row):
            position = (gap + k * (width + gap), head + gap + r * (height + gap))
            sheet.paste(Image.fromarray(pixels), position)
    return np.asarray(sheet)

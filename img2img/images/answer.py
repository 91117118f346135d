"""A picture with other pixels: what a network made of it, with what must survive of the source."""

from __future__ import annotations

from dataclasses import replace

from img2img.images.enlarge import scale_pixels
from img2img.images.metadata import resize_metadata
from img2img.images.values import Picture, Pixels


def with_pixels(source: Picture, pixels: Pixels) -> Picture:
    """`source` with `pixels`, uint8 or uint16 (H, W, 1 or 3). Where they are of another size the
    alpha channel is resized to it by the bicubic filter, and EXIF and XMP state it."""
    picture = replace(source, pixels=pixels, notes=list(source.notes))
    height, width = pixels.shape[:2]
    if source.pixels.shape[:2] == (height, width):
        return picture
    if source.alpha is not None:
        picture.alpha = scale_pixels(source.alpha[:, :, None], width, height)[:, :, 0]
    resize_metadata(picture, (width, height))
    return picture

"""Pictures in memory: the bytes of a file, and Pillow's images."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from img2img.errors import PictureError, first_line
from img2img.images import modes
from img2img.images.colour import SRGB_BYTES
from img2img.images.formats import READ_ONLY
from img2img.images.metadata import take_metadata, take_orientation
from img2img.images.reading import decode
from img2img.images.values import Picture, Reading, to_8_bits
from img2img.images.writing import encode

_AS_THEY_ARE = Reading()


def decode_picture(data: bytes, reading: Reading = _AS_THEY_ARE) -> Picture:
    """`read_picture` of the bytes of a file. Raises PictureError."""
    try:
        return decode(io.BytesIO(data), None, reading)
    except PictureError:
        raise
    # Decoders raise SyntaxError, ValueError, TypeError, MemoryError and more on damaged files.
    except Exception as error:
        raise PictureError(f"cannot be decoded: {first_line(error)}") from None


def encode_picture(picture: Picture, quality: int = 95) -> bytes:
    """The bytes of a file in `picture.format`, PNG where that is only read. As `write_picture`;
    raises PictureError."""
    if picture.format in READ_ONLY:
        picture.format = "PNG"
    file = io.BytesIO()
    try:
        encode(file, picture, quality)
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"cannot be encoded: {first_line(error)}") from None
    return file.getvalue()


def from_image(image: Image.Image) -> Picture:
    """A Pillow image of any mode: upright, sRGB, 8 bits; `image` stays as it is. Raises
    PictureError."""
    try:
        image = image.copy()  # loads it, and keeps the metadata of the given one from changes
        picture = Picture(np.empty((0, 0, 3), np.uint8), format=image.format or "PNG")
        orientation = take_orientation(image, picture)
        profile = image.info.get("icc_profile")
        if image.mode.startswith("I;16"):
            modes.fill_deep(picture, modes.grey_array(image, ""), image.info, profile)
        else:
            modes.fill(picture, image, profile)
        modes.reduce_to_8(picture)
        picture.pixels = modes.turn(picture.pixels, orientation)
        if picture.alpha is not None:
            picture.alpha = modes.turn(picture.alpha, orientation)
        height, width = picture.pixels.shape[:2]
        take_metadata(image, picture, (width, height), "keep")
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"cannot be decoded: {first_line(error)}") from None
    return picture


def to_image(picture: Picture) -> Image.Image:
    """A Pillow image of 8 bits: L, RGB, or RGBA where the picture is transparent; EXIF, profile and
    resolution are in its `info`, where `save` finds the profile."""
    pixels = to_8_bits(picture.pixels)
    if picture.alpha is not None:
        colours = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels
        image = Image.fromarray(np.concatenate([colours, to_8_bits(picture.alpha)[:, :, None]], 2))
    else:
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if picture.icc and image.mode != "L":
        image.info["icc_profile"] = SRGB_BYTES
    if picture.exif:
        image.info["exif"] = picture.exif
    if picture.dpi:
        image.info["dpi"] = picture.dpi
    return image

"""Pixels become a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from img2img.errors import (
    EnvironmentFault,
    PictureError,
    describe_os_error,
    first_line,
    is_environment_fault,
)
from img2img.images.colour import SRGB_BYTES
from img2img.images.formats import HOLDS_16_BITS, HOLDS_ALPHA, MAX_SIDE
from img2img.images.metadata import MAX_JPEG_EXIF, MAX_JPEG_XMP, exif_to_write, xmp_to_write
from img2img.images.modes import reduce_to_8
from img2img.images.png import write_png
from img2img.images.sheets import on_white
from img2img.images.tiff import write_tiff
from img2img.images.values import Picture, Pixels
from img2img.system.atomic import atomic_path

# AVIF at its fastest is slow enough; 8 of 10 loses little.
_AVIF_SPEED, _WEBP_METHOD = 8, 2


def write_picture(
    path: Path | str,
    picture: Picture,
    quality: int = 95,
    before: Callable[[Path], None] = lambda temporary: None,
) -> None:
    """Encode `picture` to `path` in `picture.format`, completely or not at all. 16 bits and alpha
    are written if the format supports them (without alpha, the picture is placed on white); both
    losses are added to `picture.notes`. EXIF, XMP, resolution and an sRGB tag are written if the
    source has them. `quality` is 1..100, for JPEG, WebP and AVIF. `before` sees the finished file
    before it takes its name.

    Raises:
        EnvironmentFault: no file can be written here any more (disk full, read-only).
        PictureError: this one cannot be written.
    """
    try:
        samples = _samples(picture)
        with atomic_path(path) as temporary:
            with open(temporary, "wb") as file:
                _save(file, samples, picture, quality)
            before(temporary)
    except EnvironmentFault:
        raise
    except OSError as error:
        words = describe_os_error(error)
        if is_environment_fault(error):
            raise EnvironmentFault(f"{path}: not written: {words}") from None
        raise PictureError(f"{path}: not written: {words}") from None
    except Exception as error:
        raise PictureError(f"{path}: not written: {first_line(error)}") from None


def encode(file: BinaryIO, picture: Picture, quality: int = 95) -> None:
    """`write_picture` into an open file; raises PictureError, and whatever an encoder raises."""
    _save(file, _samples(picture), picture, quality)


def _samples(picture: Picture) -> Pixels:
    height, width = picture.pixels.shape[:2]
    limit = MAX_SIDE.get(picture.format)
    if limit and max(width, height) > limit:
        raise PictureError(
            f"{picture.format} holds at most {limit} pixels per side, not {width}x{height}; "
            "use `format` png"
        )
    if picture.format not in HOLDS_16_BITS:
        reduce_to_8(picture)
    if picture.alpha is None:
        return picture.pixels
    alpha = _as(picture.alpha, picture.pixels)
    if picture.format in HOLDS_ALPHA:
        return np.concatenate([picture.pixels, alpha[:, :, None]], 2)
    picture.notes.append(f"{picture.format} has no transparency; placed on white")
    return on_white(picture)


def _as(alpha: Pixels, pixels: Pixels) -> Pixels:
    """`alpha` in the depth of `pixels`: a model may give 8 bits for a picture of 16."""
    if alpha.dtype == pixels.dtype:
        return alpha
    if pixels.dtype == np.uint16:
        return alpha.astype(np.uint16) * np.uint16(257)
    return ((alpha.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _save(file: BinaryIO, samples: Pixels, picture: Picture, quality: int) -> None:
    # A grey file may carry a grey profile only, and untagged grey is taken as sRGB's anyway.
    icc = SRGB_BYTES if picture.icc and samples.shape[2] > 2 else b""
    exif, xmp = exif_to_write(picture), xmp_to_write(picture)
    if picture.format == "PNG":
        write_png(file, samples, icc, exif, xmp, picture.dpi, picture.software)
        return
    if picture.format == "TIFF":
        if (
            samples.shape[2] == 2
        ):  # grey with alpha of 16 bits is read by few, Pillow not among them
            samples = samples[:, :, [0, 0, 0, 1]]
        write_tiff(file, samples, icc, exif, xmp, picture.dpi)
        return
    if samples.shape[2] == 1:
        image = Image.fromarray(samples[:, :, 0])
    else:
        image = Image.fromarray(samples, {2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]])
    options: dict[str, Any] = {}
    if picture.format == "JPEG":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
        if len(exif) > MAX_JPEG_EXIF or len(xmp) > MAX_JPEG_XMP:
            picture.notes.append("metadata too long for a JPEG and dropped")
            exif = exif if len(exif) <= MAX_JPEG_EXIF else b""
            xmp = xmp if len(xmp) <= MAX_JPEG_XMP else b""
    elif picture.format == "WEBP":
        options = {"quality": quality, "method": _WEBP_METHOD}
    elif picture.format == "AVIF":
        options = {"quality": quality, "speed": _AVIF_SPEED}
        options["subsampling"] = "4:4:4" if quality >= 90 else "4:2:0"
    if picture.format in ("WEBP", "AVIF") and image.mode in ("L", "LA"):
        image = image.convert("RGB" if image.mode == "L" else "RGBA")
    if picture.format != "BMP":
        options |= {k: v for k, v in (("exif", exif), ("xmp", xmp), ("icc_profile", icc)) if v}
    if picture.dpi and picture.format in ("JPEG", "BMP"):
        options["dpi"] = picture.dpi
    image.save(file, format=picture.format, **options)

"""A file becomes pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from img2img.errors import PictureError, describe_os_error, first_line
from img2img.images import modes
from img2img.images.formats import OPENERS, READABLE, sniff, written_format
from img2img.images.guard import check_size, check_structure, open_regular
from img2img.images.metadata import take_metadata, take_orientation
from img2img.images.values import Picture, Reading

_AS_THEY_ARE = Reading()


def read_picture(path: Path | str, reading: Reading = _AS_THEY_ARE) -> Picture:
    """Decode one picture file completely; its content says the format, not its name.

    It is turned upright by its EXIF orientation and its colour profile is converted to sRGB;
    whatever its mode, it becomes RGB and, if it is transparent, alpha. Of several frames the first
    is taken, with a note. docs/reference/pictures.md has the table.

    Raises:
        PictureError: whatever is wrong with the file, in one line that names it.
    """
    try:
        with open_regular(path) as file:
            return decode(file, Path(path), reading)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise PictureError(f"{path}: {describe_os_error(error)}") from None
        raise PictureError(f"{path}: cannot be decoded: {first_line(error)}") from None
    # Decoders raise SyntaxError, ValueError, TypeError, MemoryError and more on damaged files.
    except Exception as error:
        raise PictureError(f"{path}: cannot be decoded: {first_line(error)}") from None


def decode(file: BinaryIO, path: Path | None, reading: Reading) -> Picture:
    """What `read_picture` returns, of an open file; `path` is compared with what it holds. Raises
    PictureError without the name, and whatever a decoder raises."""
    format = sniff(file.read(64))
    if format is None:
        raise PictureError("cannot be decoded: not a picture, or damaged")
    file.seek(0)
    forgiven = check_structure(file, format, reading.salvage)
    picture = Picture(np.empty((0, 0, 3), np.uint8), format=format)
    if path is not None and path.suffix.lower() in READABLE and not _named_so(path, format):
        picture.notes.append(f"a {format} despite its name")

    def opened() -> Image.Image:
        file.seek(0)
        image = OPENERS[format](file)
        check_size(*image.size, reading.max_pixels)
        return image

    image = opened()
    _note_frames(image, picture)
    raw = modes.raw_mode(image)
    fault = _load(image, reading.salvage)
    if fault and format == "JPEG":
        image = _jpeg_with_end(file)
    orientation = take_orientation(image, picture)
    profile = image.info.get("icc_profile")
    if modes.is_deep(raw):
        low = _low(opened, raw, reading.salvage)
        samples = modes.deep_array(image, low, raw)
        modes.fill_deep(picture, samples, image.info, profile)
    elif image.mode.startswith("I;16"):
        modes.fill_deep(picture, modes.grey_array(image, raw), image.info, profile)
    else:
        modes.fill(picture, image, profile)
    if not reading.deep or picture.pixels.dtype == np.uint8:
        modes.reduce_to_8(picture)
    picture.pixels = modes.turn(picture.pixels, orientation)
    if picture.alpha is not None:
        picture.alpha = modes.turn(picture.alpha, orientation)
    height, width = picture.pixels.shape[:2]
    take_metadata(image, picture, (width, height), reading.metadata)
    if fault or forgiven:
        picture.salvaged = True
        picture.notes.append(f"salvaged from a damaged file: {fault or forgiven}")
    return picture


def _named_so(path: Path, format: str) -> bool:
    if format in ("GIF", "HEIC"):
        return path.suffix.lower() in {"GIF": (".gif",), "HEIC": (".heic", ".heif")}[format]
    if path.suffix.lower() == ".avif":
        return format == "AVIF"
    return written_format(path) == format


def _note_frames(image: Image.Image, picture: Picture) -> None:
    # Counting the frames of a GIF or the pages of a TIFF would walk through the whole file.
    if picture.format in ("GIF", "TIFF"):
        if getattr(image, "is_animated", False):
            picture.notes.append(
                "first of several " + ("frames" if picture.format == "GIF" else "pages")
            )
    elif (frames := getattr(image, "n_frames", 1)) > 1:
        picture.notes.append(f"first of {frames} frames")


def _load(image: Image.Image, salvage: bool) -> str | None:
    """Decode; returns the fault where the file is damaged and `salvage` kept what was decoded."""
    try:
        image.load()
    except Exception as error:
        if not salvage or getattr(image, "_im", None) is None:
            raise
        # Pillow decodes into the image as it goes; without tiles it counts as loaded.
        image.tile = []  # type: ignore[attr-defined]
        return first_line(error)
    return None


def _jpeg_with_end(file: BinaryIO) -> Image.Image:
    """A truncated JPEG with the missing end put on, which makes libjpeg fill up the rest."""
    file.seek(0)
    image = OPENERS["JPEG"](io.BytesIO(file.read() + b"\xff\xd9"))
    _load(image, salvage=True)
    return image


def _low(opened: Callable[[], Image.Image], raw: str, salvage: bool) -> Image.Image:
    image = opened()
    modes.take_low_bytes(image, raw)
    _load(image, salvage)
    return image

"""The one place where a file becomes pixels and pixels become a file.

Pixels are uint8 RGB, (H, W, 3), upright. Networks see float in [-1, 1]: `to_network` and
`from_network` own that convention and work on numpy arrays and torch tensors alike.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from img2img.atomic import atomic_path
from img2img.errors import (
    EnvironmentFault,
    PictureError,
    UsageError,
    describe_os_error,
    is_environment_fault,
    proposal,
)

Pixels = NDArray[np.uint8]

READABLE = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
)
MAX_PIXELS = 400_000_000

# What --format accepts -> (Pillow's name, suffix)
FORMATS = {
    "jpg": ("JPEG", ".jpg"),
    "jpeg": ("JPEG", ".jpg"),
    "png": ("PNG", ".png"),
    "webp": ("WEBP", ".webp"),
    "tiff": ("TIFF", ".tif"),
    "tif": ("TIFF", ".tif"),
    "bmp": ("BMP", ".bmp"),
}
_ORIENTATION, _EXIF_IFD, _EXIF_WIDTH, _EXIF_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
# Tags of a TIFF that describe how its own pixels are stored; Pillow lists them as EXIF.
_STRUCTURE = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 296, 297),
        *(317, 320, 322, 323, 324, 325, 338, 339, 347, 530, 531, 532, 34675),
    )
)
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SRGB_BYTES = _SRGB.tobytes()

Image.MAX_IMAGE_PIXELS = None  # checked here, as an error that names the file


def to_network(pixels: Any) -> Any:
    """Values 0..255 -> [-1, 1]; arrays and tensors of a floating type."""
    return pixels / 127.5 - 1.0


def from_network(values: NDArray[np.floating[Any]]) -> Pixels:
    """[-1, 1] -> uint8 0..255, rounded to nearest and clipped."""
    return np.clip(np.rint((values + 1.0) * 127.5), 0, 255).astype(np.uint8)


@dataclass
class Picture:
    """A decoded picture and what must survive its translation.

    Attributes:
        pixels: uint8 (H, W, 3), RGB, upright, sRGB.
        alpha: uint8 (H, W), or None for an opaque picture.
        exif: EXIF block as bytes, orientation already corrected, or b"".
        icc: True when the file carried a colour profile (the output is then tagged sRGB).
        format: Pillow's name of the file format.
        notes: conversions that lost something, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes = b""
    icc: bool = False
    format: str = "PNG"
    notes: list[str] = field(default_factory=list)


def read_picture(path: Path | str) -> Picture:
    """Decode one picture file completely.

    Upright by EXIF orientation; a colour profile is converted to sRGB; palette, grey, CMYK and
    16-bit grey become 8-bit RGB; of an animation the first frame is taken, and said so.

    Raises:
        PictureError: whatever is wrong with the file, in one line that names it.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path}: not a regular file")
        if status.st_size == 0:
            raise PictureError(f"{path}: empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _decode(image, str(path))
    except PictureError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise PictureError(f"{path}: {describe_os_error(error)}") from None
        raise PictureError(f"{path}: cannot be decoded: {_reason(error)}") from None
    # Decoders raise SyntaxError, ValueError, TypeError, MemoryError and more on damaged files.
    except Exception as error:
        raise PictureError(f"{path}: cannot be decoded: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "not a picture, or damaged" if "cannot identify image file" in text else text


def _decode(image: Image.Image, where: str) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{where}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels"
        )
    picture = Picture(np.empty((0, 0, 3), np.uint8), format=image.format or "PNG")
    frames = getattr(image, "n_frames", 1)
    image.load()
    if frames > 1:
        picture.notes.append(f"first of {frames} frames")
    profile = image.info.get("icc_profile")
    image = _upright(image, picture)
    if image.mode in ("I", "F"):
        raise PictureError(f"{where}: pixels of 32 bits (mode {image.mode}) are not supported")
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
        picture.notes.append("16 bits reduced to 8")
        profile = None
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        if not (alpha == 255).all():
            picture.alpha = alpha.copy()
    image = _to_srgb(image, profile, picture)
    picture.pixels = np.array(image.convert("RGB"))
    return picture


def _upright(image: Image.Image, picture: Picture) -> Image.Image:
    try:
        exif = image.getexif()
        turned = exif.get(_ORIENTATION, 1) not in (0, 1)
        if turned:
            image = ImageOps.exif_transpose(image)
        for tag in [t for t in exif if t in _STRUCTURE]:
            del exif[tag]
        if exif:
            exif[_ORIENTATION] = 1
            if _EXIF_IFD in exif:
                inner = exif.get_ifd(_EXIF_IFD)
                if _EXIF_WIDTH in inner:
                    inner[_EXIF_WIDTH], inner[_EXIF_HEIGHT] = image.size
            picture.exif = exif.tobytes()
    except Exception as error:  # damaged EXIF in a picture that decodes well
        picture.exif = b""
        picture.notes.append(f"EXIF unreadable and dropped ({_reason(error)})")
    return image


def _to_srgb(image: Image.Image, profile: bytes | None, picture: Picture) -> Image.Image:
    if not profile or profile == _SRGB_BYTES:
        picture.icc = bool(profile)
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = image.mode if image.mode in ("RGB", "CMYK", "L") else "RGB"
        converted = ImageCms.profileToProfile(image.convert(mode), source, _SRGB, outputMode="RGB")
        if converted is not None:
            picture.icc = True
            return converted
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        picture.notes.append(f"colour profile ignored ({_reason(error)})")
    return image


def encode_format(name: str) -> tuple[str, str]:
    """(Pillow's format name, suffix) for a name that `--format` accepts; raises UsageError."""
    key = name.lower().lstrip(".")
    if key not in FORMATS:
        raise UsageError(f"unknown picture format '{name}'.{proposal(key, FORMATS)}")
    return FORMATS[key]


def write_picture(path: Path | str, picture: Picture, quality: int = 95) -> None:
    """Encode `picture` to `path` in `picture.format`, whole or not at all.

    Alpha is written where the format has it (else the picture is laid on white), EXIF and an sRGB
    tag where they came with the source. `quality` is 1..100, for JPEG and WebP.

    Raises:
        EnvironmentFault: when no file can be written here any more (disk full, read-only).
        PictureError: when this one cannot.
    """
    image = Image.fromarray(picture.pixels)
    options: dict[str, Any] = {}
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.format in ("JPEG", "BMP") and image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    if picture.format == "JPEG":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif picture.format == "WEBP":
        options = {"quality": quality, "method": 2}
    elif picture.format == "PNG":
        options = {"compress_level": 1}
    elif picture.format == "TIFF":
        # Pillow's libtiff fails on EXIF together with compression.
        options = {} if picture.exif else {"compression": "tiff_adobe_deflate"}
    if picture.exif and picture.format in ("JPEG", "PNG", "WEBP", "TIFF"):
        options["exif"] = picture.exif
    if picture.icc and picture.format != "BMP":
        options["icc_profile"] = _SRGB_BYTES
    try:
        with atomic_path(path) as temporary:
            image.save(temporary, format=picture.format, **options)
    except OSError as error:
        words = describe_os_error(error)
        if is_environment_fault(error):
            raise EnvironmentFault(f"{path}: not written: {words}") from None
        raise PictureError(f"{path}: not written: {words}") from None
    except Exception as error:
        raise PictureError(f"{path}: not written: {_reason(error)}") from None


def is_picture_name(name: str) -> bool:
    """True when the suffix is one that `read_picture` takes."""
    return os.path.splitext(name)[1].lower() in READABLE


def find_pictures(folder: Path, skip: Path | None = None) -> Iterator[Path]:
    """Yield the picture files below `folder` in sorted order, by suffix; hidden names and the
    folder `skip` are left out, linked folders are not entered."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder}: {describe_os_error(error)}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if skip is None or Path(entry.path).resolve() != skip:
                yield from find_pictures(Path(entry.path), skip)
        elif is_picture_name(entry.name):
            yield Path(entry.path)


def resize_pixels(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize uint8 (H, W, C) with an antialiased bicubic filter, as the references do."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


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

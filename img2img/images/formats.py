"""The formats of picture files: names, suffixes, what they hold, and how each is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from img2img.errors import PictureError, UsageError, proposal

READABLE = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
        *(".avif", ".heic", ".heif"),
    )
)
# What --format accepts -> (name of the format, suffix)
FORMATS = {
    "jpg": ("JPEG", ".jpg"),
    "jpeg": ("JPEG", ".jpg"),
    "png": ("PNG", ".png"),
    "webp": ("WEBP", ".webp"),
    "tiff": ("TIFF", ".tif"),
    "tif": ("TIFF", ".tif"),
    "bmp": ("BMP", ".bmp"),
    "avif": ("AVIF", ".avif"),
}
# Suffixes of written files beside those of FORMATS.
_ALIASES = {".jpe": "jpg", ".jfif": "jpg"}
HOLDS_16_BITS = frozenset(("PNG", "TIFF"))
HOLDS_ALPHA = frozenset(("PNG", "TIFF", "WEBP", "AVIF"))
READ_ONLY = frozenset(("GIF", "HEIC"))
MAX_SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65535}

_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)


def sniff(head: bytes) -> str | None:
    """The format that the first bytes of a file (64 are enough) announce, or None."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        box = head[8 : min(size, len(head))]
        brands = {box[k : k + 4] for k in (0, *range(8, len(box) - 3, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIC_BRANDS:
            return "HEIC"
    return None


def is_picture_name(name: str) -> bool:
    """True when the suffix is one that `read_picture` takes."""
    return os.path.splitext(name)[1].lower() in READABLE


def encode_format(name: str) -> tuple[str, str]:
    """(name of the format, suffix) for a name that `--format` accepts; raises UsageError."""
    key = name.lower().lstrip(".")
    if key not in FORMATS:
        raise UsageError(f"unknown picture format '{name}'.{proposal(key, FORMATS)}")
    if FORMATS[key][0] == "AVIF" and not has_avif():
        raise UsageError(f"format '{name}': {NO_AVIF}")
    return FORMATS[key]


def written_format(path: Path) -> str | None:
    """The format that the suffix of an output names, or None where it cannot be written."""
    suffix = path.suffix.lower()
    name = FORMATS.get(_ALIASES.get(suffix, suffix.lstrip(".")), (None, ""))[0]
    return None if name == "AVIF" and not has_avif() else name


NO_AVIF = "this Pillow was built without AVIF; pip install --force-reinstall 'Pillow>=11.3'"


def has_avif() -> bool:
    """True when Pillow reads and writes AVIF here."""
    from PIL import features

    return bool(features.check("avif"))


def _open_jpeg(file: BinaryIO) -> Image.Image:
    from PIL.JpegImagePlugin import JpegImageFile

    # Of a multi-picture JPEG (MPO) the first picture, which is the photograph.
    return JpegImageFile(file)


def _open_png(file: BinaryIO) -> Image.Image:
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(file)


def _open_gif(file: BinaryIO) -> Image.Image:
    from PIL.GifImagePlugin import GifImageFile

    return GifImageFile(file)


def _open_tiff(file: BinaryIO) -> Image.Image:
    from PIL.TiffImagePlugin import TiffImageFile

    return TiffImageFile(file)


def _open_bmp(file: BinaryIO) -> Image.Image:
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile(file)


def _open_webp(file: BinaryIO) -> Image.Image:
    from PIL.WebPImagePlugin import WebPImageFile

    return WebPImageFile(file)


def _open_avif(file: BinaryIO) -> Image.Image:
    from PIL.AvifImagePlugin import AvifImageFile

    if not has_avif():
        raise PictureError(NO_AVIF)
    return AvifImageFile(file)


def _open_heic(file: BinaryIO) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        from img2img.system.installed import hint

        raise PictureError(f"HEIC needs the 'heic' extra: {hint('heic')}") from None
    return HeifImageFile(file)


# Pillow's classes by name and not Image.open: nothing else is ever tried (Image.open would hand an
# EPS file to Ghostscript), and no process-wide limit of Pillow has to be changed.
OPENERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "GIF": _open_gif,
    "TIFF": _open_tiff,
    "BMP": _open_bmp,
    "WEBP": _open_webp,
    "AVIF": _open_avif,
    "HEIC": _open_heic,
}

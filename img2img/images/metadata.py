"""What a file says of its picture: EXIF and XMP, corrected for what comes out.

Thumbnails, IPTC, comments and text chunks are left behind: they show or describe the old picture.
"""

from __future__ import annotations

import contextlib
import re

from PIL import Image

from img2img.errors import first_line
from img2img.images.values import MetadataChoice, Picture

_ORIENTATION, _SOFTWARE, _EXIF_IFD, _GPS_IFD = 0x0112, 0x0131, 0x8769, 0x8825
_COLOUR_SPACE, _WIDTH, _HEIGHT, _INTEROP_IFD = 0xA001, 0xA002, 0xA003, 0xA005
# Tags of a TIFF that describe how its own pixels are stored; Pillow lists them as EXIF. 700 (XMP)
# and 33723, 34377 (IPTC, Photoshop) are carried or left behind on their own.
_STRUCTURE = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 296, 297),
        *(317, 318, 319, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 512, 513, 514),
        *(529, 530, 531, 532, 700, 33723, 34377, 34675),
    )
)
# EXIF lies behind "Exif\0\0" in a JPEG segment of at most 65535 bytes, its length included.
MAX_JPEG_EXIF, MAX_JPEG_XMP = 65533, 65502


def take_orientation(image: Image.Image, picture: Picture) -> int:
    """The EXIF orientation, 1 to 8; 1 with a note where it is unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # damaged EXIF in a picture that decodes well
        picture.notes.append(f"EXIF unreadable, so not rotated ({first_line(error)})")
        return 1
    if value in (0, 1):
        return 1
    if isinstance(value, int) and 1 <= value <= 8:
        return value
    picture.notes.append(f"EXIF orientation {str(value)[:20]!r} unknown, so not rotated")
    return 1


def take_metadata(
    image: Image.Image, picture: Picture, size: tuple[int, int], choice: MetadataChoice
) -> None:
    """Put EXIF, XMP and resolution of `image` into `picture`, for an upright picture of `size`.
    What is damaged is dropped, and said so."""
    with contextlib.suppress(TypeError, ValueError, ArithmeticError):
        across, down = (float(v) for v in image.info.get("dpi", ()))
        if 0 < across < 65536 and 0 < down < 65536:
            picture.dpi = (across, down)
    if choice == "strip":
        return
    try:
        picture.exif = _exif(image.getexif(), size, choice, picture.icc)
    except Exception as error:
        picture.notes.append(f"EXIF unreadable and dropped ({first_line(error)})")
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes) and xmp:
        picture.xmp = _xmp(xmp, size, choice)


def _exif(exif: Image.Exif, size: tuple[int, int], choice: MetadataChoice, srgb: bool) -> bytes:
    for tag in [t for t in exif if t in _STRUCTURE]:
        del exif[tag]
    if choice == "no-gps" and _GPS_IFD in exif:
        del exif[_GPS_IFD]
    if not exif:
        return b""
    exif[_ORIENTATION] = 1
    if _EXIF_IFD in exif:
        inner = exif.get_ifd(_EXIF_IFD)
        if _INTEROP_IFD in inner:
            inner[_INTEROP_IFD] = exif.get_ifd(_INTEROP_IFD)
        if _WIDTH in inner or _HEIGHT in inner:
            inner[_WIDTH], inner[_HEIGHT] = size
        if _COLOUR_SPACE in inner and srgb:
            inner[_COLOUR_SPACE] = 1
    return _fresh(exif)


def _fresh(exif: Image.Exif) -> bytes:
    """As bytes. The old one would write back what was deleted or changed in it."""
    fresh = Image.Exif()
    fresh.endian = exif.endian
    for tag, value in exif.items():
        fresh[tag] = exif.get_ifd(tag) if tag in (_EXIF_IFD, _GPS_IFD) else value
    return fresh.tobytes()


def resize_metadata(picture: Picture, size: tuple[int, int]) -> None:
    """Let EXIF and XMP of `picture` say that it has `size` (width, height). The resolution stays:
    with more pixels it makes a larger print."""
    if picture.exif:
        exif = Image.Exif()
        exif.load(picture.exif)
        inner = exif.get_ifd(_EXIF_IFD)
        if _WIDTH in inner or _HEIGHT in inner:
            inner[_WIDTH], inner[_HEIGHT] = size
            if _INTEROP_IFD in inner:
                inner[_INTEROP_IFD] = exif.get_ifd(_INTEROP_IFD)
            picture.exif = _fresh(exif)
    if picture.xmp:
        picture.xmp = _sized(picture.xmp, size)


def _sized(xmp: bytes, size: tuple[int, int]) -> bytes:
    numbers = {b"exif:PixelXDimension": size[0], b"exif:PixelYDimension": size[1]}
    for name, value in zip((b"Width", b"Length"), size, strict=True):
        numbers[b"tiff:Image" + name] = value
    for name, value in numbers.items():
        xmp = _set(xmp, name, str(value).encode())
    return xmp


def _xmp(xmp: bytes, size: tuple[int, int], choice: MetadataChoice) -> bytes:
    xmp = _set(_sized(xmp, size), b"tiff:Orientation", b"1")
    if choice == "no-gps":
        xmp = re.sub(rb"\s+exif:GPS\w+\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
        xmp = re.sub(rb"<(exif:GPS\w+)\b[^>]*(?:/>|>.*?</\1\s*>)", b"", xmp, flags=re.DOTALL)
    return xmp


def _set(xmp: bytes, name: bytes, value: bytes) -> bytes:
    """Replace the value of a simple property, written as an attribute or as an element."""
    xmp = re.sub(rb"(\b" + name + rb"\s*=\s*)(\"[^\"]*\"|'[^']*')", rb'\g<1>"' + value + rb'"', xmp)
    pattern = rb"(<" + name + rb"\s*>)[^<]*(</" + name + rb"\s*>)"
    return re.sub(pattern, rb"\g<1>" + value + rb"\g<2>", xmp)


def exif_to_write(picture: Picture) -> bytes:
    """`picture.exif` with the tag Software naming `picture.software`; as it is without one."""
    if not picture.software:
        return picture.exif
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    exif[_SOFTWARE] = picture.software
    return exif.tobytes()


def xmp_to_write(picture: Picture) -> bytes:
    """`picture.xmp` with xmp:CreatorTool naming `picture.software`."""
    if not picture.software or not picture.xmp:
        return picture.xmp
    tool = re.sub(r"[^\w .,;:()+/-]", "_", picture.software, flags=re.ASCII).encode()
    changed = _set(picture.xmp, b"xmp:CreatorTool", tool)
    if b"xmp:CreatorTool" in changed:
        return changed
    found = re.search(rb"<rdf:Description\b([^>]*?)(?=/?>)", changed)
    if found is None:
        return changed
    space = b"" if b"xmlns:xmp=" in changed else b' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    more = space + b' xmp:CreatorTool="' + tool + b'"'
    return changed[: found.end()] + more + changed[found.end() :]

"""Colour profiles -> sRGB.

8 bits: LittleCMS with the perceptual intent (profiles without tables know only the relative
colorimetric one, which is then what it does). 16 bits: LittleCMS as Pillow reaches it knows 8 bits
only, so profiles of a matrix and curves, which all working spaces are, are computed here.
"""

from __future__ import annotations

import functools
import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from img2img.errors import first_line
from img2img.images.values import Picture, Pixels, to_8_bits

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
SRGB_BYTES = _SRGB.tobytes()
# Linear sRGB -> XYZ relative to D50 (IEC 61966-2-1, Bradford-adapted as in the ICC's own profile).
_SRGB_TO_XYZ = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
_XYZ_TO_SRGB = np.linalg.inv(_SRGB_TO_XYZ)
_BLOCK = 1 << 20


def to_srgb(image: Image.Image, profile: bytes | None, picture: Picture) -> Image.Image:
    """`image` (RGB, L or CMYK; 8 bits) as RGB in sRGB; a broken profile counts as sRGB, and
    `picture.notes` says so."""
    if image.mode == "CMYK" and not profile:
        picture.notes.append("CMYK without a colour profile converted by the simple formula")
    if not profile:
        return image
    try:
        if is_srgb(profile):
            picture.icc = True
            return image
        if profile[16:20] == b"GRAY" and image.mode == "L":
            wide = np.asarray(image)[:, :, None].astype(np.uint16) * np.uint16(257)
            grey = to_8_bits(grey_to_srgb_16(wide, profile, picture))
            return Image.fromarray(grey[:, :, 0])
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip(), "RGB")
        if (mode == "CMYK") != (image.mode == "CMYK"):
            raise ValueError(f"it is for {source.profile.xcolor_space.strip()}")
        converted = ImageCms.profileToProfile(image.convert(mode), source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        picture.notes.append(f"colour profile ignored, taken as sRGB ({first_line(error)})")
        return image
    picture.icc = True
    return converted if converted is not None else image


def to_srgb_16(colours: Pixels, profile: bytes | None, picture: Picture) -> Pixels:
    """uint16 (H, W, 3) in `profile` -> uint16 in sRGB. A profile of tables is converted in 8 bits,
    and `picture.notes` says so."""
    if not profile:
        return colours
    matrix = None
    try:
        if is_srgb(profile):
            picture.icc = True
            return colours
        matrix = _matrix_profile(profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, IndexError, struct.error):
        pass  # `to_srgb` says what is wrong with it
    if matrix is None:
        image = to_srgb(Image.fromarray(to_8_bits(colours)), profile, picture)
        if not picture.icc:
            return colours
        picture.notes.append("16 bits reduced to 8 because the colour profile consists of tables")
        return np.asarray(image.convert("RGB"))
    picture.icc = True
    curves, to_xyz = matrix
    flat, out = colours.reshape(-1, 3), np.empty((colours.size // 3, 3), np.uint16)
    change = (_XYZ_TO_SRGB @ to_xyz).T
    for start in range(0, len(flat), _BLOCK):
        part = flat[start : start + _BLOCK]
        linear = np.stack([curves[c][part[:, c]] for c in range(3)], 1) @ change
        out[start : start + _BLOCK] = np.rint(_srgb_curve(linear.clip(0, 1)) * 65535)
    return out.reshape(colours.shape)


def grey_to_srgb_16(grey: Pixels, profile: bytes | None, picture: Picture) -> Pixels:
    """uint16 (H, W, 1) through the curve of a grey profile; one of another kind is ignored, and
    `picture.notes` says so."""
    if not profile:
        return grey
    try:
        if profile[16:20] != b"GRAY":
            if not is_srgb(profile):
                raise ValueError("it is not for grey")
            picture.icc = True
            return grey
        curve = _curve(_tags(profile)[b"kTRC"])
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError, IndexError, struct.error) as error:
        picture.notes.append(f"colour profile ignored, taken as sRGB ({first_line(error)})")
        return grey
    picture.icc = True
    table = np.rint(_srgb_curve(curve.clip(0, 1)) * 65535).astype(np.uint16)
    return table[grey]


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """CIE Lab (D50) of 8 bits as sRGB."""
    source = ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
    if converted is None:
        raise ValueError("CIE Lab cannot be converted")
    return converted


@functools.lru_cache(maxsize=8)
def is_srgb(profile: bytes) -> bool:
    """True when `profile` changes no colour by more than one level of 255 on its way to sRGB."""
    if profile == SRGB_BYTES:
        return True
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != "RGB":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    image = ImageCms.profileToProfile(Image.fromarray(grid), source, _SRGB, outputMode="RGB")
    return image is not None and int(np.abs(np.asarray(image).astype(int) - grid).max()) <= 1


def _srgb_curve(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _matrix_profile(
    profile: bytes,
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]] | None:
    """(three curves of 65536 entries, RGB -> XYZ matrix) of an ICC.1 profile, or None where it
    has tables or is of another colour space."""
    if profile[16:24] != b"RGB XYZ ":
        return None
    tags = _tags(profile)
    wanted = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
    if b"A2B0" in tags or any(name not in tags for name in wanted):
        return None
    columns = [np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536 for name in wanted[:3]]
    return [_curve(tags[name]) for name in wanted[3:]], np.stack(columns, 1)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for k in range(min(count, 100)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * k)
        tags[name] = profile[offset : offset + size]
    return tags


def _curve(tag: bytes) -> NDArray[np.float64]:
    x = np.arange(65536) / 65535.0
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        table = np.frombuffer(tag, ">u2", count, 12)
        return (
            x ** (table[0] / 256)
            if count == 1
            else np.interp(x, np.linspace(0, 1, count), table / 65535.0)
        )
    if tag[:4] != b"para":
        raise ValueError("unknown curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    many = (1, 3, 4, 5, 7)[kind]
    values = [v / 65536 for v in struct.unpack_from(f">{many}i", tag, 12)]
    g, a, b, c, d, e, f = values + [0.0] * (7 - many)
    if kind == 0:
        return x**g
    border = -b / a if kind < 3 else d
    # kinds 1 and 2 are flat below the border, 3 and 4 straight; e and f are offsets of kind 4,
    # c is the offset of kind 2.
    above = np.maximum(a * x + b, 0) ** g + {2: c, 4: e}.get(kind, 0.0)
    below = c * x + f if kind > 2 else np.full_like(x, c if kind == 2 else 0.0)
    return np.where(x >= border, above, below)

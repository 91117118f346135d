"""A decoded Pillow image -> RGB and alpha arrays, whatever its mode."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image

from img2img.errors import PictureError
from img2img.images.colour import grey_to_srgb_16, lab_to_srgb, to_srgb, to_srgb_16
from img2img.images.values import Picture, Pixels, to_8_bits

# Pillow has no mode for colours of 16 bits: its unpackers `X;16B` and `X;16L` each keep one byte of
# two. What the one keeps the other drops, so that decoding with both gives all 16 bits, by
# Pillow's own decoder, interlaced and compressed files included.
_NATIVE, _OTHER = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_DEEP = frozenset(f"{mode};16{order}" for mode in ("RGB", "RGBA", "RGBX") for order in "BLN")
_SWAPPED = {"B": "L", "L": "B", "N": _OTHER}
_TURNS: dict[int, tuple[bool, bool, bool]] = {  # transpose, then flip rows, then flip columns
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def raw_mode(image: Image.Image) -> str:
    """How the samples lie in the file of a picture not yet loaded, in Pillow's words, or ""."""
    tiles: list[Any] = getattr(image, "tile", [])
    if not tiles:
        return ""
    args = tiles[0].args
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def is_deep(raw: str) -> bool:
    """True for colours of 16 bits, which need `take_low_bytes`."""
    return raw in _DEEP or raw == "LA;16B"


def take_low_bytes(image: Image.Image, raw: str) -> None:
    """Let a second, not yet loaded image of the same file decode the lower bytes; of LA, which
    has four bytes a pixel, both."""
    low = "RGBA" if raw == "LA;16B" else raw[:-1] + _SWAPPED[raw[-1]]
    tiles: list[Any] = image.tile  # type: ignore[attr-defined]
    image.tile = [  # type: ignore[attr-defined]
        t._replace(args=(low, *t.args[1:]) if isinstance(t.args, tuple) else low) for t in tiles
    ]


def deep_array(high: Image.Image, low: Image.Image, raw: str) -> Pixels:
    """uint16 (H, W, C) of two images that `take_low_bytes` prepared."""
    upper, lower = np.asarray(high), np.asarray(low)
    if raw == "LA;16B":
        wide = lower.astype(np.uint16)
        return np.stack([wide[:, :, 0] << 8 | wide[:, :, 1], wide[:, :, 2] << 8 | wide[:, :, 3]], 2)
    return upper.astype(np.uint16) << 8 | lower


def grey_array(image: Image.Image, raw: str) -> Pixels:
    """uint16 (H, W, 1) of a grey image of 12 or 16 bits."""
    wide = np.asarray(image).astype(np.uint16)
    if raw == "I;12":
        wide = ((wide.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
    if getattr(image, "tag_v2", {}).get(262) == 0:  # WhiteIsZero, which Pillow minds for 8 bits
        wide = 65535 - wide
    return wide[:, :, None]


def fill_deep(
    picture: Picture, samples: Pixels, info: dict[Any, Any], profile: bytes | None
) -> None:
    """Colours and alpha of uint16 (H, W, 1 to 4) samples into `picture`."""
    count = samples.shape[2]
    alpha = samples[:, :, -1] if count in (2, 4) else None
    colours = samples[:, :, :1] if count < 3 else samples[:, :, :3]
    key = info.get("transparency")
    if alpha is None and key is not None:
        same = (colours == np.array(key, np.int64).reshape(1, 1, -1)).all(2)
        alpha = np.where(same, 0, 65535).astype(np.uint16)
    if count < 3:
        picture.pixels = np.repeat(grey_to_srgb_16(colours, profile, picture), 3, 2)
    else:
        picture.pixels = to_srgb_16(np.ascontiguousarray(colours), profile, picture)
    if alpha is not None and not (alpha == 65535).all():
        picture.alpha = alpha.copy()


def fill(picture: Picture, image: Image.Image, profile: bytes | None) -> None:
    """Colours and alpha of an 8-bit image into `picture`."""
    if image.mode in ("I", "F"):
        raise PictureError(
            f"its pixels are {'32-bit integers' if image.mode == 'I' else 'floating point'}, "
            f"whose value range is unknown; convert it to 8 or 16 bits"
        )
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        if not (alpha == 255).all():
            picture.alpha = alpha.copy()
        image = image.convert("RGB")
    if image.mode == "LAB":
        image, profile = lab_to_srgb(image), None
    picture.pixels = np.array(to_srgb(image, profile, picture).convert("RGB"))


def reduce_to_8(picture: Picture) -> None:
    """Colours and alpha from 16 bits to 8, said in the notes."""
    if picture.pixels.dtype == np.uint16:
        picture.pixels = to_8_bits(picture.pixels)
        picture.notes.append("16 bits reduced to 8")
    if picture.alpha is not None:
        picture.alpha = to_8_bits(picture.alpha)


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Upright (H, W, ...) by an EXIF orientation of 1 to 8."""
    transposed, rows, columns = _TURNS[orientation]
    if transposed:
        pixels = pixels.swapaxes(0, 1)
    if rows:
        pixels = pixels[::-1]
    if columns:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)

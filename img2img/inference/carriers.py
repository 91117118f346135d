"""The kinds of picture that a Translator takes: how each becomes pixels, and pixels it again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.errors import UsageError
from img2img.images import (
    Pixels,
    Reading,
    from_network,
    read_picture,
    to_network,
    with_pixels,
)
from img2img.images.memory import decode_picture, encode_picture, from_image, to_image

if TYPE_CHECKING:
    import torch

_DEEP = Reading(deep=True)
_KINDS = (
    "give bytes of a picture file, a path, a PIL image, a numpy array (H, W, 3) of uint8 or "
    "uint16, a torch tensor (C, H, W) or (N, C, H, W) in [-1, 1], or a list of them"
)


@dataclass(frozen=True)
class Carrier:
    """A given picture: its `pixels`, uint8 or uint16 (H, W, 3), several for a batch; and `back`,
    which makes of the answers, (H, W, 1 or 3), what is returned."""

    pixels: list[Pixels]
    back: Callable[[list[Pixels]], Any]


def carrier_of(given: object) -> Carrier:
    """What `given` holds. Raises UsageError for a kind, type or shape that is not known,
    PictureError for what cannot be decoded."""
    if isinstance(given, bytes | bytearray | memoryview):
        return _of_bytes(bytes(given))
    if isinstance(given, str | Path):
        picture = read_picture(given)
        return Carrier([picture.pixels], lambda made: to_image(with_pixels(picture, made[0])))
    if isinstance(given, Image.Image):
        picture = from_image(given)
        return Carrier([picture.pixels], lambda made: to_image(with_pixels(picture, made[0])))
    if isinstance(given, np.ndarray):
        return Carrier([_checked(given)], lambda made: made[0])
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return _of_tensor(given)
    raise UsageError(f"cannot use a value of type {type(given).__name__} as a picture; {_KINDS}")


def _of_bytes(data: bytes) -> Carrier:
    picture = decode_picture(data, _DEEP)
    return Carrier([picture.pixels], lambda made: encode_picture(with_pixels(picture, made[0])))


def _checked(pixels: NDArray[Any]) -> Pixels:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"a numpy array of {pixels.dtype}; pictures are uint8 (0..255) or uint16 (0..65535)"
        )
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise UsageError(f"a numpy array of shape {pixels.shape}; pictures are (H, W, 3), RGB")
    return np.ascontiguousarray(pixels)


def _of_tensor(tensor: torch.Tensor) -> Carrier:
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        raise UsageError(
            f"a tensor of {tensor.dtype}; pictures are floating, with values in [-1, 1]"
        )
    if len(shape) not in (3, 4) or shape[-3] not in (1, 3) or 0 in shape:
        raise UsageError(
            f"a tensor of shape {shape}; pictures are (C, H, W) or (N, C, H, W) with C of 1 or 3"
        )
    values: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    if not np.abs(values).max() <= 1.001:  # nor nan
        raise UsageError("a tensor with values outside [-1, 1] or NaN; scale it: x / 127.5 - 1")
    batch = values.reshape(-1, *shape[-3:])
    if shape[-3] == 1:
        batch = np.repeat(batch, 3, 1)

    def back(made: list[Pixels]) -> torch.Tensor:
        planes = np.stack([to_network(p.astype(np.float32) / 257.0) for p in made])
        answer = tensor.new_tensor(planes.transpose(0, 3, 1, 2))
        return answer[0] if len(shape) == 3 else answer

    return Carrier([from_network(p.transpose(1, 2, 0), 16) for p in batch], back)

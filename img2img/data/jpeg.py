"""JPEG files decoded by torchvision, on a GPU by its JPEG hardware, on request.

Its pixels differ from Pillow's by a few levels, so that it is never chosen by itself.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from PIL import Image

from img2img.errors import EnvironmentFault, first_line
from img2img.images import Pixels
from img2img.system.installed import hint

JpegDecoder = Literal["pillow", "torchvision"]
_ORIENTATION = 0x0112


def check_decoder(wanted: JpegDecoder) -> None:
    """Raise EnvironmentFault when torchvision is asked for and cannot be loaded."""
    if wanted == "torchvision":
        _torchvision()


@functools.cache
def _torchvision() -> ModuleType:
    try:
        from torchvision import io
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        line = first_line(error)
        raise EnvironmentFault(
            f"jpeg_decoder=torchvision: torchvision cannot be loaded ({line}); "
            f"{hint('gpu')}, or use `jpeg_decoder=pillow`"
        ) from None
    return io


def decode(path: Path, device: str) -> Pixels | None:
    """The pixels (H, W, 3) of an upright RGB JPEG without a colour profile; None for every other
    file and for one that torchvision refuses, which the ordinary reader must judge."""
    try:
        with Image.open(path) as header:
            plain = header.format == "JPEG" and header.mode == "RGB"
            plain = plain and "icc_profile" not in header.info
            if not plain or header.getexif().get(_ORIENTATION, 1) != 1:
                return None
        data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        io = _torchvision()
        pixels = io.decode_jpeg(data, mode=io.ImageReadMode.RGB, device=device)
    except EnvironmentFault:
        raise
    except Exception:  # whatever is wrong with the file, the ordinary reader says it in words
        return None
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())

"""The proof: the PyTorch generator against the exported file, in 8-bit levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from img2img.errors import PictureError, UsageError
from img2img.images import find_pictures, from_network, read_picture, to_network
from img2img.model_format.export_info import Parity
from img2img.nets import Generator

Pictures = Sequence[NDArray[np.uint8]]
# (N, H, W, C) uint8 and a domain matrix -> (N, H, W, C) uint8, by the exported file.
ByFile = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], NDArray[np.uint8]]
MAX_LEVELS = 1
MAX_MEAN_LEVELS = 0.01
# (batch, height, width); odd sizes and batches above one among them.
SHAPES = ((1, 256, 256), (3, 128, 192), (1, 250, 333), (3, 65, 97))
_DOMAIN_SHAPE = (1, 96, 128)
_MOST = 24


def read_folder(folder: Path, most: int = _MOST) -> list[NDArray[np.uint8]]:
    """Up to `most` pictures of the folder, evenly chosen by name: uint8 (H, W, 3).

    Raises UsageError where there is none that can be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of pictures")
    found = list(find_pictures(folder))
    chosen = [found[k * len(found) // most] for k in range(most)] if len(found) > most else found
    pictures = []
    for path in chosen:
        try:
            pictures.append(read_picture(path).pixels)
        except PictureError:
            continue
    if not pictures:
        raise UsageError(f"{folder}: no picture that can be read")
    return pictures


def photograph_like(count: int = 4, width: int = 360, height: int = 270) -> Pictures:
    """Pictures with the statistics of photographs, the same on every machine: discs of power-law
    sizes that hide each other (the dead leaves model of Lee, Mumford and Huang, "Occlusion Models
    for Natural Images", 2001), lit from one side, with a little noise. uint8 (H, W, 3)."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pictures = []
    for _ in range(count):
        values = np.empty((height, width, 3), np.float32)
        values[:] = random.uniform(40, 215, 3)
        for _ in range(250):
            radius = 4 / np.sqrt(random.uniform(0.0016, 1))  # density ~ radius^-3
            inside = (x - random.uniform(0, width)) ** 2 + (y - random.uniform(0, height)) ** 2
            values[inside < radius * radius] = random.uniform(10, 245) + random.normal(0, 25, 3)
        values *= (0.7 + 0.5 * x / width)[:, :, None]
        values += random.normal(0, 3, values.shape)
        pictures.append(np.clip(values, 0, 255).astype(np.uint8))
    return pictures


def fitted(pixels: NDArray[np.uint8], height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Scale and crop the middle of a picture to exactly (height, width, channels 1 or 3)."""
    image = Image.fromarray(pixels)
    image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return values.reshape(height, width, channels)


def batches(
    pictures: Pictures, shapes: Sequence[tuple[int, int, int]], channels: int
) -> Iterator[NDArray[np.uint8]]:
    """A batch (N, H, W, C) for each of the `shapes`, the pictures taken in turn."""
    endless = (pictures[k % len(pictures)] for k in range(2**31))
    for batch, height, width in shapes:
        taken = islice(endless, batch)
        yield np.stack([fitted(pixels, height, width, channels) for pixels in taken])


def by_generator(
    generator: Generator, pixels: NDArray[np.uint8], domain: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """What PyTorch makes of uint8 (N, H, W, C); the same out."""
    x = np.ascontiguousarray(to_network(pixels.astype(np.float32)).transpose(0, 3, 1, 2))
    with torch.inference_mode():
        vector = None if domain is None else torch.from_numpy(domain)
        y: NDArray[Any] = generator(torch.from_numpy(x), vector).numpy()
    return from_network(y).transpose(0, 2, 3, 1)


def compare(
    generator: Generator,
    by_file: ByFile,
    pictures: Pictures,
    domains: Sequence[str],
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    domain_shape: tuple[int, int, int] = _DOMAIN_SHAPE,
) -> tuple[Parity, ...]:
    """Give both the same pictures at each of the `shapes`; where there are domains, the pictures
    of a batch go to different ones, and one more batch of `domain_shape` goes to each."""
    rows: list[tuple[tuple[int, int, int], list[int]]] = [
        (shape, [k % len(domains) for k in range(shape[0])] if domains else []) for shape in shapes
    ]
    rows += [(domain_shape, [k] * domain_shape[0]) for k in range(len(domains))]
    table = []
    given = batches(pictures, [shape for shape, _ in rows], generator.in_channels)
    for ((batch, height, width), chosen), pixels in zip(rows, given, strict=True):
        vector = np.eye(len(domains), dtype=np.float32)[chosen] if domains else None
        expected = by_generator(generator, pixels, vector).astype(int)
        difference = np.abs(expected - by_file(pixels, vector))
        names = " ".join(domains[k] for k in dict.fromkeys(chosen))
        worst, mean = int(difference.max()), float(difference.mean())
        table.append(Parity(batch, height, width, worst, mean, names))
    return tuple(table)

"""Pictures decoded once: uint8 at load size, kept in memory while they fit."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from img2img.errors import ConfigError, DataError, PictureError
from img2img.images import Pixels, read_picture, resize_pixels

Split = Literal["train", "held-out"]
MAX_HELD_OUT = 100
_SHOWN = 20


@dataclass(frozen=True)
class Loading:
    """How pictures are brought to the network.

    Attributes:
        size: side in pixels after the resize; the aspect is not kept, as in the references.
        centre_crop: side of a central square cut out before (StarGAN: 178 for CelebA), or 0.
        swap: B is the input of paired data.
        channels: of the network's input and output: 3 for RGB, 1 for grey (BT.601 luma).
        cache_bytes: pictures are kept in memory while all of them fit.
        held_out: how many pictures (or pairs) to hold out where the folder does not say; by
            default 5 %, at most 100.
        seed: of every draw that a data set makes.
    """

    size: int
    centre_crop: int = 0
    swap: bool = False
    channels: tuple[int, int] = (3, 3)
    cache_bytes: int = 4 << 30
    held_out: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not set(self.channels) <= {1, 3}:
            raise ConfigError(f"pictures have 3 channels or 1 (grey), not {self.channels}")


Progress = Callable[[int, int], None]
Read = Callable[[int], tuple[Pixels, ...]]


class Store:
    """Samples of one or more pictures each, read by `read(index)`.

    Raises:
        DataError: every sample that cannot be read, listed at once.
    """

    def __init__(self, count: int, read: Read, bytes_each: int, cache_bytes: int):
        self._count, self._read = count, read
        self._keep = count * bytes_each <= cache_bytes
        self._cache: dict[int, tuple[Pixels, ...]] = {}

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int) -> tuple[Pixels, ...]:
        """The pictures of one sample, uint8 (H, W, C) each."""
        kept = self._cache.get(index)
        if kept is None:
            kept = self._read(index)
            if self._keep:
                self._cache[index] = kept
        return kept

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """One uint8 tensor (N, C, H, W) for each picture of a sample."""
        samples = [self.sample(i) for i in indices]
        return tuple(
            torch.from_numpy(np.stack(column)).permute(0, 3, 1, 2)
            for column in zip(*samples, strict=True)
        )

    def check(self, on_progress: Progress | None = None) -> None:
        """Read every sample once, so that what is wrong is known before the first step."""

        def attempt(index: int) -> str | None:
            try:
                self.sample(index)
            except PictureError as error:
                return str(error)
            return None

        problems = []
        with ThreadPoolExecutor(4) as pool:
            for done, problem in enumerate(pool.map(attempt, range(self._count)), 1):
                if problem:
                    problems.append(problem)
                if on_progress:
                    on_progress(done, self._count)
        if problems:
            raise DataError(listing(f"{len(problems)} training pictures unusable", problems))


def load_picture(path: Path, loading: Loading, channels: int) -> Pixels:
    """One picture file as the network's side of it: uint8 (size, size, channels)."""
    return fit(read_picture(path).pixels, loading, channels)


def fit(pixels: Pixels, loading: Loading, channels: int) -> Pixels:
    """Centre crop, resize and channels as `loading` says."""
    crop = loading.centre_crop
    if crop:
        height, width = pixels.shape[:2]
        top, left = max(0, (height - crop) // 2), max(0, (width - crop) // 2)
        pixels = pixels[top : top + crop, left : left + crop]
    pixels = resize_pixels(pixels, loading.size, loading.size)
    if channels == 3:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def fingerprint(root: Path, files: Sequence[Path], more: str = "") -> str:
    """A hash of the names and sizes of `files`, to tell whether the data changed."""
    sha = hashlib.sha256(more.encode())
    for path in files:
        sha.update(f"{path.relative_to(root)}:{path.stat().st_size}\n".encode())
    return sha.hexdigest()[:16]


def hold_out(names: Sequence[str], count: int | None) -> set[str]:
    """The names to hold out: `count`, or 5 % and at most 100; chosen by a hash of the name, so
    that the choice stays when pictures are added."""
    if count is None:
        count = min(MAX_HELD_OUT, len(names) // 20) or (1 if len(names) > 3 else 0)
    return set(sorted(names, key=lambda n: hashlib.sha256(n.encode()).digest())[:count])


def listing(head: str, rows: list[str]) -> str:
    """One line that names the first problems and counts the others."""
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{head}: {'; '.join(rows[:_SHOWN])}{more}"


@functools.lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The order of an epoch: a permutation drawn from (seed, epoch). Asked for at every step and
    drawn once an epoch."""
    return tuple(np.random.default_rng([seed, 1, epoch]).permutation(count).tolist())

"""Pictures decoded once: uint8 at load size, kept in memory while they fit, else in one mapped
file, or on the device."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from img2img.data.albument import Albument
from img2img.data.cache import content_key, decoded_once, open_rows
from img2img.data.jpeg import decode
from img2img.data.skipping import BadPictures, Skipped
from img2img.errors import ConfigError, PictureError
from img2img.images import Pixels, read_picture, resize_pixels

Split = Literal["train", "held-out"]
MAX_HELD_OUT = 100
Kind = Literal["memory", "mapped", "decoded", "device"]
Rows = TypeVar("Rows", Pixels, Tensor)
Draw = tuple[int, int, int, int]  # seed, epoch, index, which
_SHOWN = 20
_DECODERS = 4
_CHUNK = 64 << 20


@dataclass(frozen=True)
class Loading:
    """How pictures are brought to the network.

    Attributes:
        size: side in pixels after the resize; the aspect is not kept, as in the references.
        centre_crop: side of a central square cut out before (StarGAN: 178 for CelebA), or 0.
        swap: B is the input of paired data.
        channels: of the network's input and output: 3 for RGB, 1 for grey (BT.601 luma).
        cache_bytes: pictures are kept in memory while all of them fit.
        cache: folder for the file of decoded pictures, used where they do not fit in memory or
            are `shared`; without a folder they are decoded each time.
        shared: several processes read the pictures, which a file serves and memory does not.
        albument: changes training pictures before they are batched.
        jpeg: the device on which torchvision decodes JPEG files; without one Pillow decodes.
        held_out: how many pictures (or pairs) to hold out where the folder does not say; by
            default 5 %, at most 100.
        seed: of every draw that a data set makes.
        side_by_side: a picture holds a pair even where it looks like an ordinary photograph.
        skipped: takes what cannot be used, which is left out; None: it is refused.
    """

    size: int
    centre_crop: int = 0
    swap: bool = False
    channels: tuple[int, int] = (3, 3)
    cache_bytes: int = 4 << 30
    cache: Path | None = None
    shared: bool = False
    albument: Albument | None = None
    jpeg: str = ""
    held_out: int | None = None
    seed: int = 0
    side_by_side: bool = False
    skipped: Skipped | None = None

    def __post_init__(self) -> None:
        if not set(self.channels) <= {1, 3}:
            raise ConfigError(f"pictures have 3 channels or 1 (grey), not {self.channels}")

    def draws(self, epoch: int, indices: Sequence[int], which: int = 0) -> list[Draw]:
        """What picture `which` of each of the samples `indices` of an epoch is drawn from."""
        return [(self.seed, epoch, index, which) for index in indices]

    def usable(self, files: list[Path]) -> list[Path]:
        """Those of `files` that are not left out."""
        return self.skipped.without(files, lambda path: (path,)) if self.skipped else files


Progress = Callable[[int, int], None]
Read = Callable[[int], tuple[Pixels, ...]]


class Store:
    """Samples of one or more pictures each, `read` from `files` below `root`.

    Attributes:
        kind: where the pictures come from: `memory`, a `mapped` file, `decoded` each time, or the
            `device`.

    Raises:
        DataError: from `check`, every sample that cannot be read, listed at once.
    """

    def __init__(
        self,
        name: str,
        count: int,
        read: Read,
        channels: tuple[int, ...],
        loading: Loading,
        root: Path,
        files: Sequence[Path],
    ):
        self.name, self._count, self._read = name, count, read
        self._channels, self._loading, self._root, self._files = channels, loading, root, files
        self.shape = (count, loading.size**2 * sum(channels))
        self.kind: Kind = self._choose()
        self._rows: Pixels | None = None
        self._path: Path | None = None
        self._device: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def bytes(self) -> int:
        """Of all pictures together."""
        return self.shape[0] * self.shape[1]

    @property
    def albument(self) -> Albument | None:
        """The user's pipeline, where there is one."""
        return self._loading.albument

    def sample(self, index: int) -> tuple[Pixels, ...]:
        """The pictures of one sample, uint8 (H, W, C) each."""
        if self._rows is None and self._path is not None:
            self._rows = open_rows(self._path, self.shape)
        if self._rows is None:
            return self._read(index)
        return self._columns(self._rows[index])

    def batch(
        self, picks: Sequence[int], draws: Sequence[Draw] = (), only: int | None = None
    ) -> tuple[Tensor, ...]:
        """One uint8 tensor (N, C, H, W) for each picture of a sample, or for picture `only`.
        `draws`, one a pick, are what the user's pipeline draws from."""
        wanted = slice(None) if only is None else slice(only, only + 1)
        if self._device is not None:
            places = torch.tensor(picks, device=self._device[0].device)
            return tuple(x[places].permute(0, 3, 1, 2) for x in self._device[wanted])
        samples = [self.sample(i)[wanted] for i in picks]
        if self.albument is not None and draws:
            pairs = zip(samples, draws, strict=True)
            samples = [self.albument(pictures, draw) for pictures, draw in pairs]
        return tuple(
            torch.from_numpy(np.stack(column)).permute(0, 3, 1, 2)
            for column in zip(*samples, strict=True)
        )

    def check(self, on_progress: Progress | None = None) -> None:
        """Read every sample once, so that what is wrong is known before the first step, and keep
        it where it is to be kept."""
        if self.kind == "mapped":
            assert self._loading.cache is not None
            key = content_key(self._root, self._files, self._settings())
            rows = self._every(on_progress)
            self._path = decoded_once(self._loading.cache, self.name, key, self.shape, rows)
        elif self.kind == "memory":
            kept = np.empty(self.shape, np.uint8)
            for index, row in enumerate(self._every(on_progress)):
                kept[index] = row
            self._rows = kept
        else:
            for _ in self._every(on_progress):
                pass

    def move_to(self, device: torch.device) -> None:
        """Keep all pictures on `device` from now on; a batch is one gather for
        each picture of a sample."""
        side = self._loading.size
        kept = tuple(
            torch.empty((self._count, side, side, c), dtype=torch.uint8, device=device)
            for c in self._channels
        )
        each = max(1, _CHUNK // max(1, self.shape[1]))
        for first in range(0, self._count, each):
            span = range(first, min(first + each, self._count))
            columns = zip(*(self.sample(i) for i in span), strict=True)
            for there, column in zip(kept, columns, strict=True):
                there[first : first + len(span)] = torch.from_numpy(np.stack(column)).to(device)
        self._device, self._rows, self._path, self.kind = kept, None, None, "device"

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; it maps the file for itself."""
        return self.__dict__ | {"_rows": None, "_device": None}

    def _choose(self) -> Kind:
        fits = self.bytes <= self._loading.cache_bytes
        if self._loading.cache is not None and self._count and (self._loading.shared or not fits):
            return "mapped"
        return "memory" if fits else "decoded"

    def _settings(self) -> list[object]:
        x = self._loading
        return [x.size, x.centre_crop, x.swap, self._channels, PIL.__version__, x.jpeg]

    def _columns(self, rows: Rows) -> tuple[Rows, ...]:
        """(..., bytes) as (..., size, size, C) for each picture; an array or a tensor."""
        side, found, start = self._loading.size, [], 0
        for count in self._channels:
            end = start + side * side * count
            found.append(rows[..., start:end].reshape(*rows.shape[:-1], side, side, count))
            start = end
        return tuple(found)

    def _every(self, on_progress: Progress | None) -> Iterator[Pixels]:
        """Every sample as a row, in order and a few at a time; at the end DataError, if some
        could not be read."""

        def attempt(index: int) -> Pixels | str:
            try:
                return _row(self._read(index))
            except PictureError as error:
                return str(error)

        problems: dict[Path, str] = {}
        waiting = deque[Future[Pixels | str]]()
        blank = np.zeros(self.shape[1], np.uint8)
        with ThreadPoolExecutor(_DECODERS) as pool:
            indices = iter(range(self._count))
            for done in range(1, self._count + 1):
                for index in itertools.islice(indices, 4 * _DECODERS - len(waiting)):
                    waiting.append(pool.submit(attempt, index))
                row = waiting.popleft().result()
                if isinstance(row, str):
                    problems |= dict.fromkeys(self._files_of(done - 1), row)
                yield blank if isinstance(row, str) else row
                if on_progress:
                    on_progress(done, self._count)
        if problems:
            # A picture may give several samples, and a sample may have several.
            reasons = list(dict.fromkeys(problems.values()))
            text = listing(f"{len(reasons)} training pictures unusable", reasons)
            raise BadPictures(text, problems)

    def _files_of(self, index: int) -> Sequence[Path]:
        """What sample `index` is read from: as many files as the others, or a part of one."""
        each = max(1, len(self._files) // self._count)
        first = index * len(self._files) // self._count
        return self._files[first : first + each]


def _row(pictures: tuple[Pixels, ...]) -> Pixels:
    return np.concatenate([p.reshape(-1) for p in pictures])


def load_picture(path: Path, loading: Loading, channels: int) -> Pixels:
    """One picture file as the network's side of it: uint8 (size, size, channels)."""
    return fit(pixels_of(path, loading), loading, channels)


def pixels_of(path: Path, loading: Loading) -> Pixels:
    """One picture file as uint8 (H, W, 3), decoded as `loading` says."""
    decoded = decode(path, loading.jpeg) if loading.jpeg else None
    return read_picture(path).pixels if decoded is None else decoded


def read_one(files: Sequence[Path], loading: Loading, channels: int, index: int) -> tuple[Pixels]:
    """Sample `index` where a sample is one picture."""
    return (load_picture(files[index], loading, channels),)


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
    return set(sorted(names, key=lambda n: hashlib.sha256(os.fsencode(n)).digest())[:count])


def files_of_split(
    root: Path, files: Sequence[Path], split: Split, count: int | None
) -> list[Path]:
    """Those of `files` below `root` that belong to `split`, where the folder does not say: `count`
    are held out, or 5 % (see `hold_out`)."""
    names = [str(p.relative_to(root)) for p in files]
    chosen = hold_out(names, count)
    return [p for p, n in zip(files, names, strict=True) if (n in chosen) == (split == "held-out")]


def listing(head: str, rows: list[str]) -> str:
    """One line that names the first problems and counts the others."""
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{head}: {'; '.join(rows[:_SHOWN])}{more}"


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The order of an epoch: a permutation drawn from (seed, epoch). Asked for at every step,
    here and some batches ahead, and drawn once an epoch."""
    return tuple(np.random.default_rng([seed, 1, epoch]).permutation(count).tolist())

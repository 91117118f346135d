"""Paired pictures: side by side in one file, or in folders A and B with equal stems.

DATA/train/x.jpg + DATA/{val,test}/y.jpg            side by side (A left, B right)
DATA/x.jpg                                          side by side, held-out pictures split off
DATA/A/x.jpg + DATA/B/x.png                         paired by stem (sub-folders count)
DATA/trainA + DATA/trainB (+ valA/valB, testA/testB)
DATA/train/A + DATA/train/B, or DATA/A/train + DATA/B/train
"""

from __future__ import annotations

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
from img2img.images import Pixels, find_pictures, read_picture, resize_pixels, to_network

Split = Literal["train", "held-out"]
MAX_HELD_OUT = 100
_SHOWN = 20


@dataclass(frozen=True)
class PairedBatch:
    """`a`, `b`: (N, C, H, W); `indices`: which pairs of the data set they are."""

    a: Tensor
    b: Tensor
    indices: list[int]

    def on(self, device: torch.device) -> PairedBatch:
        """The same pictures on `device` as float in [-1, 1]."""
        a, b = (to_network(x.to(device, non_blocking=True).float()) for x in (self.a, self.b))
        return PairedBatch(a, b, self.indices)


@dataclass(frozen=True)
class Pair:
    """One sample: `b` is None when both pictures are in the file `a`, side by side."""

    name: str
    a: Path
    b: Path | None


class PairedData:
    """The pairs of one split, resized to `load_size` x `load_size` (aspect not kept, as the
    references do) and kept in memory as uint8 while they fit `cache_bytes`. `channels` are those
    of the network's input and output: 3 for RGB, 1 for grey (ITU-R BT.601 luma).

    Raises:
        DataError: nothing found, unpaired files, unreadable or odd pictures: all listed at once.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        load_size: int,
        swap: bool,
        cache_bytes: int,
        on_progress: Callable[[int, int], None] | None = None,
        channels: tuple[int, int] = (3, 3),
    ):
        if not set(channels) <= {1, 3}:
            raise ConfigError(f"pictures have 3 channels or 1 (grey), not {channels}")
        self.channels = channels
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of training data")
        self.root, self.split, self.load_size, self.swap = root, split, load_size, swap
        self.pairs = _split(root, split)
        if split == "train" and not self.pairs:
            raise DataError(f"{root}: no pairs of pictures found. {_LAYOUTS}")
        self._keep = len(self.pairs) * load_size * load_size * 6 <= cache_bytes
        self._cache: dict[int, tuple[Pixels, Pixels]] = {}
        self._check_all(on_progress)

    def __len__(self) -> int:
        return len(self.pairs)

    def fingerprint(self) -> str:
        """A hash of the names and sizes of the files, to tell whether the data changed."""
        sha = hashlib.sha256()
        for pair in self.pairs:
            for path in (pair.a, pair.b):
                if path is not None:
                    sha.update(f"{path.relative_to(self.root)}:{path.stat().st_size}\n".encode())
        return sha.hexdigest()[:16]

    def batch(self, indices: Sequence[int]) -> PairedBatch:
        """The pairs `indices` as uint8 tensors (N, 3, load_size, load_size)."""
        samples = [self._load(i) for i in indices]
        a, b = (
            torch.from_numpy(np.stack([s[k] for s in samples])).permute(0, 3, 1, 2) for k in (0, 1)
        )
        return PairedBatch(a, b, list(indices))

    def _load(self, index: int) -> tuple[Pixels, Pixels]:
        kept = self._cache.get(index)
        if kept is None:
            kept = _read_pair(self.pairs[index], self.load_size)
            if self.swap:
                kept = kept[::-1]
            kept = (
                _with_channels(kept[0], self.channels[0]),
                _with_channels(kept[1], self.channels[1]),
            )
            if self._keep:
                self._cache[index] = kept
        return kept

    def _check_all(self, on_progress: Callable[[int, int], None] | None) -> None:
        def attempt(index: int) -> str | None:
            try:
                self._load(index)
            except PictureError as error:
                return str(error)
            return None

        problems = []
        with ThreadPoolExecutor(4) as pool:
            for done, problem in enumerate(pool.map(attempt, range(len(self.pairs))), 1):
                if problem:
                    problems.append(problem)
                if on_progress:
                    on_progress(done, len(self.pairs))
        if problems:
            raise DataError(_listing(f"{len(problems)} training pictures unusable", problems))


_LAYOUTS = (
    "Expected side-by-side pictures in train/ (or directly inside), "
    "or A/ and B/ (or trainA/ and trainB/) with equal file stems."
)


def _listing(head: str, rows: list[str]) -> str:
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{head}: {'; '.join(rows[:_SHOWN])}{more}"


def _read_pair(pair: Pair, size: int) -> tuple[Pixels, Pixels]:
    first = read_picture(pair.a).pixels
    if pair.b is not None:
        second = read_picture(pair.b).pixels
    else:
        width = first.shape[1]
        if width % 2 or width < 2:
            raise PictureError(f"{pair.a}: a side-by-side picture needs an even width, not {width}")
        if width < first.shape[0]:
            raise PictureError(
                f"{pair.a}: {width}x{first.shape[0]} is taller than wide, so hardly two pictures "
                "side by side"
            )
        first, second = first[:, : width // 2], first[:, width // 2 :]
    return resize_pixels(first, size, size), resize_pixels(second, size, size)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    if channels == 3:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _split(root: Path, split: Split) -> list[Pair]:
    training = _pairs_of(root, "train")
    for name in ("val", "test"):
        held_out = _pairs_of(root, name)
        if held_out:
            return training or _pairs_of(root, None) if split == "train" else held_out
    pairs = training or _pairs_of(root, None)
    # No held-out part given: 5 % of the pairs, chosen by a hash of the name, so that the choice
    # stays when pictures are added.
    count = min(MAX_HELD_OUT, len(pairs) // 20) or (1 if len(pairs) > 3 else 0)
    ranked = sorted(pairs, key=lambda p: hashlib.sha256(p.name.encode()).digest())
    chosen = {p.name for p in ranked[:count]}
    return [p for p in pairs if (p.name in chosen) == (split == "held-out")]


def _pairs_of(root: Path, part: str | None) -> list[Pair]:
    options = [(root / "A", root / "B"), (root / "a", root / "b")]
    single = root
    if part is not None:
        options = [
            (root / f"{part}A", root / f"{part}B"),
            (root / part / "A", root / part / "B"),
            (root / "A" / part, root / "B" / part),
        ]
        single = root / part
    for a, b in options:
        if a.is_dir() and b.is_dir():
            return _by_stem(a, b)
    if not single.is_dir():
        return []
    files = list(find_pictures(single)) if part else _flat(single)
    return [Pair(str(p.relative_to(single)), p, None) for p in files]


def _flat(folder: Path) -> list[Path]:
    return [p for p in find_pictures(folder) if p.parent == folder]


def _by_stem(a: Path, b: Path) -> list[Pair]:
    problems: list[str] = []
    sides: list[dict[str, Path]] = []
    for folder in (a, b):
        found: dict[str, Path] = {}
        for path in find_pictures(folder):
            stem = str(path.relative_to(folder).with_suffix(""))
            if stem in found:
                problems.append(f"{path} and {found[stem].name} have the same stem")
            found[stem] = path
        sides.append(found)
    for here, there, folder in ((sides[0], sides[1], b), (sides[1], sides[0], a)):
        problems += [
            f"{path} has no partner in {folder}" for s, path in here.items() if s not in there
        ]
    if problems:
        raise DataError(_listing(f"{len(problems)} files without a clear pair", problems))
    return [Pair(stem, sides[0][stem], sides[1][stem]) for stem in sorted(sides[0])]

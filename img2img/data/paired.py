"""Paired pictures: side by side in one file, or in folders A and B with equal stems.

DATA/train/x.jpg + DATA/{val,test}/y.jpg            side by side (A left, B right)
DATA/x.jpg                                          side by side, held-out pictures split off
DATA/A/x.jpg + DATA/B/x.png                         paired by stem (sub-folders count)
DATA/trainA + DATA/trainB (+ valA/valB, testA/testB)
DATA/train/A + DATA/train/B, or DATA/A/train + DATA/B/train
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from img2img.data.dataset import DataKind
from img2img.data.halves import refuse_photographs
from img2img.data.skipping import Skipped
from img2img.data.store import (
    Loading,
    Progress,
    Split,
    Store,
    fingerprint,
    fit,
    hold_out,
    listing,
    load_picture,
    pixels_of,
)
from img2img.errors import DataError, PictureError
from img2img.images import Pixels, find_pictures, to_network


@dataclass(frozen=True)
class PairedBatch:
    """`a`, `b`: (N, C, H, W); `indices`: which pairs of the data set they are."""

    a: Tensor
    b: Tensor
    indices: list[int]

    def on(self, device: torch.device) -> PairedBatch:
        """The same pictures on `device` as float in [-1, 1]."""
        a, b = (to_network(x.to(device, non_blocking=True).float()) for x in (self.a, self.b))
        return replace(self, a=a, b=b)


@dataclass(frozen=True)
class Pair:
    """One sample: `b` is None when both pictures are in the file `a`, side by side."""

    name: str
    a: Path
    b: Path | None


class PairedData:
    """The pairs of one split.

    Raises:
        DataError: nothing found, unpaired files, photographs that are no pairs, unreadable or odd
            pictures: all listed at once.
    """

    kind: ClassVar[DataKind] = "pairs"

    domains: tuple[str, ...] = ()

    def __init__(
        self, root: Path, split: Split, loading: Loading, on_progress: Progress | None = None
    ):
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of training data")
        self.root, self.loading = root, loading
        self.pairs = pairs_of(root, split, loading.held_out, loading.skipped)
        if loading.skipped:
            self.pairs = loading.skipped.without(self.pairs, lambda pair: (pair.a, pair.b))
        if split == "train" and not self.pairs:
            raise DataError(f"{root}: no pairs of pictures found. {_LAYOUTS}")
        alone = [pair.a for pair in self.pairs if pair.b is None]
        if split == "train" and alone and not loading.side_by_side:
            refuse_photographs(root, alone)
        self.names = [pair.name for pair in self.pairs]
        read = partial(_read, self.pairs, loading)
        self.store = Store(
            split, len(self.pairs), read, loading.channels, loading, root, self._files()
        )
        self.store.check(on_progress)
        self.stores = [self.store]

    def __len__(self) -> int:
        return len(self.pairs)

    def fingerprint(self) -> str:
        """A hash of the names and sizes of the files, to tell whether the data changed."""
        return fingerprint(self.root, self._files())

    def files_of(self, indices: Sequence[int], epoch: int = 0) -> list[str]:
        """The names of the samples `indices`."""
        return [self.names[i] for i in indices]

    def batch(
        self, indices: Sequence[int], epoch: int = 0, share: slice = slice(None)
    ) -> PairedBatch:
        """The pairs `indices` as uint8 tensors (N, C, size, size)."""
        indices = list(indices[share])
        a, b = self.store.batch(indices, self.loading.draws(epoch, indices))
        return PairedBatch(a, b, indices)

    def _files(self) -> list[Path]:
        return [path for pair in self.pairs for path in (pair.a, pair.b) if path is not None]


def _read(pairs: Sequence[Pair], loading: Loading, index: int) -> tuple[Pixels, Pixels]:
    pair = pairs[index]
    cin, cout = loading.channels
    ca, cb = (cout, cin) if loading.swap else (cin, cout)
    if pair.b is not None:
        a, b = load_picture(pair.a, loading, ca), load_picture(pair.b, loading, cb)
    else:
        left, right = _halves(pair.a, loading)
        a, b = fit(left, loading, ca), fit(right, loading, cb)
    return (b, a) if loading.swap else (a, b)


def _halves(path: Path, loading: Loading) -> tuple[Pixels, Pixels]:
    pixels = pixels_of(path, loading)
    height, width = pixels.shape[:2]
    if width % 2 or width < 2:
        raise PictureError(f"{path}: a side-by-side picture needs an even width, not {width}")
    if width < height:
        raise PictureError(
            f"{path}: {width}x{height} is taller than wide, so probably not two pictures side "
            "by side"
        )
    return pixels[:, : width // 2], pixels[:, width // 2 :]


_LAYOUTS = (
    "Expected side-by-side pictures in train/ (or directly inside), "
    "or A/ and B/ (or trainA/ and trainB/) with equal file stems."
)


def pairs_of(
    root: Path, split: Split, held_out: int | None = None, skipped: Skipped | None = None
) -> list[Pair]:
    """The pairs of one split of a folder; empty where no layout of pairs is found.

    Raises:
        DataError: files of A and B that have no partner, by name; not with `skipped`, which notes
            them.
    """
    training = _pairs_of(root, "train", skipped)
    for name in ("val", "test"):
        given = _pairs_of(root, name, skipped)
        if given:
            return training or _pairs_of(root, None, skipped) if split == "train" else given
    pairs = training or _pairs_of(root, None, skipped)
    chosen = hold_out([p.name for p in pairs], held_out)
    return [p for p in pairs if (p.name in chosen) == (split == "held-out")]


def _pairs_of(root: Path, part: str | None, skipped: Skipped | None) -> list[Pair]:
    sides = two_folders(root, part)
    if sides is not None:
        return match_stems(*sides, skipped)
    single = root if part is None else root / part
    if not single.is_dir():
        return []
    files = list(find_pictures(single)) if part else _flat(single)
    return [Pair(str(p.relative_to(single)), p, None) for p in files]


def two_folders(root: Path, part: str | None) -> tuple[Path, Path] | None:
    """The folders A and B of one part of a folder (`train`, ...), or of one without parts."""
    options = [(root / "A", root / "B"), (root / "a", root / "b")]
    if part is not None:
        options = [
            (root / f"{part}A", root / f"{part}B"),
            (root / part / "A", root / part / "B"),
            (root / "A" / part, root / "B" / part),
        ]
    return next(((a, b) for a, b in options if a.is_dir() and b.is_dir()), None)


def _flat(folder: Path) -> list[Path]:
    return [p for p in find_pictures(folder) if p.parent == folder]


def match_stems(a: Path, b: Path, skipped: Skipped | None = None) -> list[Pair]:
    """The pairs of two folders, by equal names below them; DataError lists what has no partner, or
    `skipped` takes it."""
    problems: list[str] = []
    unclear: set[str] = set()
    sides: list[dict[str, Path]] = []
    for folder in (a, b):
        found: dict[str, Path] = {}
        for path in find_pictures(folder):
            stem = str(path.relative_to(folder).with_suffix(""))
            if stem in found:
                problems.append(f"{path} and {found[stem].name} have the same stem")
                unclear.add(stem)
            found[stem] = path
        sides.append(found)
    for here, there, folder in ((sides[0], sides[1], b), (sides[1], sides[0], a)):
        problems += [
            f"{path} has no partner in {folder}" for s, path in here.items() if s not in there
        ]
    if problems and skipped:
        skipped.add(problems)
    elif problems:
        raise DataError(
            listing(f"{len(problems)} files without a clear pair", problems)
            + ". Give both the same name, or use method cyclegan, which learns from unpaired image "
            "sets"
        )
    clear = sorted((sides[0].keys() & sides[1].keys()) - unclear)
    return [Pair(stem, sides[0][stem], sides[1][stem]) for stem in clear]

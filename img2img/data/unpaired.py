"""Unpaired pictures: two sets, A and B.

DATA/trainA + DATA/trainB (+ testA/testB or valA/valB)
DATA/train/A + DATA/train/B (+ DATA/test/A, ...)
DATA/A + DATA/B                      held-out pictures are split off
side-by-side pairs                   each half goes to its set; `paired_truth` for figures
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from img2img.data.dataset import DataKind
from img2img.data.paired import PairedData, two_folders
from img2img.data.store import (
    Loading,
    Progress,
    Split,
    Store,
    files_of_split,
    fingerprint,
    read_one,
)
from img2img.errors import DataError
from img2img.images import find_pictures, to_network


@dataclass(frozen=True)
class UnpairedBatch:
    """`a`: (N, C, H, W) of set A, `b` of set B, without relation; `paired` when they are the two
    sides of a hidden pair, which happens for held-out pictures only."""

    a: Tensor
    b: Tensor
    indices: list[int]
    paired: bool = False

    def on(self, device: torch.device) -> UnpairedBatch:
        """The same pictures on `device` as float in [-1, 1]."""
        a, b = (to_network(x.to(device, non_blocking=True).float()) for x in (self.a, self.b))
        return replace(self, a=a, b=b)


class UnpairedData:
    """Two sets; an epoch is as long as the longer one. Picture i of an epoch is A[i mod |A|] with
    a random picture of B, drawn from (seed, epoch, i) (the reference's `unaligned` mode).

    Raises:
        DataError: a set is missing or empty, pictures unreadable: all listed at once.
    """

    kind: ClassVar[DataKind] = "sets"

    domains: tuple[str, ...] = ()

    def __init__(
        self, root: Path, split: Split, loading: Loading, on_progress: Progress | None = None
    ):
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of training data")
        self.root, self.split, self.loading = root, split, loading
        self._pairs: PairedData | None = None
        sets = sets_of(root, split, loading.held_out)
        if sets is None:
            try:
                self._pairs = PairedData(root, split, loading, on_progress)
            except DataError as error:
                if "no pairs" not in str(error):
                    raise
                raise DataError(f"{root}: no two sets of pictures found. {_LAYOUTS}") from None
            self.names, self.stores = self._pairs.names, self._pairs.stores
            return
        sets = loading.usable(sets[0]), loading.usable(sets[1])
        for name, files in zip("AB", sets, strict=True):
            if split == "train" and not files:
                raise DataError(f"{root}: set {name} holds no pictures. {_LAYOUTS}")
        self._files = sets
        half = replace(loading, cache_bytes=loading.cache_bytes // 2)
        self.stores = [
            Store(f"{split}-{name}", len(files), partial(read_one, files, half, channels),
                  (channels,), half, root, files)
            for name, files, channels in zip("ab", sets, loading.channels, strict=True)
        ]  # fmt: skip
        for store in self.stores:
            store.check(on_progress)
        self.names = [str(p.relative_to(root)) for p in max(sets, key=len)]

    def __len__(self) -> int:
        if self._pairs is not None:
            return len(self._pairs)
        sizes = [len(store) for store in self.stores]
        return max(sizes) if self.split == "train" else min(sizes)

    def fingerprint(self) -> str:
        """A hash of the names and sizes of the files, to tell whether the data changed."""
        if self._pairs is not None:
            return self._pairs.fingerprint()
        return fingerprint(self.root, [*self._files[0], *self._files[1]])

    def files_of(self, indices: Sequence[int], epoch: int = 0) -> list[str]:
        """The files of A, then those of B that are drawn for them in training."""
        if self._pairs is not None:
            others = self._drawn(indices, epoch, len(self._pairs))
            return [self.names[i] for i in (*indices, *others)]
        first, second = self._files
        chosen = [first[i % len(first)] for i in indices]
        chosen += [second[i] for i in self._drawn(indices, epoch, len(second))]
        return [str(path.relative_to(self.root)) for path in chosen]

    def batch(
        self, indices: Sequence[int], epoch: int = 0, share: slice = slice(None)
    ) -> UnpairedBatch:
        """Pictures `indices` of `epoch` as uint8 tensors (N, C, size, size)."""
        indices = list(indices[share])
        if self.split == "held-out":
            if self._pairs is not None:
                a, b = self._pairs.store.batch(indices)
                return UnpairedBatch(a, b, list(indices), paired=True)
            (a,), (b,) = (store.batch(indices) for store in self.stores)
            return UnpairedBatch(a, b, list(indices))
        # Without relation, so each set has draws of its own.
        draws = [self.loading.draws(epoch, indices, which) for which in (0, 1)]
        if self._pairs is not None:
            (a,) = self._pairs.store.batch(indices, draws[0], only=0)
            others = self._drawn(indices, epoch, len(self._pairs))
            (b,) = self._pairs.store.batch(others, draws[1], only=1)
            return UnpairedBatch(a, b, list(indices))
        first, second = self.stores
        (a,) = first.batch([i % len(first) for i in indices], draws[0])
        (b,) = second.batch(self._drawn(indices, epoch, len(second)), draws[1])
        return UnpairedBatch(a, b, list(indices))

    def _drawn(self, indices: Sequence[int], epoch: int, count: int) -> list[int]:
        seed = self.loading.seed
        return [int(np.random.default_rng([seed, 2, epoch, i]).integers(count)) for i in indices]


_LAYOUTS = (
    "Expected trainA/ and trainB/, train/A and train/B, A/ and B/, or side-by-side pairs in train/."
)


def sets_of(
    root: Path, split: Split, held_out: int | None = None
) -> tuple[list[Path], list[Path]] | None:
    """The files of A and of B of one split of a folder; None where no two sets are found."""
    training = pictures_of_sides(root, "train")
    given = pictures_of_sides(root, "test") or pictures_of_sides(root, "val")
    whole = training or pictures_of_sides(root, None)
    if whole is None:
        return given if split == "held-out" else None
    if given is not None:
        return given if split == "held-out" else whole
    a, b = (files_of_split(root, files, split, held_out) for files in whole)
    return a, b


def pictures_of_sides(root: Path, part: str | None) -> tuple[list[Path], list[Path]] | None:
    """The pictures in A and B of `part` (train, test or val; None: of a folder without parts), or
    None where `root` has no such folders."""
    sides = two_folders(root, part)
    return None if sides is None else (list(find_pictures(sides[0])), list(find_pictures(sides[1])))

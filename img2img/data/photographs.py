"""Photographs alone, of any size; what is learned from is made of them on the device.

DATA/**/x.jpg                            all photographs, held-out ones split off
DATA/train/** + DATA/{val,test}/**       photographs with their own held-out ones
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from img2img.data.cropping import Cropping, crop_store
from img2img.data.dataset import DataKind
from img2img.data.paired import PairedBatch
from img2img.data.store import Loading, Progress, Split, files_of_split, fingerprint
from img2img.errors import DataError
from img2img.images import find_pictures


class PhotographData:
    """Square crops of the photographs of one split, at random scales and places drawn from (seed,
    index); a held-out photograph gives the one in its centre.

    Args:
        crops: how many training crops there are at least; fewer photographs give more each.
        crop_scale: (least, most) side of a crop, relative to the photograph's shorter side; no
            crop is smaller than the load size while the photograph is not.

    Raises:
        DataError: no photographs, or unreadable ones: all listed.
    """

    kind: ClassVar[DataKind] = "pairs"

    domains: tuple[str, ...] = ()

    def __init__(
        self,
        root: Path,
        split: Split,
        loading: Loading,
        on_progress: Progress | None = None,
        *,
        crops: int = 2000,
        crop_scale: tuple[float, float] = (0.25, 1.0),
    ):
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of training data")
        self.root, self.loading = root, loading
        self._files = loading.usable(photographs_of(root, split, loading.held_out))
        training = split == "train"
        if training and not self._files:
            raise DataError(f"{root}: no photographs to learn from (besides those held out)")
        many = Cropping()
        if training:
            many = Cropping.at_least(crops, len(self._files), crop_scale, anywhere=True)
        self.store = crop_store(
            f"{split}_photographs", self._files, loading, loading.channels[1], many, root
        )
        self.store.check(on_progress)
        self.stores = [self.store]
        self.names = [str(p.relative_to(root)) for p in self._files for _ in range(many.each)]

    def __len__(self) -> int:
        return len(self.store)

    def fingerprint(self) -> str:
        """A hash of the names and sizes of the files, to tell whether the data changed."""
        return fingerprint(self.root, self._files)

    def files_of(self, indices: Sequence[int], epoch: int = 0) -> list[str]:
        """The names of the samples `indices`."""
        return [self.names[i] for i in indices]

    def batch(
        self, indices: Sequence[int], epoch: int = 0, share: slice = slice(None)
    ) -> PairedBatch:
        """Crops `indices` as uint8 tensors (N, C, size, size), as `a` and as `b`."""
        indices = list(indices[share])
        (clean,) = self.store.batch(indices, self.loading.draws(epoch, indices))
        return PairedBatch(clean, clean, indices)


def photographs_of(root: Path, split: Split, held_out: int | None = None) -> list[Path]:
    """The photographs of one split of a folder, of any nesting."""
    everything = list(find_pictures(root))
    inside = {part: _below(root / part, everything) for part in ("train", "val", "test")}
    given = inside["val"] or inside["test"]
    if given:
        apart = {*inside["val"], *inside["test"]}
        rest = inside["train"] or [p for p in everything if p not in apart]
        return rest if split == "train" else given
    return files_of_split(root, inside["train"] or everything, split, held_out)


def _below(folder: Path, files: Sequence[Path]) -> list[Path]:
    return [p for p in files if p.is_relative_to(folder)]

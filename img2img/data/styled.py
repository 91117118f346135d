"""Photographs and a style: two image sets without relation, or photographs and one picture.

DATA/A + DATA/B, DATA/trainA + DATA/trainB, ...   photographs in A, paintings in B
DATA with `style=PATH`                            photographs below DATA; PATH is a folder of
                                                  paintings or one picture

Photographs come in any size and number, so each gives several square crops at random scales; sixty
large ones are then as good as a thousand small ones. Aspect is kept on both sides, since a stroke
that is squeezed is another stroke.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from img2img.data.cropping import Cropping, crop_store
from img2img.data.dataset import DataKind
from img2img.data.store import Loading, Progress, Split, files_of_split, fingerprint
from img2img.data.unpaired import UnpairedBatch, pictures_of_sides, sets_of
from img2img.errors import DataError
from img2img.images import find_pictures


class StyledData:
    """Photographs A and paintings B without relation; an epoch is one pass over the crops of A,
    each with a random crop of B, drawn from (seed, epoch, index).

    Args:
        style: a folder or a picture, which replaces side B of the layouts.
        style_size: side in pixels that a painting's shorter side is brought to.
        crops: how many crops of photographs there are at least; fewer photographs give more each.
        crop_scale: as `Cropping.scale`, for photographs.

    Raises:
        DataError: photographs or paintings are missing, or pictures are unreadable: all listed.
    """

    kind: ClassVar[DataKind] = "style"

    domains: tuple[str, ...] = ()

    def __init__(
        self,
        root: Path,
        split: Split,
        loading: Loading,
        on_progress: Progress | None = None,
        *,
        style: str = "",
        style_size: int,
        crops: int = 1,
        crop_scale: tuple[float, float] = (1.0, 1.0),
    ):
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of training data")
        self.root, self.split, self.loading = root, split, loading
        photographs, paintings, self._style_root = _sides(
            root, split, loading, Path(style) if style else None
        )
        photographs, paintings = loading.usable(photographs), loading.usable(paintings)
        if split == "train" and not photographs:
            raise DataError(f"{root}: no photographs to learn from (besides those held out)")
        if not paintings:
            raise DataError(f"{self._style_root}: the style folder contains no pictures")
        self._files = photographs, paintings
        every = split == "train"
        many = Cropping.at_least(crops, len(photographs), crop_scale)
        a = many if every else Cropping()
        b = Cropping(max(1, min(4, 200 // len(paintings))) if every else 1)
        half = replace(loading, cache_bytes=loading.cache_bytes // 2)
        self.stores = [
            crop_store(f"{split}-{name}", files, replace(half, size=size), channels, crops, folder)
            for name, files, size, channels, crops, folder in (
                ("a", photographs, loading.size, loading.channels[0], a, root),
                ("b", paintings, style_size, loading.channels[1], b, self._style_root),
            )
        ]
        for store in self.stores if every else self.stores[:1]:
            store.check(on_progress)
        self.names = [
            str(p.relative_to(root)) for p in photographs for _ in range(a.each if every else 1)
        ]

    def __len__(self) -> int:
        return len(self.stores[0])

    @property
    def paintings(self) -> int:
        """How many crops of paintings there are."""
        return len(self.stores[1])

    def style_batch(self, indices: Sequence[int]) -> UnpairedBatch:
        """Crops `indices` of the paintings, as `b` and as `a`."""
        (b,) = self.stores[1].batch(indices)
        return UnpairedBatch(b, b, list(indices))

    def fingerprint(self) -> str:
        """A hash of the names and sizes of the files, to tell whether the data changed."""
        own = fingerprint(self.root, self._files[0])
        return fingerprint(self._style_root, self._files[1], own)

    def files_of(self, indices: Sequence[int], epoch: int = 0) -> list[str]:
        """The photographs, then the paintings that are drawn for them in training."""
        files, each = self._files[1], len(self.stores[1]) // len(self._files[1])
        paintings = [files[k // each] for k in self._drawn(indices, epoch)]
        names = [str(path.relative_to(self._style_root)) for path in paintings]
        return [*(self.names[i] for i in indices), *names]

    def batch(
        self, indices: Sequence[int], epoch: int = 0, share: slice = slice(None)
    ) -> UnpairedBatch:
        """Crops `indices` of `epoch` as uint8 tensors (N, C, size, size); held-out photographs
        come alone, with themselves as `b`."""
        indices = list(indices[share])
        first, second = self.stores
        if self.split == "held-out":
            (a,) = first.batch(indices)
            return UnpairedBatch(a, a, indices)
        draws = [self.loading.draws(epoch, indices, which) for which in (0, 1)]
        (a,) = first.batch(indices, draws[0])
        (b,) = second.batch(self._drawn(indices, epoch), draws[1])
        return UnpairedBatch(a, b, indices)

    def _drawn(self, indices: Sequence[int], epoch: int) -> list[int]:
        seed, count = self.loading.seed, len(self.stores[1])
        return [int(np.random.default_rng([seed, 2, epoch, i]).integers(count)) for i in indices]


def _sides(
    root: Path, split: Split, loading: Loading, style: Path | None
) -> tuple[list[Path], list[Path], Path]:
    """Photographs, paintings, and the folder of the paintings."""
    if style is None:
        sides = sets_of(root, split, loading.held_out)
        if sides is None:
            raise DataError(
                f"{root}: no style set. Expected A/ (photographs) and B/ (paintings) or trainA/ "
                "and trainB/; or give `style=PATH`, a folder of paintings or one picture"
            )
        if split == "train":
            return sides[0], sides[1], root
        whole = sets_of(root, "train", loading.held_out)
        return sides[0], whole[1] if whole else [], root
    if not style.exists():
        raise DataError(f"{style}: no such style picture or folder")
    paintings = [style] if style.is_file() else list(find_pictures(style))
    pair = pictures_of_sides(root, "train") or pictures_of_sides(root, None)
    photographs = pair[0] if pair else [p for p in find_pictures(root) if p not in set(paintings)]
    some = files_of_split(root, photographs, split, loading.held_out)
    return some, paintings, style.parent if style.is_file() else style

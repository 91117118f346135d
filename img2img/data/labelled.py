"""Labelled pictures: a folder for each domain, or an attribute table.

DATA/train/DOMAIN/x.png (+ DATA/test/DOMAIN/y.png)      one-hot labels
DATA/DOMAIN/x.png                                       the same, held-out pictures split off
DATA/list_attr*.txt or DATA/*.csv + DATA/images/x.png   attributes -1/0/1
    (+ DATA/list_eval_partition.txt or .csv             which rows are held out)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img2img.data.dataset import DataKind
from img2img.data.skipping import Skipped
from img2img.data.store import (
    MAX_HELD_OUT,
    Loading,
    Progress,
    Split,
    Store,
    fingerprint,
    hold_out,
    listing,
    read_one,
)
from img2img.errors import DataError, proposal
from img2img.images import find_pictures, to_network
from img2img.model_format.labels import parse_table

PARTITION = "list_eval_partition"  # CelebA's name of the file that says which rows are held out
Labels = NDArray[np.float32]


@dataclass(frozen=True)
class LabelledBatch:
    """`x`: (N, C, H, W); `label`, `target`: (N, domains) of 0 and 1, the pictures' own labels and
    the ones to translate to (a permutation of the batch's own, as in the paper)."""

    x: Tensor
    label: Tensor
    target: Tensor
    indices: list[int]

    def on(self, device: torch.device) -> LabelledBatch:
        """The same on `device`, pictures as float in [-1, 1]."""
        x = to_network(self.x.to(device, non_blocking=True).float())
        return replace(self, x=x, label=self.label.to(device), target=self.target.to(device))


@dataclass(frozen=True)
class Row:
    """One picture and its label."""

    name: str
    path: Path
    label: tuple[float, ...]


class LabelledData:
    """Pictures with labels. `attributes` chooses and orders columns of a table, or folders.

    Attributes:
        domains: names of the label's entries, in order.
        one_hot: the label is a folder, so exactly one entry is 1.

    Raises:
        DataError: no layout recognised, unknown attributes, missing pictures, wrong columns or
            values, unreadable pictures: all listed at once.
    """

    kind: ClassVar[DataKind] = "labels"

    def __init__(
        self,
        root: Path,
        split: Split,
        loading: Loading,
        on_progress: Progress | None = None,
        attributes: Sequence[str] = (),
    ):
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of training data")
        self.root, self.loading = root, loading
        self.domains, rows, self.one_hot = rows_of(
            root, split, attributes, loading.held_out, loading.skipped
        )
        if loading.skipped:
            rows = loading.skipped.without(rows, lambda row: (row.path,))
            if split == "train" and not rows:
                raise DataError(f"{root}: no labelled picture can be used")
        self.rows, self.names = rows, [row.name for row in rows]
        channels, files = loading.channels[0], [row.path for row in rows]
        read = partial(read_one, files, loading, channels)
        self.store = Store(split, len(rows), read, (channels,), loading, root, files)
        self.store.check(on_progress)
        self.stores = [self.store]

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """A hash of the names, sizes and labels, to tell whether the data changed."""
        labels = ",".join("".join(str(int(v)) for v in row.label) for row in self.rows)
        return fingerprint(self.root, [row.path for row in self.rows], labels)

    def files_of(self, indices: Sequence[int], epoch: int = 0) -> list[str]:
        """The names of the samples `indices`."""
        return [self.names[i] for i in indices]

    def batch(
        self, indices: Sequence[int], epoch: int = 0, share: slice = slice(None)
    ) -> LabelledBatch:
        """The `share` of the pictures `indices` as uint8 (N, C, size, size) with labels; the
        permutation that gives the targets goes over all of `indices` and is drawn from (seed,
        epoch, first index)."""
        own = indices[share]
        (x,) = self.store.batch(own, self.loading.draws(epoch, own))
        label = torch.tensor([self.rows[i].label for i in indices])
        seed = [self.loading.seed, 3, epoch, indices[0]]
        order = np.random.default_rng(seed).permutation(len(indices))
        target = label[torch.from_numpy(order)]
        return LabelledBatch(x, label[share], target[share], list(own))


_LAYOUTS = (
    "Expected a folder for each domain in train/ (or directly inside), or a table list_attr.txt or "
    "*.csv beside images/."
)


def rows_of(
    root: Path,
    split: Split,
    attributes: Sequence[str] = (),
    held_out: int | None = None,
    skipped: Skipped | None = None,
) -> tuple[tuple[str, ...], list[Row], bool]:
    """The domains, the labelled pictures of one split, and whether a label is one-hot (folders).

    Raises:
        DataError: as `LabelledData`, except that no picture is decoded.
    """
    table = _table_of(root)
    if table is not None:
        domains, rows = read_table(table, root, attributes, skipped)
        rows = part_of_table(root, rows, split, held_out)
    else:
        domains, rows = _folders(root, split, attributes, held_out)
    if not rows and split == "train":
        raise DataError(f"{root}: no labelled pictures found. {_LAYOUTS}")
    return domains, rows, table is None


def tables_of(root: Path) -> list[Path]:
    """The attribute tables of a folder; more than one is a mistake."""
    others = {root / f"{PARTITION}.csv"}
    return sorted(root.glob("list_attr*.txt")) or sorted({*root.glob("*.csv")} - others)


def pictures_folder(root: Path) -> Path:
    """Where the pictures of an attribute table are: images/, or beside it."""
    return next((p for p in (root / "images", root) if p.is_dir()), root)


def _table_of(root: Path) -> Path | None:
    found = tables_of(root)
    if len(found) > 1:
        raise DataError(f"{root}: several tables ({', '.join(p.name for p in found)}); keep one")
    return found[0] if found else None


def read_table(
    table: Path, root: Path, attributes: Sequence[str] = (), skipped: Skipped | None = None
) -> tuple[tuple[str, ...], list[Row]]:
    """Read an attribute table (`img2img.model_format.labels`) of the pictures in images/.

    Raises:
        DataError: every missing picture, wrong row and wrong value, listed at once, unless
            `skipped` takes them.
    """
    parsed = parse_table(table, attributes)
    folder = pictures_folder(root)
    rows, problems = [], list(parsed.problems)
    for number, name, label in parsed.rows:
        if (folder / name).is_file():
            rows.append(Row(name, folder / name, label))
        else:
            problems.append((number, f"row {number}: no picture {name} in {folder.name}/"))
    if problems:
        texts = [text for _, text in sorted(problems)]
        if skipped is None:
            raise DataError(listing(f"{table}: {len(problems)} bad rows", texts))
        skipped.add(f"{table}: {text}" for text in texts)
    return parsed.names, rows


def part_of_table(root: Path, rows: list[Row], split: Split, held_out: int | None) -> list[Row]:
    """The rows of one split of a table: as its partition says, or else the last ones are held out.

    Raises DataError for rows that the partition does not name.
    """
    files = (root / f"{PARTITION}{suffix}" for suffix in (".txt", ".csv"))
    path = next((path for path in files if path.is_file()), None)
    if path is not None:
        parts = read_partition(path)
        missing = [f"no row for {row.name}" for row in rows if row.name not in parts]
        if missing:
            raise DataError(listing(f"{path}: {len(missing)} rows missing", missing))
        apart = 1 if any(parts[row.name] == 1 for row in rows) else 2
        return [row for row in rows if parts[row.name] == (0 if split == "train" else apart)]
    if held_out is None:
        held_out = min(MAX_HELD_OUT, len(rows) // 20) or (1 if len(rows) > 3 else 0)
    border = len(rows) - held_out
    return rows[:border] if split == "train" else rows[border:]


def read_partition(path: Path) -> dict[str, int]:
    """CelebA's division of a table, `file N` or `file,N` in each row: 0 to learn from, 1 for
    validation, 2 to test; where there is a 1, a training uses no row of 2.

    Raises DataError: unreadable, or wrong rows, all listed.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").replace(",", " ").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    rows = [line.split() for line in lines if line.strip()]
    if path.suffix == ".csv":
        rows = rows[1:]
    bad = [f"'{' '.join(row)}'" for row in rows if len(row) != 2 or row[1] not in ("0", "1", "2")]
    if bad:
        head = f"{path}: {len(bad)} rows are not a file name and 0, 1 or 2"
        raise DataError(listing(head, bad))
    return {name: int(part) for name, part in rows}


def _folders(
    root: Path, split: Split, attributes: Sequence[str], held_out: int | None
) -> tuple[tuple[str, ...], list[Row]]:
    base = root / "train" if (root / "train").is_dir() else root
    parts = {"train", "test", "val"}
    names = sorted(
        p.name for p in base.iterdir() if p.is_dir() and p.name[0] != "." and p.name not in parts
    )
    unknown = [name for name in attributes if name not in names]
    if unknown:
        raise DataError(f"{base}: no folder '{unknown[0]}'.{proposal(unknown[0], names)}")
    names = list(attributes) or names
    if len(names) < 2:
        raise DataError(f"{root}: {len(names)} domains found, two or more are needed. {_LAYOUTS}")
    given = next((p for p in (root / "test", root / "val") if p.is_dir()), None)
    if given is not None:
        base = given if split == "held-out" else base
    rows: list[Row] = []
    for place, name in enumerate(names):
        label = tuple(1.0 if k == place else 0.0 for k in range(len(names)))
        folder = base / name
        files = list(find_pictures(folder)) if folder.is_dir() else []
        if split == "train" and not files:
            raise DataError(f"{folder}: a domain without pictures")
        found = [Row(str(p.relative_to(base)), p, label) for p in files]
        if given is None:
            chosen = hold_out([row.name for row in found], held_out)
            found = [r for r in found if (r.name in chosen) == (split == "held-out")]
        rows += found
    return tuple(names), rows

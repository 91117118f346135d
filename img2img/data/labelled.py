"""Labelled pictures: a folder for each domain, or an attribute table.

DATA/train/DOMAIN/x.png (+ DATA/test/DOMAIN/y.png)      one-hot labels
DATA/DOMAIN/x.png                                       the same, held-out pictures split off
DATA/list_attr*.txt or DATA/*.csv + DATA/images/x.png   attributes -1/0/1
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        table = _table_of(root)
        self.one_hot = table is None
        if table is not None:
            self.domains, rows = read_table(table, root, attributes)
            rows = _part_of_table(rows, split, loading.held_out)
        else:
            self.domains, rows = _folders(root, split, attributes, loading.held_out)
        if not rows and split == "train":
            raise DataError(f"{root}: no labelled pictures found. {_LAYOUTS}")
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


def _table_of(root: Path) -> Path | None:
    found = sorted(root.glob("list_attr*.txt")) or sorted(root.glob("*.csv"))
    if len(found) > 1:
        raise DataError(f"{root}: several tables ({', '.join(p.name for p in found)}); keep one")
    return found[0] if found else None


def read_table(
    table: Path, root: Path, attributes: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[Row]]:
    """Read an attribute table: CelebA's text format (count, names, then `file v v v`) or CSV with a
    header whose first column names the files. Values 1 mean yes, -1 and 0 no.

    Raises:
        DataError: every missing picture, wrong row and wrong value, listed at once.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: cannot be read: {error}") from None
    if table.suffix == ".csv":
        lines = [row for row in csv.reader(text.splitlines()) if row]
        names, body = (lines[0][1:] if lines else []), lines[1:]
    else:
        lines = [line.split() for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or len(lines[0]) != 1 or not lines[0][0].isdigit():
            raise DataError(f"{table}: the first line of a list_attr table is the number of rows")
        names, body = lines[1], lines[2:]
    names = [name.strip() for name in names]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{table}: its header names no attributes, or one twice")
    unknown = [name for name in attributes if name not in names]
    if unknown:
        raise DataError(f"{table}: no attribute '{unknown[0]}'.{proposal(unknown[0], names)}")
    chosen = list(attributes) or names
    columns = [names.index(name) for name in chosen]
    folder = next((p for p in (root / "images", root) if p.is_dir()), root)
    rows, problems, seen = [], [], set()
    for number, line in enumerate(body, 1):
        name, values = line[0], [v.strip() for v in line[1:]]
        if len(values) != len(names):
            problems.append(f"row {number} ({name}) has {len(values)} values, not {len(names)}")
            continue
        wrong = [v for v in values if v not in ("-1", "0", "1")]
        if wrong:
            problems.append(f"row {number} ({name}): value '{wrong[0]}' is not -1, 0 or 1")
        elif name in seen:
            problems.append(f"row {number}: {name} a second time")
        elif not (folder / name).is_file():
            problems.append(f"row {number}: no picture {name} in {folder.name}/")
        else:
            seen.add(name)
            label = tuple(1.0 if values[c] == "1" else 0.0 for c in columns)
            rows.append(Row(name, folder / name, label))
    if problems:
        raise DataError(listing(f"{table}: {len(problems)} bad rows", problems))
    return tuple(chosen), rows


def _part_of_table(rows: list[Row], split: Split, held_out: int | None) -> list[Row]:
    """The last rows of the table are held out."""
    if held_out is None:
        held_out = min(MAX_HELD_OUT, len(rows) // 20) or (1 if len(rows) > 3 else 0)
    border = len(rows) - held_out
    return rows[:border] if split == "train" else rows[border:]


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

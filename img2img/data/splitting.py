"""Held-out sets without pictures that training has too, or nearly so."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from img2img.data.checks.layout import Layout, recognise
from img2img.data.checks.pictures import look
from img2img.data.checks.similar import groups_of, near_pairs, same_pictures
from img2img.data.demo import new_folder
from img2img.data.labelled import PARTITION, read_table
from img2img.data.store import listing
from img2img.errors import DataError
from img2img.images import find_pictures
from img2img.model_format.labels import Table

Sample = tuple[tuple[str, Path], ...]  # (place below train or test, file) of what stays together


@dataclass(frozen=True)
class SplitSet:
    """How many samples went where, and how many groups of near-duplicates were kept together."""

    train: int
    test: int
    together: int


def split_data(root: Path, out: Path, share: float = 0.1) -> SplitSet:
    """Copy the pictures of `root` into `out`/train and `out`/test, so that pairs stay together and
    no picture of test is (nearly) one of train; which ones is decided by a hash of their names. Of
    an attribute table the pictures are copied into `out`/images, and `list_eval_partition.txt`
    beside the table says which are held out, as CelebA's does.

    Args:
        share: of the samples to hold out, 0..1, of each domain or set.

    Raises:
        DataError: unreadable pictures, two of one name in a set, wrong rows of an attribute table,
            or a layout that cannot be split.
        UsageError: `out` is not empty.
    """
    seen = look(list(find_pictures(root)))
    if bad := [f"{s.path}: {s.error}" for s in seen.values() if s.error]:
        text = listing(f"{root}: {len(bad)} pictures cannot be read", bad)
        raise DataError(f"{text}. Nothing was copied: repair or remove them")
    layout = recognise(root, seen)
    table = layout.table
    sets = [_rows(table, root)] if table else _samples(layout)
    if not sets:
        raise DataError(f"{root}: no layout that can be split; see img2img data check")
    counted = Counter(place for samples in sets for sample in samples for place, _ in sample)
    if twice := [place for place, count in counted.items() if count > 1]:
        raise DataError(
            listing(f"{root}: {len(twice)} names are used by several pictures; rename them", twice)
        )
    new_folder(out)
    home = {path: place for place, path in enumerate(seen)}
    groups = groups_of(same_pictures([*seen.values()]), near_pairs([*seen.values()]))
    linked = {path: min(home[p] for p in group) for group in groups for path in group}
    counts = {"train": 0, "test": 0}
    held = _held_out(sets, linked, home, share)
    partition = []
    for samples in sets:
        for sample in samples:
            part = "test" if _root_of(sample, linked, home) in held else "train"
            counts[part] += 1
            for place, path in sample:
                target = out / ("images" if table else part) / place
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                partition.append(f"{place} {2 if part == 'test' else 0}\n")
    if table:
        shutil.copyfile(table.path, out / table.path.name)
        (out / f"{PARTITION}.txt").write_text("".join(partition), encoding="utf-8")
    return SplitSet(counts["train"], counts["test"], len(groups))


def _held_out(
    sets: Sequence[Sequence[Sample]],
    linked: dict[Path, int],
    home: dict[Path, int],
    share: float,
) -> set[int]:
    """Of each set, groups in the order of a hash of their first name until there are enough; what
    is linked across sets moves as one."""
    held: set[int] = set()
    for samples in sets:
        by_group: dict[int, list[Sample]] = {}
        for sample in samples:
            by_group.setdefault(_root_of(sample, linked, home), []).append(sample)
        wanted = max(1, round(share * len(samples))) - sum(
            len(by_group[g]) for g in by_group if g in held
        )
        order = sorted(by_group, key=lambda g: _digest(by_group[g][0]))
        for group in order:
            if wanted <= 0:
                break
            if group not in held and len(by_group[group]) <= max(1, wanted):
                held.add(group)
                wanted -= len(by_group[group])
    return held


def _digest(sample: Sample) -> bytes:
    return hashlib.sha256(os.fsencode(sample[0][0])).digest()


def _root_of(sample: Sample, linked: dict[Path, int], home: dict[Path, int]) -> int:
    return min(linked.get(path, home[path]) for _, path in sample)


def _rows(table: Table, root: Path) -> list[Sample]:
    """The pictures of an attribute table."""
    return [((row.name, row.path),) for row in read_table(table.path, root)[1]]


def _samples(layout: Layout) -> list[list[Sample]]:
    """What is to be divided, each set for itself."""
    if layout.kind == "A and B paired":
        pairs = [(a, b) for _, a, b in layout.pairs if b is not None]
        return [[((f"A/{a.name}", a), (f"B/{b.name}", b)) for a, b in pairs]]
    if layout.kind in ("side by side", "photographs"):
        files = [p for group in layout.groups.values() for p in group]
        return [[((p.name, p),) for p in files]]
    if layout.kind in ("A and B", "domains"):
        sides: dict[str, list[Sample]] = {}
        for (_, side), files in layout.groups.items():
            sides.setdefault(side, []).extend(((f"{side}/{p.name}", p),) for p in files)
        return list(sides.values())
    return []

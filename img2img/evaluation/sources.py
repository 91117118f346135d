"""Where the pictures of an evaluation are: two folders, or the held-out part of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2img.data.dataset import DataKind
from img2img.data.labelled import rows_of
from img2img.data.paired import Pair, pairs_of
from img2img.data.photographs import photographs_of
from img2img.data.store import fingerprint, listing
from img2img.data.unpaired import sets_of
from img2img.errors import DataError, PictureError, UsageError
from img2img.images import Pixels, find_pictures, read_picture, resize_pixels, working_shape


@dataclass(frozen=True)
class Item:
    """One picture: a file, or the left (0) or right (1) half of one.

    Attributes:
        name: relative to its folder, for reports.
        path: of the file.
        half: which half of a side-by-side file, or None.
        label: of its domains, one number each, for labelled pictures.
        target: the domain vector that a model of several domains is given.
        wanted: the labels that the answer should have.
        edit: the domain that is to be changed.
        truth: file of the same picture with that edit, where there is one.
        multiple: the sides are cut to multiples of it, at the right and the bottom.
        part: and reduced to one part in it, by the antialiased bicubic filter.
    """

    name: str
    path: Path
    half: int | None = None
    label: tuple[float, ...] = ()
    target: tuple[float, ...] = ()
    wanted: tuple[float, ...] = ()
    edit: str = ""
    truth: Path | None = None
    multiple: int = 1
    part: int = 1

    def read(self, side: int = 0) -> Pixels:
        """uint8 (H, W, 3); its long side reduced to `side` pixels where it is larger and `side` is
        not 0.

        Raises:
            PictureError: it cannot be decoded, has no two halves, or is smaller than `multiple`.
        """
        pixels = read_picture(self.path).pixels
        if self.half is not None:
            width = pixels.shape[1]
            if width % 2:
                raise PictureError(f"{self.path}: a side-by-side picture of odd width {width}")
            pixels = np.ascontiguousarray(np.split(pixels, 2, 1)[self.half])
        height, width = (side - side % self.multiple for side in pixels.shape[:2])
        if not height or not width:
            raise PictureError(f"{self.path}: smaller than {self.multiple} pixels")
        pixels = np.ascontiguousarray(pixels[:height, :width])
        height, width = working_shape(height // self.part, width // self.part, side)
        return resize_pixels(pixels, width, height)


@dataclass(frozen=True)
class Material:
    """What there is to compare.

    Attributes:
        inputs: what a model translates; empty for two folders.
        fakes: translated pictures; empty for a model, which makes them.
        reals: of the target domain.
        paired: picture k of `reals` is the truth of picture k of the inputs or fakes.
        domains: names of the labels' entries.
        notes: what to tell about the choice.
    """

    inputs: tuple[Item, ...] = ()
    fakes: tuple[Item, ...] = ()
    reals: tuple[Item, ...] = ()
    paired: bool = False
    domains: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[Item, ...]:
        """The pictures that are judged, or that they are made from."""
        return self.fakes or self.inputs

    def some(self, most: int, seed: int) -> Material:
        """At most `most` pictures of each set, chosen by the seed; 0: all. Pairs stay pairs."""

        def chosen(items: tuple[Item, ...]) -> tuple[Item, ...]:
            if not most or len(items) <= most:
                return items
            order = np.random.default_rng([seed, 17]).permutation(len(items))[:most]
            return tuple(items[k] for k in sorted(order))

        return replace(
            self,
            inputs=chosen(self.inputs),
            fakes=chosen(self.fakes),
            reals=chosen(self.reals),
        )


def two_folders(fake: Path, real: Path, paired: bool | None) -> Material:
    """Translated pictures and real ones, as files of any tool.

    With `paired` None they are pairs where both folders hold the same names (without suffix);
    where only most names agree they are sets, and the others are noted.

    Raises:
        UsageError: no such folder.
        DataError: a folder without pictures; or `paired`, and the names differ: which are missing
            where.
    """
    fakes, reals = _by_stem(fake), _by_stem(real)
    lacking = [f"{real}: no partner for {fakes[s].name}" for s in fakes.keys() - reals.keys()]
    lacking += [f"{fake}: no partner for {reals[s].name}" for s in reals.keys() - fakes.keys()]
    alone = listing(f"{len(lacking)} pictures without a partner of the same name", sorted(lacking))
    if paired and lacking:
        raise DataError(alone)
    likely = paired is None and len(fakes.keys() & reals.keys()) > len(lacking)
    if not lacking:
        stems = sorted(fakes)
        fakes, reals = ({stem: side[stem] for stem in stems} for side in (fakes, reals))
    return Material(
        fakes=tuple(fakes.values()),
        reals=tuple(reals.values()),
        paired=not lacking if paired is None else paired,
        notes=(f"judged as sets, not as pairs: {alone}",) if likely else (),
    )


def _by_stem(folder: Path) -> dict[str, Item]:
    items = {}
    for item in folder_of(folder):
        stem = str(Path(item.name).with_suffix("").as_posix())
        items[item.name if stem in items else stem] = item
    return items


def folder_of(folder: Path) -> tuple[Item, ...]:
    """The pictures of a folder and its sub-folders, by name.

    Raises:
        UsageError: no such folder.
        DataError: it holds no pictures.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of pictures")
    items = tuple(Item(p.relative_to(folder).as_posix(), p) for p in find_pictures(folder))
    if not items:
        raise DataError(f"{folder}: no pictures found")
    return items


def for_model(
    data: Path,
    kind: DataKind,
    backwards: bool = False,
    attributes: Sequence[str] = (),
    held_out: int | None = None,
) -> Material:
    """What a model that learned from data of a `kind` is judged on: the held-out part of a folder
    in one of the layouts of training. A folder of plain pictures gives inputs only.

    Args:
        data: the folder.
        kind: of the data that its method learns from.
        backwards: the model translates B to A.
        attributes: the model's domains, for labelled pictures.
        held_out: how many pictures its training held out where the folder does not say.

    Raises:
        UsageError: no such folder.
        DataError: no pictures, files without a partner, or nothing held out.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder of pictures")
    if attributes:
        _, rows, _ = rows_of(data, "held-out", attributes, held_out)
        items = tuple(Item(row.name, row.path, None, row.label) for row in rows)
        return _checked(data, Material(items, reals=items, domains=tuple(attributes)))
    sets = None if kind == "pairs" else sets_of(data, "held-out", held_out)
    if sets is not None:
        a, b = (tuple(Item(p.relative_to(data).as_posix(), p) for p in side) for side in sets)
        return _checked(data, Material(b, reals=a) if backwards else Material(a, reals=b))
    pairs = [] if kind == "style" else pairs_of(data, "held-out", held_out)
    if not pairs or not _are_pairs(data, pairs):
        whole = [] if kind == "style" else pairs_of(data, "train", 0)
        if whole and not pairs and _are_pairs(data, whole):
            return _checked(data, Material())
        return Material(folder_of(data))
    a = tuple(Item(p.name, p.a, 0 if p.b is None else None) for p in pairs)
    b = tuple(Item(p.name, p.b or p.a, 1 if p.b is None else None) for p in pairs)
    inputs, reals = (b, a) if backwards else (a, b)
    return Material(inputs, reals=reals, paired=True)


def for_enlarging(
    data: Path, scale: int, backwards: bool = False, held_out: int | None = None, learned: str = ""
) -> Material:
    """What a model that enlarges `scale` times is judged on: folders A and B of equal names, whose
    truths are that much larger; or photographs, of which reduced ones are the inputs.

    Args:
        data: the folder; where it has a `test/` or `val/` part, that.
        scale: 2 or 4.
        backwards: the model enlarges the pictures of B.
        held_out: how many photographs its training held out where the folder does not say.
        learned: fingerprint of the photographs that the model learned from: of those the held-out
            ones are taken.

    Raises:
        UsageError: no such folder.
        DataError: no pictures, or files without a partner.
    """
    whole = folder_of(data)
    pairs = pairs_of(data, "held-out", 0) or pairs_of(data, "train", 0)
    if pairs and all(pair.b for pair in pairs):
        a = tuple(Item(pair.name, pair.a) for pair in pairs)
        b = tuple(Item(pair.name, pair.b) for pair in pairs if pair.b)
        return Material(b, reals=a, paired=True) if backwards else Material(a, reals=b, paired=True)
    files = photographs_of(data, "held-out", 0) or [item.path for item in whole]
    if learned == fingerprint(data, photographs_of(data, "train", held_out)):
        files = photographs_of(data, "held-out", held_out)
    names = [path.relative_to(data).as_posix() for path in files]
    inputs, reals = (
        tuple(
            Item(name, path, multiple=scale, part=part)
            for name, path in zip(names, files, strict=True)
        )
        for part in (scale, 1)
    )
    return _checked(data, Material(inputs, reals=reals, paired=True))


def training_rows(data: Path, attributes: Sequence[str], held_out: int | None = None) -> list[Item]:
    """The labelled training pictures of a folder: none of those that `for_model` judges, given the
    same `held_out`. Raises DataError as the training would."""
    _, rows, _ = rows_of(data, "train", attributes, held_out)
    return [Item(row.name, row.path, None, row.label) for row in rows]


def truth_of_edit(data: Path, name: str, domain: str) -> Path | None:
    """Where a folder keeps the true result of an edit: for the picture `name` and the domain that
    is set (of an exclusive group) or toggled, `truth/NAME_DOMAIN.png`, or with the suffix that
    `name` has."""
    stem = data / "truth" / Path(name).with_suffix("")
    for suffix in (".png", Path(name).suffix):
        path = stem.with_name(f"{stem.name}_{domain}{suffix}")
        if path.is_file():
            return path
    return None


def _are_pairs(data: Path, pairs: Sequence[Pair]) -> bool:
    """Files of their own for A and B, a layout with parts, or pictures that are two squares beside
    each other, which few photographs are: the first that can be read decides."""
    if any((data / part).is_dir() for part in ("train", "val", "test")):
        return True
    for pair in pairs:
        if pair.b is not None:
            return True
        try:
            height, width = read_picture(pair.a).pixels.shape[:2]
        except PictureError:
            continue
        return width == 2 * height
    return False


def _checked(data: Path, material: Material) -> Material:
    if not material.inputs or not material.reals:
        raise DataError(
            f"{data}: no held-out pictures; a folder with a test/ or val/ part, or more "
            "pictures, is needed"
        )
    return material

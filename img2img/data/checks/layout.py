"""Which layout a folder of training data has, and which method learns from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from img2img.data.checks.findings import Finding, cut, several
from img2img.data.checks.seen import Seen
from img2img.data.dataset import DataKind, Wanted
from img2img.data.halves import Halves, compare_halves
from img2img.data.labelled import Row, part_of_table, pictures_folder, tables_of
from img2img.data.paired import pairs_of
from img2img.data.photographs import photographs_of
from img2img.data.registration import RELATED_SET, register
from img2img.data.store import Split
from img2img.errors import DataError, UsageError
from img2img.images import find_pictures
from img2img.model_format.labels import Table, parse_table

Kind = Literal[
    "side by side", "A and B paired", "A and B", "domains", "table", "photographs", "unknown"
]
WORDS: dict[Kind, str] = {
    "side by side": "pairs side by side in one file (A left, B right)",
    "A and B paired": "pairs in two folders, A and B, by equal names",
    "A and B": "two sets of pictures without pairs, A and B",
    "domains": "a folder for each domain",
    "table": "an attribute table with pictures",
    "photographs": "photographs only",
    "unknown": "not a known layout",
}
EXPECTED = (
    "expected: pairs side by side in train/ or directly inside; A/ and B/ (or trainA/ and "
    "trainB/); a folder for each domain in train/ or directly inside; a table list_attr.txt or "
    "*.csv beside images/; or photographs only"
)
# What a layout is checked as where no method is named.
_USUAL: dict[Kind, DataKind] = {"A and B": "sets", "domains": "labels", "table": "labels"}
_PARTS = {"train": "train", "val": "held out", "test": "held out"}
Key = tuple[str, str]  # part (train or held out) and side or domain


@dataclass
class Layout:
    """A folder and how it is taken.

    Attributes:
        kind: of the layout.
        wants: the kind of data that it is checked as.
        method, preset: that fit.
        settings: NAME=VALUE that the method needs to learn from it.
        groups: the pictures by part and side or domain.
        pairs: (part, A, B) of pairs in two folders; B is None for two in one file.
        table: the attribute table.
        halves: what the halves of wide pictures have to do with each other.
        findings: what is wrong with the layout itself.
    """

    kind: Kind
    method: str = ""
    preset: str = ""
    wants: DataKind = "pairs"
    settings: list[str] = field(default_factory=list)
    groups: dict[Key, list[Path]] = field(default_factory=dict)
    pairs: list[tuple[str, Path, Path | None]] = field(default_factory=list)
    table: Table | None = None
    halves: Halves | None = None
    findings: list[Finding] = field(default_factory=list)

    def stop(self, kind: str, text: str, fix: str, paths: Sequence[Path] = ()) -> None:
        """Add what training refuses."""
        self.findings.append(Finding(kind, True, text, fix, tuple(paths)))

    def warn(self, kind: str, text: str, fix: str, paths: Sequence[Path] = ()) -> None:
        """Add what does not stop training."""
        self.findings.append(Finding(kind, False, text, fix, tuple(paths)))


def recognise(
    root: Path, seen: Mapping[Path, Seen], wanted: Wanted | None = None, photographs: bool = False
) -> Layout:
    """The layout of `root`, whose pictures are `seen`: the one that the `wanted` method would take;
    with `photographs`, those of its crops alone."""
    kind = wanted.kind if wanted else None
    layout = _photographs(root) if photographs else _recognised(root, seen, kind)
    if not seen:
        layout = Layout("unknown")
        layout.stop("empty", f"no pictures in {root}", EXPECTED)
    layout.wants = kind or _USUAL.get(layout.kind, "pairs")
    if wanted:
        layout.method = wanted.method if layout.method else ""
        layout.preset = layout.preset if layout.preset in wanted.presets else ""
    return layout


def _recognised(root: Path, seen: Mapping[Path, Seen], kind: DataKind | None) -> Layout:
    sides = _sides(root)
    tables = tables_of(root)
    domains = _domains(root)
    flat = [p for p in seen if p.parent in (root, root / "train", root / "val", root / "test")]
    if kind == "labels" or (not kind and tables):
        return _table(root, tables) if tables else _folders(root, domains)
    if sides:
        return _two_sides(root, sides, kind, seen)
    if kind == "style":
        layout = _photographs(root)
        layout.preset = preset_here()
        layout.settings = ["style=PAINTINGS"]
        return layout
    if flat and (kind or not domains):
        return _wide_or_not(root, seen, kind)
    if len(domains) > 1 and not kind:
        return _folders(root, domains)
    if seen and not kind:
        return _photographs(root)
    layout = Layout("unknown")
    _name_what_is_there(root, domains, layout)
    return layout


def preset_here(task: str = "") -> str:
    """The preset that suits this machine: `laptop` or that of a task, which end after an hour on
    two cores, or with CUDA `gpu` or the task's own for a GPU."""
    if torch.cuda.is_available():
        return "-".join(filter(None, (task, "gpu")))
    return task or "laptop"


def _sides(root: Path) -> dict[Key, list[Path]]:
    """The pictures of every A and B that the layouts of two sets know."""
    found: dict[Key, list[Path]] = {}
    for side in "AB":
        for part, name in (*((p, n) for n, p in _PARTS.items()), ("train", "")):
            places = [root / f"{name}{side}", root / name / side, root / side / name]
            places += [root / side.lower()] if not name else []
            folder = next((p for p in places if p.is_dir()), None)
            if folder is None or (not name and (part, side) in found):
                continue
            found.setdefault((part, side), []).extend(find_pictures(folder))
    both = {side for part, side in found if part == "train"} == {"A", "B"}
    return found if both else {}


def _domains(root: Path) -> dict[str, dict[str, list[Path]]]:
    """Folders that could be domains: {name: {part: pictures}}."""
    found: dict[str, dict[str, list[Path]]] = {}
    for part, base in _bases(root):
        for folder in sorted(p for p in base.iterdir() if p.is_dir() and p.name[0] != "."):
            if base == root and folder.name in _PARTS:
                continue
            if not folder.is_symlink():
                found.setdefault(folder.name, {}).setdefault(part, []).extend(find_pictures(folder))
    return found


def _bases(root: Path) -> list[tuple[str, Path]]:
    given = [(part, root / name) for name, part in _PARTS.items() if (root / name).is_dir()]
    return given if (root / "train").is_dir() else [("train", root), *given]


def _two_sides(
    root: Path,
    sides: dict[Key, list[Path]],
    kind: DataKind | None,
    seen: Mapping[Path, Seen],
) -> Layout:
    stems = {key: _stems(root, files) for key, files in sides.items()}
    a, b = (set(stems.get(("train", side), {})) for side in "AB")
    both = len(a & b)
    paired = kind == "pairs" or (not kind and both >= 0.5 * max(1, min(len(a), len(b))))
    only_names = paired and not kind and (root / "trainA").is_dir()
    if only_names and _unrelated(stems["train", "A"], stems["train", "B"], seen):
        paired = False  # numbered alike, as unpaired sets often are
    if not paired:
        layout = Layout("A and B", "cyclegan", groups=sides)
        layout.preset = preset_here()
        for side in "AB":
            if not sides.get(("train", side)):
                layout.stop("empty", f"set {side} holds no pictures", "add pictures to it")
        return layout
    layout = Layout("A and B paired", "pix2pix", preset_here(), groups=sides)
    for part in ("train", "held out"):
        left, right = (stems.get((part, side), {}) for side in "AB")
        layout.pairs += [(part, left[s], right[s]) for s in sorted(left) if s in right]
        _partners(root, part, left, right, layout)
    return layout


def _unrelated(a: dict[str, Path], b: dict[str, Path], seen: Mapping[Path, Seen]) -> bool:
    """Whether pictures of equal names clearly do not show the same thing in the same place."""
    left, right = [], []
    for stem in sorted(a.keys() & b.keys()):
        one, other = seen.get(a[stem]), seen.get(b[stem])
        if one and other and one.grey is not None and other.grey is not None:
            left.append(one.grey)
            right.append(other.grey)
    return len(left) >= 8 and register(left[:256], right[:256]).peak <= RELATED_SET


def _stems(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Names without suffix, below the folder of the side."""
    found = {}
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        start = next((k for k, part in enumerate(parts) if part[-1] in "ABab"), 0) + 1
        inner = (
            parts[start:] if parts[start:] and parts[start] not in _PARTS else parts[start + 1 :]
        )
        found["/".join(inner)] = path
    return found


def _partners(
    root: Path, part: str, left: dict[str, Path], right: dict[str, Path], layout: Layout
) -> None:
    alone = [p for s, p in left.items() if s not in right]
    alone += [p for s, p in right.items() if s not in left]
    if not alone:
        return
    names = cut([str(p.relative_to(root)) for p in alone])
    layout.stop(
        "unpaired",
        f"{several(len(alone), 'file')} without a partner of the same name ({part}): {names}",
        "give both pictures of a pair the same name, remove them or leave them out with "
        "`skip_bad=true`, or use cyclegan for unpaired image sets",
        alone,
    )


def _table(root: Path, tables: Sequence[Path]) -> Layout:
    layout = Layout("table", "stargan", preset_here())
    if len(tables) > 1:
        layout.stop("table", f"several tables: {cut([t.name for t in tables])}", "keep one")
        return layout
    try:
        layout.table = table = parse_table(tables[0])
    except DataError as error:
        layout.stop("table", str(error), "see docs/how-to/train-stargan.md for the formats")
        return layout
    folder = pictures_folder(root)
    rows = {name: folder / name for _, name, _ in table.rows}
    missing = [path for path in rows.values() if not path.is_file()]
    there = [Row(name, path, ()) for name, path in rows.items() if path.is_file()]
    layout.groups |= _parts(root, there)
    if table.problems:
        wrong = cut([text for _, text in table.problems])
        layout.stop(
            "table",
            f"{several(len(table.problems), 'bad row')} in {tables[0].name}: {wrong}",
            "every row has one value of -1, 0 or 1 for each attribute, and every file one row; "
            "`skip_bad=true` leaves such rows out",
        )
    if missing:
        layout.stop(
            "table",
            f"{several(len(missing), 'row')} of {tables[0].name} without a picture in "
            f"{folder.name}/: {cut([p.name for p in missing])}",
            "add the pictures, remove the rows, or leave them out with `skip_bad=true`",
            missing,
        )
    bad = {text.split("(")[1].split(")")[0] for _, text in table.problems if "(" in text}
    extra = [p for p in find_pictures(folder) if p not in set(rows.values()) and p.name not in bad]
    if extra:
        layout.warn(
            "table",
            f"{several(len(extra), 'picture')} not in {tables[0].name}, left out: "
            f"{cut([p.name for p in extra])}",
            "add rows for them or ignore this",
            extra,
        )
    return layout


def _parts(root: Path, rows: list[Row]) -> dict[Key, list[Path]]:
    """The rows of a table by split, where a partition says it; else all together, since only the
    settings of a training say how many are held out."""
    together: dict[Key, list[Path]] = {("train", ""): [row.path for row in rows]}
    try:
        parts = {s: part_of_table(root, rows, s, 0) for s in ("train", "held-out")}
    except DataError:  # which training says too
        return together
    if not parts["held-out"]:
        return together
    return {
        ("train", ""): [row.path for row in parts["train"]],
        ("held out", ""): [row.path for row in parts["held-out"]],
    }


def _folders(root: Path, domains: dict[str, dict[str, list[Path]]]) -> Layout:
    layout = Layout("domains", "stargan", preset_here())
    for name, parts in domains.items():
        for part, files in parts.items():
            layout.groups[part, name] = files
            if not files:
                layout.findings.append(
                    Finding(
                        "empty",
                        part == "train",
                        f"domain {name} has no pictures ({part})",
                        "add pictures to it or remove the folder",
                    )
                )
    if len(domains) < 2:
        layout.stop("layout", f"{several(len(domains), 'domain')} found", "two or more are needed")
    elif len(domains) == 2:
        _two_folders(root, domains, layout)
    return layout


def _two_folders(root: Path, domains: dict[str, dict[str, list[Path]]], layout: Layout) -> None:
    """Two folders of any name may be meant as pairs or as two sets."""
    one, other = domains
    first, second = (
        {p.stem for files in domains[name].values() for p in files} for name in (one, other)
    )
    same = len(first & second)
    found = f"found {one}/ ({several(len(first), 'picture')}) and {other}/ ({len(second)})"
    base = "train/" if (root / "train").is_dir() else ""
    rename = f"rename them to {base}A/ and {base}B/"
    if same and same >= 0.5 * min(len(first), len(second)):
        layout.warn(
            "layout",
            f"{found}, {same} of them with equal names, so perhaps pairs; pix2pix expects A/ and "
            "B/",
            f"for pairs {rename}, or join them with img2img data pair; as they are, stargan takes "
            "them as two domains",
        )
    else:
        layout.warn(
            "layout",
            f"{found}, which stargan takes as two domains",
            f"for cyclegan or stylize {rename}; for photographs only (pix2pix, pairs=degrade) they "
            "can stay",
        )


def _wide_or_not(root: Path, seen: Mapping[Path, Seen], kind: DataKind | None) -> Layout:
    flat = _side_by_side_files(root)
    wide = [seen[p] for p in flat if p in seen and seen[p].wide]
    known = [p for p in flat if p in seen and not seen[p].error]
    halves = _halves(wide) if wide else None
    if not kind and (halves is None or halves.photographs or 2 * len(wide) < len(known)):
        layout = _photographs(root)
        layout.halves = halves
        return layout
    layout = Layout("side by side", "pix2pix", halves=halves)
    layout.preset = preset_here()
    training = {pair.a for pair in pairs_of(root, "train")}
    for path in flat:
        part = "train" if path in training else "held out"
        layout.groups.setdefault((part, ""), []).append(path)
        layout.pairs.append((part, path, None))
    return layout


def _halves(wide: Sequence[Seen]) -> Halves:
    some = [wide[k * len(wide) // 256] for k in range(256)] if len(wide) > 256 else list(wide)
    left = [x.left for x in some if x.left is not None]
    right = [x.right for x in some if x.right is not None]
    return compare_halves([x.seam for x in some], left, right)


def _side_by_side_files(root: Path) -> list[Path]:
    pairs = [*pairs_of(root, "train"), *pairs_of(root, "held-out")]
    return sorted(pair.a for pair in pairs)


def _photographs(root: Path) -> Layout:
    layout = Layout("photographs", "pix2pix", preset_here("restore"))
    splits: tuple[tuple[str, Split], ...] = (("train", "train"), ("held out", "held-out"))
    for part, split in splits:
        try:
            layout.groups[part, ""] = photographs_of(root, split)
        except (DataError, UsageError) as error:
            layout.stop("layout", str(error), EXPECTED)
    return layout


def _name_what_is_there(
    root: Path, domains: dict[str, dict[str, list[Path]]], layout: Layout
) -> None:
    there = [
        f"{name}/ ({several(sum(map(len, parts.values())), 'picture')})"
        for name, parts in domains.items()
    ]
    fix = EXPECTED
    if len(domains) == 2:
        one, other = domains
        fix += (
            f". If {one}/ and {other}/ are the two sides, rename them to A/ and B/, or join pairs "
            "with img2img data pair"
        )
    layout.stop("layout", f"found {cut(there, 5) or 'no folders'} in {root}", fix)

"""What can be wrong with the pictures of a folder, one function for each kind of fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from img2img.data.checks.findings import Finding, cut, named, relative, several
from img2img.data.checks.layout import Layout
from img2img.data.checks.seen import Seen
from img2img.data.checks.similar import groups_of, near_pairs, same_pictures
from img2img.data.dataset import DataKind
from img2img.images.folders import Found

# Fewer pictures (or pairs) of one kind than that rarely give a useful model.
ENOUGH: dict[DataKind, int] = {"pairs": 50, "sets": 100, "labels": 100, "style": 10}
ENOUGH_PHOTOGRAPHS = 20  # each gives many crops
_IMBALANCE = 5.0
_RARE = 0.03
_SMALL = 32  # pixels of the shorter side


def unreadable(root: Path, seen: Mapping[Path, Seen], used: set[Path]) -> list[Finding]:
    """Files that cannot be decoded, of those that training reads and of the others."""
    found = []
    for stops in (True, False):
        bad = [s for s in seen.values() if s.error and (s.path in used) == stops]
        if bad:
            rows = cut([f"{relative(root, s.path)} ({s.error})" for s in bad])
            found.append(
                Finding(
                    "unreadable",
                    stops,
                    f"{several(len(bad), 'file')} cannot be read: {rows}",
                    "replace or remove them, or leave them out with `skip_bad=true`",
                    tuple(s.path for s in bad),
                )
            )
    return found


def left_alone(root: Path, ignored: Sequence[Found]) -> list[Finding]:
    """Files that are no pictures, and links that are not followed."""
    found = []
    for kind, fix in (
        ("link", "put the files themselves there; linked folders are not entered"),
        ("not a picture", "training ignores them; move them elsewhere if they do not belong here"),
        ("raw", "develop them to TIFF, PNG or JPEG first"),
    ):
        some = [f for f in ignored if f.ignored and _is(kind, f.ignored)]
        if some:
            rows = cut([f"{relative(root, f.path)} ({f.ignored})" for f in some])
            text = f"{several(len(some), 'entry', 'entries')} ignored: {rows}"
            name = {"link": "links", "raw": "raw"}.get(kind, "foreign")
            found.append(Finding(name, False, text, fix, tuple(f.path for f in some)))
    return found


def _is(kind: str, reason: str) -> bool:
    if kind == "not a picture":
        return reason.startswith("not a") or "cannot be listed" in reason
    return kind in reason


def sizes(root: Path, good: Sequence[Seen], layout: Layout) -> list[Finding]:
    """Tiny pictures, shapes that training refuses, and shapes that it distorts."""
    found = []
    tiny = [s for s in good if min(s.width, s.height) < _SMALL]
    if tiny:
        found.append(
            Finding(
                "tiny",
                False,
                f"{several(len(tiny), 'picture')} with a side under {_SMALL} pixels, the "
                f"smallest {min(s.width for s in tiny)}x{min(s.height for s in tiny)}: "
                f"{named(root, [s.path for s in tiny])}",
                "enlarged, they contain nothing to learn; remove them",
                tuple(s.path for s in tiny),
            )
        )
    if layout.kind == "side by side":
        halved = {a for _, a, b in layout.pairs if b is None}
        odd = [s for s in good if s.path in halved and not s.wide]
        if odd:
            rows = cut([f"{relative(root, s.path)} ({s.width}x{s.height})" for s in odd])
            found.append(
                Finding(
                    "shape",
                    True,
                    f"{several(len(odd), 'picture')} cannot be two pictures side by side: {rows}",
                    "a pair is as wide as both pictures together, an even width; remove them",
                    tuple(s.path for s in odd),
                )
            )
    elif layout.kind in ("A and B paired", "A and B", "domains", "table"):
        found += _aspects(root, good)
    return found


def _aspects(root: Path, good: Sequence[Seen]) -> list[Finding]:
    if not good:
        return []
    usual = median(s.width / s.height for s in good)
    odd = [s for s in good if not 0.8 < s.width / s.height / usual < 1.25]
    if not odd:
        return []
    return [
        Finding(
            "aspect",
            False,
            f"{several(len(odd), 'picture')} of another shape than the usual one "
            f"(width is {usual:.2g} times height): "
            + cut([f"{relative(root, s.path)} ({s.width}x{s.height})" for s in odd]),
            "all are squeezed to one square; crop them first if their shape matters",
            tuple(s.path for s in odd),
        )
    ]


def modes(root: Path, good: Sequence[Seen]) -> list[Finding]:
    """Pictures of a colour mode that most others do not have."""
    found = []
    usual = Counter(_plain(s.mode) for s in good).most_common(1)[0][0] if good else ""
    meaning = {
        "grey": "among colour pictures they teach the model to drop colours; convert or remove "
        "them",
        "CMYK": "they are converted to sRGB; convert them yourself if colours matter",
        "16 bits": "they are reduced to 8 bits; nothing to do unless fine steps matter",
        "alpha": "transparency is dropped, which exposes the hidden colours; place them on white "
        "first",
    }
    for name, fix in meaning.items():
        some = [s for s in good if name in s.mode]
        if name == "grey" and usual == "grey":
            some, fix = (
                [s for s in good if "grey" not in s.mode],
                ("among grey pictures they are colour; convert them, or set both channels to 1"),
            )
            name = "colour"
        if some and (name in ("16 bits", "CMYK", "alpha") or len(some) < len(good)):
            found.append(
                Finding(
                    "mode",
                    False,
                    f"{len(some)} of {len(good)} pictures {_are(name)}: "
                    f"{named(root, [s.path for s in some])}",
                    fix,
                    tuple(s.path for s in some),
                )
            )
    return found


def _are(name: str) -> str:
    return {"16 bits": "have 16 bits", "alpha": "have an alpha channel"}.get(name, f"are {name}")


def _plain(mode: str) -> str:
    return mode.split(",")[0]


def duplicates(root: Path, good: Sequence[Seen], layout: Layout) -> list[Finding]:
    """The same picture twice: in training and held-out data, under two labels, or in one set."""
    home = {p: key for key, files in layout.groups.items() for p in files}
    some = [s for s in good if s.path in home]
    same, near = same_pictures(some), near_pairs(some)
    exact = {frozenset(group) for group in same}
    leaks, labels, plain = [], [], []
    for group in groups_of(same, near):
        files = sorted(group)
        keys = {home[p] for p in files}
        sided = layout.kind in ("A and B paired", "A and B", "domains")
        if len({part for part, _ in keys}) > 1:
            leaks.append(files)
        elif sided and len({side for _, side in keys}) > 1:
            labels.append(files)
        else:
            plain.append(files)
    given = len({part for part, _ in layout.groups}) > 1
    fixes = {
        "leak": "remove them from one of the two, or make new sets with img2img data split; "
        "with them, figures of held-out pictures are too good",
        "labels": "a picture belongs to one of them; remove the other",
        "duplicates": "keep one of each"
        + ("" if given else "; held-out pictures could be among those learned from"),
    }
    texts = {
        "leak": "in training and in held-out data",
        "labels": "on both sides" if "A and B" in layout.kind else "in several domains",
        "duplicates": "several times",
    }
    found = []
    for kind, groups in (("leak", leaks), ("labels", labels), ("duplicates", plain)):
        if groups:
            paths = tuple(p for group in groups for p in group)
            equal = sum(frozenset(group) in exact for group in groups)
            rows = cut([" = ".join(relative(root, p) for p in group[:3]) for group in groups])
            found.append(
                Finding(
                    kind,
                    False,
                    f"{several(len(groups), 'picture')} (nearly) the same {texts[kind]}, "
                    f"{equal} of them exactly: {rows}",
                    fixes[kind],
                    paths,
                )
            )
    return found


def flat(root: Path, good: Sequence[Seen]) -> list[Finding]:
    """Pictures of a single colour."""
    some = [s.path for s in good if s.spread < 1 and min(s.width, s.height) >= _SMALL]
    text = f"{several(len(some), 'picture')} of one colour: {named(root, some)}"
    return [Finding("flat", False, text, "remove them", tuple(some))] if some else []


def amounts(layout: Layout) -> list[Finding]:
    """Too few pictures, domains of very different size, attributes that hardly vary."""
    found = []
    counts = {side: len(files) for (part, side), files in layout.groups.items() if part == "train"}
    enough = ENOUGH_PHOTOGRAPHS if layout.kind == "photographs" else ENOUGH[layout.wants]
    if layout.kind == "A and B paired":
        counts = {"": sum(part == "train" for part, _, _ in layout.pairs)}
    what = "pair" if layout.kind in ("side by side", "A and B paired") else "picture"
    few = {side: n for side, n in counts.items() if 0 < n < enough}
    if few:
        rows = ", ".join(f"{several(n, what)}{f' in {s}' if s else ''}" for s, n in few.items())
        found.append(
            Finding(
                "few",
                False,
                f"only {rows} to learn from",
                f"{enough} or more are usual; add some, or `diffaugment=color,translation` "
                "makes more of those there are",
            )
        )
    many = [n for n in counts.values() if n]
    if layout.kind in ("domains", "A and B") and many and max(many) > _IMBALANCE * min(many):
        rows = ", ".join(f"{side}: {n}" for side, n in counts.items())
        fix = "the smallest set is seen too rarely; balance their sizes"
        found.append(Finding("imbalance", False, f"sets of very different size ({rows})", fix))
    return found + (_attributes(layout) if layout.table else [])


def _attributes(layout: Layout) -> list[Finding]:
    assert layout.table is not None
    labels = [label for _, _, label in layout.table.rows]
    rare = []
    for k, name in enumerate(layout.table.names):
        share = sum(label[k] for label in labels) / max(1, len(labels))
        if min(share, 1 - share) < _RARE:
            rare.append(f"{name} ({share:.1%} yes)")
    if not rare:
        return []
    fix = "leave them out of the attributes, or add pictures"
    return [Finding("imbalance", False, f"attributes that hardly vary: {cut(rare)}", fix)]

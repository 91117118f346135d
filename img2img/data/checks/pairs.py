"""Do the two pictures of each pair belong together, and do they lie on each other?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from img2img.data.checks.findings import Finding, cut, relative, several
from img2img.data.checks.layout import Layout
from img2img.data.checks.seen import Seen
from img2img.data.registration import LEAST, RELATED, RELATED_SET, SIDE, Registration, register
from img2img.images import Pixels

_MOVED = 1.0 / SIDE  # a shift of all pairs that counts, as a share of a side
_MOVED_ONE = 2.5 / SIDE  # and of a single pair

Pair = tuple[Path, Path | None]


def pairing(
    root: Path, layout: Layout, seen: Mapping[Path, Seen]
) -> tuple[list[Finding], dict[str, Any], list[Pair]]:
    """What is wrong with the pairs, what was measured, and the pairs that are suspected."""
    pairs, left, right, sizes = _known(layout, seen)
    findings = _sizes_of(root, pairs, sizes, seen)
    if len(pairs) < LEAST:
        return findings, {}, []
    found = register(left, right)
    width, height = np.median(np.array(sizes), axis=0)
    shift = found.common[0] * width, found.common[1] * height
    measured = {
        "pairs": len(pairs),
        "share": round(float((found.z > RELATED).mean()), 3),
        "peak": round(found.peak, 1),
        "shift": [round(v, 1) for v in shift],
    }
    if found.peak <= RELATED_SET:
        return [*findings, *_unrelated(found, len(pairs))], measured, pairs[:8]
    if max(map(abs, found.common)) >= _MOVED:
        findings.append(_shifted(shift, (width, height), found.peak, len(pairs)))
        return findings, measured, pairs[:8]
    wrong, suspected = _single(root, pairs, found, sizes)
    return findings + wrong, measured, suspected


def _known(
    layout: Layout, seen: Mapping[Path, Seen]
) -> tuple[list[Pair], list[Pixels], list[Pixels], list[tuple[int, int]]]:
    pairs: list[Pair] = []
    left: list[Pixels] = []
    right: list[Pixels] = []
    sizes = []
    for _, a, b in layout.pairs:
        one, other = seen.get(a), seen.get(b) if b else None
        if one is None or one.error:
            continue
        if b is None and one.left is not None and one.right is not None:
            left.append(one.left)
            right.append(one.right)
            sizes.append((one.width // 2, one.height))
        elif other is not None and one.grey is not None and other.grey is not None:
            left.append(one.grey)
            right.append(other.grey)
            sizes.append((one.width, one.height))
        else:
            continue
        pairs.append((a, b))
    return pairs, left, right, sizes


def _sizes_of(
    root: Path, pairs: Sequence[Pair], sizes: Sequence[tuple[int, int]], seen: Mapping[Path, Seen]
) -> list[Finding]:
    """The two pictures of a pair have different shapes."""
    odd = []
    for (a, b), (width, height) in zip(pairs, sizes, strict=True):
        if b is not None and abs(width * seen[b].height / (height * seen[b].width) - 1) > 0.05:
            odd.append((a, b))
    if not odd:
        return []
    rows = [
        f"{relative(root, a)} ({seen[a].width}x{seen[a].height}) and "
        f"{seen[b].width}x{seen[b].height}"
        for a, b in odd
    ]
    return [
        Finding(
            "shape",
            False,
            f"{several(len(odd), 'pair')} of two different shapes: {cut(rows)}",
            "both are squeezed to one square and are no longer aligned; crop them the same way",
            tuple(p for pair in odd for p in pair),
        )
    ]


def _unrelated(found: Registration, count: int) -> list[Finding]:
    if count < 8 or found.peak > RELATED_SET - 2:  # too little to tell, or not clear
        return []
    return [
        Finding(
            "mispaired",
            False,
            f"the pictures of the {count} pairs are not aligned: their edges agree no more than "
            f"those of unrelated pictures (peak "
            f"{found.peak:.1f}, where {RELATED_SET:g} is clear)",
            "look at the sheet: if the files are shuffled, rename them; if the pairs are alike "
            "in content but not in place, use cyclegan for unpaired image sets",
        )
    ]


def _shifted(
    shift: tuple[float, float], size: tuple[float, float], peak: float, count: int
) -> Finding:
    x, y = (round(v) for v in shift)
    return Finding(
        "shifted",
        False,
        f"in the {count} pairs B lies {_where(x, y)} (of {size[0]:.0f}x{size[1]:.0f}; peak "
        f"{peak:.1f})",
        "crop both sides so that they are aligned; a network cannot learn edges that are displaced",
    )


def _where(x: int, y: int) -> str:
    across = f"{abs(x)} pixels to the {'right' if x > 0 else 'left'}" if x else ""
    down = f"{abs(y)} pixels {'lower' if y > 0 else 'higher'}" if y else ""
    return " and ".join(filter(None, (across, down))) or "less than a pixel apart"


def _single(
    root: Path, pairs: Sequence[Pair], found: Registration, sizes: Sequence[tuple[int, int]]
) -> tuple[list[Finding], list[Pair]]:
    """Single pairs of a set whose other pairs lie on each other."""
    weak = found.z < RELATED / 2
    clear = math.sqrt(2 * math.log(len(pairs))) + 2  # above the largest of so many by chance
    other = found.best != np.arange(len(pairs))
    # The partner that it resembles must miss its own, or it is only a similar picture.
    wrong = np.flatnonzero(weak & other & (found.best_z > clear) & weak[found.best])
    far = np.abs(found.shift).max(1) >= _MOVED_ONE
    moved = np.flatnonzero(
        weak & far & (found.shift_z > clear + 1) & ~np.isin(range(len(pairs)), wrong)
    )
    findings = []
    if len(wrong):
        rows = [
            f"{relative(root, pairs[k][0])} (fits better with "
            f"{_b_of(root, pairs[int(found.best[k])])})"
            for k in wrong.tolist()
        ]
        findings.append(
            Finding(
                "mispaired",
                False,
                f"{several(len(wrong), 'pair')} of two pictures that do not belong together: "
                f"{cut(rows)}",
                "look at the sheet and rename the files or remove them",
                tuple(pairs[k][0] for k in wrong.tolist()),
            )
        )
    if len(moved):
        rows = []
        for k in moved.tolist():
            x, y = (round(s * n) for s, n in zip(found.shift[k], sizes[k], strict=True))
            rows.append(f"{relative(root, pairs[k][0])} ({_where(x, y)})")
        findings.append(
            Finding(
                "shifted",
                False,
                f"{several(len(moved), 'pair')} in which B is displaced: {cut(rows)}",
                "look at the sheet; crop them again or remove them",
                tuple(pairs[k][0] for k in moved.tolist()),
            )
        )
    return findings, [pairs[k] for k in (*wrong.tolist(), *moved.tolist())]


def _b_of(root: Path, pair: Pair) -> str:
    return relative(root, pair[1]) if pair[1] else f"the right half of {relative(root, pair[0])}"

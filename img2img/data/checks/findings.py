"""What a check of training data says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know about a folder of training data.

    Attributes:
        kind: what is wrong, as a name: `unreadable`, `unpaired`, `mispaired`, `duplicates`, ...
        stops: training refuses the folder because of it.
        text: what is wrong, with numbers and the first file names.
        fix: what to do about it.
        paths: every file concerned.
    """

    kind: str
    stops: bool
    text: str
    fix: str
    paths: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text


@dataclass(frozen=True)
class Report:
    """What a folder of training data is.

    Attributes:
        root: the folder.
        layout: its layout in words.
        method: the method that fits, or "".
        preset: the preset that fits, or "".
        command: what to type to train, or "".
        counts: pictures of each part and side, e.g. {"train A": 120}.
        sizes, modes, formats: how many pictures have each, most frequent first.
        examined: pictures that were decoded; fewer than there are where time ran out.
        total: pictures there are.
        findings: what is wrong, what stops training first.
        registration: for pairs, what was measured (`share`, `peak`, `shift`), else empty.
    """

    root: Path
    layout: str
    method: str
    preset: str
    command: str
    counts: dict[str, int]
    sizes: dict[str, int]
    modes: dict[str, int]
    formats: dict[str, int]
    examined: int
    total: int
    findings: tuple[Finding, ...]
    registration: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether training would refuse the folder."""
        return any(finding.stops for finding in self.findings)


def named(root: Path, paths: Sequence[Path], count: int = _NAMED) -> str:
    """The first of `paths`, relative to `root`, and how many there are beside."""
    return cut([relative(root, p) for p in paths], count)


def cut(names: Sequence[str], count: int = _NAMED) -> str:
    """`a, b, c and 7 more`."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def relative(root: Path, path: Path) -> str:
    """`path` below `root`, or as it is."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def several(count: int, one: str, many: str = "") -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {one if count == 1 else many or one + 's'}"

"""Attribute tables: which file has which attributes. Plain text; needs neither numpy nor torch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from img2img.errors import DataError, proposal


@dataclass(frozen=True)
class Table:
    """An attribute table.

    Attributes:
        path: where it was read.
        names: of the chosen attributes, in the order chosen.
        rows: (number from 1, file name, label) of each good row; labels hold 1.0 and 0.0.
        problems: (number, what is wrong) of each bad row.
    """

    path: Path
    names: tuple[str, ...]
    rows: list[tuple[int, str, tuple[float, ...]]]
    problems: list[tuple[int, str]]


def parse_table(path: Path, attributes: Sequence[str] = ()) -> Table:
    """Read CelebA's text format (count, names, then `file v v v`) or CSV with a header whose first
    column names the files. Values 1 mean yes, -1 and 0 no. `attributes` chooses and orders columns.

    Raises:
        DataError: unreadable, without a usable header, or an attribute that is not there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if path.suffix == ".csv":
        lines = [row for row in csv.reader(text.splitlines()) if row]
        names, body = (lines[0][1:] if lines else []), lines[1:]
    else:
        lines = [line.split() for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or len(lines[0]) != 1 or not lines[0][0].isdigit():
            raise DataError(f"{path}: the first line of a list_attr table is the number of rows")
        names, body = lines[1], lines[2:]
    names = [name.strip() for name in names]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{path}: its header names no attributes, or names one twice")
    unknown = [name for name in attributes if name not in names]
    if unknown:
        raise DataError(f"{path}: no attribute '{unknown[0]}'.{proposal(unknown[0], names)}")
    chosen = list(attributes) or names
    table = Table(path, tuple(chosen), [], [])
    columns, seen = [names.index(name) for name in chosen], set[str]()
    for number, line in enumerate(body, 1):
        name, values = line[0], [v.strip() for v in line[1:]]
        problem = _problem(number, name, values, len(names), seen)
        if problem:
            table.problems.append((number, problem))
        else:
            seen.add(name)
            label = tuple(1.0 if values[c] == "1" else 0.0 for c in columns)
            table.rows.append((number, name, label))
    return table


def _problem(number: int, name: str, values: list[str], wanted: int, seen: set[str]) -> str:
    if len(values) != wanted:
        return f"row {number} ({name}) has {len(values)} values, not {wanted}"
    wrong = [v for v in values if v not in ("-1", "0", "1")]
    if wrong:
        return f"row {number} ({name}): value '{wrong[0]}' is not -1, 0 or 1"
    return f"row {number}: {name} appears a second time" if name in seen else ""


class Labels:
    """Labels of pictures by file name, from the table `path`, one value for each of `domains`.

    A name in the table may have folders before it (`sub/x.png`); the longest one that a picture's
    path ends with is its own.

    Raises:
        DataError: as `parse_table`, or for the first bad row.
    """

    def __init__(self, path: Path, domains: Sequence[str]):
        table = parse_table(path, domains)
        if table.problems:
            more = f" (and {len(table.problems) - 1} more)" if len(table.problems) > 1 else ""
            raise DataError(f"{path}: {table.problems[0][1]}{more}")
        self.path = path
        self._rows = {PurePath(name).parts: label for _, name, label in table.rows}
        self._deepest = max((len(parts) for parts in self._rows), default=0)

    def of(self, picture: Path) -> tuple[float, ...] | None:
        """The label of `picture`, or None when the table does not name it."""
        parts = picture.parts
        for count in range(min(self._deepest, len(parts)), 0, -1):
            if parts[-count:] in self._rows:
                return self._rows[parts[-count:]]
        return None

"""What an evaluation found: as JSON, as CSV of the pictures, as a table to read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from img2img.evaluation.figures import Figure

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """The result of one evaluation.

    Attributes:
        title: what was judged.
        protocol: how: sizes, seed, counts, versions, digests of the files that were used.
        figures: by name.
        warnings: what to be careful about.
        rows: figures of each picture.
        problems: pictures that could not be used, with the reason.
    """

    title: str
    protocol: Mapping[str, Any]
    figures: Mapping[str, Figure]
    warnings: tuple[str, ...] = ()
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """One object; figures that do not exist (NaN) and infinite ones are null and "inf"."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "title": self.title,
                "protocol": dict(self.protocol),
                "figures": {name: _plain(asdict(f)) for name, f in self.figures.items()},
                "warnings": list(self.warnings),
                "problems": dict(self.problems),
                "pictures": {name: _plain(row) for name, row in self.rows.items()},
            },
            ensure_ascii=True,
        )

    def as_csv(self) -> str:
        """A line for each picture; an empty field where a figure does not exist."""
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["picture", *names])
        for picture, row in self.rows.items():
            writer.writerow([picture, *(f"{row[n]:.6g}" if n in row else "" for n in names)])
        return text.getvalue()

    def lines(self) -> list[str]:
        """The figures as lines of text: name, value, interval, floor."""
        width = max((len(name) for name in self.figures), default=0)
        lines = []
        for name, figure in self.figures.items():
            arrow = f"{figure.better} is better" if figure.better else ""
            parts = [f"{name:{width}}  {shown(figure.value):>8}", f"{interval(figure):19}"]
            floor = f"floor {shown(figure.floor)}" if math.isfinite(figure.floor) else ""
            parts.append(", ".join(p for p in (figure.unit, floor, arrow) if p))
            lines.append("  ".join(parts).rstrip())
        return lines


# What is said of several models that `comparable` finds unlike.
UNLIKE = (
    "The models were not judged on the same pictures at the same size, so nothing is marked as "
    "best; give a size to judge all at one size."
)


def comparable(reports: Sequence[Report]) -> bool:
    """Whether the reports judge the same pictures in the same way."""
    facts = ("long_side", "paired", "judged", "reals")
    return len({tuple(report.protocol.get(f) for f in facts) for report in reports}) == 1


def best_of(figures: Sequence[Figure | None]) -> set[int]:
    """The places of the best figure and of those whose interval overlaps its interval; none where
    that is all of them, no direction is better, or a figure has no interval."""
    there = {k: f for k, f in enumerate(figures) if f is not None and math.isfinite(f.value)}
    if len(there) < 2 or not next(iter(there.values())).better:
        return set()
    higher = next(iter(there.values())).better == "higher"
    top = (max if higher else min)(there.values(), key=lambda f: f.value)

    if any(math.isnan(f.low) or math.isnan(f.high) for f in there.values()):
        return set()

    def reaches(f: Figure) -> bool:
        return f.high >= top.low if higher else f.low <= top.high

    winners = {k for k, f in there.items() if reaches(f)}
    return winners if len(winners) < len(there) else set()


def common_warnings(reports: Sequence[Report]) -> list[str]:
    """The warnings of all reports, each with the report's title where not all have it."""
    of_all = set(reports[0].warnings).intersection(*(report.warnings for report in reports[1:]))
    lines = [w if w in of_all else f"{r.title}: {w}" for r in reports for w in r.warnings]
    return list(dict.fromkeys(lines))


def comparison_lines(reports: Sequence[Report]) -> list[str]:
    """One table of several models: a line for each figure, with `*` beside what is best, as
    `best_of` says; a last line says why there is none."""
    alike = comparable(reports)
    table = [["", *(report.title for report in reports)]]
    for name in dict.fromkeys(name for report in reports for name in report.figures):
        figures = [report.figures.get(name) for report in reports]
        winners = best_of(figures) if alike else set()
        table.append([name, *(
            f"{shown(f.value)} {interval(f)}".rstrip() + ("*" if k in winners else "") if f else "-"
            for k, f in enumerate(figures)
        )])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    if not alike:
        lines.append(UNLIKE)
    return lines


def shown(value: float) -> str:
    """Four figures, as in the table and on the page."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf"
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:.0f}"


def interval(figure: Figure) -> str:
    """`[low, high]`, or nothing where there is none."""
    if math.isnan(figure.low) or math.isnan(figure.high):
        return ""
    return f"[{shown(figure.low)}, {shown(figure.high)}]"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: object) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return None if math.isnan(value) else "inf" if value > 0 else "-inf"
        return value

    return {name: plain(value) for name, value in values.items()}

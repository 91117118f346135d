"""The files of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.evaluation.evaluate import Evaluated
from img2img.evaluation.page import Row, Section, write_page
from img2img.images import Pixels
from img2img.system.atomic import write_atomic


def write_reports(out: Path, results: Sequence[Evaluated]) -> list[Path]:
    """Write report.json and pictures.csv for each result, and one page report.html, into `out`.

    With several results, of models on the same data, the files are numbered and the page compares
    them. Existing files of these names are replaced. Returns the files, the page last.

    Raises:
        UsageError: `out` is a file.
        EnvironmentFault: the folder cannot be written.
    """
    check_place(out)
    named = _told_apart(results)
    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in (*out.glob("report*.json"), *out.glob("pictures*.csv")):
            if re.fullmatch(r"(report|pictures)(-\d+)?\.(json|csv)", old.name):
                old.unlink()  # of an earlier evaluation into the same folder
        for number, result in enumerate(named, 1):
            mark = f"-{number}" if len(named) > 1 else ""
            for name, text in (
                (f"report{mark}.json", result.report.as_json() + "\n"),
                (f"pictures{mark}.csv", result.report.as_csv()),
            ):
                write_atomic(out / name, text.encode("utf-8", "backslashreplace"))
                files.append(out / name)
        write_page(out / "report.html", [result.report for result in named], _sections(named))
    except OSError as error:
        raise EnvironmentFault(f"{out}: {describe_os_error(error)}") from None
    return [*files, out / "report.html"]


def check_place(out: Path) -> None:
    """Raise UsageError where a report cannot be written because `out` is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; `out` takes a folder for the report")


def _told_apart(results: Sequence[Evaluated]) -> list[Evaluated]:
    """With a number behind titles that occur twice."""
    titles = [result.report.title for result in results]
    return [
        replace(result, report=replace(result.report, title=f"{title} ({number})"))
        if titles.count(title) > 1
        else result
        for number, (title, result) in enumerate(zip(titles, results, strict=True), 1)
    ]


def _sections(results: Sequence[Evaluated]) -> list[Section]:
    if len(results) == 1:
        return list(results[0].sections)
    copies = [
        replace(section, heading=f"{section.heading}: {result.report.title}")
        for result in results
        for section in result.sections
        if section.heading == "Nearest training pictures"
    ]
    return [_beside(results), *copies]


def _beside(results: Sequence[Evaluated]) -> Section:
    """The drawn pictures of several models in common rows."""
    rows: dict[str, dict[str, Pixels]] = {}
    for result in results:
        drawn = next((s for s in result.sections if s.heading == "Drawn at random"), None)
        for row in drawn.rows if drawn else ():
            pictures = rows.setdefault(row.name, {})
            for label, pixels in row.pictures.items():
                pictures.setdefault(result.report.title if label == "output" else label, pixels)
    ordered = []
    for name, pictures in rows.items():
        last = {"truth": pictures.pop("truth")} if "truth" in pictures else {}
        ordered.append(Row(name, "", {**pictures, **last}))
    return Section(
        "Pictures", "The same randomly drawn pictures, translated by each model.", ordered
    )

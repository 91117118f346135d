"""The files of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
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
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; -o takes a folder for the report")
    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{out}: {describe_os_error(error)}") from None
    for number, result in enumerate(results, 1):
        mark = f"-{number}" if len(results) > 1 else ""
        for name, text in (
            (f"report{mark}.json", result.report.as_json() + "\n"),
            (f"pictures{mark}.csv", result.report.as_csv()),
        ):
            write_atomic(out / name, text.encode("utf-8", "surrogateescape"))
            files.append(out / name)
    sections = results[0].sections if len(results) == 1 else [_beside(results)]
    write_page(out / "report.html", [result.report for result in results], sections)
    return [*files, out / "report.html"]


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
    return Section("Pictures", "The same pictures, drawn by the seed, by each model.", ordered)

"""`img2img runs` and `img2img report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import duration, escaped, extra, say, say_json
from img2img.cli.options import Debug, Json, Quiet

if TYPE_CHECKING:
    from img2img.training.runs import RunSummary

RUNS_EXAMPLES = """
img2img runs
img2img runs experiments --json
"""
REPORT_EXAMPLES = """
img2img report runs/maps
img2img report runs/maps runs/maps-wide -o two.html
"""


def runs_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder that contains the runs.")
    ] = Path("runs"),
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the runs in a folder: method, steps, best figure, time and state.

    A run is running, finished, or stopped; repeat the original command to resume a stopped one.
    """
    import dataclasses

    with extra("train", "runs"):
        from img2img.training.runs import find_runs, summaries

    rows = summaries(find_runs(folder))
    if json:
        for row in rows:
            say_json(dataclasses.asdict(row))
        return
    table = [("run", "method", "state", "steps", "best", "time"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        say("  ".join(f"{c:{w}}" for c, w in zip(cells, widths, strict=True)).rstrip())


def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.html",
            help="HTML file to write. [default: report.html in RUN; comparison.html for several "
            "runs]",
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a report page for one training run, or one that compares several.

    Training updates the page of its run at each validation and save.
    """
    with extra("train", "report"):
        from img2img.training.report import write_comparison, write_report
        from img2img.training.runs import read_run

    if len(runs) == 1:
        say(str(write_report(read_run(runs[0]), path=out)))
        return
    out = out or Path("comparison.html")
    write_comparison(out, runs)
    say(str(out))


def _cells(row: RunSummary) -> tuple[str, ...]:
    best = ""
    if row.best_value is not None:
        best = f"{row.best} {row.best_value:.4g} at {row.best_step}"
    return (
        escaped(row.run),
        row.method,
        row.state,
        f"{row.step}/{row.steps}" if row.steps else str(row.step),
        best,
        "" if row.seconds is None else duration(row.seconds),
    )

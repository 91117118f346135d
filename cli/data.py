"""`img2img data`: check, preview, demo, pair, split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import extra, note, say, say_json
from img2img.cli.help import Command, Group
from img2img.cli.options import Debug, Json, Quiet, one_of

if TYPE_CHECKING:
    from img2img.data.checks import Report

data_app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    epilog="""
img2img data check pairs
img2img data demo paired -o demo
""",
)

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of training pictures.")]
Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        autocompletion=one_of("pix2pix", "cyclegan", "stargan", "stylize"),
        help="The method that is to learn from it. [default: what fits]",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A setting of the training, as for train. Repeatable."
    ),
]


@data_app.callback()
def data_group() -> None:
    """Check, preview, make, pair and split folders of training pictures."""


@data_app.command(
    "check",
    cls=Command,
    epilog="""
img2img data check pairs
img2img data check photos --sheet look.png
img2img data check faces --method stargan --json
""",
)
def check_command(
    data: Data,
    method: Method = "",
    set_: Sets = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Write a sheet of the pictures, suspected pairs first."
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a folder of training pictures is, what is wrong with it, and how to train on it.

    Every picture is decoded. The exit code is 5 if a training would refuse the folder.
    """
    with extra("train", "data check"):
        from img2img.data.checks import check_data, check_sheet
        from img2img.images import Picture, write_picture

    checked = check_data(data, method, settings=set_ or [])
    report = checked.report
    if sheet is not None:
        import numpy as np

        write_picture(sheet, Picture(np.asarray(check_sheet(checked)), format="PNG"))
    if json:
        row = dataclasses.asdict(report) | {"root": str(report.root), "refused": report.refused}
        row["findings"] = [
            dataclasses.asdict(f) | {"paths": [str(p) for p in f.paths]} for f in report.findings
        ]
        say_json(row)
    else:
        _print(report)
    if report.refused:
        raise typer.Exit(5)


def _print(report: Report) -> None:
    counts = ", ".join(f"{name}: {count}" for name, count in report.counts.items())
    say(f"{report.root}: {report.layout}")
    rows = {
        "pictures": f"{report.total}" + (f" ({counts})" if counts else ""),
        "sizes": _most(report.sizes),
        "modes": _most(report.modes),
        "formats": _most(report.formats),
        "pairs": _measured(report),
        "method": report.method + (f", preset {report.preset}" if report.preset else ""),
    }
    for name, text in rows.items():
        if text:
            say(f"  {name + ':':10}{text}")
    stops = sum(finding.stops for finding in report.findings)
    for finding in report.findings:
        say(f"{'stops' if finding.stops else 'look'}  {finding.text}")
        if finding.fix:
            say(f"       -> {finding.fix}")
    if stops:
        note(
            f"training would refuse this folder: {stops} of {len(report.findings)} findings stop it"
        )
    elif not report.findings:
        say("nothing wrong was found")
    if report.command and not stops:
        say(report.command)


def _most(counts: dict[str, int]) -> str:
    rows = [f"{name} ({count})" for name, count in list(counts.items())[:4]]
    return ", ".join(rows) + (f" and {len(counts) - 4} others" if len(counts) > 4 else "")


def _measured(report: Report) -> str:
    found = report.registration
    if not found:
        return ""
    x, y = found["shift"]
    return (
        f"{found['pairs']}; {found['share']:.0%} clearly belong together by their edges, all "
        f"together with a peak of {found['peak']} at ({x:g}, {y:g}) pixels"
    )

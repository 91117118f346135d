"""`img2img data`: check, preview, demo, pair, split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import extra, note, say, say_json
from img2img.cli.help import Command, Group
from img2img.cli.options import METHODS, Debug, Json, Quiet, one_of
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.data.checks import Report

data_app = typer.Typer(
    add_completion=False,
    cls=Group,
    no_args_is_help=True,
    epilog="""
img2img data check pairs
img2img data demo paired -o demo
""",
)

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="Folder of training pictures, or an address such as s3://bucket/data."
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        autocompletion=one_of(*METHODS),
        help="Training method to check for. [default: detected]",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Training setting, as for train. Repeatable."),
]


@data_app.callback()
def data_group() -> None:
    """Check, preview, create, pair and split folders of training pictures."""


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
    """Identify the layout of a training folder, report its problems, and show how to train on it.

    Every picture is decoded. The exit code is 5 if training would refuse the folder.
    """
    with extra("train", "data check"):
        from img2img.cli.progress import counting
        from img2img.cli.train import write_png
        from img2img.data.checks import check_data, check_sheet
        from img2img.system.places import is_address
        from img2img.training.assigning import assigned
        from img2img.training.data_check import wanted
        from img2img.training.remote import folder_of

    cache = assigned({}, set_ or []).get("cache_folder")
    root = folder_of(data, Path(cache) if cache else None, note)
    shown = data if is_address(data) else str(root)
    with counting("looked at", shown=not json) as progress:
        needs = wanted(method) if method else None
        checked = check_data(root, needs, None, progress, set_ or [], shown)
    report = checked.report
    if sheet is not None:
        write_png(sheet, check_sheet(checked))
    if json:
        row = dataclasses.asdict(report) | {"root": shown, "refused": report.refused}
        row["findings"] = [
            dataclasses.asdict(f) | {"paths": [str(p) for p in f.paths]} for f in report.findings
        ]
        say_json(row)
    else:
        _print(shown, report)
    if report.refused:
        raise typer.Exit(5)


@data_app.command(
    "preview",
    cls=Command,
    epilog="""
img2img data preview pairs --method pix2pix -o look.png
img2img data preview photos --method pix2pix --preset restore -o look.png
""",
)
def preview_command(
    data: Data,
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            autocompletion=one_of(*METHODS),
            help="Training method.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE.png", help="The sheet to write.")
    ],
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A preset of the method, as for train.")
    ] = None,
    set_: Sets = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a sheet of what the networks will see, augmented and degraded.

    Each target is shown above its input. With diffaugment, the real pictures follow as the
    discriminators see them. The same as img2img train --dry-run --preview.
    """
    from img2img.cli.train import run

    run(method, data, "preview", preset, None, set_ or [], {}, False, True, out)


@data_app.command(
    "demo",
    cls=Command,
    epilog="""
img2img data demo paired -o demo
img2img data demo domains -o demo --count 40
""",
)
def demo_command(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            autocompletion=one_of("paired", "unpaired", "domains", "photographs"),
            help="paired, unpaired, domains or photographs.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="New folder for the pictures.")
    ],
    count: Annotated[
        int, typer.Option(metavar="N", min=10, help="Pictures or pairs of each set or domain.")
    ] = 120,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed.")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Generate a small free data set to try out training.

    Houses and their outlines (paired), days and nights (unpaired), trees of three seasons
    (domains), or landscapes (photographs).
    """
    with extra("train", "data demo"):
        from img2img.data.demo import make_demo

    method = make_demo(kind, out, count, seed)
    preset = "restore --max-time 2m" if kind == "photographs" else "tiny"
    say(f"img2img train {method} {out} -o runs/{out.name} --preset {preset}")


@data_app.command(
    "pair",
    cls=Command,
    epilog="""
img2img data pair photos sketches -o pairs
img2img data pair pairs --split-back -o two-folders
""",
)
def pair_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of inputs.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="New folder for the result.")
    ],
    b: Annotated[
        Path | None,
        typer.Argument(metavar="B", help="Folder of truths, with the same file names."),
    ] = None,
    split_back: Annotated[
        bool,
        typer.Option("--split-back", help="A holds pairs side by side; write folders A and B."),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Join the pictures of two folders side by side, or split such pairs.

    Partners have the same name; results are PNG files.
    """
    with extra("train", "data pair"):
        from img2img.data.joining import join_pairs, split_pairs

    if split_back == (b is not None):
        raise UsageError("data pair: give two folders A and B, or one folder and --split-back")
    count = split_pairs(a, out) if b is None else join_pairs(a, b, out)
    say(f"{count} pairs in {out}")


@data_app.command(
    "split",
    cls=Command,
    epilog="""
img2img data split pairs -o parted
img2img data split faces -o parted --share 0.2
""",
)
def split_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of training pictures.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="New folder for train and test.")
    ],
    share: Annotated[
        float, typer.Option(metavar="SHARE", min=0.0, max=0.9, help="Share to hold out, 0 to 0.9.")
    ] = 0.1,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Copy a folder into train and test, without near-duplicates across the two.

    Pairs and near-duplicates stay together. Which pictures are held out depends only on their
    names.
    """
    with extra("train", "data split"):
        from img2img.data.splitting import split_data

    done = split_data(data, out, share)
    say(
        f"{done.train} to train on and {done.test} to test with in {out}; "
        f"{done.together} groups of near-duplicates kept together"
    )


def _print(name: str, report: Report) -> None:
    counts = ", ".join(f"{name}: {count}" for name, count in report.counts.items())
    say(f"{name}: {report.layout}")
    rows = {
        "pictures": f"{report.total}" + (f" ({counts})" if counts else ""),
        "looked at": f"{report.examined}" if report.examined < report.total else "",
        "sizes": _most(report.sizes),
        "modes": _most(report.modes),
        "formats": _most(report.formats),
        "pairs": _measured(report),
        "method": report.method + (f", preset {report.preset}" if report.preset else ""),
    }
    for row, text in rows.items():
        if text:
            say(f"  {row + ':':11}{text}")
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
        say("no problems found")
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
        f"{found['pairs']}; {found['share']:.0%} clearly match by their edges; peak over all "
        f"pairs: {found['peak']} at ({x:g}, {y:g}) pixels"
    )

"""`img2img bench`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import note, say, say_json
from img2img.cli.options import (
    HARDWARE,
    RUNNERS,
    Debug,
    Device,
    Direction,
    Json,
    Layout,
    Model,
    Quiet,
    Range,
    listed,
    one_of,
)
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.diagnostics.bench import Row

EXAMPLES = """
img2img bench painting
img2img bench runs/mine --size 512 --size 1920x1080 --runner onnxruntime
img2img bench mine.onnx --batch 1 --batch 8 --json
"""

_HEAD = (
    f"{'runner':18}{'precision':>9}{'size':>12}{'batch':>6}{'ms':>10}{'pictures/s':>11}{'MP/s':>8}"
    f"{'peak MB':>9}{'dB':>7}{'levels':>7}"
)


def bench_command(
    model: Model,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|WxH",
            help="Side, or width and height, of the pictures. Repeatable. [default: the model's "
            "working size]",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Pictures per call. Repeatable. [default: 1]"),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Time to spend on each measurement.")
    ] = 2.0,
    direction: Direction = None,
    runner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of(*RUNNERS),
            rich_help_panel=HARDWARE,
            help=f"{listed(RUNNERS)}. Repeatable. [default: all but torch-compile]",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of("auto", "fp32", "bf16", "fp16"),
            rich_help_panel=HARDWARE,
            help="auto, fp32, bf16 or fp16. Repeatable. [default: all that a runner supports]",
        ),
    ] = None,
    device: Device = "auto",
    layout: Layout = None,
    range_: Range = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure how fast each runner executes a model.

    Prints time, memory and the difference from fp32 for each runner and precision.
    """
    run(
        model, size or [], batch or [1], runner or [], precision or [], device, seconds,
        direction, json, layout, range_,
    )  # fmt: skip


def run(
    model: str,
    sizes: list[str],
    batches: list[int],
    runners: list[str],
    precisions: list[str],
    device: str,
    seconds: float,
    direction: str | None,
    json: bool,
    layout: str | None,
    value_range: str | None,
) -> None:
    """Measure and print row by row; exit code 4 where nothing could be measured."""
    from img2img.diagnostics.bench import bench, default_size, parse_size
    from img2img.model_format.find import taken_for_granted

    if min(batches) < 1:
        raise UsageError("--batch: give 1 or more")
    granted = taken_for_granted(model, direction)
    if granted:
        note(granted)
    shapes = [parse_size(s) for s in sizes]
    if not shapes:
        shapes = [default_size(model, direction, layout, value_range)]
    rows: list[Row] = []
    for row in bench(
        model, shapes, batches, runners, precisions, device, seconds,
        direction, layout, value_range,
    ):  # fmt: skip
        if json:
            say_json(dataclasses.asdict(row))
        else:
            if not rows:
                say(_HEAD)
            say(_line(row))
        rows.append(row)
    if all(row.reason for row in rows):
        raise typer.Exit(4)


def _line(row: Row) -> str:
    start = f"{row.runner:18}{row.precision:>9}{row.size:>12}{row.batch:6}"
    if row.reason or row.ms is None:
        return f"{start}  not measured: {row.reason}"
    near = "" if row.db is None else "same" if row.db >= 120 else f"{row.db:.1f}"
    return (
        f"{start}{row.ms:10.1f}{row.pictures_per_s or 0:11.2f}{row.megapixels_per_s or 0:8.2f}"
        f"{row.peak_mb or 0:9.0f}{near:>7}{'' if row.max_levels is None else row.max_levels:>7}"
    )

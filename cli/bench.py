"""`img2img bench`."""

from __future__ import annotations

import dataclasses

import typer

from img2img.cli.console import note, say, say_json
from img2img.errors import UsageError
from img2img.model_format.find import taken_for_granted

_HEAD = (
    f"{'runner':18}{'precision':>9}{'size':>12}{'batch':>6}{'ms':>10}{'pictures/s':>11}{'MP/s':>8}"
    f"{'peak MB':>9}{'dB':>7}{'levels':>7}"
)


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
    layout: str | None = None,
    value_range: str | None = None,
) -> None:
    from img2img.diagnostics.bench import Row, bench, default_size, parse_size

    if min(batches) < 1:
        raise UsageError("a batch has at least one picture")
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


def _line(row: object) -> str:
    from img2img.diagnostics.bench import Row

    assert isinstance(row, Row)
    start = f"{row.runner:18}{row.precision:>9}{row.size:>12}{row.batch:6}"
    if row.reason or row.ms is None:
        return f"{start}  not measured: {row.reason}"
    near = "" if row.db is None else "same" if row.db >= 120 else f"{row.db:.1f}"
    return (
        f"{start}{row.ms:10.1f}{row.pictures_per_s or 0:11.2f}{row.megapixels_per_s or 0:8.2f}"
        f"{row.peak_mb or 0:9.0f}{near:>7}{'' if row.max_levels is None else row.max_levels:>7}"
    )

"""`img2img train`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from img2img.cli.console import extra, note, say, stop_flag
from img2img.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

    from img2img.settings import SettingHelp
    from img2img.training import TrainConfig


def run(
    method: str,
    data: str,
    out: str,
    preset: str | None,
    config: Path | None,
    sets: list[str],
    flags: dict[str, Any],
    json: bool,
    dry_run: bool,
    preview: Path | None = None,
) -> None:
    with extra("train", "train"):
        from img2img.cli.train_progress import Reporter
        from img2img.data.mirror import FetchStopped
        from img2img.training import resolve, train
        from img2img.training.assigning import assigned, read_config
        from img2img.training.preview import preview_sheet

    values = read_config(config) if config else {}
    values |= {name: value for name, value in flags.items() if value is not None}
    values |= {"method": method, "data": data, "out": out}
    chosen = resolve(assigned(values, sets), preset)
    if preview is not None:
        write_png(preview, preview_sheet(chosen, Reporter(json)))
        if dry_run:
            return
    with stop_flag() as stop, Reporter(json) as report:
        try:
            model = train(chosen, report, stop, dry_run, examine=True)
        except FetchStopped as error:
            note(str(error))
            stop.leave()
            raise
    if not json and not dry_run and os.environ.get("RANK", "0") == "0":
        if not stop():
            _print_end(chosen)
        say(chosen.address_of(model.name))
    stop.leave()


def _print_end(config: TrainConfig) -> None:
    """What was learned, and what to type next."""
    from img2img.training.report import PAGE, next_commands
    from img2img.training.runs import read_run

    run = read_run(config.out)
    best = run.best()
    if best:
        note(f"best {best.name}: {best.value:.4g} at step {best.step}")
    note(f"report: {config.address_of(PAGE)}")
    if config.remote_out:
        note(f"copy of the run: {config.out}")
    for why, command in next_commands(run):
        note(f"{why[0].lower()}{why[1:]}: {command}")


def print_settings(method: str) -> None:
    """Every setting of a method and of the loop, with type, default, range and meaning.

    Raises:
        ConfigError: an unknown method.
        MissingExtra: the `train` extra is not installed.
    """
    with extra("train", "train"):
        from img2img.methods import method_named
        from img2img.settings import described
        from img2img.training import TrainConfig

    kind = method_named(method)
    given = ("method", "data", "out", "remote_data", "remote_out", "preset", "settings")
    own, loop = described(kind.Config), described(TrainConfig, kind.defaults, leave_out=given)
    clashes = {row.name for row in own} & {row.name for row in loop}
    say(f"Settings of {method}, for --set NAME=VALUE:\n")
    for row in own:
        _print_setting(row, "method." if row.name in clashes else "")
    say("\nSettings of every training, for --set NAME=VALUE:\n")
    for row in loop:
        _print_setting(row)


def _print_setting(row: SettingHelp, prefix: str = "") -> None:
    limits = f" {row.range}" if row.range else ""
    say(f"  {prefix}{row.name}  ({row.type}{limits}; default: {row.default})")
    for line in textwrap.wrap(row.meaning, 72):
        say(f"      {line}")


def minutes(text: str | None) -> float | None:
    """`90m`, `2h`, `45s` or plain minutes."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in "smh" else (text, "m")
    try:
        value = float(number) * {"s": 1 / 60, "m": 1, "h": 60}[unit]
    except (ValueError, KeyError):
        raise UsageError(f"--max-time {text}: needs a number with s, m or h, e.g. 90m") from None
    if value <= 0:
        raise UsageError(f"--max-time {text}: must be greater than 0")
    return value


def batch(text: str | None) -> int | None:
    """A number of pictures, or `auto`, which is 0."""
    if text is None:
        return None
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"--batch-size {text}: needs a number of 1 or more, or auto")
    return int(text)


def spawn(count: int) -> None:
    """Run this very command in `count` processes; returns only in those."""
    if "WORLD_SIZE" in os.environ:
        return
    rest = sys.argv[1:]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", "-m", "img2img.cli", *rest]
    raise typer.Exit(subprocess.call(command))


def write_png(path: Path, sheet: Image.Image) -> None:
    """Write a sheet. Raises EnvironmentFault or PictureError where it cannot be written."""
    import numpy as np

    from img2img.images import Picture, write_picture

    write_picture(path, Picture(np.asarray(sheet), format="PNG"))

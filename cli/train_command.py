"""The options of `img2img train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import (
    HARDWARE,
    LENGTH,
    METHODS,
    Debug,
    Json,
    Quiet,
    listed,
    one_of,
)
from img2img.errors import UsageError

EXAMPLES = """
img2img train pix2pix pairs -o runs/maps --dry-run
img2img train cyclegan horses-zebras -o runs/zebra --preset cyclegan-256
img2img train stylize photos --set style=paintings -o runs/mine \\
    --preset laptop --max-time 30m
"""


def _list_settings(context: typer.Context, method: str) -> str:
    """With --help-settings neither data nor a run folder are asked for."""
    if context.params.get("help_settings"):
        from img2img.cli.train import print_settings

        print_settings(method)
        raise typer.Exit
    return method


_PRESETS = (
    "laptop", "gpu", "tiny", "labels", "restore", "enhance", "colour", "enlarge", "paint",
    "attributes", "labels-gpu", "restore-gpu", "enhance-gpu", "colour-gpu", "enlarge-gpu",
    "paint-gpu", "attributes-gpu", "pix2pix-256", "cyclegan-256", "cut-256", "fastcut-256",
    "stargan-128",
)  # fmt: skip

_Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Folder of training pictures, or an address such as s3://bucket/data, of which a "
        "verified copy is kept.",
    ),
]
_Run = Annotated[
    str,
    typer.Option(
        "-o",
        "--out",
        metavar="RUN",
        help="Run folder for the model, its samples and the state to resume from; or an "
        "address such as s3://bucket/runs/one, which any machine resumes.",
    ),
]

_SkipBad = Annotated[
    bool | None,
    typer.Option(
        "--skip-bad",
        help="Leave out unreadable pictures, files without a partner and wrong rows of a "
        "table, and record them, instead of refusing the folder.",
    ),
]


def train_command(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            autocompletion=one_of(*METHODS),
            is_eager=True,
            callback=_list_settings,
            help=f"{listed(METHODS)}.",
        ),
    ],
    data: _Data,
    out: _Run,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of(*_PRESETS),
            help=f"{', '.join(_PRESETS[:3])} (for every method), {', '.join(_PRESETS[3:-1])} or "
            f"{_PRESETS[-1]}.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="Settings from a file, such as a run's config.toml."
        ),
    ] = None,
    skip_bad: _SkipBad = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Start from the weights of a model file, a run folder, or the .pth file of a "
            "reference implementation.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change any setting, such as generator.width=32. Repeatable.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=LENGTH, help="Epochs at the full learning rate."),
    ] = None,
    epochs_decay: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=LENGTH,
            help="Further epochs in which the learning rate falls to zero.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=LENGTH,
            help="Length in steps instead of epochs; the learning rate falls in the second half.",
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=LENGTH,
            help="Stop after a time such as 90m or 2h; the same command resumes. With --preset "
            "laptop the learning rate falls to zero by then.",
        ),
    ] = None,
    on_collapse: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of("warn", "stop"),
            rich_help_panel=LENGTH,
            help="warn, or stop with exit code 5 when the outputs have become all the same or the "
            "discriminator always wins. [default: warn]",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the data, estimate time and memory, and write nothing.",
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Write a sheet of what the networks will see; with --dry-run, only that.",
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            rich_help_panel=HARDWARE,
            help="Pictures (pix2pix and cyclegan: pairs) per batch, shared by all --devices "
            "processes; auto measures how many fit the memory and are fastest. With --set "
            "accumulate=K a step is K batches. [default: 1; stylize 2, stargan 16]",
        ),
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=HARDWARE,
            help="Number of processes that share the work, one for each GPU.",
        ),
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            autocompletion=one_of("auto", "cpu", "cuda", "mps"),
            rich_help_panel=HARDWARE,
            help="auto, cpu, cuda, cuda:N or mps. [default: auto]",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of("auto", "fp32", "bf16", "fp16"),
            rich_help_panel=HARDWARE,
            help="auto, fp32, bf16 or fp16. [default: auto]",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=HARDWARE, help="CPU threads. [default: measured]"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed of the random numbers. [default: 0]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Name to record in the model file.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Licence to record in the model file.")
    ] = None,
    help_settings: Annotated[
        bool,
        typer.Option(
            "--help-settings",
            is_eager=True,
            help="List every setting of METHOD and of the training, for --set, and exit.",
        ),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model on a folder of pictures.

    An interrupted training is resumed by the same command.
    """
    from img2img.cli import train

    flags = {
        "epochs": epochs,
        "epochs_decay": epochs_decay,
        "steps": steps,
        "init": init,
        "skip_bad": skip_bad,
        "batch_size": train.batch(batch_size),
        "max_minutes": train.minutes(max_time),
        "on_collapse": on_collapse,
        "device": device,
        "precision": precision,
        "threads": threads,
        "seed": seed,
        "name": name,
        "licence": licence,
    }
    if devices > 1:
        if preview is not None:
            raise UsageError("--preview is made by one process; leave --devices out")
        train.spawn(devices)
    train.run(method, data, out, preset, config, set_ or [], flags, json, dry_run, preview)

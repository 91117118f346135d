"""The options of `img2img train` alone, in the order of its signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import HARDWARE, LENGTH, METHODS, listed, one_of


def list_settings(context: typer.Context, method: str) -> str:
    """With --help-settings neither data nor a run folder are asked for."""
    if context.params.get("help_settings"):
        from img2img.cli.train import print_settings

        print_settings(method)
        raise typer.Exit
    return method


PRESETS = (
    "laptop", "gpu", "tiny", "labels", "restore", "enhance", "colour", "enlarge", "paint",
    "attributes", "labels-gpu", "restore-gpu", "enhance-gpu", "colour-gpu", "enlarge-gpu",
    "paint-gpu", "attributes-gpu", "pix2pix-256", "cyclegan-256", "cut-256", "fastcut-256",
    "stargan-128",
)  # fmt: skip

Method = Annotated[
    str,
    typer.Argument(
        metavar="METHOD",
        autocompletion=one_of(*METHODS),
        is_eager=True,
        callback=list_settings,
        help=f"{listed(METHODS)}.",
    ),
]

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Folder of training pictures, or an address such as s3://bucket/data, which is "
        "copied and verified.",
    ),
]

Out = Annotated[
    str,
    typer.Option(
        "-o",
        "--out",
        metavar="RUN",
        help="Run folder for the model, its samples and the state to resume from; or an "
        "address such as s3://bucket/runs/one, from which any machine can resume.",
    ),
]

Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of(*PRESETS),
        help=f"{', '.join(PRESETS[:3])} (for every method), {', '.join(PRESETS[3:-1])} or "
        f"{PRESETS[-1]}.",
    ),
]

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Settings from a file, such as a run's config.toml."),
]

SkipBad = Annotated[
    bool | None,
    typer.Option(
        "--skip-bad",
        help="Leave out unreadable pictures, files without a partner and wrong rows of a "
        "table, and record them, instead of refusing the folder.",
    ),
]

Init = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        help="Start from the weights of a model file, a run folder, or the .pth file of a "
        "reference implementation.",
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change any setting, such as generator.width=32. Repeatable.",
    ),
]

Epochs = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=LENGTH, help="Epochs at the full learning rate."),
]

EpochsDecay = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=LENGTH,
        help="Further epochs, during which the learning rate falls to zero.",
    ),
]

Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=LENGTH,
        help="Length in steps instead of epochs; the learning rate falls in the second half.",
    ),
]

MaxTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        rich_help_panel=LENGTH,
        help="Length as a time such as 90m or 2h, by the end of which the learning rate falls to "
        "zero. With --steps or --epochs it only ends this call; the same command resumes.",
    ),
]

OnCollapse = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of("warn", "stop"),
        rich_help_panel=LENGTH,
        help="warn, or stop with exit code 5 when the outputs have become nearly identical "
        "or the discriminator always wins. [default: warn]",
    ),
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check the data, estimate time and memory, and write nothing.",
    ),
]

Preview = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.png",
        help="Write a sheet of what the networks will see; with --dry-run, only that.",
    ),
]

BatchSize = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        rich_help_panel=HARDWARE,
        help="Pictures per batch (pix2pix, cyclegan, cut: as many of each side), shared by all "
        "--devices processes; auto measures which size fits in memory and is fastest. With --set "
        "accumulate=K a step is K batches. [default: 1; stylize 2, stargan 16]",
    ),
]

Devices = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=HARDWARE,
        help="Number of processes that share the work, one per GPU.",
    ),
]

Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        autocompletion=one_of("auto", "cpu", "cuda", "mps"),
        rich_help_panel=HARDWARE,
        help="auto, cpu, cuda, cuda:N or mps. [default: auto]",
    ),
]

Precision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of("auto", "fp32", "bf16", "fp16"),
        rich_help_panel=HARDWARE,
        help="auto, fp32, bf16 or fp16. [default: auto]",
    ),
]

Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=HARDWARE,
        help="CPU threads. [default: measured at the start]",
    ),
]

Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Random seed. [default: 0]"),
]

Name = Annotated[str | None, typer.Option(metavar="TEXT", help="Name to record in the model file.")]

Licence = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Licence to record in the model file.")
]

HelpSettings = Annotated[
    bool,
    typer.Option(
        "--help-settings",
        is_eager=True,
        help="List every setting of METHOD and of the training, for --set, and exit.",
    ),
]

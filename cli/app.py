"""The commands and their options. Each imports what it needs when it runs, so --help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import img2img

app = typer.Typer(
    help="Image-to-image translation: translate folders of pictures, train, export to ONNX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]

Direction = Annotated[
    str | None, typer.Option(help="AtoB or BtoA: which model of a CycleGAN run; default AtoB.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"img2img {img2img.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Image-to-image translation: translate folders of pictures, train, export to ONNX."""


@app.command("translate")
def translate_command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Pictures, folders or globs.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the translated pictures.")],
    model: Annotated[
        str | None,
        typer.Option(
            "-m", "--model", help="A shipped model's name, a run, a .safetensors or an .onnx file."
        ),
    ] = None,
    runner: Annotated[str, typer.Option(help="auto, onnxruntime or torch.")] = "auto",
    device: Device = "auto",
    format: Annotated[
        str | None,
        typer.Option(help="jpg, png, webp, avif, tiff or bmp; default: by the input's suffix."),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="For JPEG, WebP and AVIF.")] = 95,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Translate again what is in OUT already.")
    ] = False,
    strip_metadata: Annotated[
        bool, typer.Option("--strip-metadata", help="Write no EXIF and no XMP.")
    ] = False,
    strip_gps: Annotated[
        bool, typer.Option("--strip-gps", help="Keep EXIF and XMP, but not the place.")
    ] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Take what can be decoded of a damaged picture.")
    ] = False,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, help="Larger pictures are refused before decoding.")
    ] = 400.0,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Where a model of several domains goes; A+B or all too."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Table of the pictures' own attributes, which --domain then changes."),
    ] = None,
    direction: Direction = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Translate pictures; folders are searched recursively and their trees kept."""
    from img2img.cli import translate

    translate.run(
        inputs, out, model, runner, device, format, quality, overwrite, json,
        strip_metadata, strip_gps, salvage, max_megapixels,
        domain or [], labels, direction,
    )  # fmt: skip


@app.command("train")
def train_command(
    method: Annotated[str, typer.Argument(help="pix2pix, cyclegan or stargan.")],
    data: Annotated[Path, typer.Argument(help="Folder of training pictures.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder; an old run goes on.")],
    preset: Annotated[
        str | None, typer.Option(help="pix2pix-256, cyclegan-256, stargan-128 or tiny.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings, e.g. a run's config.toml.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Start from a model file, a run, or a reference implementation's .pth."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, e.g. generator.width=32."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at full learning rate.")] = None,
    epochs_decay: Annotated[int | None, typer.Option(help="Epochs of linear decay.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps instead of epochs; the second half decays.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop after, e.g. 90m or 2h; the same command goes on.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the data, measure time and memory, write nothing."),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures in one step, of all processes together.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    name: Annotated[str | None, typer.Option(help="Name inside the model file.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence inside the model file.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model, or go on with a run: the same command resumes."""
    from img2img.cli import train

    flags = {
        "epochs": epochs,
        "epochs_decay": epochs_decay,
        "steps": steps,
        "init": init,
        "batch_size": batch_size,
        "max_minutes": train.minutes(max_time),
        "device": device,
        "precision": precision,
        "threads": threads,
        "seed": seed,
        "name": name,
        "licence": licence,
    }
    if devices > 1:
        train.spawn(devices)
    train.run(method, data, out, preset, config, set_ or [], flags, json, dry_run)


@app.command("export")
def export_command(
    model: Annotated[
        str, typer.Argument(help="A .safetensors file, a run, a shipped name; .onnx to pack.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The .onnx file to write.")
    ] = None,
    web: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page that translates in a browser.")
    ] = None,
    web_runtime: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="An unpacked onnxruntime-web; default: fetched by npm."),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write it into a Triton server's model repository."),
    ] = None,
    triton_kind: Annotated[
        str, typer.Option(help="Where Triton runs it: auto, cpu or gpu.")
    ] = "auto",
    triton_instances: Annotated[
        int, typer.Option(help="Copies that Triton runs beside each other.")
    ] = 1,
    triton_batch: Annotated[
        int, typer.Option(help="Pictures that Triton puts together at most; 0: none.")
    ] = 8,
    direction: Direction = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a model to ONNX; published only when it says the same as its source."""
    from img2img.cli import deploy, export

    packing = deploy.check(
        out, web, web_runtime, triton, triton_kind, triton_instances, triton_batch
    )
    if out:
        export.run(model, out, json, direction)
    deploy.run(packing, model, out, direction, json)


@app.command("models")
def models_command(
    action: Annotated[str, typer.Argument(help="list or show.")] = "list",
    name: Annotated[str | None, typer.Argument(help="A name or a model file, for show.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the shipped models, or show what a model file says of itself."""
    from img2img.cli import models

    models.run(action, name, json)


@app.command("doctor")
def doctor_command(json: Json = False, debug: Debug = False) -> None:
    """Say what is installed, what works, and how to mend what does not."""
    from img2img.cli import doctor

    doctor.run(json)

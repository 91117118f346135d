"""The commands and their options. Each imports what it needs when it runs, so --help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img._version import __version__

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

Layout = Annotated[
    str | None,
    typer.Option(
        metavar="nchw|nhwc", help="Of an .onnx file made elsewhere: channels first or last."
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="MIN..MAX",
        help="Of an .onnx file made elsewhere: its values, -1..1, 0..1 or 0..255.",
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"img2img {__version__}")
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
        list[str],
        typer.Argument(metavar="INPUT", help="Pictures, folders or globs; - is standard input."),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            help="Folder for the translated pictures; for one picture also a file, or - for "
            "standard output.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "-m", "--model", help="A shipped model's name, a run, a .safetensors or an .onnx file."
        ),
    ] = None,
    direction: Direction = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Where a model of several domains goes; A+B or all too."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Table of the pictures' own attributes, which --domain then changes."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|full",
            help="The network works on larger pictures reduced to so many pixels on the long side; "
            "the output keeps the input's size. Default: what the model states; full or 0: no "
            "reduction.",
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="1 is the translation, 0 the source.")
    ] = 1.0,
    format: Annotated[
        str | None,
        typer.Option(help="jpg, png, webp, avif, tiff or bmp; default: by the input's suffix."),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="For JPEG, WebP and AVIF.")] = 95,
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="Names of the outputs, of {stem}, {model}, {domain} and {number}.",
        ),
    ] = "{stem}",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Translate again what is in OUT already.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before, unchanged.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with pictures as they come, until Ctrl-C.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Take linked pictures, enter linked folders.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write sheets of source and output there."),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="HTML", help="Also write a page of before/after sliders."),
    ] = None,
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
        float | None,
        typer.Option(
            min=0.001,
            help="Larger pictures are refused before decoding; default: by the machine's memory, "
            "at most 400.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that one picture may take to decode.")
    ] = 60.0,
    runner: Annotated[
        str, typer.Option(help="auto, onnxruntime, openvino, tensorrt, torch or torch-compile.")
    ] = "auto",
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (near fp32), fp32 (exact), bf16 or fp16.")
    ] = "auto",
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Parts of N pixels for pictures that do not fit the memory; the result is that "
            "of the whole picture.",
        ),
    ] = "auto",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures of one size at once; default: by size.")
    ] = None,
    layout: Layout = None,
    range_: Range = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Translate pictures; folders are searched recursively and their trees kept. The same command
    again does what is missing and what has changed."""
    from img2img.cli import translate
    from img2img.inference.request import TranslateRequest

    translate.run(
        TranslateRequest(
            inputs=tuple(inputs), out=out, model=model, direction=direction,
            domains=tuple(domain or ()), labels=labels, runner=runner, device=device,
            precision=precision, tile=translate.tile(tile), format=format, quality=quality,
            name=name, size=translate.size(size), strength=strength, batch=batch,
            overwrite=overwrite, retry_failed=retry_failed, watch=watch, follow_links=follow_links,
            compare=compare, gallery=gallery,
            metadata=translate.metadata(strip_metadata, strip_gps), salvage=salvage,
            max_megapixels=max_megapixels, timeout=timeout, layout=layout, value_range=range_,
        ),
        json,
    )  # fmt: skip


def _list_settings(context: typer.Context, method: str) -> str:
    """With --help-settings neither data nor a run folder are asked for."""
    if context.params.get("help_settings"):
        from img2img.cli.train import print_settings

        print_settings(method)
        raise typer.Exit
    return method


@app.command("train")
def train_command(
    method: Annotated[
        str,
        typer.Argument(
            help="pix2pix, cyclegan, stargan or stylize.", is_eager=True, callback=_list_settings
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Folder of training pictures.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Run folder; an interrupted run is resumed.")
    ],
    preset: Annotated[
        str | None,
        typer.Option(help="pix2pix-256, cyclegan-256, stargan-128, laptop (stylize) or tiny."),
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
        str | None,
        typer.Option(
            help="Stop after, e.g. 90m or 2h; the same command resumes. With --preset laptop the "
            "learning rate falls to zero by then."
        ),
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
    threads: Annotated[int | None, typer.Option(help="CPU threads; measured without it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    name: Annotated[str | None, typer.Option(help="Name inside the model file.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence inside the model file.")] = None,
    help_settings: Annotated[
        bool,
        typer.Option(
            "--help-settings", is_eager=True, help="List every setting of METHOD and of the loop."
        ),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model; the same command again resumes."""
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
    io: Annotated[
        str, typer.Option(help="uint8 (NHWC pixels in and out) or float (NCHW, -1 to 1).")
    ] = "uint8",
    static: Annotated[
        str | None, typer.Option(metavar="HxW", help="Fix height and width, e.g. 256x320.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Fix the number of pictures at once.")] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 18 to 22.")] = 20,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision, if pictures say it costs little.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit convolutions, if pictures say they cost little.")
    ] = False,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Real pictures for proof and precision.")
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
        export.run(model, out, io, static, batch, opset, fp16, int8, pictures, json, direction)
    deploy.run(packing, model, out, direction, json)


@app.command("models")
def models_command(
    action: Annotated[str, typer.Argument(help="list or show.")] = "list",
    name: Annotated[str | None, typer.Argument(help="A name or a model file, for show.")] = None,
    layout: Layout = None,
    range_: Range = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the shipped models, or show what a model file says of itself."""
    from img2img.cli import models

    models.run(action, name, json, layout, range_)


@app.command("bench")
def bench_command(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a run or a model file.")],
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Side or WIDTHxHEIGHT; several times; default: the size at which the model works."
        ),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Pictures at once; several times; default 1.")
    ] = None,
    runner: Annotated[
        list[str] | None,
        typer.Option(
            help="auto, onnxruntime, openvino, tensorrt, torch or torch-compile; several times; "
            "default: all but torch-compile."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="auto, fp32, bf16 or fp16; several times; default: all of a runner."),
    ] = None,
    device: Device = "auto",
    seconds: Annotated[float, typer.Option(min=0, help="Measure each row so long.")] = 2.0,
    direction: Direction = None,
    layout: Layout = None,
    range_: Range = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model's runners: time, memory and the difference from fp32."""
    from img2img.cli import bench

    bench.run(
        model, size or [], batch or [1], runner or [], precision or [], device, seconds,
        direction, json, layout, range_,
    )  # fmt: skip


@app.command("doctor")
def doctor_command(json: Json = False, debug: Debug = False) -> None:
    """Say what is installed, what works, and how to mend what does not."""
    from img2img.cli import doctor

    doctor.run(json)

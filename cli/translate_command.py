"""The options of `img2img translate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import (
    CLUSTER,
    FILES,
    HARDWARE,
    VIDEO,
    Debug,
    Device,
    Direction,
    Json,
    Layout,
    Precision,
    Quiet,
    Range,
    Runner,
    decode_seconds,
    megapixels,
    model_names,
    one_of,
)

EXAMPLES = """
img2img translate photos -o out
img2img translate cat.jpg -o cat-drawn.png -m drawing --strength 0.8
img2img translate 'trip/*.jpg' -o out -m runs/mine --gallery out.html
img2img translate clip.mp4 -o clip-painted.mp4
"""


def translate_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Picture files, folders, globs or video clips; - reads stdin."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="Output folder; with one input also a file, or - for stdout.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            autocompletion=model_names,
            help="Name of a shipped model (see: img2img models), a run folder, or a .safetensors "
            "or .onnx file. [default: painting]",
        ),
    ] = None,
    direction: Direction = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Target domain of a model with several, such as a hair colour; A+B combines two, "
            "all writes one output per domain. Repeatable.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of the pictures' attributes; --domain then changes only those it names.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|full",
            help="Working size: the network sees larger pictures reduced to N pixels on the long "
            "side; the output keeps the size of the input. full: no reduction. [default: set by "
            "the model]",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            metavar="0-1",
            min=0.0,
            max=1.0,
            help="Blend of input and translation: 0 is the input, 1 the translation.",
        ),
    ] = 1.0,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            autocompletion=one_of("jpg", "png", "webp", "avif", "tiff", "bmp"),
            help="jpg, png, webp, avif, tiff or bmp; for clips mp4, m4v, mov, mkv or webm. "
            "[default: same as the input]",
        ),
    ] = None,
    quality: Annotated[
        int,
        typer.Option(
            metavar="1-100", min=1, max=100, help="Quality of JPEG, WebP, AVIF and video."
        ),
    ] = 95,
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            rich_help_panel=FILES,
            help="Output names, made of {stem}, {model}, {domain} and {number}.",
        ),
    ] = "{stem}",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist already.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            rich_help_panel=FILES,
            help="Retry pictures that failed in an earlier run and have not changed since.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Keep running and translate new pictures as they arrive, until Ctrl-C."
        ),
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links", rich_help_panel=FILES, help="Follow symbolic links in input folders."
        ),
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Also write input and output side by side into this folder."
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Also write a web page of before/after sliders."),
    ] = None,
    strip_metadata: Annotated[
        bool,
        typer.Option("--strip-metadata", rich_help_panel=FILES, help="Write neither EXIF nor XMP."),
    ] = False,
    strip_gps: Annotated[
        bool,
        typer.Option(
            "--strip-gps", rich_help_panel=FILES, help="Keep EXIF and XMP, but not the location."
        ),
    ] = False,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            rich_help_panel=FILES,
            help="Translate the readable part of damaged pictures instead of refusing them.",
        ),
    ] = False,
    max_megapixels: Annotated[float | None, megapixels(FILES)] = None,
    timeout: Annotated[float, decode_seconds(FILES)] = 60.0,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of("h264", "hevc", "vp9", "av1"),
            rich_help_panel=VIDEO,
            help="h264, hevc, vp9 or av1. [default: depends on the container; hevc or av1 for 10 "
            "bits]",
        ),
    ] = None,
    temporal_blend: Annotated[
        float | None,
        typer.Option(
            metavar="0-1",
            rich_help_panel=VIDEO,
            help="Share of the previous frame to keep where the clip barely changes; 0 "
            "translates every frame independently. [default: 0.5]",
        ),
    ] = None,
    runner: Runner = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            autocompletion=one_of("auto", "off"),
            rich_help_panel=HARDWARE,
            help="Split pictures that do not fit in memory into tiles of N pixels; the result is "
            "the same as without tiles.",
        ),
    ] = "auto",
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=HARDWARE,
            help="Pictures of equal size per batch. [default: depends on their size]",
        ),
    ] = None,
    layout: Layout = None,
    range_: Range = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|auto|local",
            rich_help_panel=CLUSTER,
            help="Translate on a Ray cluster: host:port of its head, auto for the cluster of "
            "this machine, local to start one for the duration of the command. Inputs and "
            "OUT may then be s3://, "
            "gs:// or az:// addresses, inputs also https:// and zip://.",
        ),
    ] = None,
    actors: Annotated[
        str | None,
        typer.Option(
            metavar="MIN-MAX",
            rich_help_panel=CLUSTER,
            help="Number of open models. [default: from 1 up to the capacity of the cluster]",
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.0,
            rich_help_panel=CLUSTER,
            help="GPUs per model; 0.25 puts four models on one GPU. [default: 0]",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Translate pictures: files, folders or globs; or video clips.

    Folders are searched recursively, and OUT gets the same subfolders. Run the same command again
    to translate only what is new or has changed. Clips are given by name, not by their folder.
    """
    from img2img.cli import translate
    from img2img.inference.request import TranslateRequest

    request = TranslateRequest(
        inputs=tuple(inputs), out=out, model=model, direction=direction,
        domains=tuple(domain or ()), labels=labels, runner=runner, device=device,
        precision=precision, tile=translate.tile(tile), format=format, quality=quality,
        name=name, size=translate.size(size), strength=strength, batch=batch,
        overwrite=overwrite, retry_failed=retry_failed, watch=watch, follow_links=follow_links,
        compare=compare, gallery=gallery,
        metadata=translate.metadata(strip_metadata, strip_gps), salvage=salvage,
        max_megapixels=max_megapixels, timeout=timeout, layout=layout, value_range=range_,
    )  # fmt: skip
    clips = translate.video(request, codec, temporal_blend)
    translate.run(request, clips, json, translate.cluster(ray, actors, gpus))

"""The options of `img2img translate` alone, in the order of its signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import (
    CLUSTER,
    FILES,
    HARDWARE,
    VIDEO,
    decode_seconds,
    megapixels,
    model_names,
    one_of,
)

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT", help="Picture files, folders, globs or video clips; - reads stdin."
    ),
]

Out = Annotated[
    str,
    typer.Option(
        "-o",
        "--out",
        metavar="OUT",
        help="Output folder; with one input also a file, or - for stdout.",
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        autocompletion=model_names,
        help="Name of a shipped model (see: img2img models), a run folder, or a .safetensors "
        "or .onnx file. [default: painting]",
    ),
]

Domain = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Target domain of a model with several, such as a hair colour; A+B combines two, "
        "all writes one output per domain. Repeatable.",
    ),
]

Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Table of the pictures' attributes; --domain then changes only those it names.",
    ),
]

Size = Annotated[
    str | None,
    typer.Option(
        metavar="N|full",
        help="Working size: the network sees larger pictures reduced to N pixels on the long "
        "side; the output keeps the size of the input. full: no reduction. [default: set by "
        "the model]",
    ),
]

Strength = Annotated[
    float,
    typer.Option(
        metavar="0-1",
        min=0.0,
        max=1.0,
        help="Blend of input and translation: 0 is the input, 1 the translation.",
    ),
]

Format = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        autocompletion=one_of("jpg", "png", "webp", "avif", "tiff", "bmp"),
        help="jpg, png, webp, avif, tiff or bmp; for clips mp4, m4v, mov, mkv or webm. "
        "[default: same as the input]",
    ),
]

Quality = Annotated[
    int,
    typer.Option(metavar="1-100", min=1, max=100, help="Quality of JPEG, WebP, AVIF and video."),
]

Name = Annotated[
    str,
    typer.Option(
        metavar="TEMPLATE",
        rich_help_panel=FILES,
        help="Output names, made of {stem}, {model}, {domain} and {number}.",
    ),
]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist already.")]

RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        rich_help_panel=FILES,
        help="Retry pictures that failed in an earlier run and have not changed since.",
    ),
]

Watch = Annotated[
    bool,
    typer.Option(
        "--watch", help="Keep running and translate new pictures as they arrive, until Ctrl-C."
    ),
]

FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links", rich_help_panel=FILES, help="Follow symbolic links in input folders."
    ),
]

Compare = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Also write input and output side by side into this folder."
    ),
]

Gallery = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Also write a web page of before/after sliders."),
]

StripMetadata = Annotated[
    bool,
    typer.Option("--strip-metadata", rich_help_panel=FILES, help="Write neither EXIF nor XMP."),
]

StripGps = Annotated[
    bool,
    typer.Option(
        "--strip-gps", rich_help_panel=FILES, help="Keep EXIF and XMP, but not the location."
    ),
]

Salvage = Annotated[
    bool,
    typer.Option(
        "--salvage",
        rich_help_panel=FILES,
        help="Translate the readable part of damaged pictures instead of refusing them.",
    ),
]

MaxMegapixels = Annotated[float | None, megapixels(FILES)]

Timeout = Annotated[float, decode_seconds(FILES)]

Codec = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of("h264", "hevc", "vp9", "av1"),
        rich_help_panel=VIDEO,
        help="h264, hevc, vp9 or av1. [default: depends on the container; hevc or av1 for 10 bits]",
    ),
]

TemporalBlend = Annotated[
    float | None,
    typer.Option(
        metavar="0-1",
        rich_help_panel=VIDEO,
        help="Share of the previous frame to keep where the clip barely changes; 0 "
        "translates every frame independently. [default: 0.5]",
    ),
]

Tile = Annotated[
    str,
    typer.Option(
        metavar="auto|off|N",
        autocompletion=one_of("auto", "off"),
        rich_help_panel=HARDWARE,
        help="Split pictures that do not fit in memory into tiles of N pixels; the result is "
        "the same as without tiles.",
    ),
]

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS|auto|local",
        rich_help_panel=CLUSTER,
        help="Translate on a Ray cluster: host:port of its head, auto for the cluster of "
        "this machine, local to start one for the duration of the command. Inputs and "
        "OUT may then be s3://, "
        "gs:// or az:// addresses, inputs also https:// and zip://.",
    ),
]

Actors = Annotated[
    str | None,
    typer.Option(
        metavar="MIN-MAX",
        rich_help_panel=CLUSTER,
        help="Number of copies of the model to open. [default: from 1 up to the capacity of the "
        "cluster]",
    ),
]

Gpus = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=0.0,
        rich_help_panel=CLUSTER,
        help="GPUs per model; 0.25 puts four models on one GPU. [default: 0]",
    ),
]

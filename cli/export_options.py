"""The options of `img2img export` alone, in the order of its signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import BROWSER, TRITON, one_of

Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE.onnx", help="The ONNX file to write."),
]

Io = Annotated[
    str,
    typer.Option(
        metavar="uint8|float",
        autocompletion=one_of("uint8", "float"),
        help="Pixels in and out: uint8 (NHWC, 0 to 255) or float (NCHW, -1 to 1).",
    ),
]

Static = Annotated[
    str | None,
    typer.Option(metavar="HxW", help="Fix height and width, such as 256x320. [default: any size]"),
]

Batch = Annotated[
    int | None,
    typer.Option(metavar="N", help="Fix the number of pictures per call. [default: any number]"),
]

Opset = Annotated[int, typer.Option(metavar="18-22", help="Version of the ONNX operator set.")]

Fp16 = Annotated[
    bool,
    typer.Option(
        "--fp16",
        help="Half precision. Needs --pictures; written only if it stays within 50 dB of fp32.",
    ),
]

Int8 = Annotated[
    bool,
    typer.Option(
        "--int8",
        help="8-bit convolutions. Needs --pictures; written only if they stay within 38 dB of "
        "fp32.",
    ),
]

Pictures = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Pictures to compare the ONNX file and the original on. [default: synthetic ones]",
    ),
]

Pth = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.pth",
        help="Write the weights in the format of CycleGAN, pix2pix, CUT or StarGAN.",
    ),
]

Web = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=BROWSER,
        help="Write a web page that translates in the browser.",
    ),
]

WebRuntime = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=BROWSER,
        help="An unpacked onnxruntime-web package. [default: downloaded with npm]",
    ),
]

Triton = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=TRITON,
        help="Add the model to the model repository of a Triton server.",
    ),
]

TritonKind = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|gpu",
        autocompletion=one_of("auto", "cpu", "gpu"),
        rich_help_panel=TRITON,
        help="Device on which Triton runs the model.",
    ),
]

TritonInstances = Annotated[
    int,
    typer.Option(
        metavar="N",
        rich_help_panel=TRITON,
        help="Parallel copies of the model on each device.",
    ),
]

TritonBatch = Annotated[
    int,
    typer.Option(
        metavar="N",
        rich_help_panel=TRITON,
        help="Requests that Triton may combine into one batch; 0 disables batching.",
    ),
]

"""Options that several commands share, and the headings under which help lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import set_quiet
from img2img.methods import METHODS as _METHODS

if TYPE_CHECKING:
    from typer.models import OptionInfo

# Headings of the help. Options without one stand first, under "Options".
FILES = "Files and metadata"
VIDEO = "Video clips"
LENGTH = "Length of the training"
HARDWARE = "Speed and hardware"
CLUSTER = "Many pictures: a Ray cluster"
LIMITS = "Limits"
FOREIGN = "ONNX files from other projects"
BROWSER = "Web page"
TRITON = "Triton server"
GENERAL = "General"

# The names in the library's tables. To print help, the command line imports nothing heavy: of the
# methods the table itself, which is light, of the others none.
METHODS = (*_METHODS,)
METRICS = ("l1", "psnr", "ssim", "ms_ssim", "vgg19_distance", "lpips")
RUNNERS = ("auto", "onnxruntime", "openvino", "tensorrt", "torch", "torch-compile")


def listed(names: Sequence[str]) -> str:
    """The names as a text: a, b or c."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Shell completion from a fixed list."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def megapixels(panel: str) -> OptionInfo:
    """The option for the largest picture, under the heading `panel`."""
    return typer.Option(
        metavar="N",
        min=0.001,
        rich_help_panel=panel,
        help="Refuse pictures larger than this. [default: depends on the machine's memory, at "
        "most 400]",
    )


def decode_seconds(panel: str) -> OptionInfo:
    """The option for the time that a picture may take to decode, under the heading `panel`."""
    return typer.Option(
        metavar="SECONDS",
        min=0.1,
        rich_help_panel=panel,
        help="Give up on a picture that takes longer than this to decode.",
    )


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Shell completion with the shipped models; where none fits, the shell completes files."""
    from img2img.errors import Img2ImgError
    from img2img.model_format.find import shipped

    try:
        return [(m.name, m.title) for m in shipped().values() if m.name.startswith(incomplete)]
    except Img2ImgError:
        return []


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=model_names,
        help="Name of a shipped model, a run folder, or a .safetensors or .onnx file.",
    ),
]

Debug = Annotated[
    bool, typer.Option("--debug", rich_help_panel=GENERAL, help="Show a traceback on errors.")
]

Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=GENERAL, help="Print one JSON object per line."),
]

Quiet = Annotated[
    bool,
    typer.Option(
        "-q",
        "--quiet",
        callback=set_quiet,
        expose_value=False,
        rich_help_panel=GENERAL,
        help="Print only results and errors.",
    ),
]

Runner = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of(*RUNNERS),
        rich_help_panel=HARDWARE,
        help=f"{listed(RUNNERS)}.",
    ),
]

Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of("auto", "fp32", "bf16", "fp16"),
        rich_help_panel=HARDWARE,
        help="auto (close to fp32), fp32 (exact), bf16 or fp16.",
    ),
]

Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        autocompletion=one_of("auto", "cpu", "cuda", "mps"),
        rich_help_panel=HARDWARE,
        help="auto, cpu, cuda, cuda:N or mps.",
    ),
]

Batch = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=HARDWARE,
        help="Pictures of equal size per batch. [default: depends on their size]",
    ),
]

Direction = Annotated[
    str | None,
    typer.Option(
        metavar="AtoB|BtoA",
        autocompletion=one_of("AtoB", "BtoA"),
        help="Which of the two models of a CycleGAN run folder to use. [default: AtoB]",
    ),
]

Layout = Annotated[
    str | None,
    typer.Option(
        metavar="nchw|nhwc",
        autocompletion=one_of("nchw", "nhwc"),
        rich_help_panel=FOREIGN,
        help="Order of the input's dimensions: channels before (nchw) or after (nhwc) height "
        "and width.",
    ),
]

Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="MIN..MAX",
        autocompletion=one_of("-1..1", "0..1", "0..255"),
        rich_help_panel=FOREIGN,
        help="Values of black and white: -1..1, 0..1 or 0..255.",
    ),
]

"""The options of `img2img serve` alone, in the order of its signature."""

from __future__ import annotations

from typing import Annotated

import typer

from img2img.cli.options import LIMITS, decode_seconds, megapixels, model_names

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        autocompletion=model_names,
        help="Models to serve: shipped names, run folders or model files. [default: painting]",
        show_default=False,
    ),
]

Host = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS", help="Address to listen on; any but the default needs a token."
    ),
]

Port = Annotated[int, typer.Option(metavar="N", help="Port to listen on; 0 picks a free one.")]

Token = Annotated[
    str | None,
    typer.Option(
        metavar="SECRET",
        envvar="IMG2IMG_TOKEN",
        show_envvar=False,
        help="Token that clients must send. Prefer the variable IMG2IMG_TOKEN: other users "
        "of this machine can see the options of a command.",
    ),
]

AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Host name by which clients reach the server, for example behind a proxy. Repeatable.",
    ),
]

Queue = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=LIMITS,
        help="Maximum number of pictures in the queue; beyond it, the answer is 503 with "
        "Retry-After.",
    ),
]

MaxUpload = Annotated[
    float,
    typer.Option(metavar="MB", rich_help_panel=LIMITS, help="Maximum size of a request."),
]

MaxPictures = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=LIMITS,
        help="Maximum number of pictures in a request.",
    ),
]

MaxMegapixels = Annotated[float | None, megapixels(LIMITS)]

Timeout = Annotated[float, decode_seconds(LIMITS)]

Size = Annotated[
    str | None,
    typer.Option(
        metavar="N|full",
        help="Long side in pixels at which the network works. [default: set by the model]",
    ),
]

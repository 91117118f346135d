"""`img2img models import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.console import extra, note, say, say_json
from img2img.cli.options import Debug, Json, Quiet, one_of
from img2img.errors import UsageError

EXAMPLES = """
img2img models import latest_net_G.pth -o zebra.safetensors --licence CC0
img2img models import 200000-G.ckpt -o face.safetensors --one-hot
"""

NETWORK = "Network options that the weights do not determine"
DOMAINS = "Domains of StarGAN"


File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Generator of CycleGAN, pix2pix, CUT or StarGAN: .pth, .pt, .ckpt or .safetensors.",
    ),
]
Out = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="FILE.safetensors", help="The model file to write."),
]
Name = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the model. [default: name of its file]"),
]
Direction = Annotated[
    str | None,
    typer.Option(metavar="WORDS", help="What the model translates from and to. [default: A -> B]"),
]
Licence = Annotated[
    str | None,
    typer.Option(metavar="WORDS", help="Licence of the weights. [default: unknown]"),
]
Size = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        min=0,
        help="Long side at which the network works; 0: each picture's own size. [default: 128 "
        "for StarGAN, the size of a U-Net, 256 otherwise]",
    ),
]
Entry = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Entry that holds the generator, if the file has several.",
    ),
]
Norm = Annotated[
    str | None,
    typer.Option(
        metavar="instance|batch|none",
        autocompletion=one_of("instance", "batch", "none"),
        rich_help_panel=NETWORK,
        help="Normalisation, if the tensors fit more than one. [default: the first that fits]",
    ),
]
Statistics = Annotated[
    str | None,
    typer.Option(
        metavar="batch|running",
        autocompletion=one_of("batch", "running"),
        rich_help_panel=NETWORK,
        help="Statistics that batch norm uses: each picture's own, as the reference "
        "implementations do, or the running ones of the training. [default: batch]",
    ),
]
Padding = Annotated[
    str | None,
    typer.Option(
        metavar="reflect|replicate",
        autocompletion=one_of("reflect", "replicate"),
        rich_help_panel=NETWORK,
        help="Padding of the residual blocks. [default: reflect]",
    ),
]
Dropout = Annotated[
    str | None,
    typer.Option(
        metavar="on|off",
        autocompletion=one_of("on", "off"),
        rich_help_panel=NETWORK,
        help="Whether a U-Net has dropout; matters only for further training. [default: on with "
        "batch norm]",
    ),
]
Domains = Annotated[
    list[str] | None,
    typer.Option(
        "--domain",
        metavar="NAME",
        rich_help_panel=DOMAINS,
        help="Name of a domain; repeat the option for each, in the order of the training. "
        "[default: "
        "domain1, domain2, and so on]",
    ),
]
OneHot = Annotated[
    bool,
    typer.Option(
        "--one-hot", rich_help_panel=DOMAINS, help="Exactly one domain applies at a time."
    ),
]
Exclusive = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A+B",
        rich_help_panel=DOMAINS,
        help="Domains of which at most one applies. Repeatable. [default: the hair colours]",
    ),
]


def import_command(
    file: File,
    out: Out,
    name: Name = None,
    direction: Direction = None,
    licence: Licence = None,
    size: Size = None,
    entry: Entry = None,
    norm: Norm = None,
    statistics: Statistics = None,
    padding: Padding = None,
    dropout: Dropout = None,
    domains: Domains = None,
    one_hot: OneHot = False,
    exclusive: Exclusive = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Create a model file from the weights of another project.

    The network is recognised by the names and shapes of its tensors; nothing in the file is run.
    Assumptions are listed and recorded in the model file.
    """
    with extra("train", "models import"):
        from img2img.model_format.importing import ImportOptions, import_model
        from img2img.model_format.layouts import Hints
    from img2img.model_format.foreign import size_of

    if statistics not in (None, "batch", "running"):
        raise UsageError(f"--statistics {statistics}: give batch or running")
    if dropout not in (None, "on", "off"):
        raise UsageError(f"--dropout {dropout}: give on or off")
    options = ImportOptions(
        name=name,
        direction=direction,
        licence=licence,
        size=size,
        domains=tuple(domains or ()),
        one_hot=one_hot,
        exclusive=tuple(tuple(group.split("+")) for group in exclusive or ()),
        statistics=statistics,  # type: ignore[arg-type]
        hints=Hints(norm, None if dropout is None else dropout == "on", padding, entry),
    )
    imported = import_model(file, out, options)
    foreign = imported.foreign
    if json:
        say_json(
            {
                "event": "done",
                "output": str(out),
                "layout": foreign.layout,
                "parameters": foreign.parameters,
                "assumed": [*imported.assumed],
                "notes": [*foreign.notes],
            }
        )
        return
    for text in foreign.notes:
        note(f"{file.name}: {text}")
    for text in imported.assumed:
        note(f"assumed {text}")
    say(size_of(foreign))
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB); img2img translate photos -o out -m {out}")

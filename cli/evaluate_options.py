"""The options of `img2img evaluate` alone, in the order of its signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import METRICS, listed, one_of

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="Model to evaluate: name, run folder or file.",
        show_default=False,
    ),
]

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="Training data, of which the held-out part is used, or a folder of pictures to "
        "translate.",
        show_default=False,
    ),
]

Fake = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Translated pictures from any tool, instead of a model."),
]

Real = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Real pictures to compare --fake with.")
]

Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        metavar="DIR",
        help="Folder for report.json, pictures.csv and the page report.html.",
    ),
]

Compare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        help="Another model to evaluate on the same DATA for comparison. Repeatable.",
    ),
]

Metric = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        autocompletion=one_of(*METRICS),
        help=f"Metric for pairs: {listed(METRICS)}. Repeatable. "
        "[default: all whose weights are installed]",
    ),
]

Features = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Feature network for comparing sets: lite0, mobilenetv2, vgg19, inception, or "
        "none. "
        "Repeatable. [default: all but vgg19 whose weights are installed]",
    ),
]

Paired = Annotated[
    bool | None,
    typer.Option(
        "--paired/--unpaired",
        help="With --fake and --real: whether pictures of the same name are pairs. [default: "
        "paired if all names agree]",
        show_default=False,
    ),
]

Size = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Long side in pixels to which pictures are reduced first; 0 for no reduction. "
        "[default: the model's working size; folders are not reduced]",
    ),
]

Most = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Maximum number of pictures per set; 0 for all."),
]

Critic = Annotated[
    bool,
    typer.Option(
        "--critic",
        help="Also train a network from scratch to tell real from translated pictures, and "
        "report its accuracy.",
    ),
]

Labels = Annotated[
    bool,
    typer.Option(
        "--labels",
        help="Treat the outputs as label maps of plain colours and score their classes.",
    ),
]

Training = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of the real training pictures, to look for copies of them."
    ),
]

Video = Annotated[
    Path | None,
    typer.Option(
        metavar="CLIP",
        help="Translated video clip from any tool, whose flicker is measured against --source.",
    ),
]

Source = Annotated[
    Path | None, typer.Option(metavar="CLIP", help="The clip that --video was translated from.")
]

Human = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="Write human.html into --out: a page that shows people N real and translated "
        "pictures and scores how well they tell them apart.",
    ),
]

Seed = Annotated[int, typer.Option(metavar="N", help="Random seed.")]

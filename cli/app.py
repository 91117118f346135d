"""The program: what holds for every command. The commands are in `commands`."""

from __future__ import annotations

from typing import Annotated

import typer

from img2img._version import __version__
from img2img.cli.commands import Program
from img2img.cli.console import set_quiet

app = typer.Typer(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="""
img2img translate photos -o out
img2img help translate
img2img models
""",
)


def _version(given: bool) -> None:
    if given:
        typer.echo(f"img2img {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Image-to-image translation: turn photographs into paintings or drawings, enlarge or colour
    them, with a shipped model or one of your own.

    Add -h to a command for its options and examples.
    """
    set_quiet(False)

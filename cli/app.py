"""The program and its commands. Each imports what it needs when it runs, so that --help is fast."""

from __future__ import annotations

from typing import Annotated

import typer

from img2img._version import __version__
from img2img.cli import (
    bench,
    doctor,
    evaluate,
    export,
    serve,
    train_command,
    translate_command,
    watch,
)
from img2img.cli.console import set_quiet
from img2img.cli.data import data_app
from img2img.cli.help import Command, Group, print_help_of
from img2img.cli.models import models_app

app = typer.Typer(
    cls=Group,
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
    """Image-to-image translation: turn photographs into paintings, drawings or maps with a shipped
    model or one of your own.

    Add -h to a command for its options and examples.
    """
    set_quiet(False)


for name, function, examples in (
    ("translate", translate_command.translate_command, translate_command.EXAMPLES),
    ("train", train_command.train_command, train_command.EXAMPLES),
    ("runs", watch.runs_command, watch.RUNS_EXAMPLES),
    ("report", watch.report_command, watch.REPORT_EXAMPLES),
    ("export", export.export_command, export.EXAMPLES),
    ("serve", serve.serve_command, serve.EXAMPLES),
    ("evaluate", evaluate.evaluate_command, evaluate.EXAMPLES),
    ("bench", bench.bench_command, bench.EXAMPLES),
    ("doctor", doctor.doctor_command, doctor.EXAMPLES),
):
    app.command(name, cls=Command, epilog=examples)(function)


app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")


@app.command(
    "help",
    cls=Command,
    epilog="""
img2img help
img2img help translate
""",
)
def help_command(
    ctx: typer.Context,
    command: Annotated[
        str | None, typer.Argument(metavar="COMMAND", help="The command to explain.")
    ] = None,
) -> None:
    """Show the help of a command.

    The same as img2img COMMAND --help.
    """
    print_help_of(command, ctx)

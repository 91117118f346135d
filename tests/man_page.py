"""The manual page, from the tables that the help prints. `python -m tests.test_docs` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import typer
from typer.core import TyperGroup

from img2img import __version__
from img2img.cli.app import app
from img2img.cli.help import Explained, explained
from img2img.cli.options import GENERAL

ENVIRONMENT = (
    ("COLUMNS", "Width of the help, from 60 to 100."),
    ("NO_COLOR", "With any value, nothing is coloured."),
    ("SOURCE_DATE_EPOCH", "Stands in for the clock in exported files, in seconds since 1970."),
)
ABOUT = (
    "Results are printed to the standard output, everything else to the standard error. An error "
    "that can be mended is one line: what, which file, and what to do. The same command again "
    "continues what was interrupted.",
)


def man_page(exit_codes: Iterable[tuple[str, str]]) -> str:
    """The page in roff (man(7)); `exit_codes` are codes and their meanings."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    context = typer.Context(root, info_name="img2img", **root.context_settings)
    whole = explained(root, context)
    lines = [
        f'.TH IMG2IMG 1 "" "img2img {__version__}" "User Commands"',
        ".nh\n.ad l",  # neither hyphens at line ends nor wide spaces
        ".SH NAME",
        r"img2img \- image-to-image translation: train, translate, evaluate, export and serve",
        ".SH SYNOPSIS",
        *(f".B {_text(call)}\n.br" for call in whole.examples[:1]),
        f".B img2img\n{_text(whole.usage.removeprefix('img2img '))}",
        ".SH DESCRIPTION",
        *_paragraphs([*whole.paragraphs, *ABOUT]),
        *_rows(whole.sections[GENERAL]),
        ".SH COMMANDS",
        *_rows(whole.sections["Commands"]),
    ]
    for name in root.list_commands(context):
        lines += _command(root, context, name)
    lines += [".SH EXIT STATUS", *_rows(exit_codes), ".SH ENVIRONMENT", *_rows(ENVIRONMENT)]
    lines += [".SH EXAMPLES", *_examples(whole.examples)]
    return "\n".join(lines) + "\n"


def _command(parent: TyperGroup, context: typer.Context, name: str) -> list[str]:
    command = parent.get_command(context, name)
    assert command is not None
    inner = typer.Context(command, info_name=name, parent=context)
    of: Explained = explained(command, inner)  # type: ignore[arg-type]
    lines = [f".SH {_text(inner.command_path).upper()}", f".B {_text(of.usage)}"]
    lines += _paragraphs(of.paragraphs)
    for heading, rows in of.sections.items():
        known = [row for row in rows if heading != GENERAL or "--help" not in row[0]]
        lines += [f".SS {_text(heading)}", *_rows(known)] if known else []
    lines += [".SS Examples", *_examples(of.examples)]
    for inside in command.list_commands(inner) if isinstance(command, TyperGroup) else ():
        lines += _command(command, inner, inside)
    return lines


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [f".PP\n{_text(text)}" for text in texts]


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f".TP\n.B {_text(name.strip())}\n{_text(text)}" for name, text in rows]


def _examples(lines: Iterable[str]) -> list[str]:
    return [".nf", *map(_text, lines), ".fi"]


def _text(text: str) -> str:
    """As roff takes it: backslashes and hyphens as such, no control character at the start."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text)

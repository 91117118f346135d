"""How help looks: options under headings, then examples, in colour on a terminal.

Written without rich, so that `--help` costs no more than parsing.
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from img2img.cli.options import GENERAL
from img2img.errors import UsageError

if TYPE_CHECKING:
    from typer._click import Context

_NARROWEST, _WIDEST = 60, 100
# Names that are longer get a line of their own.
_LONGEST_NAME = 28

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Explained:
    """What the help of a command says: how to call it, paragraphs, names and what they mean by
    heading, and lines of examples."""

    usage: str
    paragraphs: list[str]
    sections: dict[str, Rows]
    examples: list[str]


class Command(TyperCommand):
    """A command whose help lists options by heading."""

    def get_help(self, ctx: Context) -> str:
        return _help(explained(self, ctx))


class Group(TyperGroup):
    """The whole program: its help lists the commands, each with the first sentence of its help."""

    def get_help(self, ctx: Context) -> str:
        return _help(explained(self, ctx))

    def summaries(self, ctx: Context) -> Rows:
        """The names of the commands and the first paragraph of the help of each."""
        inner = (self.get_command(ctx, name) for name in self.list_commands(ctx))
        return [(c.name or "", _paragraphs(c.help)[0]) for c in inner if c and not c.hidden]


def explained(command: TyperCommand | TyperGroup, ctx: Context) -> Explained:
    """What there is to say of a command; the help and the manual page both print it."""
    commands: Rows = []
    if isinstance(command, TyperGroup):
        assert isinstance(command, Group)
        commands = command.summaries(ctx)
    sections: dict[str, Rows] = {"Commands": commands} if commands else {}
    usage: list[str] = []
    required: list[str] = []
    for param in command.get_params(ctx):
        if isinstance(param, TyperArgument):
            name = (param.metavar or param.name.upper()) + ("..." if param.nargs != 1 else "")
            usage.append(name if param.required else f"[{name}]")
            sections.setdefault("Arguments", []).append((name, _described(param)))
        elif isinstance(param, TyperOption) and not param.hidden:
            if param.required:
                required.append(f"{min(param.opts, key=len)} {param.metavar}")
            heading = param.rich_help_panel or (
                GENERAL if commands or param.name == "help" else "Options"
            )
            sections.setdefault(heading, []).append((_names(param), _described(param)))
    sections[GENERAL] = sections.pop(GENERAL)  # the last one
    usage = [ctx.command_path, *usage, *required, "COMMAND ..." if commands else "[OPTIONS]"]
    examples = [line.rstrip() for line in (command.epilog or "").strip().splitlines()]
    return Explained(" ".join(usage), _paragraphs(command.help), sections, examples)


def _help(of: Explained) -> str:
    width = min(max(shutil.get_terminal_size((80, 24)).columns, _NARROWEST), _WIDEST)
    lines = textwrap.wrap(
        f"Usage: {of.usage}", width, subsequent_indent=" " * 7, break_on_hyphens=False
    )
    for paragraph in of.paragraphs:
        lines += ["", *_wrapped(paragraph, width)]
    names = [len(name) for rows in of.sections.values() for name, _ in rows]
    column = 4 + max(length for length in names if length <= _LONGEST_NAME)
    for heading, rows in of.sections.items():
        lines += ["", _style(f"{heading}:", "bold")]
        for name, text in rows:
            lines += _row(name, text, column, width)
    if of.examples:
        lines += ["", _style("Examples:", "bold")]
        lines += [f"  {line}".rstrip() for line in of.examples]
    return "\n".join(lines)


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n")]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def _row(name: str, text: str, column: int, width: int) -> list[str]:
    first, *rest = _wrapped(text, width - column) or [""]
    start = f"  {_coloured(name)}"
    if len(name) <= _LONGEST_NAME:
        lines = [start + " " * (column - 2 - len(name)) + first]
    else:
        lines = [start, " " * column + first]
    return [*lines, *(" " * column + line for line in rest)]


def _names(param: TyperOption) -> str:
    """`-o, --out FOLDER`; long names stand below each other."""
    opts = sorted(param.opts, key=len)  # those of help come from a set, in any order
    names = " / ".join([", ".join(opts), *param.secondary_opts])
    if opts[0].startswith("--"):
        names = " " * 4 + names
    return names if param.is_flag else f"{names} {param.metavar or 'TEXT'}"


def _described(param: TyperArgument | TyperOption) -> str:
    """The help of an option, and its default where its text does not say it."""
    text = param.help or ""
    if param.required:
        return text if isinstance(param, TyperArgument) else f"{text} [required]"
    default = param.default
    if default is None or isinstance(default, bool) or "[default" in text:
        return text
    return f"{text} [default: {f'{default:g}' if isinstance(default, float) else default}]"


def _coloured(name: str) -> str:
    return re.sub(r"(?<!\S)-{1,2}[a-z][a-z-]*", lambda m: _style(m[0], "cyan"), name)


def _style(text: str, kind: str) -> str:
    """`text` in a style; `typer.echo` takes it out again where no terminal shows it."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, bold=True) if kind == "bold" else typer.style(text, fg=kind)


EXAMPLES = """
img2img help
img2img help translate
img2img help models show
"""


def help_command(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="Command to explain, such as translate."),
    ] = None,
) -> None:
    """Show the help of a command.

    The same as img2img COMMAND --help.
    """
    print_help_of(command or [], ctx)


def print_help_of(words: Sequence[str], ctx: typer.Context) -> None:
    """Print the help of the program, or of the command that `words` names, such as ("models",
    "show"), from inside another command.

    Raises a usage error for an unknown command.
    """
    at: Context = ctx.find_root()
    for word in words:
        if not isinstance(at.command, TyperGroup):
            raise UsageError(f"{at.command_path} has no command '{word}'")
        _, found, _ = at.command.resolve_command(at, [word])
        assert found is not None
        at = typer.Context(found, info_name=word, parent=at)
    typer.echo(at.get_help())

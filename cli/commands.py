"""The commands by name. Each is imported when it is called: `--version`, the list of commands and
the help of one need no other."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import typer

from img2img.cli.help import Command, Group

if TYPE_CHECKING:
    from typer import Context


class Known(NamedTuple):
    """Where a command is: its module, there its function and examples, or its group; and the first
    sentence of its help, which the list of commands shows."""

    summary: str
    module: str
    function: str
    examples: str = "EXAMPLES"


COMMANDS = {
    "translate": Known(
        "Translate pictures: files, folders or globs; or video clips.",
        "translate_command", "translate_command",
    ),
    "train": Known("Train a model on a folder of pictures.", "train_command", "train_command"),
    "runs": Known(
        "List the runs in a folder: method, steps, best figure, time and state.",
        "watch", "runs_command", "RUNS_EXAMPLES",
    ),
    "report": Known(
        "Write a report page for one training run, or one that compares several.",
        "watch", "report_command", "REPORT_EXAMPLES",
    ),
    "export": Known(
        "Export a model to ONNX and check the file against the original.",
        "export", "export_command",
    ),
    "serve": Known(
        "Serve models over HTTP: a web page, and an API described at /docs.",
        "serve", "serve_command",
    ),
    "evaluate": Known(
        "Evaluate a model on held-out data, or a folder of translated pictures against real ones.",
        "evaluate", "evaluate_command",
    ),
    "bench": Known(
        "Measure how fast each runner executes a model.", "bench", "bench_command"
    ),
    "doctor": Known(
        "Check the installation and show how to fix problems.", "doctor", "doctor_command"
    ),
    "help": Known("Show the help of a command.", "help", "help_command"),
    "models": Known(
        "List the shipped models, show what a model is for, or import weights of another project.",
        "models", "models_app",
    ),
    "data": Known(
        "Check, preview, create, pair and split folders of training pictures.", "data", "data_app"
    ),
}  # fmt: skip


class Commands(Mapping[str, Command | Group]):
    """The commands of `COMMANDS`; each is made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Command | Group] = {}

    def __getitem__(self, name: str) -> Command | Group:
        if name not in self._made:
            self._made[name] = _made(name, COMMANDS[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Program(Group):  # type: ignore[misc]  # mypy knows cli by another name
    """The whole program, which imports a command when it is called."""

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        self.commands = Commands()

    def list_commands(self, ctx: Context) -> list[str]:
        return [*COMMANDS]

    def summaries(self, ctx: Context) -> list[tuple[str, str]]:
        return [(name, known.summary) for name, known in COMMANDS.items()]


def _made(name: str, known: Known) -> Command | Group:
    module = importlib.import_module(f"img2img.cli.{known.module}")
    found = getattr(module, known.function)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, cls=Command, epilog=getattr(module, known.examples))(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command

"""Option names in texts of the library, as they are typed on the command line."""

from __future__ import annotations

import functools
import re
import shlex

_NAMED = re.compile(r"`(?:([a-z_]+)|([a-z_][a-z0-9_.]*=[^`]+))`")
# Options whose flag is not the name that the library has for them.
_OTHER = {"domains": "--domain", "value_range": "--range", "max_minutes": "--max-time"}


def as_typed(text: str) -> str:
    """`text` with the options that the library names between backticks as flags: "`size` 64" gives
    "--size 64", and a setting of a training, "`load_size=286`", gives "--set load_size=286"."""
    return _NAMED.sub(_flag, text)


def _flag(match: re.Match[str]) -> str:
    name, setting = match.groups()
    return f"--set {shlex.quote(setting)}" if setting else _flags().get(name, match[0])


@functools.cache
def _flags() -> dict[str, str]:
    import typer

    from img2img.cli.app import app

    commands, options = [typer.main.get_command(app)], []
    for command in commands:  # which grows
        commands += getattr(command, "commands", {}).values()
        options += [p for p in command.params if p.opts[0].startswith("-")]
    return {option.name: option.opts[0] for option in options} | _OTHER

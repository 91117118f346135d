"""`img2img doctor`."""

from __future__ import annotations

import dataclasses

import typer

from img2img.cli.console import say, say_json
from img2img.cli.options import Debug, Json, Quiet

EXAMPLES = """
img2img doctor
img2img doctor --json
"""


def doctor_command(quiet: Quiet = False, json: Json = False, debug: Debug = False) -> None:
    """Check the installation and show how to fix problems.

    Tests packages, devices, runners and shipped models; changes nothing and does not use the
    network. The exit code is 1 if a problem is found.
    """
    from img2img.diagnostics.doctor import examine

    rows = examine()
    problems = sum(row.status == "problem" for row in rows)
    for row in rows:
        if json:
            say_json(dataclasses.asdict(row))
        else:
            say(f"{row.status:8}{row.what}" + (f"  ->  {row.fix}" if row.fix else ""))
    if problems:
        raise typer.Exit(1)

"""`img2img doctor`."""

from __future__ import annotations

import dataclasses

import typer

from img2img.cli.console import say, say_json


def run(json: bool) -> None:
    from img2img.diagnostics.doctor import examine

    rows = examine()
    problems = sum(row.status == "problem" for row in rows)
    for row in rows:
        if json:
            say_json(dataclasses.asdict(row))
        else:
            say(f"{row.status:8}{row.what}" + (f"  ->  {row.mend}" if row.mend else ""))
    if problems:
        raise typer.Exit(1)

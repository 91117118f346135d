"""`img2img models`: list, show; `models_import` has the rest."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import is_quiet, note, say, say_json
from img2img.cli.export import table_of
from img2img.cli.help import Command, Group
from img2img.cli.models_import import EXAMPLES as IMPORT_EXAMPLES
from img2img.cli.models_import import import_command
from img2img.cli.options import Debug, Json, Layout, Model, Quiet, Range
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.model_format.export_info import ExportInfo
    from img2img.model_format.find import Shipped
    from img2img.model_format.info import ModelInfo

EXAMPLES = """
img2img models
img2img models show painting
img2img models import latest_net_G.pth -o theirs.safetensors
"""


models_app = typer.Typer(
    add_completion=False,
    cls=Group,
    invoke_without_command=True,
    epilog=EXAMPLES,
)

Measure = Annotated[bool, typer.Option("--measure", help="Measure the speed of each model here.")]


@models_app.callback()
def models_group(
    ctx: typer.Context,
    measure: Measure = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the shipped models, show what a model is for, or import weights of another project.

    Without a command, lists the shipped models and accepts the options of list.
    """
    if ctx.invoked_subcommand is None:
        _list(json, measure)
    elif measure or is_quiet() or json or debug:
        raise UsageError(f"models: give options after {ctx.invoked_subcommand}")


@models_app.command(
    "list",
    cls=Command,
    epilog="""
img2img models list
img2img models list --measure
""",
)
def list_command(
    measure: Measure = False, quiet: Quiet = False, json: Json = False, debug: Debug = False
) -> None:
    """List the shipped models."""
    _list(json, measure)


@models_app.command(
    "show",
    cls=Command,
    epilog="""
img2img models show painting
img2img models show runs/mine --all
img2img models show theirs.onnx --layout nchw --range -1..1
""",
)
def show_command(
    model: Model,
    everything: Annotated[
        bool, typer.Option("--all", help="Show everything that the model file records.")
    ] = False,
    layout: Layout = None,
    range_: Range = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a model is for, how large it is, and where it comes from."""
    _show(model, json, everything, layout, range_)


models_app.command("import", cls=Command, epilog=IMPORT_EXAMPLES)(import_command)


def _list(json: bool, measure: bool) -> None:
    from img2img.model_format.checkpoint import read_model_info
    from img2img.model_format.find import default_name, find_model, shipped, weights_folder

    default = default_name()
    for model in shipped().values():
        path = find_model(model.name)
        weights = weights_folder() / model.files[".safetensors"]  # opens without onnxruntime
        row: dict[str, object] = {
            "name": model.name,
            "title": model.title,
            "licence": model.licence,
            "default": model.name == default,
            "files": sorted(model.files),
            "bytes": path.stat().st_size,
            "working_size": read_model_info(weights).long_side,
            "scale": read_model_info(weights).scale,
        }
        if measure:
            from img2img.diagnostics.speed import seconds_per_megapixel

            row["seconds_per_megapixel"] = round(seconds_per_megapixel(path), 3)
        if json:
            say_json(row)
            continue
        works = f"works at {row['working_size']} px" if row["working_size"] else "any size"
        works = works if row["scale"] == 1 else f"enlarges {row['scale']} times"
        speed = f", {row['seconds_per_megapixel']} s a megapixel here" if measure else ""
        say(
            f"{model.name}{' (default)' if model.name == default else ''}\n"
            f"    {model.title}\n"
            f"    {_size(path.stat().st_size)}, {works}{speed}\n"
            f"    licence: {model.licence}"
        )
    if not json:
        note("img2img models show NAME shows more about a model")


def _show(
    name: str, json: bool, everything: bool, layout: str | None, value_range: str | None
) -> None:
    from img2img.model_format.find import find_model

    path = find_model(name)
    info, export = _info(path, layout, value_range)
    facts = None if export is None else dataclasses.asdict(export)
    stated = info.to_dict() | {"working_size": info.long_side}
    known = _shipped_as(path)
    if json:
        more = {
            "bytes": path.stat().st_size,
            "purpose": known and known.purpose,
            "speed": known and known.speed,
            "sample": _sample(path, known),
        }
        say_json({"file": path.name, **stated, "export": facts, **more})
        return
    for line in _overview(path, info, known):
        say(line)
    if not everything:
        note(f"img2img models show {name} --all shows everything that the file records")
        return
    say("")
    if info.long_side == 0:
        stated["working_size"] = "each picture's own size"
    for key, value in stated.items():
        for line in _lines(key, value):
            say(line)
    if export is None or facts is None:
        return
    del facts["parity"]
    any_size = {k: "any" for k in ("batch", "height", "width") if facts[k] is None}
    for line in _lines("export", facts | any_size):
        say(line)
    for line in table_of(export.parity) if export.parity else ():
        say(line)


def _overview(path: Path, info: ModelInfo, known: Shipped | None) -> list[str]:
    """What a user wants to know first: what the model is for, how large and how fast it is."""
    title = info.direction if known is None else known.title
    purpose = "" if known is None else known.purpose
    size = f"{info.long_side} px on the long side" if info.long_side else "each picture's own size"
    rows = {
        "file": str(path),
        "size on disk": _size(path.stat().st_size),
        "working size": size,
        "enlarges": f"{info.scale} times per side" if info.scale > 1 else "",
        "domains": ", ".join(info.domains),
        "licence": info.licence,
        "imported from": str(info.training.get("imported_from", "")),
        "speed": known.speed if known else "not measured; img2img bench measures it",
        "sample": _sample(path, known) or "",
    }
    lines = [f"{info.name}: {title}", *textwrap.wrap(purpose, 80), ""]
    return lines + [f"{key + ':':15}{value}" for key, value in rows.items() if value]


def _shipped_as(path: Path) -> Shipped | None:
    """The row of the shipped models to which the file `path` belongs."""
    from img2img.model_format.find import shipped, weights_folder

    if path.resolve().parent != weights_folder():
        return None
    return next((model for model in shipped().values() if path.name in model.files.values()), None)


def _sample(path: Path, known: Shipped | None) -> str | None:
    """Where pictures made by the model are: for a shipped model in the source tree, for a run the
    newest of its samples."""
    if known is not None:
        from img2img.model_format.find import weights_folder

        file = weights_folder().parent / known.sample
        return str(file) if file.is_file() else f"{known.sample} in the source of img2img"
    samples = sorted((path.parent / "samples").glob("step-*.jpg"))
    return str(samples[-1]) if samples else None


def _lines(key: str, value: object, indent: str = "") -> list[str]:
    if isinstance(value, dict):
        rows = [line for k, v in value.items() for line in _lines(k, v, indent + "  ")]
        return [f"{indent}{key}:", *rows] if rows else []
    return [f"{indent}{key}: {value}"]


def _info(
    path: Path, layout: str | None, value_range: str | None
) -> tuple[ModelInfo, ExportInfo | None]:
    if layout is not None or value_range is not None:
        from img2img.runners import open_runner
        from img2img.runners.foreign_onnx import ForeignRunner

        foreign = open_runner(path, "cpu", layout=layout, value_range=value_range)
        assert isinstance(foreign, ForeignRunner)
        return foreign.info, foreign.export
    if path.suffix == ".safetensors":
        from img2img.model_format.checkpoint import read_model_info

        return read_model_info(path), None
    from img2img.runners.onnx import OnnxRunner

    runner = OnnxRunner(path, "cpu")
    return runner.info, runner.export


def _size(count: int) -> str:
    """`2.0 MB`, `34 KB`."""
    return f"{count / 1e6:.1f} MB" if count >= 10**6 else f"{-(-count // 1000)} KB"

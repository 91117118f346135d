"""`img2img models`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from img2img.cli.console import say, say_json
from img2img.cli.export import table_of
from img2img.errors import UsageError, proposal
from img2img.model_format.export_info import ExportInfo
from img2img.model_format.find import default_name, find_model, shipped
from img2img.model_format.info import ModelInfo


def run(
    action: str,
    name: str | None,
    json: bool,
    layout: str | None = None,
    value_range: str | None = None,
) -> None:
    if action == "list":
        _list(json)
    elif action == "show":
        if name is None:
            raise UsageError("models show needs a name or a model file")
        _show(name, json, layout, value_range)
    else:
        raise UsageError(f"models: unknown action '{action}'.{proposal(action, ['list', 'show'])}")


def _list(json: bool) -> None:
    default = default_name()
    for model in shipped().values():
        if json:
            say_json(
                {
                    "name": model.name,
                    "title": model.title,
                    "licence": model.licence,
                    "default": model.name == default,
                    "files": sorted(model.files),
                }
            )
        else:
            mark = " (default)" if model.name == default else ""
            say(f"{model.name}{mark}: {model.title}. Licence: {model.licence}")


def _show(name: str, json: bool, layout: str | None, value_range: str | None) -> None:
    path = find_model(name)
    info, export = _info(path, layout, value_range)
    facts = None if export is None else dataclasses.asdict(export)
    stated = info.to_dict() | {"working_size": info.long_side}
    if json:
        say_json({"file": path.name, **stated, "export": facts})
        return
    say(f"file: {path}")
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


def _lines(key: str, value: Any, indent: str = "") -> list[str]:
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

"""`img2img export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from img2img.cli.console import note, say, say_json
from img2img.errors import MissingExtra, UsageError
from img2img.pretrained import find_model, taken_for_granted


def run(model: str, out: Path, json: bool, direction: str | None) -> None:
    source = find_model(model, (".safetensors",), direction)
    if source.suffix != ".safetensors":
        raise UsageError(f"{model}: export takes a .safetensors model, a run or a shipped name")
    if out.suffix != ".onnx":
        raise UsageError(f"{out}: an ONNX file needs the suffix .onnx")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: no such folder")
    granted = taken_for_granted(model, direction)
    if granted:
        note(granted)
    try:
        from img2img.export import export_onnx
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "img2img":
            raise
        raise MissingExtra("export", "train") from None
    table = export_onnx(source, out)
    if json:
        for row in table:
            say_json({"event": "parity"} | dataclasses.asdict(row))
        say_json({"event": "done", "output": str(out), "bytes": out.stat().st_size})
        return
    head = "   to" if any(row.domain for row in table) else ""
    say(
        f"batch   size        max levels   mean levels{head}   (PyTorch against ONNX, 8-bit levels)"
    )
    for row in table:
        size = f"{row.width}x{row.height}"
        to = f"   {row.domain}" if row.domain else ""
        say(f"{row.batch:5}   {size:9} {row.max_levels:12} {row.mean_levels:13.6f}{to}")
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")

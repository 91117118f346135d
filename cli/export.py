"""`img2img export`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from img2img.cli.console import note, say, say_json
from img2img.errors import MissingExtra, UsageError
from img2img.model_format.find import find_model, taken_for_granted

if TYPE_CHECKING:
    from img2img.model_format.export_info import ExportInfo, Io, Parity, Precision


def run(
    model: str,
    out: Path,
    io: str,
    static: str | None,
    batch: int | None,
    opset: int,
    fp16: bool,
    int8: bool,
    pictures: Path | None,
    json: bool,
    direction: str | None,
) -> None:
    if fp16 and int8:
        raise UsageError("--fp16 and --int8: choose one")
    precision: Precision = "fp16" if fp16 else "int8" if int8 else "fp32"
    kind, size = _io(io), _size(static)
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
        from img2img.exporting.onnx import ExportOptions, export_onnx
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "img2img":
            raise
        raise MissingExtra("export", "train") from None
    options = ExportOptions(kind, size, batch, opset, precision)
    facts = export_onnx(source, out, options, pictures, note)
    if json:
        for row in facts.parity:
            say_json({"event": "parity"} | dataclasses.asdict(row))
        done = {"event": "done", "output": str(out), "bytes": out.stat().st_size}
        say_json(done | {"io": facts.io, "precision": facts.precision, "quality": facts.quality})
        return
    for line in table_of(facts.parity):
        say(line)
    say(proof_of(facts))
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB, io {facts.io}, {facts.precision})")


def table_of(rows: tuple[Parity, ...]) -> list[str]:
    """The parity table, a line for each shape."""
    head = "   to" if any(row.domain for row in rows) else ""
    lines = [
        f"batch   size        max levels   mean levels{head}   (PyTorch against ONNX, 8-bit levels)"
    ]
    for row in rows:
        size = f"{row.width}x{row.height}"
        to = f"   {row.domain}" if row.domain else ""
        lines.append(f"{row.batch:5}   {size:9} {row.max_levels:12} {row.mean_levels:13.6f}{to}")
    return lines


def proof_of(facts: ExportInfo) -> str:
    """On which pictures the table was made, and what a lower precision cost."""
    text = f"pictures: {facts.pictures}"
    if facts.precision != "fp32":
        text += f"; the table is that of fp32, {facts.precision} is at {_cost(facts.quality)}"
    return text


def _cost(quality: dict[str, float]) -> str:
    words = (
        f"{quality['psnr_db']:.1f} dB from it (worst picture {quality['psnr_db_worst']:.1f} dB), "
        f"{quality['speed']:.2f} times its speed"
    )
    if "quantised" in quality:
        words += f", {quality['quantised']:.0f} of {quality['convolutions']:.0f} layers in int8"
    return words


def _io(text: str) -> Io:
    if text == "uint8":
        return "uint8"
    if text == "float":
        return "float"
    raise UsageError(f"--io {text}: known are uint8 and float")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text)
    if match is None:
        raise UsageError(f"--static {text}: needs height and width, such as 256x320")
    return int(match[1]), int(match[2])

"""`img2img export`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from img2img.cli import export_options as options
from img2img.cli.console import extra, note, say, say_json
from img2img.cli.options import Debug, Direction, Json, Model, Quiet
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.model_format.export_info import ExportInfo, Io, Parity, Precision

EXAMPLES = """
img2img export runs/mine -o mine.onnx
img2img export painting -o small.onnx --fp16 --pictures photos
img2img export painting -o painting.onnx --web page
"""


def export_command(
    model: Model,
    out: options.Out = None,
    io: options.Io = "uint8",
    static: options.Static = None,
    batch: options.Batch = None,
    opset: options.Opset = 20,
    fp16: options.Fp16 = False,
    int8: options.Int8 = False,
    pictures: options.Pictures = None,
    direction: Direction = None,
    pth: options.Pth = None,
    web: options.Web = None,
    web_runtime: options.WebRuntime = None,
    triton: options.Triton = None,
    triton_kind: options.TritonKind = "auto",
    triton_instances: options.TritonInstances = 1,
    triton_batch: options.TritonBatch = 8,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a model to ONNX and check the file against the original.

    The file is written only if its output matches PyTorch's to within one 8-bit level at every
    tested size. --web and --triton package it, or an existing .onnx file. --pth
    writes the weights for the repository of a reference implementation.
    """
    from img2img.cli import deploy

    packing = deploy.check(
        out, web, web_runtime, triton, triton_kind, triton_instances, triton_batch, pth
    )
    if pth:
        run_pth(model, pth, json, direction)
    if out:
        run(model, out, io, static, batch, opset, fp16, int8, pictures, json, direction)
    deploy.run(packing, model, out, direction, json)


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
    """Export `model` to the file `out` and print how close it is to the original."""
    if fp16 and int8:
        raise UsageError("--fp16 and --int8: choose one of them")
    precision: Precision = "fp16" if fp16 else "int8" if int8 else "fp32"
    kind, size = _io(io), _size(static)
    source = _source_of(model, direction)
    with extra("train", "export"):
        from img2img.exporting.onnx import ExportOptions, export_onnx
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
    say(comparison_of(facts))
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB, io {facts.io}, {facts.precision})")


def run_pth(model: str, out: Path, json: bool, direction: str | None) -> None:
    """Write `model` to `out` in the layout of a reference implementation, and say which."""
    source = _source_of(model, direction)
    with extra("train", "export"):
        from img2img.exporting.reference import export_reference
    layout = export_reference(source, out)
    if json:
        size = out.stat().st_size
        say_json({"event": "done", "output": str(out), "bytes": size, "layout": layout})
    else:
        say(f"{out} ({out.stat().st_size / 1e6:.1f} MB, {layout})")


def _source_of(model: str, direction: str | None) -> Path:
    """The .safetensors file of `model`; says which direction was taken where none was given."""
    from img2img.model_format.find import find_model, taken_for_granted

    source = find_model(model, (".safetensors",), direction)
    if source.suffix != ".safetensors":
        raise UsageError(f"{model}: export takes a .safetensors model, a run or a shipped name")
    granted = taken_for_granted(model, direction)
    if granted:
        note(granted)
    return source


def table_of(rows: tuple[Parity, ...]) -> list[str]:
    """The differences between original and ONNX file, a line for each shape."""
    head = "   domain" if any(row.domain for row in rows) else ""
    lines = [
        f"batch   size        max levels   mean levels{head}   (ONNX against PyTorch, 8-bit levels)"
    ]
    for row in rows:
        size = f"{row.width}x{row.height}"
        domain = f"   {row.domain}" if row.domain else ""
        lines.append(
            f"{row.batch:5}   {size:9} {row.max_levels:12} {row.mean_levels:13.6f}{domain}"
        )
    return lines


def comparison_of(facts: ExportInfo) -> str:
    """On which pictures the two were compared, and what a lower precision costs."""
    text = f"compared on pictures: {facts.pictures}"
    if facts.precision != "fp32":
        text += (
            f"\nThe table is for fp32; {facts.precision} differs from it: {_cost(facts.quality)}"
        )
    return text


def _cost(quality: dict[str, float]) -> str:
    words = (
        f"{quality['psnr_db']:.1f} dB (worst picture {quality['psnr_db_worst']:.1f} dB), at "
        f"{quality['speed']:.2f} times the speed"
    )
    if "quantised" in quality:
        words += f", {quality['quantised']:.0f} of {quality['convolutions']:.0f} layers in int8"
    return words


def _io(text: str) -> Io:
    if text == "uint8":
        return "uint8"
    if text == "float":
        return "float"
    raise UsageError(f"--io {text}: give uint8 or float")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text)
    if match is None:
        raise UsageError(f"--static {text}: give height and width, such as 256x320")
    return int(match[1]), int(match[2])

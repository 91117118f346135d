"""`img2img.export`: a model by name or file -> an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from img2img.model_format.export_info import ExportInfo
from img2img.model_format.find import find_model

if TYPE_CHECKING:
    from img2img.exporting.onnx import ExportOptions


def export(
    model: str | Path,
    target: str | Path,
    options: ExportOptions | None = None,
    *,
    pictures: str | Path | None = None,
    direction: str | None = None,
    listen: Callable[[str], None] = lambda line: None,
) -> ExportInfo:
    """Export `model` (a shipped name, a run folder or a .safetensors file) to the .onnx file
    `target`, which appears only when its results match the model's; return what the file says of
    itself, the table of the comparison among it.

    `options` default to float32, uint8 pixels in and out, any size. `pictures` is a folder of real
    ones for the comparison, which fp16 and int8 need. `direction` chooses in a run of both.
    Needs the `train` extra. Raises as `export_onnx`, and UsageError where there is no such model.
    """
    from img2img.exporting.onnx import ExportOptions, export_onnx

    source = find_model(str(model), (".safetensors",), direction)
    folder = None if pictures is None else Path(pictures)
    return export_onnx(source, Path(target), options or ExportOptions(), folder, listen)

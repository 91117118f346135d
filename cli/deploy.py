"""`img2img export --web` and `--triton`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from img2img.cli.console import note, say, say_json
from img2img.errors import UsageError
from img2img.model_format.find import find_model

if TYPE_CHECKING:
    from img2img.exporting.triton import Serving


@dataclass(frozen=True)
class Packing:
    """How the exported file is to be packaged."""

    web: Path | None
    runtime: Path | None
    triton: Path | None
    serving: Serving


def check(
    out: Path | None,
    web: Path | None,
    runtime: Path | None,
    triton: Path | None,
    kind: str,
    instances: int,
    batch: int,
    pth: Path | None = None,
) -> Packing:
    """Raise UsageError for options that exclude each other, before anything is written."""
    from img2img.exporting.triton import serving
    from img2img.exporting.web import check_folder

    if out is None and web is None and triton is None and pth is None:
        raise UsageError(
            "nothing to write: give -o FILE.onnx, --web FOLDER, --triton FOLDER or --pth FILE"
        )
    if runtime is not None and web is None:
        raise UsageError("--web-runtime needs --web")
    how = serving(kind, instances, batch)
    if triton is None and (kind, instances, batch) != ("auto", 1, 8):
        raise UsageError("--triton-kind, --triton-instances and --triton-batch need --triton")
    if web is not None:
        check_folder(web)
    return Packing(web, runtime, triton, how)


def run(packing: Packing, model: str, out: Path | None, direction: str | None, json: bool) -> None:
    """Package the file `out`, or the .onnx file that `model` names."""
    if packing.web is None and packing.triton is None:
        return
    path = out or find_model(model, (".onnx", ".safetensors"), direction)
    if path.suffix != ".onnx":
        raise UsageError(
            f"{model}: --web and --triton need an ONNX file; add -o FILE.onnx to export it first"
        )
    if packing.web is not None:
        _web(path, packing.web, packing.runtime, json)
    if packing.triton is not None:
        _triton(path, packing.triton, packing.serving, json)


def _web(model: Path, folder: Path, runtime: Path | None, json: bool) -> None:
    from img2img.exporting.web import write_page
    from img2img.exporting.web_runtime import VERSION, find_runtime

    found = find_runtime(runtime)
    if not found.tested:
        note(f"onnxruntime-web {found.version} is used; the page was tested with {VERSION}")
    files = write_page(model, folder, found)
    size = sum(path.stat().st_size for path in files)
    if json:
        say_json({"event": "web", "output": str(folder), "files": len(files), "bytes": size})
    else:
        say(f"{folder} ({size / 1e6:.1f} MB); try it with: python -m http.server -d {folder}")


def _triton(model: Path, folder: Path, how: Serving, json: bool) -> None:
    from img2img.exporting.triton import write_repository

    place = write_repository(model, folder, how)
    if json:
        say_json({"event": "triton", "output": str(place), "model": place.name})
    else:
        say(f"{place}; serve it with: tritonserver --model-repository={folder}")

"""`img2img export --web` and `--triton`."""

from __future__ import annotations

from pathlib import Path

from img2img.cli.console import note, say, say_json
from img2img.errors import UsageError
from img2img.pretrained import find_model


def check(out: Path | None, web: Path | None, runtime: Path | None) -> None:
    """Raise UsageError for wishes that do not go together, before anything is written."""
    if out is None and web is None:
        raise UsageError("nothing to write: give -o FILE.onnx or --web DIR")
    if runtime is not None and web is None:
        raise UsageError("--web-runtime goes with --web")
    if web is not None:
        from img2img.web import check_folder

        check_folder(web)


def run(
    model: str,
    out: Path | None,
    direction: str | None,
    web: Path | None,
    runtime: Path | None,
    json: bool,
) -> None:
    """Pack the exported file for what was asked for."""
    if web is not None:
        _web(_finished(model, out, direction), web, runtime, json)


def _finished(model: str, out: Path | None, direction: str | None) -> Path:
    """The .onnx file to pack: the one just written, or the one that `model` names.

    Raises UsageError when there is none yet.
    """
    path = out or find_model(model, (".onnx", ".safetensors"), direction)
    if path.suffix != ".onnx":
        raise UsageError(
            f"{model}: --web and --triton pack an ONNX file; add -o FILE.onnx to export it first"
        )
    return path


def _web(model: Path, folder: Path, runtime: Path | None, json: bool) -> None:
    from img2img.web import write_page
    from img2img.webruntime import VERSION, find_runtime

    found = find_runtime(runtime)
    if not found.tested:
        note(f"onnxruntime-web {found.version}; the page is tested with {VERSION}")
    files = write_page(model, folder, found)
    size = sum(path.stat().st_size for path in files)
    if json:
        say_json({"event": "web", "output": str(folder), "files": len(files), "bytes": size})
    else:
        say(f"{folder} ({size / 1e6:.1f} MB); to try it: python -m http.server -d {folder}")

"""A static page that translates in the browser: an exported model and onnxruntime-web, no CDN."""

from __future__ import annotations

import hashlib
import html
import importlib.util
import json
from pathlib import Path
from typing import Any

from img2img._version import __version__
from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.exporting.graphs import Graph, read_graph
from img2img.exporting.web_runtime import WebRuntime
from img2img.system.atomic import write_atomic
from img2img.system.pages import asset, fill

_PARTS = ("look.css", "web.css", "slider.js", "web.js", "worker.js")
_MARK = '<meta name="generator" content="img2img '
_NOTICES = "ThirdPartyNotices.txt"


def check_folder(folder: Path) -> None:
    """Raise UsageError unless `folder` is new, empty, or an earlier page of ours."""
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent}: no such folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; `web` needs a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        ours = _MARK in (folder / "index.html").read_text(encoding="utf-8")
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise UsageError(
            f"{folder}: is not empty and does not contain a page written by img2img; use another "
            f"folder for `web`"
        )


def write_page(model: Path, folder: Path, runtime: WebRuntime) -> list[Path]:
    """Write the page for the exported `.onnx` file `model` into `folder`; return its files.

    `index.html` comes last. Raises:
        ModelError: the model is refused.
        UsageError: `folder` holds something else (`check_folder`), or the model takes pictures of
            one fixed size only.
        EnvironmentFault: nothing can be written.
    """
    check_folder(folder)
    graph = read_graph(model)
    if not graph.any_size:
        raise UsageError(f"{model}: exported for one fixed size; a page needs one for any size")
    notices = _notices()
    files = {f"ort/{name}": data for name, data in runtime.files.items()}
    files["ort/LICENSE"] = asset("onnxruntime-licence.txt").encode()
    files |= {f"ort/{_NOTICES}": notices} if notices else {}
    files["model.onnx"] = graph.data
    files |= {name: asset(name).encode() for name in _PARTS}
    files["web.js"] = asset("files.js").encode() + files["web.js"]
    sha = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files.values()))
    stamp = sha.hexdigest()[:12]
    files["index.html"] = _index(graph, runtime, stamp, bool(notices)).encode()
    try:
        (folder / "ort").mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomic(folder / name, data)
    except OSError as error:
        raise EnvironmentFault(f"{folder}: not written: {describe_os_error(error)}") from None
    return [folder / name for name in files]


def _settings(graph: Graph, runtime: WebRuntime, stamp: str) -> dict[str, Any]:
    wasm = next(name for name in runtime.files if name.endswith(".wasm"))
    info = graph.info
    return {
        "name": info.name,
        "stamp": stamp,
        "io": graph.io,
        "inputs": [tensor.name for tensor in graph.inputs],
        "output": graph.output.name,
        "in_channels": info.in_channels,
        "out_channels": info.out_channels,
        "working_size": info.long_side,
        "scale": info.scale,
        "domains": list(info.domains),
        "one_hot": info.one_hot,
        "exclusive": [list(group) for group in info.exclusive],
        "model": {"path": "model.onnx", "bytes": len(graph.data)},
        "wasm": {"path": f"ort/{wasm}", "bytes": len(runtime.files[wasm])},
    }


def _index(graph: Graph, runtime: WebRuntime, stamp: str, notices: bool) -> str:
    info = graph.info
    settings = json.dumps(_settings(graph, runtime, stamp), indent=1)
    also = f', <a href="ort/{_NOTICES}">third parties\' licences</a>' if notices else ""
    values = {
        "version": html.escape(__version__),
        "title": html.escape(info.name),
        "name": html.escape(f"{info.name}, SHA-256 {graph.digest[:12]}"),
        # The name of every model to which none was given says nothing.
        "direction": "" if info.direction == "A -> B" else html.escape(info.direction),
        "licence": html.escape(info.licence),
        "runtime": html.escape(runtime.version),
        "notices": also,
        "settings": settings.replace("<", "\\u003c"),
        "stamp": stamp,
    }
    return fill(asset("web.html"), values)


def _notices() -> bytes:
    """The licences of what is compiled into onnxruntime, as the installed package has them."""
    found = importlib.util.find_spec("onnxruntime")
    for place in (found.submodule_search_locations or []) if found else []:
        path = Path(place) / _NOTICES
        if path.is_file():
            return path.read_bytes()
    return b""

"""A model repository for NVIDIA's Triton Inference Server, from an exported model.

The configuration is a ModelConfig of model_config.proto (triton-inference-server/common) in
protobuf's text format.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from img2img._version import __version__
from img2img.errors import EnvironmentFault, UsageError, describe_os_error, proposal
from img2img.exporting.graphs import Graph, Tensor, read_graph
from img2img.system.atomic import write_atomic

Kind = Literal["auto", "cpu", "gpu"]
KINDS: tuple[Kind, ...] = ("auto", "cpu", "gpu")
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_MARK = "# Written by img2img"
# Requests wait so long for others to be batched with; short beside the network itself.
_DELAY_US = 1000


@dataclass(frozen=True)
class Serving:
    """How a server runs the model.

    Attributes:
        kind: `cpu`, `gpu` (an instance on each), or `auto`, as the server finds.
        instances: copies of the model that work beside each other, on each device.
        max_batch: pictures of one size that are put together at most; 0 sends each request as it
            comes.
    """

    kind: Kind = "auto"
    instances: int = 1
    max_batch: int = 8


def serving(kind: str, instances: int, max_batch: int) -> Serving:
    """Checked settings. Raises UsageError for an unknown kind or a negative number."""
    found = next((known for known in KINDS if known == kind), None)
    if found is None:
        raise UsageError(f"`triton_kind` {kind}: unknown.{proposal(kind, KINDS)}")
    if instances < 1 or max_batch < 0:
        raise UsageError("there must be one instance or more, and a batch of 0 or more")
    return Serving(found, instances, max_batch)


def write_repository(model: Path, folder: Path, how: Serving) -> Path:
    """Write `folder`/NAME/config.pbtxt and `folder`/NAME/1/model.onnx for the exported `.onnx` file
    `model`; return `folder`/NAME. Other models in the repository are left alone.

    Raises:
        ModelError: the model is refused.
        UsageError: `folder`/NAME holds something that is not ours.
        EnvironmentFault: nothing can be written.
    """
    graph = read_graph(model)
    place = folder / safe_name(graph.info.name)
    config = place / "config.pbtxt"
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent}: no such folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; `triton` needs a folder")
    if place.exists() and not _is_ours(config):
        raise UsageError(f"{place}: exists and was not written by img2img; use another folder")
    try:
        (place / "1").mkdir(parents=True, exist_ok=True)
        write_atomic(place / "1" / "model.onnx", graph.data)
        write_atomic(config, config_text(graph, how).encode("ascii"))
    except OSError as error:
        raise EnvironmentFault(f"{place}: not written: {describe_os_error(error)}") from None
    return place


def safe_name(name: str) -> str:
    """`name` as a folder and in an address: letters, digits, `_`, `-` and `.`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "model"


def config_text(graph: Graph, how: Serving) -> str:
    """The model configuration, in ASCII.

    A graph of a fixed batch is served without batching, its batch among the dimensions.
    """
    batched = how.max_batch > 0 and graph.inputs[0].shape[0] is None
    info = graph.info
    rows = [
        f"{_MARK} {__version__} from {_ascii(info.name)}, SHA-256 {graph.digest}.",
        f"name: {_quoted(safe_name(info.name))}",
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {how.max_batch if batched else 0}",
        *(_tensor("input", tensor, batched) for tensor in graph.inputs),
        _tensor("output", graph.output, batched),
        f"instance_group [ {{ count: {how.instances} kind: KIND_{how.kind.upper()} }} ]",
    ]
    if batched:
        rows.append(f"dynamic_batching {{ max_queue_delay_microseconds: {_DELAY_US} }}")
    about = {
        "direction": info.direction,
        "licence": info.licence,
        "pixels": "RGB, 0 to 255" if graph.io == "uint8" else "RGB, -1 to 1",
        # The graph translates pictures as they come: the client reduces them to it.
        "working_size": str(info.long_side) if info.long_side else "",
        "upsampling": info.upsampling if info.long_side else "",
        "scale": str(info.scale) if info.scale > 1 else "",
        "domains": json.dumps(list(info.domains)) if info.domains else "",
    }
    rows += [
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in about.items()
        if value
    ]
    return "\n".join(rows) + "\n"


def _tensor(what: str, tensor: Tensor, batched: bool) -> str:
    sizes = tensor.shape[1:] if batched else tensor.shape
    dims = ", ".join(str(-1 if size is None else size) for size in sizes)
    kind = _TYPES[tensor.type]
    return f"{what} [ {{ name: {_quoted(tensor.name)} data_type: {kind} dims: [ {dims} ] }} ]"


def _quoted(text: str) -> str:
    """A string of the protobuf text format; bytes that are not plain ASCII in octal."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "replace")
    )
    return f'"{plain}"'


def _ascii(text: str) -> str:
    """For a comment, which ends with the line."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)


def _is_ours(config: Path) -> bool:
    try:
        return config.read_bytes().startswith(_MARK.encode())
    except OSError:
        return False

"""Reads an ONNX file as a whole, refuses what must not be parsed, and compares what it says of
itself with its graph."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import ModelError, describe_os_error
from img2img.model_format.export_info import EXPORT_KEY, ExportInfo
from img2img.model_format.info import KEY, ModelInfo
from img2img.onnx_format.elements import FLOAT, HALF, UINT8, Port, short
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.validation import parse, starts_like_one

DIGEST_KEY = "img2img_sha256"
NO_DIGEST = b"0" * 64
# How the entry of the digest stands in the file: key, field 2 of the entry, 64 bytes long.
_ENTRY = DIGEST_KEY.encode() + b"\x12\x40"
_LOOK = 2**16
# What may run without an end; exports are straight.
_UNKNOWN_TO_OURS = frozenset(("If", "Loop", "Scan", "SequenceMap"))
RANGES = ("-1..1", "0..1", "0..255")


def read_whole(path: Path) -> bytes:
    """The bytes of a regular file that may be an ONNX file. Raises ModelError."""
    try:
        there = path.stat()
        if not stat.S_ISREG(there.st_mode):
            raise ModelError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            start = file.read(_LOOK)
            starts_like_one(start, there.st_size)
            return start + file.read()
    except OSError as error:
        raise ModelError(f"{path}: {describe_os_error(error)}") from None
    except ValueError as error:
        raise ModelError(f"{path}: not an ONNX file, or damaged: {error}") from None


def parse_file(data: bytes, path: Path) -> OnnxModel:
    """The model in `data`, the bytes of `path`. Raises ModelError."""
    try:
        return parse(data)
    except ValueError as error:
        raise ModelError(f"{path}: not an ONNX file that can be used: {error}") from None


@dataclass(frozen=True, eq=False)
class ExportedFile:
    """An ONNX file of ours that was checked.

    Attributes:
        model: what the file holds.
        info: what it says of the network.
        export: what it says of its graph and its proof; None in older files.
        digest: its SHA-256, as recorded in the file.
    """

    model: OnnxModel
    info: ModelInfo
    export: ExportInfo | None
    digest: str


def verified(path: Path) -> ExportedFile:
    """An ONNX file of ours, checked before a library parses it: the digest, then the structure
    (`validation`), then its metadata against its graph.

    Raises ModelError when it is none of ours, damaged, hostile or contradictory.
    """
    data = read_whole(path)
    digest, place = digest_of(data)
    if place >= 0 and data[place : place + len(digest)] != digest.encode():
        raise ModelError(f"{path}: damaged (its SHA-256 does not match); export it again")
    model = parse_file(data, path)
    if place < 0:
        raise ModelError(f"{path}: {_what_is_missing(model)}")
    info, export = _info(model, path), _export(model, path)
    complaint = contradiction(model, info, export)
    if complaint:
        raise ModelError(f"{path}: {complaint}")
    return ExportedFile(model, info, export, digest)


def digest_of(data: bytes) -> tuple[str, int]:
    """SHA-256 of an ONNX file whose own digest counts as zeros, and where that digest stands;
    the place is -1 for a file without one."""
    place = data.rfind(_ENTRY)
    if place < 0:
        return "", -1
    place += len(_ENTRY)
    sha = hashlib.sha256(data[:place])
    sha.update(NO_DIGEST)
    sha.update(data[place + len(NO_DIGEST) :])
    return sha.hexdigest(), place


def _info(model: OnnxModel, path: Path) -> ModelInfo:
    try:
        described = json.loads(model.metadata[KEY])
    except (KeyError, ValueError, RecursionError):
        raise ModelError(f"{path}: has no readable img2img metadata") from None
    if not isinstance(described, dict):
        raise ModelError(f"{path}: its img2img metadata is not a table")
    return ModelInfo.from_dict(described, str(path))


def _export(model: OnnxModel, path: Path) -> ExportInfo | None:
    text = model.metadata.get(EXPORT_KEY)
    return None if text is None else ExportInfo.from_json(text, str(path))


def is_ours(model: OnnxModel) -> bool:
    """Whether a file carries metadata of img2img."""
    return bool({KEY, EXPORT_KEY} & model.metadata.keys())


def _what_is_missing(model: OnnxModel) -> str:
    """Why a checked file without our digest is refused, and what a user can give."""
    if is_ours(model):
        return "damaged (its SHA-256 is missing); export it again"
    return f"not an ONNX model made by img2img: {wanted(model)}"


def wanted(model: OnnxModel) -> str:
    """The options by which a foreign file can be used, in words."""
    port = model.inputs[0] if model.inputs else Port("nothing", 0, None)
    likely = layout_of(port.dims)
    layout = f"`layout` {likely}" if likely else "`layout` nchw or nhwc"
    unclear = f"it does not state its input format (its input is {port.words})"
    if port.kind == UINT8:
        return f"{unclear}; to translate with it give {layout}"
    *most, last = RANGES
    return (
        f"{unclear}; to translate with it give {layout} and `value_range` {', '.join(most)} or "
        f"{last}, as its author says"
    )


def layout_of(dims: tuple[int | None, ...] | None) -> str:
    """The layout that sizes leave no doubt about, or nothing."""
    if dims is None or len(dims) != 4:
        return ""
    first, last = dims[1] in (1, 3), dims[3] in (1, 3)
    return "" if first == last else "nchw" if first else "nhwc"


def contradiction(model: OnnxModel, info: ModelInfo, export: ExportInfo | None) -> str:
    """How the metadata of a file of ours contradict its graph, in words; empty where they agree."""
    strange = sorted(_UNKNOWN_TO_OURS & model.operators)
    if strange:
        return f"no network of ours has {', '.join(strange)}; it was not exported by img2img"
    wanted = 1 + bool(info.domains)
    if len(model.inputs) != wanted or len(model.outputs) != 1:
        also = " and one for the domain" if info.domains else ""
        return (
            f"needs one input{also}, and one output; its graph has {len(model.inputs)} and "
            f"{len(model.outputs)}"
        )
    picture, made = model.inputs[0], model.outputs[0]
    io = model.io
    if export is not None and export.io != io:
        return f"its graph is of io {io}, its metadata disagrees"
    if picture.kind not in (UINT8, FLOAT, HALF) or picture.dims is None or len(picture.dims) != 4:
        return f"its input is not a picture: {picture.words}"
    if made.kind not in (picture.kind, 0) or (made.dims is not None and len(made.dims) != 4):
        return f"its output is not a picture like its input: {made.words}"
    at = 3 if io == "uint8" else 1
    for port, place, stated, what in (
        (picture, at, info.in_channels, "channels"),
        (made, at, info.out_channels, "channels"),
        *((port, 1, len(info.domains), "domains") for port in model.inputs[1:]),
    ):
        if port.dims is not None and len(port.dims) <= place:
            return f"its {short(port.name)} has no {what}"
        if port.dims is not None and port.dims[place] not in (stated, None):
            has = port.dims[place]
            return f"its {short(port.name)} has {has} {what}, its metadata says {stated}"
    return "" if export is None else _export_contradiction(model, picture, at, export)


def _export_contradiction(model: OnnxModel, picture: Port, at: int, export: ExportInfo) -> str:
    if export.opset not in (0, model.opset):
        return f"its graph is of opset {model.opset}, its metadata says {export.opset}"
    names = tuple(port.name for port in model.inputs), tuple(port.name for port in model.outputs)
    if export.inputs and names != (export.inputs, export.outputs):
        return "its inputs and outputs are not those that its metadata names"
    height = 1 if at == 3 else 2
    dims = picture.dims or ()
    for place, stated, what in (
        (0, export.batch, "batch"),
        (height, export.height, "height"),
        (height + 1, export.width, "width"),
    ):
        if dims[place] != stated:
            has, says = dims[place] or "any", stated or "any"
            return f"its graph takes {has} as {what}, its metadata says {says}"
    return ""

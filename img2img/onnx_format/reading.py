"""Reads an ONNX file as a whole, refuses what must not be parsed, and compares what it says of
itself with its graph."""

from __future__ import annotations

import stat
from pathlib import Path

from img2img.errors import ModelError, describe_os_error
from img2img.model_format.export_info import EXPORT_KEY, ExportInfo
from img2img.model_format.info import KEY, ModelInfo
from img2img.onnx_format.metadata import metadata
from img2img.onnx_format.outline import (
    FLOAT,
    HALF,
    UINT8,
    Outline,
    Port,
    outline,
    short,
    starts_like_one,
)

_LOOK = 2**16
# What may go on for ever; exports are straight.
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


def seen_in(data: bytes, path: Path) -> Outline:
    """The outline of the file `data`, read from `path`. Raises ModelError."""
    try:
        return outline(data)
    except ValueError as error:
        raise ModelError(f"{path}: not an ONNX file that can be used: {error}") from None


def is_ours(data: bytes) -> bool:
    """Whether a checked file carries metadata of img2img."""
    return bool({KEY, EXPORT_KEY} & metadata(data).keys())


def what_is_missing(data: bytes, seen: Outline) -> str:
    """Why a checked file without our digest is refused, and what a user can give."""
    if is_ours(data):
        return "damaged (its SHA-256 is missing); export it again"
    return f"not an ONNX model made by img2img: {wanted(seen)}"


def wanted(seen: Outline) -> str:
    """The options by which a foreign file can be used, in words."""
    port = seen.inputs[0] if seen.inputs else Port("nothing", 0, None)
    likely = layout_of(port.dims)
    layout = f"--layout {likely}" if likely else "--layout nchw or nhwc"
    told = f"it does not say how pictures go in (its input is {port.words})"
    if port.kind == UINT8:
        return f"{told}; to translate with it give {layout}"
    *most, last = RANGES
    return (
        f"{told}; to translate with it give {layout} and --range {', '.join(most)} or {last}, "
        "as its author says"
    )


def layout_of(dims: tuple[int | None, ...] | None) -> str:
    """The layout that sizes leave no doubt about, or nothing."""
    if dims is None or len(dims) != 4:
        return ""
    first, last = dims[1] in (1, 3), dims[3] in (1, 3)
    return "" if first == last else "nchw" if first else "nhwc"


def contradiction(seen: Outline, info: ModelInfo, export: ExportInfo | None) -> str:
    """How the metadata of a file of ours contradict its graph, in words; empty where they agree."""
    strange = sorted(_UNKNOWN_TO_OURS & seen.operators)
    if strange:
        return f"no network of ours has {', '.join(strange)}; it was not exported by img2img"
    wanted = 1 + bool(info.domains)
    if len(seen.inputs) != wanted or len(seen.outputs) != 1:
        also = " and one for the domain" if info.domains else ""
        return (
            f"needs one input{also}, and one output; its graph has {len(seen.inputs)} and "
            f"{len(seen.outputs)}"
        )
    picture, made = seen.inputs[0], seen.outputs[0]
    io = "uint8" if picture.kind == UINT8 else "float"
    if export is not None and export.io != io:
        return f"its graph is of io {io}, its metadata says otherwise"
    if picture.kind not in (UINT8, FLOAT, HALF) or picture.dims is None or len(picture.dims) != 4:
        return f"its input is no picture: {picture.words}"
    if made.kind not in (picture.kind, 0) or (made.dims is not None and len(made.dims) != 4):
        return f"its output is no picture as its input is: {made.words}"
    at = 3 if io == "uint8" else 1
    for port, place, said, what in (
        (picture, at, info.in_channels, "channels"),
        (made, at, info.out_channels, "channels"),
        *((port, 1, len(info.domains), "domains") for port in seen.inputs[1:]),
    ):
        if port.dims is not None and len(port.dims) <= place:
            return f"its {short(port.name)} has no {what}"
        if port.dims is not None and port.dims[place] not in (said, None):
            return f"its {short(port.name)} has {port.dims[place]} {what}, its metadata says {said}"
    return "" if export is None else _export_contradiction(seen, picture, at, export)


def _export_contradiction(seen: Outline, picture: Port, at: int, export: ExportInfo) -> str:
    if export.opset not in (0, seen.opset):
        return f"its graph is of opset {seen.opset}, its metadata says {export.opset}"
    names = tuple(port.name for port in seen.inputs), tuple(port.name for port in seen.outputs)
    if export.inputs and names != (export.inputs, export.outputs):
        return "its inputs and outputs are not those that its metadata names"
    height = 1 if at == 3 else 2
    dims = picture.dims or ()
    for place, said, what in (
        (0, export.batch, "batch"),
        (height, export.height, "height"),
        (height + 1, export.width, "width"),
    ):
        if dims[place] != said:
            has, says = dims[place] or "any", said or "any"
            return f"its graph takes {has} as {what}, its metadata says {says}"
    return ""

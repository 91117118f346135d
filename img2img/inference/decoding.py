"""The decoding process: reads file names from its standard input, answers with pictures.

A frame is a line of JSON, whose length is written before it in four bytes, and then the bytes that
it announces. `Decoder` in `decoders.py` is the other end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from img2img.errors import PictureError
from img2img.images import Picture, Reading, read_picture
from img2img.inference.manifest import fingerprint


def main(seconds: float) -> None:
    """Say that this process is ready, then serve until the standard input ends.

    A picture that takes more than `seconds` and some ends the process, should nobody else do so.
    """
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "wb") as nowhere:  # decoders in C may print
        os.dup2(nowhere.fileno(), 1)
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    send(replies, {"ready": True})
    requests = sys.stdin.buffer
    while head := requests.read(4):
        request = json.loads(requests.read(int.from_bytes(head, "big")))
        if hasattr(signal, "alarm"):
            signal.alarm(int(seconds) + 10)
        _answer(request, replies)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _die_with_parent() -> None:
    """On Linux the system ends this process with the one that started it, also in a decoder."""
    if sys.platform != "linux":
        return
    import ctypes

    with_parent = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(with_parent, signal.SIGKILL, 0, 0, 0)


def _answer(request: dict[str, Any], replies: BinaryIO) -> None:
    path = Path(os.fsdecode(bytes.fromhex(request.pop("path"))))
    try:
        picture = read_picture(path, Reading(**request))
        digest = fingerprint(path)
    except PictureError as error:
        send(replies, {"error": str(error).removeprefix(f"{path}: ")})
        return
    except OSError as error:
        send(replies, {"error": str(error.strerror or error)})
        return
    parts = [np.ascontiguousarray(picture.pixels)]
    if picture.alpha is not None:
        parts.append(np.ascontiguousarray(picture.alpha))
    header = {
        "digest": digest,
        "arrays": [[a.dtype.str, list(a.shape)] for a in parts],
        "exif": picture.exif.hex(),
        "xmp": picture.xmp.hex(),
        "icc": picture.icc,
        "dpi": picture.dpi,
        "format": picture.format,
        "salvaged": picture.salvaged,
        "notes": picture.notes,
    }
    send(replies, header, *(a.data.cast("B") for a in parts if a.size))


def send(file: BinaryIO, header: dict[str, Any], *parts: memoryview) -> None:
    """Write one frame; raises OSError."""
    text = json.dumps(header).encode()
    for part in (memoryview(len(text).to_bytes(4, "big") + text), *parts):
        while part:
            part = part[file.write(part) :]


def picture_of(header: dict[str, Any], arrays: list[Any]) -> Picture:
    """The picture that a frame announced."""
    return Picture(
        arrays[0],
        arrays[1] if len(arrays) > 1 else None,
        bytes.fromhex(header["exif"]),
        bytes.fromhex(header["xmp"]),
        bool(header["icc"]),
        tuple(header["dpi"]) if header["dpi"] else None,
        header["format"],
        "",
        bool(header["salvaged"]),
        list(header["notes"]),
    )

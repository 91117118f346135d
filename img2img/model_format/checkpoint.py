"""Bytes on disk. `NAME.safetensors` is a model to share; `state-*.i2i` is a training to resume.

Both are written atomically and carry a SHA-256 over everything in them, verified on load:
safetensors has no checksum of its own, and `torch.load` ignores the one it stored.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import (
    ConfigError,
    EnvironmentFault,
    Img2ImgError,
    ModelError,
    describe_os_error,
    first_line,
)
from img2img.model_format.archive import refuse_compressed
from img2img.model_format.info import KEY, ModelInfo
from img2img.system.atomic import atomic_path, write_atomic

if TYPE_CHECKING:
    from img2img.nets import Generator

_STATE_MAGIC = b"img2img-state-1\n"
_MAX_HEADER = 16 * 1024 * 1024


def save_model(path: Path | str, generator: Generator, info: ModelInfo) -> None:
    """Write `generator`'s weights (float32, on the CPU) and `info` to `path`, atomically.

    Raises EnvironmentFault when the file cannot be written; an older file then stays.
    """
    from safetensors.torch import save

    tensors = {
        name: value.detach().to("cpu").contiguous()
        for name, value in generator.state_dict().items()
    }
    described = info.to_dict()
    digest = _digest(described, _rows_of(save(tensors)))
    metadata = {KEY: json.dumps(described, sort_keys=True), "sha256": digest, "format": "pt"}
    _write(path, save(tensors, metadata))


def read_model_info(path: Path | str) -> ModelInfo:
    """Read and verify a `.safetensors` model's metadata without torch.

    Raises ModelError when it is not a model of ours, damaged, or from a newer version.
    """
    return _verified(path)[0]


def load_model(path: Path | str) -> tuple[Generator, ModelInfo]:
    """Rebuild the generator in `path`, on the CPU, in evaluation mode.

    Raises ModelError for a file that is foreign, damaged (SHA-256) or contradictory.
    """
    info, data = _verified(path)
    from safetensors.torch import load

    from img2img.nets import build_generator

    try:
        generator = build_generator(info.generator, info.generator_config)
    except (ConfigError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its architecture cannot be rebuilt: {error}") from None
    try:
        generator.load_state_dict(load(data))
    except RuntimeError as error:
        lines = str(error).splitlines()  # the first one of torch's names the class alone
        detail = lines[1].strip() if len(lines) > 1 else str(error)
        raise ModelError(f"{path}: its weights do not fit its architecture: {detail}") from None
    stated = (
        info.in_channels,
        info.out_channels,
        info.multiple_of,
        info.minimum,
        len(info.domains),
    )
    real = (
        generator.in_channels,
        generator.out_channels,
        generator.multiple_of,
        generator.minimum,
        generator.domains,
    )
    if stated != real:
        raise ModelError(f"{path}: its metadata {stated} contradicts its network {real}")
    if info.norm_statistics == "running":
        generator.use_norm_statistics("running")
    return generator.eval(), info


def _verified(path: Path | str) -> tuple[ModelInfo, bytes]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {describe_os_error(error)}") from None
    try:
        header, _ = _header_of(data)
        metadata = header["__metadata__"]
        described = json.loads(metadata[KEY])
        stated = metadata["sha256"]
        rows = _rows_of(data)
    except KeyError:
        raise ModelError(
            f"{path}: a safetensors file, but not an img2img model (no img2img metadata); "
            "img2img models import reads generators of other projects"
        ) from None
    except (ValueError, TypeError, struct.error, AttributeError, RecursionError):
        raise ModelError(f"{path}: not a model file (or damaged)") from None
    if not isinstance(described, dict) or _digest(described, rows) != stated:
        raise ModelError(f"{path}: damaged (its SHA-256 does not match); fetch or export it again")
    return ModelInfo.from_dict(described, str(path)), data


def _header_of(data: bytes) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack_from("<Q", data)
    if length > min(_MAX_HEADER, len(data) - 8):
        raise ValueError("header length")
    header = json.loads(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("header")
    return header, 8 + length


def _rows_of(data: bytes) -> list[tuple[str, str, list[int], memoryview]]:
    """(name, type, shape, bytes) of every tensor, by name."""
    header, start = _header_of(data)
    view = memoryview(data)
    rows = []
    for name in sorted(k for k in header if k != "__metadata__"):
        entry = header[name]
        first, last = entry["data_offsets"]
        if not 0 <= first <= last <= len(data) - start:
            raise ValueError("offsets")
        rows.append((name, entry["dtype"], entry["shape"], view[start + first : start + last]))
    return rows


def _digest(described: dict[str, Any], rows: list[tuple[str, str, list[int], memoryview]]) -> str:
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, dtype, shape, content in rows:
        sha.update(json.dumps([name, dtype, shape, len(content)]).encode())
        sha.update(content)
    return sha.hexdigest()


def _write(path: Path | str, data: bytes) -> None:
    try:
        write_atomic(path, data, durable=True)
    except OSError as error:
        raise EnvironmentFault(f"{path}: not saved: {describe_os_error(error)}") from None


def save_state(path: Path | str, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors and plain values only) to `path`, atomically and durably.

    Raises EnvironmentFault when it cannot be written; older states then stay as they were.
    """
    import torch

    try:
        with atomic_path(path, durable=True) as temporary:
            payload = io.BytesIO()
            torch.save(dict(state), payload)
            content = payload.getbuffer()
            with open(temporary, "wb") as file:
                file.write(_STATE_MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n")
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        raise EnvironmentFault(
            f"{path}: checkpoint not saved: {describe_os_error(error)}; the older one is intact"
        ) from None


def load_state(path: Path | str) -> dict[str, Any]:
    """Read a training state. Raises ModelError when it is damaged, foreign, or not plain data."""
    import torch

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {describe_os_error(error)}") from None
    start = len(_STATE_MAGIC) + 65
    if not data.startswith(_STATE_MAGIC) or len(data) < start:
        raise ModelError(f"{path}: not a training state of img2img")
    payload = memoryview(data)[start:]
    if hashlib.sha256(payload).hexdigest().encode() != data[len(_STATE_MAGIC) : start - 1]:
        raise ModelError(f"{path}: damaged (its SHA-256 does not match)")
    try:
        refuse_compressed(payload)
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Img2ImgError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: cannot be read: {first_line(error)}") from None
    if not isinstance(state, dict):
        raise ModelError(f"{path}: not a training state of img2img")
    return state

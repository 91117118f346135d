"""ONNX models through onnxruntime, without torch."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from img2img.errors import EnvironmentFault, ModelError, UsageError, describe_os_error
from img2img.modelinfo import KEY, ModelInfo
from img2img.runners.base import Float, Runner, check_channels, check_domain
from img2img.runners.cuda import cuda_device_count
from img2img.runners.local import Local
from img2img.runners.onnxlocal import OnnxLocal

DIGEST_KEY = "img2img_sha256"
NO_DIGEST = b"0" * 64


# How the entry of the digest stands in the file: key, field 2 of the entry, 64 bytes long.
_ENTRY = DIGEST_KEY.encode() + b"\x12\x40"


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


class OnnxRunner(Runner):
    """`device`: auto, cpu, cuda or cuda:N.

    Raises:
        ModelError: not an ONNX model of ours, or damaged.
        EnvironmentFault: a device asked for by name that does not load.
    """

    def __init__(self, path: Path, device: str = "auto"):
        # Before onnxruntime parses it: a damaged file may crash the process there.
        data = _verified(path)
        try:
            import onnxruntime
        except ImportError as error:
            raise EnvironmentFault(
                f"onnxruntime cannot be loaded: {error}; see img2img doctor"
            ) from None
        onnxruntime.set_default_logger_severity(4)
        providers = _providers(onnxruntime, device)
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
            options.intra_op_num_threads = cores
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for every failure
            raise ModelError(f"{path}: onnxruntime refuses it: {_first_line(error)}") from None
        wanted = providers[0][0]
        real = self._session.get_providers()
        if wanted != "CPUExecutionProvider" and wanted not in real:
            raise EnvironmentFault(
                f"device '{device}': onnxruntime loaded {real[0]} instead of {wanted}; "
                "pip install 'img2img[gpu]', or use --device cpu"
            )
        self.info = _info(self._session, path)
        check_channels(self.info, str(path))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        wide = [self.info.in_channels, *([len(self.info.domains)] if self.info.domains else [])]
        floats = all(value.type == "tensor(float)" for value in inputs)
        if len(inputs) != len(wide) or len(outputs) != 1 or not floats:
            also = " and one for the domain" if self.info.domains else ""
            raise ModelError(f"{path}: needs one float input{also}, and one output")
        for value, width, what in zip(inputs, wide, ("channels", "domains"), strict=False):
            if value.shape[1] != width:
                raise ModelError(
                    f"{path}: its {value.name} has {value.shape[1]} {what}, its metadata says "
                    f"{width}"
                )
        self._inputs = [value.name for value in inputs]
        self._path, self._providers = path, providers
        self._local: OnnxLocal | None = None
        self.description = f"onnxruntime {'cpu' if wanted.startswith('CPU') else device} fp32"

    def infer(self, x: Float, domain: Float | None = None) -> Float:
        check_domain(self.info, x, domain)
        given = (x,) if domain is None else (x, domain)
        return self._session.run(None, dict(zip(self._inputs, given, strict=True)))[0]

    def local(self) -> Local:
        if self._local is None:  # the bytes are read again: they may be large, tiles are rare
            options = self._session.get_session_options()
            data = _verified(self._path)
            self._local = OnnxLocal(data, options, self._providers, self.info.name)
        return self._local


def _verified(path: Path) -> bytes:
    """The bytes of a model file. Raises ModelError unless its digest is there and right."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {describe_os_error(error)}") from None
    digest, place = digest_of(data)
    if place < 0:
        raise ModelError(f"{path}: not an ONNX model made by img2img, or damaged")
    if data[place : place + len(digest)] != digest.encode():
        raise ModelError(f"{path}: damaged (its SHA-256 does not match); export it again")
    return data


def _providers(onnxruntime: Any, device: str) -> list[tuple[str, dict[str, str]]]:
    cpu = [("CPUExecutionProvider", dict[str, str]())]
    if device == "cpu":
        return cpu
    kind, _, number = device.partition(":")
    if device != "auto" and (kind != "cuda" or not (number or "0").isdigit()):
        raise UsageError(f"onnxruntime runs on auto, cpu, cuda or cuda:N, not on '{device}'")
    count = cuda_device_count()
    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if int(number or 0) < count and there:
        onnxruntime.preload_dlls()
        return [("CUDAExecutionProvider", {"device_id": number or "0"}), *cpu]
    if device == "auto":
        return cpu
    raise EnvironmentFault(
        f"device '{device}' is not here ({count} CUDA devices, onnxruntime "
        f"{'with' if there else 'without'} CUDA); see img2img doctor"
    )


def _info(session: Any, path: Path) -> ModelInfo:
    try:
        described = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    except (KeyError, ValueError):
        raise ModelError(f"{path}: without readable img2img metadata") from None
    if not isinstance(described, dict):
        raise ModelError(f"{path}: its img2img metadata is not a table")
    return ModelInfo.from_dict(described, str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

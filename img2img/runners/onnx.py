"""ONNX models through onnxruntime, without torch."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import EnvironmentFault, ModelError, UsageError, describe_os_error
from img2img.exportinfo import EXPORT_KEY, ExportInfo
from img2img.modelinfo import KEY, ModelInfo
from img2img.runners.base import Float, Runner, check_channels, check_domain
from img2img.runners.core import float_core
from img2img.runners.cuda import cuda_device_count

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
    """`device`: auto, cpu, cuda or cuda:N. Of a file that takes pixels the float network inside is
    run, so that pictures of 16 bits keep their depth.

    Attributes:
        export: what the file says of its graph and its proof; None in older files.

    Raises:
        ModelError: not an ONNX model of ours, or damaged.
        EnvironmentFault: a device asked for by name that does not load.
    """

    def __init__(self, path: Path, device: str = "auto"):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {describe_os_error(error)}") from None
        # Before onnxruntime parses it: a damaged file may crash the process there.
        digest, place = digest_of(data)
        if place < 0:
            raise ModelError(f"{path}: not an ONNX model made by img2img, or damaged")
        if data[place : place + len(digest)] != digest.encode():
            raise ModelError(f"{path}: damaged (its SHA-256 does not match); export it again")
        try:
            data, io = float_core(data)
        except ValueError as error:
            raise ModelError(f"{path}: not an ONNX model: {error}") from None
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
        self.export = _export(self._session, path)
        if (self.export or ExportInfo()).io != io:
            raise ModelError(f"{path}: its graph is of io {io}, its metadata says otherwise")
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
        precision = (self.export or ExportInfo()).precision
        where = "cpu" if wanted.startswith("CPU") else device
        self.description = f"onnxruntime {where} {precision}"

    def infer(self, x: Float, domain: Float | None = None) -> Float:
        """As every runner's; UsageError too for a size that a graph of one fixed size refuses."""
        check_domain(self.info, x, domain)
        given = [x] if domain is None else [x, domain]
        fixed = self.export or ExportInfo()
        if fixed.height is not None and x.shape[2:] != (fixed.height, fixed.width):
            raise UsageError(
                f"{self.info.name}: exported for {fixed.width}x{fixed.height} alone, not for "
                f"{x.shape[3]}x{x.shape[2]}; export it without --static"
            )
        if fixed.batch is None or fixed.batch == x.shape[0]:
            return self._run(given)
        parts = []
        for start in range(0, x.shape[0], fixed.batch):
            # Places that are left over repeat the last picture.
            rows = np.minimum(np.arange(start, start + fixed.batch), x.shape[0] - 1)
            parts.append(self._run([value[rows] for value in given]))
        return np.concatenate(parts)[: x.shape[0]]

    def _run(self, given: list[Float]) -> Float:
        return self._session.run(None, dict(zip(self._inputs, given, strict=True)))[0]


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


def _export(session: Any, path: Path) -> ExportInfo | None:
    text = session.get_modelmeta().custom_metadata_map.get(EXPORT_KEY)
    return None if text is None else ExportInfo.from_json(text, str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

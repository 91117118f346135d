"""ONNX models through onnxruntime, without torch."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import EnvironmentFault, ModelError, UsageError
from img2img.model_format.export_info import EXPORT_KEY, ExportInfo
from img2img.model_format.info import KEY, ModelInfo
from img2img.onnx_format.float_core import float_core
from img2img.onnx_format.metadata import metadata, weight_precision
from img2img.onnx_format.reading import contradiction, read_whole, seen_in, what_is_missing
from img2img.runners.base import GPU_PIXELS, Float, Runner, check_channels, check_domain
from img2img.runners.onnx_local import OnnxLocal
from img2img.system import cpu
from img2img.system.cuda import cuda_device_count
from img2img.system.out_of_memory import memory_faults
from img2img.system.threads import Turns, busy, sleeping
from img2img.tiling.locality import Local

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


def verified(path: Path) -> bytes:
    """The bytes of an ONNX file of ours, checked before a library parses them: the digest, then
    the structure (`onnxcheck`), then its metadata against its graph.

    Raises ModelError when it is none of ours, damaged, hostile or contradictory.
    """
    data = read_whole(path)
    digest, place = digest_of(data)
    if place >= 0 and data[place : place + len(digest)] != digest.encode():
        raise ModelError(f"{path}: damaged (its SHA-256 does not match); export it again")
    seen = seen_in(data, path)
    if place < 0:
        raise ModelError(f"{path}: {what_is_missing(data, seen)}")
    complaint = contradiction(seen, read_info(data, path), read_export(data, path))
    if complaint:
        raise ModelError(f"{path}: {complaint}")
    return data


class OnnxRunner(Runner):
    """`device`: auto, cpu, cuda or cuda:N. It computes in the precision that the file has. Of a
    file that takes pixels the float network inside runs, so that 16 bits are kept.

    `tensorrt`: by onnxruntime's TensorRT provider, on cuda or cuda:N, in `precision` fp32 or fp16.

    Attributes:
        export: what the file says of its graph and its proof; None in older files.

    Raises:
        UsageError: another device, or a precision that the file does not have.
        ModelError: not an ONNX model of ours, or damaged.
        EnvironmentFault: a device asked for by name that does not load.
    """

    def __init__(
        self, path: Path, device: str = "auto", precision: str = "auto", tensorrt: bool = False
    ):
        data = verified(path)
        self.info = read_info(data, path)
        self.export = read_export(data, path)
        stored = self.export.precision if self.export else weight_precision(data)
        self.precision = stored if precision == "auto" else precision
        if self.precision != stored and not (tensorrt and (stored, precision) == ("fp32", "fp16")):
            raise UsageError(
                f"{path}: holds {stored} weights, which onnxruntime computes as they are; "
                f"--precision {precision} needs another file or another runner"
            )
        try:
            data, io = float_core(data)
        except ValueError as error:
            raise ModelError(f"{path}: not an ONNX model: {error}") from None
        if (self.export or ExportInfo()).io != io:
            raise ModelError(f"{path}: its graph is of io {io}, its metadata says otherwise")
        providers = providers_for(device, self.precision, tensorrt)
        self._sessions = {cpu.cores(): opened_session(data, path, providers, device)}
        on_cpu = providers[0][0] == _CPU
        self._turns = Turns(cpu.cores(), on_cpu and busy(cpu.cores())) if on_cpu else None
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
        self._path, self._providers, self._lock = path, providers, threading.Lock()
        self._local: OnnxLocal | None = None
        self._cuda = None if providers[0][0] == _CPU else int(providers[0][1]["device_id"])
        if self._cuda is not None:
            self.batch_pixels = GPU_PIXELS
        place = "cpu" if self._cuda is None else "cuda" if device == "auto" else device
        name = "tensorrt" if tensorrt else "onnxruntime"
        self.description = f"{name} {place} {self.precision}"

    def infer(self, x: Float, domain: Float | None = None) -> Float:
        """As every runner's; UsageError too for a size that a graph of one fixed size refuses."""
        check_domain(self.info, x, domain)
        if self._session is None:
            raise UsageError("this runner is closed")
        given = [x] if domain is None else [x, domain]
        fixed = self.export or ExportInfo()
        if fixed.height is not None and x.shape[2:] != (fixed.height, fixed.width):
            raise UsageError(
                f"{self.info.name}: exported for {fixed.width}x{fixed.height} alone, not for "
                f"{x.shape[3]}x{x.shape[2]}; export it without --static"
            )
        with memory_faults(x.shape, self.description):
            if fixed.batch is None or fixed.batch == x.shape[0]:
                return self._run(given)
            parts = []
            for start in range(0, x.shape[0], fixed.batch):
                # Places that are left over repeat the last picture.
                rows = np.minimum(np.arange(start, start + fixed.batch), x.shape[0] - 1)
                parts.append(self._run([value[rows] for value in given]))
            return np.concatenate(parts)[: x.shape[0]]

    @property
    def _session(self) -> Any:
        """The session of the present number of threads; None in a closed runner."""
        if not self._sessions:
            return None
        count = cpu.cores() if self._turns is None else self._turns.count
        if count not in self._sessions:
            data = float_core(verified(self._path))[0]
            self._sessions[count] = opened_session(data, self._path, self._providers, "cpu", count)
        return self._sessions[count]

    def _run(self, given: list[Float]) -> Float:
        named = dict(zip(self._inputs, given, strict=True))
        session = self._session
        if self._cuda is not None:
            return self._bound(named)
        if self._turns is None:
            return session.run(None, named)[0]
        began = self._turns.begin()
        answer = session.run(None, named)[0]
        with self._lock:
            self._turns.end(began, given[0].shape[0] * given[0].shape[2] * given[0].shape[3])
            if not self._turns.trying:  # the others' memory is free again
                self._sessions = {self._turns.count: self._session}
        return answer

    def _bound(self, given: dict[str, Float]) -> Float:
        """Input and output are bound to the device, so that one copy goes in and one comes out."""
        binding = self._session.io_binding()
        for name, value in given.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        binding.bind_output(self._session.get_outputs()[0].name, "cuda", self._cuda)
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    def close(self) -> None:
        self._sessions, self._local = {}, None

    def local(self) -> Local:
        if self._session is None:
            raise UsageError("this runner is closed")
        if self._local is None:  # the bytes are read again: they may be large, tiles are rare
            if self.export is not None and self.export.height is not None:
                raise UsageError(f"{self.info.name}: exported for one size; use --tile off")
            options = self._session.get_session_options()
            data = float_core(verified(self._path))[0]
            self._local = OnnxLocal(data, options, self._providers, self.info.name)
        return self._local


_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
Providers = list[tuple[str, dict[str, str]]]


def opened_session(
    data: bytes, path: Path, providers: Providers, device: str, threads: int | None = None
) -> Any:
    """An onnxruntime session of the file `data`, read from `path`; `device` as it was asked for;
    `threads` on the processor, by default one for each core.

    Raises ModelError when it is refused, EnvironmentFault when another provider loads than asked.
    """
    import onnxruntime

    try:
        options = sleeping(onnxruntime.SessionOptions())
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed
        # A plan for each size would be kept beside the arena: twice the memory, no time gained.
        options.enable_mem_pattern = False
        options.intra_op_num_threads = threads or cpu.cores()
        session = onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime has a class of its own for every failure
        raise ModelError(f"{path}: onnxruntime refuses it: {first_line(error)}") from None
    wanted, real = providers[0][0], session.get_providers()
    if wanted != _CPU and wanted not in real:
        from img2img.installed import hint

        raise EnvironmentFault(
            f"device '{device}': onnxruntime loaded {real[0]} instead of {wanted}; "
            f"{hint('gpu')}, or use --device cpu"
        )
    return session


def providers_for(device: str, precision: str, tensorrt: bool = False) -> Providers:
    """What onnxruntime is to run on, preferred first.

    Raises UsageError for an unknown device, EnvironmentFault for one that is not here.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault(
            f"onnxruntime cannot be loaded: {error}; see img2img doctor"
        ) from None
    onnxruntime.set_default_logger_severity(4)
    cpu: Providers = [(_CPU, {})]
    if device == "cpu" and not tensorrt:
        return cpu
    kind, _, number = device.partition(":")
    if device != "auto" and (kind != "cuda" or not (number or "0").isdigit()):
        known = "auto, cuda or cuda:N" if tensorrt else "auto, cpu, cuda or cuda:N"
        name = "tensorrt" if tensorrt else "onnxruntime"
        raise UsageError(f"{name} runs on {known}, not on '{device}'")
    count = cuda_device_count()
    first = _TENSORRT if tensorrt else _CUDA
    there = first in onnxruntime.get_available_providers()
    if int(number or 0) < count and there:
        onnxruntime.preload_dlls()
        where = {"device_id": number or "0"}
        # TF32 keeps ten bits of a float32's mantissa; fp32 was said.
        cuda: Providers = [(_CUDA, where | {"use_tf32": "0"})]
        if tensorrt:
            half = "1" if precision == "fp16" else "0"
            return [(_TENSORRT, where | {"trt_fp16_enable": half}), *cuda, *cpu]
        return cuda + cpu
    if device == "auto" and not tensorrt:
        return cpu
    wish = "runner 'tensorrt'" if device == "auto" else f"device '{device}'"
    raise EnvironmentFault(
        f"{wish} is not here ({count} CUDA devices, onnxruntime "
        f"{'with' if there else 'without'} {'TensorRT' if tensorrt else 'CUDA'}); "
        "see img2img doctor"
    )


def read_info(data: bytes, path: Path) -> ModelInfo:
    """What the ONNX file `data`, read from `path`, says of itself; ModelError when nothing."""
    try:
        described = json.loads(metadata(data)[KEY])
    except (KeyError, ValueError, RecursionError):
        raise ModelError(f"{path}: without readable img2img metadata") from None
    if not isinstance(described, dict):
        raise ModelError(f"{path}: its img2img metadata is not a table")
    return ModelInfo.from_dict(described, str(path))


def read_export(data: bytes, path: Path) -> ExportInfo | None:
    """What the ONNX file `data`, read from `path`, says of its graph; None in older files."""
    text = metadata(data).get(EXPORT_KEY)
    return None if text is None else ExportInfo.from_json(text, str(path))


def first_line(error: BaseException) -> str:
    """The first line of what a library said, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

"""ONNX models through onnxruntime, without torch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from img2img.errors import ModelError, UsageError
from img2img.model_format.export_info import ExportInfo
from img2img.onnx_format.float_core import float_core
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.reading import verified
from img2img.onnx_format.session import CPU, Session, open_session, providers_for
from img2img.runners.base import GPU_PIXELS, Float, Runner, check_channels
from img2img.runners.onnx_tiled import OnnxTiledModel
from img2img.system import cpu
from img2img.system.out_of_memory import memory_faults
from img2img.system.threads import Turns, busy
from img2img.tiling.locality import TiledModel


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
        file = verified(path)
        self.info, self.export = file.info, file.export
        stored = file.export.precision if file.export else file.model.weight_precision
        self.precision = stored if precision == "auto" else precision
        if self.precision != stored and not (tensorrt and (stored, precision) == ("fp32", "fp16")):
            raise UsageError(
                f"{path}: holds {stored} weights, which onnxruntime computes as they are; "
                f"`precision` {precision} needs another file or another runner"
            )
        # A page or a server may serve such a file as it is; here it is not known what it takes.
        if file.export is None and file.model.io != ExportInfo().io:
            raise ModelError(f"{path}: its graph is of io {file.model.io}, its metadata disagrees")
        self._path, self._device, self._lock = path, device, threading.Lock()
        self._providers = providers_for(device, self.precision, tensorrt)
        name, settings = self._providers[0]
        self._cuda = None if name == CPU else int(settings["device_id"])
        count = cpu.cores()
        self._turns = Turns(count, busy(count)) if self._cuda is None else None
        self._sessions = {count: self._opened(file.model, count)}
        self._tiled: OnnxTiledModel | None = None
        check_channels(self.info, str(path))
        inputs, outputs = self._session.inputs, self._session.outputs
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
        if self._cuda is not None:
            self.batch_pixels = GPU_PIXELS
        place = "cpu" if self._cuda is None else "cuda" if device == "auto" else device
        name = "tensorrt" if tensorrt else "onnxruntime"
        self.description = f"{name} {place} {self.precision}"

    def _opened(self, model: OnnxModel, threads: int) -> Session:
        core = float_core(model).to_bytes()
        return open_session(core, self._path, self._providers, self._device, threads=threads)

    def _infer(self, x: Float, domain: Float | None) -> Float:
        given = [x] if domain is None else [x, domain]
        fixed = self.export or ExportInfo()
        if fixed.height is not None and x.shape[2:] != (fixed.height, fixed.width):
            raise UsageError(
                f"{self.info.name}: exported for {fixed.width}x{fixed.height} only, not for "
                f"{x.shape[3]}x{x.shape[2]}; export it without a fixed size"
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
    def _session(self) -> Session:
        """The session of the present number of threads."""
        count = cpu.cores() if self._turns is None else self._turns.count
        if count not in self._sessions:
            self._sessions[count] = self._opened(verified(self._path).model, count)
        return self._sessions[count]

    def _run(self, given: list[Float]) -> Float:
        named = dict(zip(self._inputs, given, strict=True))
        session = self._session
        if self._cuda is not None:
            return session.run_on_cuda(named, self._cuda)
        if self._turns is None:
            return session.run(named)[0]
        began = self._turns.begin()
        answer = session.run(named)[0]
        with self._lock:
            self._turns.end(began, given[0].shape[0] * given[0].shape[2] * given[0].shape[3])
            if not self._turns.trying:  # the others' memory is free again
                self._sessions = {self._turns.count: self._session}
        return answer

    def _release(self) -> None:
        self._sessions, self._tiled = {}, None

    def _tiles(self) -> TiledModel:
        if self._tiled is None:  # the file is read again: it may be large, tiles are rare
            if self.export is not None and self.export.height is not None:
                raise UsageError(f"{self.info.name}: exported for one size; use `tile` off")
            count = None if self._turns is None else self._turns.count
            model = verified(self._path).model
            self._tiled = OnnxTiledModel(
                model, self.info.name, self._providers, self._device, count
            )
        return self._tiled

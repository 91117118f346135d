"""ONNX models through OpenVINO on the CPU: fp32, bf16 where the processor has it, fp16 likewise.

One compiled model of dynamic shapes serves every size. A new size costs some milliseconds once,
and memory stays flat: after 320 different sizes it stood at twice that of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import EnvironmentFault, MissingExtra, ModelError, UsageError, first_line
from img2img.model_format.export_info import ExportInfo
from img2img.onnx_format.float_core import float_core
from img2img.onnx_format.reading import verified
from img2img.onnx_format.session import Array
from img2img.runners.base import Float, Runner, check_channels
from img2img.runners.openvino_tiled import OpenVinoTiledModel
from img2img.system import cpu
from img2img.system.out_of_memory import is_memory_error, memory_faults
from img2img.tiling.locality import TiledModel

if TYPE_CHECKING:
    from openvino import Core, InferRequest, Model

_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVinoRunner(Runner):
    """`device`: auto or cpu. `precision`: auto (fp32), fp32, bf16 or fp16.

    Raises:
        UsageError: another device.
        ModelError: not an ONNX model of ours, damaged, or not for OpenVINO.
        MissingExtra: OpenVINO is not installed.
        EnvironmentFault: OpenVINO does not load, or the processor lacks the precision.
    """

    def __init__(self, path: Path, device: str = "auto", precision: str = "auto"):
        check_device(device)
        self.precision = "fp32" if precision == "auto" else precision
        # Before OpenVINO parses it, as for onnxruntime.
        file = verified(path)
        self.info = file.info
        export = file.export or ExportInfo()
        if export.precision != "fp32" or export.height is not None or export.batch is not None:
            what = export.precision if export.precision != "fp32" else "one fixed size"
            raise UsageError(f"{path}: an export in {what}; use `runner` onnxruntime")
        check_channels(self.info, str(path))
        self._path = path
        self._compiler = Compiler(self.precision, path)
        self._tiled: TiledModel | None = None
        core = float_core(file.model).to_bytes()
        self._request: Any = self._compiler(core, self._check_inputs)
        self.description = f"openvino cpu {self.precision}"

    def _infer(self, x: Float, domain: Float | None) -> Float:
        with memory_faults(x.shape, "OpenVINO on the CPU"):
            return infer(self._request, [x] if domain is None else [x, domain])

    def _tiles(self) -> TiledModel:
        if self._tiled is None:  # the file is read again: it may be large, tiles are rare
            model = verified(self._path).model
            self._tiled = OpenVinoTiledModel(model, self._compiler, self.info.name)
        return self._tiled

    def _release(self) -> None:
        self._request = self._tiled = None

    def _check_inputs(self, model: Model) -> None:
        path = self._path
        wide = [self.info.in_channels, *([len(self.info.domains)] if self.info.domains else [])]
        types = {port.get_element_type().get_type_name() for port in model.inputs}
        if len(model.inputs) != len(wide) or len(model.outputs) != 1 or types != {"f32"}:
            raise UsageError(
                f"{path}: runner openvino takes files of float inputs; use `runner` onnxruntime"
            )
        for port, width in zip(model.inputs, wide, strict=True):
            shape = port.get_partial_shape()
            if shape[1].is_static and shape[1].get_length() != width:
                raise ModelError(
                    f"{path}: an input has {shape[1].get_length()} channels or domains, its "
                    f"metadata says {width}"
                )


class Compiler:
    """Makes requests that run graphs in `precision` (fp32, bf16 or fp16); `where` is the file that
    they come from, for messages.

    Raises MissingExtra or EnvironmentFault as `OpenVinoRunner`.
    """

    def __init__(self, precision: str, where: object):
        self._core = _core()
        _check_precision(precision, self._core)
        self._precision, self._where = precision, where

    def __call__(
        self, data: bytes, check: Callable[[Model], None] = lambda model: None
    ) -> InferRequest:
        """A request that runs the graph `data`, which `check` may refuse."""
        settings = {
            "INFERENCE_PRECISION_HINT": _TYPES[self._precision],
            "INFERENCE_NUM_THREADS": cpu.cores(),
            "PERFORMANCE_HINT": "LATENCY",
            # Decoding and encoding run beside it: threads bound to cores would wait for those.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = self._core.read_model(data)
            check(model)
            compiled = self._core.compile_model(model, "CPU", settings)
        except RuntimeError as error:  # whatever it was
            raise ModelError(f"{self._where}: OpenVINO refuses it: {first_line(error)}") from None
        real = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if real != _TYPES[self._precision]:
            raise EnvironmentFault(
                f"OpenVINO computes in {real} instead of {self._precision}; use `precision` fp32"
            )
        return compiled.create_infer_request()


def check_device(device: str) -> None:
    """Raise UsageError for a device that OpenVINO is not used on here."""
    if device not in ("auto", "cpu"):
        raise UsageError(f"openvino runs on auto or cpu here, not on '{device}'")


def infer(request: InferRequest, given: Sequence[Array]) -> Array:
    """The first output for these inputs. Raises EnvironmentFault where OpenVINO fails otherwise
    than for want of memory."""
    try:
        results = request.infer([*given])
        return results[0].copy()  # the request writes into the same memory next time
    except RuntimeError as error:
        if is_memory_error(error):
            raise
        raise EnvironmentFault(f"OpenVINO failed: {first_line(error)}") from None


def _core() -> Core:
    try:
        import openvino
    except ImportError as error:
        if getattr(error, "name", "") == "openvino":
            raise MissingExtra("runner openvino", "openvino") from None
        raise EnvironmentFault(f"OpenVINO cannot be loaded: {error}; see img2img doctor") from None
    return _made_once(openvino.Core)


@cache
def _made_once(make: Callable[[], Core]) -> Core:
    """One for the process, kept to its end: OpenVINO's CPU plugin gives the thread that loads it a
    stack for signals, and frees that stack in the thread that unloads it. The next Ctrl-C in the
    first thread would then be a segmentation fault."""
    return make()


def _check_precision(precision: str, core: Core) -> None:
    """OpenVINO also lists what it can imitate, so the processor itself is asked as well."""
    if precision == "fp32":
        return
    listed = precision.upper() in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    own = cpu.bf16_arithmetic() if precision == "bf16" else cpu.fp16_arithmetic()
    if not listed or own == "":
        raise EnvironmentFault(
            f"this CPU has no {precision} arithmetic for OpenVINO; use `precision` fp32"
        )

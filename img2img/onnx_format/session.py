"""The one place that opens onnxruntime sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from img2img.errors import EnvironmentFault, ModelError, UsageError, first_line
from img2img.system import cpu
from img2img.system.cuda import cuda_device_count
from img2img.system.threads import sleeping

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg

CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
Providers = Sequence[tuple[str, dict[str, str]]]
ON_CPU: Providers = ((CPU, {}),)
Array = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """An input or output as onnxruntime names it: `type` as in `tensor(float)`; None in `shape`
    is any size."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Session:
    """A loaded graph.

    Attributes:
        inputs, outputs: what it takes and gives.
        raw: onnxruntime's own session.
    """

    def __init__(self, raw: InferenceSession):
        self.raw = raw
        self.inputs = tuple(map(_place, raw.get_inputs()))
        self.outputs = tuple(map(_place, raw.get_outputs()))

    def run(self, given: Mapping[str, Array]) -> list[Array]:
        """What all outputs are for the inputs `given`, by name."""
        return self.raw.run(None, dict(given))

    def run_on_cuda(self, given: Mapping[str, Array], device: int) -> Array:
        """The first output. Input and output are bound to the CUDA device of this number, so that
        one copy goes in and one comes out."""
        binding = self.raw.io_binding()
        for name, value in given.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        binding.bind_output(self.outputs[0].name, "cuda", device)
        self.raw.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]


def _place(value: NodeArg) -> Place:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Place(value.name, value.type, shape)


def open_session(
    data: bytes,
    where: object,
    providers: Providers = ON_CPU,
    device: str = "cpu",
    *,
    threads: int | None = None,
    arena: bool = True,
    optimised: bool = True,
) -> Session:
    """Load the ONNX file `data`, called `where` in messages.

    Args:
        data: the bytes of a checked file, or of a graph made of one.
        where: the path of the file, or what it is.
        providers: as `providers_for` gives them.
        device: as the user gave it, for messages.
        threads: on the processor, by default one for each core.
        arena: whether memory is kept for the next run; without, every run frees what it took.
        optimised: whether the graph is optimised; without, it loads faster and stays as stored.

    Raises:
        ModelError: onnxruntime refuses the file.
        EnvironmentFault: onnxruntime is missing, or another provider loads than asked for.
    """
    onnxruntime = _onnxruntime()
    try:
        options = sleeping(onnxruntime.SessionOptions())
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed
        # A plan for each size would be kept beside the arena: twice the memory, no time gained.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = arena
        options.intra_op_num_threads = threads or cpu.cores()
        if not optimised:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(data, options, providers=list(providers))
    except Exception as error:  # onnxruntime has a class of its own for every failure
        raise ModelError(f"{where}: onnxruntime refuses it: {first_line(error)}") from None
    wanted, real = providers[0][0], session.get_providers()
    if wanted != CPU and wanted not in real:
        from img2img.system.installed import hint

        raise EnvironmentFault(
            f"device '{device}': onnxruntime loaded {real[0]} instead of {wanted}; "
            f"{hint('gpu')}, or use `device` cpu"
        )
    return Session(session)


def providers_for(device: str, precision: str, tensorrt: bool = False) -> Providers:
    """What onnxruntime is to run on, preferred first.

    Raises UsageError for an unknown device, EnvironmentFault for one that is not available.
    """
    onnxruntime = _onnxruntime()
    if device == "cpu" and not tensorrt:
        return ON_CPU
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
        # TF32 keeps ten bits of a float32's mantissa; fp32 is promised.
        cuda: Providers = ((_CUDA, where | {"use_tf32": "0"}), *ON_CPU)
        if tensorrt:
            half = "1" if precision == "fp16" else "0"
            return ((_TENSORRT, where | {"trt_fp16_enable": half}), *cuda)
        return cuda
    if device == "auto" and not tensorrt:
        return ON_CPU
    what = "runner 'tensorrt'" if device == "auto" else f"device '{device}'"
    raise EnvironmentFault(
        f"{what} is not available ({count} CUDA devices, onnxruntime "
        f"{'with' if there else 'without'} {'TensorRT' if tensorrt else 'CUDA'}); "
        "see img2img doctor"
    )


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault(
            f"onnxruntime cannot be loaded: {error}; see img2img doctor"
        ) from None
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime

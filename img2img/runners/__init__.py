"""A model file -> a function on pixels. `RUNNERS` is the table; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import UsageError, proposal
from img2img.runners.base import Runner

# How many pixels the network is going to see, where that is known; or that as a function of the
# working size (0: each picture's own), which stands in the model file.
Workload = int | Callable[[int], int | None] | None
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class RunnerKind:
    """Which file a runner takes, the precisions it computes in, and how to open it:
    `open(path, device, precision)`."""

    suffix: str
    precisions: tuple[str, ...]
    open: Callable[[Path, str, str], Runner]


def _onnxruntime(path: Path, device: str, precision: str) -> Runner:
    from img2img.runners.onnx import OnnxRunner

    return OnnxRunner(path, device, precision)


def _tensorrt(path: Path, device: str, precision: str) -> Runner:
    from img2img.runners.onnx import OnnxRunner

    return OnnxRunner(path, device, precision, tensorrt=True)


def _openvino(path: Path, device: str, precision: str) -> Runner:
    from img2img.runners.openvino import OpenVinoRunner

    return OpenVinoRunner(path, device, precision)


def _torch(path: Path, device: str, precision: str) -> Runner:
    from img2img.runners.torch import TorchRunner

    return TorchRunner(path, device, precision)


def _torch_compile(path: Path, device: str, precision: str) -> Runner:
    from img2img.runners.torch import TorchRunner

    return TorchRunner(path, device, precision, compile=True)


# onnxruntime computes as the file is: fp16 is for files exported so.
RUNNERS: dict[str, RunnerKind] = {
    "onnxruntime": RunnerKind(".onnx", ("fp32", "fp16"), _onnxruntime),
    "openvino": RunnerKind(".onnx", ("fp32", "bf16", "fp16"), _openvino),
    "tensorrt": RunnerKind(".onnx", ("fp32", "fp16"), _tensorrt),
    "torch": RunnerKind(".safetensors", ("fp32", "bf16", "fp16"), _torch),
    "torch-compile": RunnerKind(".safetensors", ("fp32", "bf16", "fp16"), _torch_compile),
}


def suffixes_for(runner: str) -> tuple[str, ...]:
    """Suffixes of the model files that `runner` (or `auto`) takes, preferred first."""
    if runner == "auto":
        return tuple(dict.fromkeys(kind.suffix for kind in RUNNERS.values()))
    if runner not in RUNNERS:
        raise UsageError(f"unknown runner '{runner}'.{proposal(runner, [*RUNNERS, 'auto'])}")
    return (RUNNERS[runner].suffix,)


def check_precision(precision: str) -> None:
    """Raise UsageError for a precision that no runner knows."""
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision '{precision}'.{proposal(precision, PRECISIONS)}")


def open_runner(
    path: Path | str,
    device: str = "auto",
    runner: str = "auto",
    precision: str = "auto",
    pixels: Workload = None,
    layout: str | None = None,
    value_range: str | None = None,
) -> Runner:
    """Open the model file `path` on `device` (auto, cpu, cuda, cuda:N, mps) to compute in
    `precision` (auto, fp32, bf16, fp16; fp32 is exact).

    Runner `auto` takes the fastest one available: see `choice.choose`, also for `pixels`, the
    number of input pixels to come (or a function of the model's working size that gives it). With
    `auto` and an unknown number of pixels that is onnxruntime for .onnx files. Precision `auto` of
    a named runner is fp32, or that of the file.

    `layout` (nchw or nhwc) and `value_range` (-1..1, 0..1 or 0..255; none for graphs of uint8) are
    for .onnx files made elsewhere, which do not describe their input: see `ForeignRunner`.

    Raises:
        UsageError: unknown runner, precision, layout or range, or a runner that does not take this
            kind of file.
        ModelError: the file is refused.
        EnvironmentFault: the device is absent, the processor lacks the precision, or (MissingExtra)
            the runner's package is not installed.
    """
    path = Path(path)
    check_precision(precision)
    suffixes = suffixes_for(runner)
    if path.suffix not in suffixes:
        raise UsageError(f"{path}: runner {runner} takes {' or '.join(suffixes)} files")
    if layout is not None or value_range is not None:
        return _foreign(path, device, runner, precision, layout, value_range)
    if runner == "auto" and path.suffix == ".onnx":
        from img2img.runners.choice import choose

        return choose(path, device, precision, pixels)
    kind = RUNNERS["torch" if runner == "auto" else runner]
    if precision not in ("auto", *kind.precisions):
        able = [name for name, other in RUNNERS.items() if precision in other.precisions]
        raise UsageError(
            f"runner {runner} computes {' or '.join(kind.precisions)}, not {precision}; "
            f"{precision} is computed by {' and '.join(able)}"
        )
    return kind.open(path, device, precision)


def _foreign(
    path: Path,
    device: str,
    runner: str,
    precision: str,
    layout: str | None,
    value_range: str | None,
) -> Runner:
    from img2img.runners.foreign_onnx import LAYOUTS, Entry, ForeignRunner

    if layout is None:
        raise UsageError(f"`value_range` alone; give `layout` {' or '.join(LAYOUTS)} too")
    entry = Entry(layout, value_range)
    if path.suffix != ".onnx" or runner not in ("auto", "onnxruntime", "openvino"):
        raise UsageError(
            "`layout` and `value_range` are for .onnx files made elsewhere, run by onnxruntime or "
            "openvino"
        )
    return ForeignRunner(path, entry, device, precision, openvino=runner == "openvino")


__all__ = [
    "PRECISIONS",
    "RUNNERS",
    "Runner",
    "RunnerKind",
    "Workload",
    "check_precision",
    "open_runner",
    "suffixes_for",
]

"""Which runner `auto` takes for an ONNX file, decided by what is available and by a trial."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from img2img.errors import Img2ImgError, MissingExtra, UsageError
from img2img.runners.base import Float, Runner
from img2img.runners.onnx import OnnxRunner
from img2img.runners.trial import decibels, made_batch
from img2img.system import cpu

# What a precision chosen by `auto` may differ from fp32 on pictures.
HONEST_DB = 45.0
# Single photographs came out up to 4.7 dB below the worst made picture, folders of them 3.5 dB.
MARGIN_DB = 3.0
# Opening OpenVINO and its trial cost 0.4 s of CPU time and the work of about six pictures of
# 256x256; below these nothing is tried.
_MIN_PIXELS = 2_000_000
_MIN_SECONDS = 2.0
_SIDE = 256
# Timings on a shared machine differ by this much from run to run.
_FASTER = 1.15


@dataclass(frozen=True)
class _Tried:
    runner: Runner
    output: Float
    seconds: float  # for one picture of the trial


def choose(
    path: Path,
    device: str,
    precision: str,
    pixels: int | Callable[[int], int | None] | None,
) -> Runner:
    """The fastest honest runner for the ONNX file `path`; its `reason` says why.

    `pixels`: how many input pixels are going to be translated, where that is known; or a function
    of the model's working size that gives it. OpenVINO is
    tried only for a job that is large enough to pay for the trial.

    Raises as `OnnxRunner` and `OpenVinoRunner`.
    """
    if precision in ("bf16", "fp16"):
        return _asked_for(path, device, precision)
    first = OnnxRunner(path, device, precision)
    if not first.description.startswith("onnxruntime cpu"):
        first.reason = "a CUDA device is available"
        return first
    pixels = pixels(first.working_size) if callable(pixels) else pixels
    first.reason = _why_not_tried(first, pixels)
    if first.reason or pixels is None:
        return first
    base = _tried(first)
    seconds = base.seconds / (_SIDE * _SIDE) * pixels
    if seconds < _MIN_SECONDS:
        first.reason = f"the network needs about {seconds:.1f} s; trying others would not pay off"
        return first
    return _fastest(path, base, precision)


def _asked_for(path: Path, device: str, precision: str) -> Runner:
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"{path}: {precision} on '{device}' needs the .safetensors model (`runner` torch)"
            + (" or `runner` tensorrt" if precision == "fp16" else "")
        )
    if not openvino_is_installed():
        raise MissingExtra(f"{precision} for an .onnx model", "openvino")
    from img2img.runners.openvino import OpenVinoRunner

    runner = OpenVinoRunner(path, device, precision)
    runner.reason = f"{precision} was requested"
    return runner


def openvino_is_installed() -> bool:
    """Whether the package is there, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def _why_not_tried(first: Runner, pixels: int | None) -> str:
    if not openvino_is_installed():
        return "OpenVINO is not installed"
    if first.precision != "fp32":
        return f"the file holds {first.precision} weights"
    if pixels is None:
        return "the number of pixels to translate is unknown"
    if pixels < _MIN_PIXELS:
        return "the job is too small for another runner to pay off"
    return ""


def _fastest(path: Path, base: _Tried, precision: str) -> Runner:
    """The fastest of onnxruntime (`base`) and OpenVINO, within the bounds of `precision`."""
    arithmetic = cpu.bf16_arithmetic() if precision == "auto" else ""
    bf16_note = ""
    if arithmetic:
        try:
            bf16 = _tried_openvino(path, "bf16")
            near = decibels(bf16.output, base.output)
            bf16_note = f"bf16 is {near:.1f} dB from fp32 on the trial pictures"
            if near < HONEST_DB + MARGIN_DB:
                bf16_note += f", below {HONEST_DB + MARGIN_DB:.0f}"
            elif bf16.seconds * _FASTER < base.seconds:
                base.runner.close()
                bf16.runner.reason = f"this CPU has {arithmetic}; {bf16_note}, {_times(base, bf16)}"
                return bf16.runner
            else:
                bf16_note += " and not faster"
        except Img2ImgError as error:
            bf16_note = str(error)
    bf16_note = f"; {bf16_note}" if bf16_note else ""
    try:
        fp32 = _tried_openvino(path, "fp32")
    except Img2ImgError as error:
        base.runner.reason = f"{error}{bf16_note}"
        return base.runner
    # The same arithmetic in another order: what differs by more is a defect of the library.
    same = decibels(fp32.output, base.output) >= 60
    if same and fp32.seconds * _FASTER < base.seconds:
        base.runner.close()
        fp32.runner.reason = f"{_times(base, fp32)}{bf16_note}"
        return fp32.runner
    found = "is not faster in fp32" if same else "gives a different picture"
    base.runner.reason = f"OpenVINO {found}{bf16_note}"
    return base.runner


def _times(base: _Tried, other: _Tried) -> str:
    return f"{base.seconds / other.seconds:.1f} times as fast as onnxruntime"


def _tried_openvino(path: Path, precision: str) -> _Tried:
    from img2img.runners.openvino import OpenVinoRunner

    return _tried(OpenVinoRunner(path, "cpu", precision))


def _tried(runner: Runner) -> _Tried:
    """Two pictures one by one; the first warms up, the second is timed."""
    x, domain = made_batch(runner.info, _SIDE, _SIDE, 2)
    vectors = [None if domain is None else domain[k : k + 1] for k in range(2)]
    first = runner.infer(x[:1], vectors[0])
    began = time.perf_counter()
    second = runner.infer(x[1:], vectors[1])
    return _Tried(runner, np.concatenate([first, second]), time.perf_counter() - began)

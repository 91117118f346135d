"""Which device computes, in which precision and memory format, compiled or not, and why."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import torch

from img2img.errors import ConfigError, EnvironmentFault, UsageError
from img2img.system.memory import free_memory, process_peak

Precision = Literal["auto", "fp32", "bf16", "fp16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]
Compile = Literal["auto", "on", "off"]
CudaGraphs = Literal["auto", "off"]
Choice = tuple[Literal["contiguous", "channels_last"], str]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises EnvironmentFault for an absent device."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UsageError(
            f"unknown device '{wanted}'; known: auto, cpu, cuda, cuda:N, mps"
        ) from None
    absent = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise EnvironmentFault(f"device '{wanted}' is not available; see img2img doctor")
    return device


def choose_precision(wanted: Precision, device: torch.device) -> tuple[str, str]:
    """The precision of the forward pass and why it was chosen. Weights stay float32.

    Raises ConfigError for fp16 where nothing gains from it.
    """
    if wanted == "fp16" and device.type != "cuda":
        raise ConfigError(f"fp16 is for CUDA; on {device.type} use bf16 or fp32")
    if wanted != "auto":
        return wanted, "as set"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return "bf16", "this GPU supports it"
        return "fp16", "this GPU has no bf16"
    if device.type == "cpu":
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            if getattr(torch.cpu, name, lambda: False)():
                kind = "AMX" if "amx" in name else "AVX-512 BF16"
                return "bf16", f"this CPU has {kind}"
        return "fp32", "this CPU has no bf16 arithmetic"
    return "fp32", f"bf16 is not verified on {device.type}"


def choose_memory_format(wanted: MemoryFormat, device: torch.device, precision: str) -> Choice:
    """How the networks' weights lie in memory, as `contiguous` or `channels_last`, and why."""
    if wanted != "auto":
        return wanted, "as set"
    if device.type == "cuda" and precision != "fp32":
        return "channels_last", "the layout of tensor cores"
    if device.type == "cuda":
        return "contiguous", "fp32"
    return "contiguous", _unproven("channels_last", device)


FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Compilation:
    """Whether generators are compiled, with CUDA graphs or not, and why.

    Attributes:
        requested: the user said so, so that failing is an error.
        graphs: CUDA graphs replay the kernels of a pass.
    """

    on: bool
    reason: str
    requested: bool = False
    graphs: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Of torch.compile: dropout draws the numbers that plain networks draw."""
        return {"fallback_random": True} | ({"triton.cudagraphs": True} if self.graphs else {})

    def __str__(self) -> str:
        if not self.on:
            return "plain"
        return "compiled with CUDA graphs" if self.graphs else "compiled"


def choose_compilation(
    wanted: Compile, graphs: CudaGraphs, device: torch.device, processes: int, checkpointing: bool
) -> Compilation:
    """Whether torch.compile pays here. CUDA graphs only with one process, since the averaging of
    gradients between processes is not part of them.

    Raises:
        ConfigError: compile=on together with checkpointing, which the compiler decides by itself.
    """
    if checkpointing and wanted == "on":
        raise ConfigError("compile=on decides by itself what to recompute; use checkpointing=false")
    replayed = graphs == "auto" and device.type == "cuda" and processes == 1
    if wanted != "auto":
        return Compilation(wanted == "on", "as set", wanted == "on", replayed and wanted == "on")
    if device.type != "cuda":
        return Compilation(False, _unproven("compiling", device))
    if checkpointing:
        return Compilation(False, "checkpointing")
    try:
        importlib.import_module("triton")
    except ImportError:
        return Compilation(False, "triton is not installed")
    return Compilation(True, "triton is installed", graphs=replayed)


def _unproven(what: str, device: torch.device) -> str:
    known = (
        "was not faster on the CPU" if device.type == "cpu" else f"is not verified on {device.type}"
    )
    return f"{what} {known}"


def settle_device(device: torch.device) -> None:
    """Wait until everything asked of `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_of(device: torch.device) -> int:
    """Bytes that a device that is no CPU could still take."""
    if device.type == "cuda":
        # What torch keeps of what it took before can be used again.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type == "mps":
        taken = torch.mps.driver_allocated_memory()
        return max(0, torch.mps.recommended_max_memory() - taken)
    return free_memory()


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of the device, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()  # a pool that does not shrink by itself
    return process_peak()

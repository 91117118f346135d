"""Which device computes, in which precision, and why."""

from __future__ import annotations

from typing import Literal

import torch

from img2img.errors import ConfigError, EnvironmentFault, UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wish: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises EnvironmentFault for an absent device."""
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise UsageError(f"unknown device '{wish}'; known: auto, cpu, cuda, cuda:N, mps") from None
    absent = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise EnvironmentFault(f"device '{wish}' is not here; see img2img doctor")
    return device


def choose_precision(wish: Precision, device: torch.device) -> tuple[str, str]:
    """The precision of the forward pass and why it was chosen. Weights stay float32.

    Raises ConfigError for fp16 where nothing gains from it.
    """
    if wish == "fp16" and device.type != "cuda":
        raise ConfigError(f"fp16 is for CUDA; on {device.type} use bf16 or fp32")
    if wish != "auto":
        return wish, "as told"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return "bf16", "this GPU computes it"
        return "fp16", "this GPU has no bf16"
    if device.type == "cpu":
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            if getattr(torch.cpu, name, lambda: False)():
                kind = "AMX" if "amx" in name else "AVX-512 BF16"
                return "bf16", f"this CPU has {kind}"
        return "fp32", "this CPU has no bf16 arithmetic"
    return "fp32", f"bf16 is not proven on {device.type}"

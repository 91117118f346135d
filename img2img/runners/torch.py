"""`.safetensors` models through torch."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from img2img.errors import EnvironmentFault, MissingExtra, UsageError, first_line
from img2img.model_format.checkpoint import load_model
from img2img.runners.base import GPU_PIXELS, Float, Runner, check_channels
from img2img.system import cpu
from img2img.system.out_of_memory import memory_faults
from img2img.tiling.locality import TiledModel


class TorchRunner(Runner):
    """`device`: auto, cpu, cuda, cuda:N or mps. `precision`: auto (fp32), fp32, bf16 or fp16, in
    which weights and activations then are. `compile`: by torch.compile, for any size.

    Raises:
        UsageError: an unknown device, or a precision that is nothing for it.
        ModelError: the file is refused.
        MissingExtra: torch is not installed.
        EnvironmentFault: a device asked for by name that is not available, a precision that it does
            not have, or no compiler.
    """

    def __init__(
        self, path: Path, device: str = "auto", precision: str = "auto", compile: bool = False
    ):
        try:
            import torch
        except ImportError:
            raise MissingExtra(f"{path}: a .safetensors model", "train") from None
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            place = torch.device(device)
        except RuntimeError:
            raise UsageError(
                f"unknown device '{device}'; known: auto, cpu, cuda, cuda:N, mps"
            ) from None
        self.precision = "fp32" if precision == "auto" else precision
        generator, self.info = load_model(path)
        check_channels(self.info, str(path))
        try:
            generator = generator.to(place)
        except (RuntimeError, AssertionError) as error:
            raise EnvironmentFault(
                f"device '{device}' is not available: {first_line(error)}"
            ) from None
        _check_precision(torch, place.type, self.precision)
        self._type = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            self.precision
        ]
        generator.to(self._type)
        self._generator: Any = torch.compile(generator, dynamic=True) if compile else generator
        self._torch, self._place = torch, place
        if place.type != "cpu":
            self.batch_pixels = GPU_PIXELS
        self._plain: Any = generator
        self._tiled: TiledModel | None = None
        self.description = f"{'torch-compile' if compile else 'torch'} {place} {self.precision}"

    def _infer(self, x: Float, domain: Float | None) -> Float:
        torch = self._torch
        given = (x,) if domain is None else (x, domain)
        exact = torch.backends.cudnn.flags(allow_tf32=False)  # fp32 is promised
        with memory_faults(x.shape, self.description), torch.inference_mode(), exact:
            moved = (torch.from_numpy(v).to(self._place, self._type) for v in given)
            try:
                y = self._generator(*moved)
            except Exception as error:
                if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise EnvironmentFault(
                        f"torch.compile does not work here: {first_line(error)}"
                    ) from None
                raise
            return y.float().cpu().numpy()

    def _tiles(self) -> TiledModel:
        if self._tiled is None:
            from img2img.runners.torch_tiled import TorchTiledModel

            self._tiled = TorchTiledModel(self._plain, self._place, self.info.name)
        return self._tiled

    def _release(self) -> None:
        self._generator = self._plain = self._tiled = None


def _check_precision(torch: ModuleType, kind: str, precision: str) -> None:
    if precision == "fp16" and kind == "cpu":
        raise UsageError("torch computes fp16 on cuda and mps; on the CPU use bf16 or fp32")
    lacking = precision == "bf16" and (
        (kind == "cpu" and cpu.bf16_arithmetic() == "")
        or (kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False))
    )
    if lacking:
        raise EnvironmentFault(f"this {kind} device has no bf16 arithmetic; use `precision` fp32")

"""A model file -> a function on pixels. `RUNNERS` is the table; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import UsageError, proposal
from img2img.runners.base import Runner


@dataclass(frozen=True)
class RunnerKind:
    """Which file a runner takes, and how to open it: `open(path, device)`."""

    suffix: str
    open: Callable[[Path, str], Runner]


def _onnxruntime(path: Path, device: str) -> Runner:
    from img2img.runners.onnx import OnnxRunner

    return OnnxRunner(path, device)


def _torch(path: Path, device: str) -> Runner:
    from img2img.runners.torch import TorchRunner

    return TorchRunner(path, device)


RUNNERS: dict[str, RunnerKind] = {
    "onnxruntime": RunnerKind(".onnx", _onnxruntime),
    "torch": RunnerKind(".safetensors", _torch),
}


def suffixes_for(runner: str) -> tuple[str, ...]:
    """Suffixes of the model files that `runner` (or `auto`) takes, preferred first."""
    if runner == "auto":
        return tuple(kind.suffix for kind in RUNNERS.values())
    if runner not in RUNNERS:
        raise UsageError(f"unknown runner '{runner}'.{proposal(runner, [*RUNNERS, 'auto'])}")
    return (RUNNERS[runner].suffix,)


def open_runner(path: Path | str, device: str = "auto", runner: str = "auto") -> Runner:
    """Open the model file `path` on `device` (auto, cpu, cuda, cuda:N, mps).

    Raises:
        UsageError: unknown runner, or one that does not take this kind of file.
        ModelError: the file is refused.
        EnvironmentFault: the device is absent or the runner's package is missing.
    """
    path = Path(path)
    for name, kind in RUNNERS.items():
        if kind.suffix == path.suffix and runner in ("auto", name):
            return kind.open(path, device)
    suffixes = suffixes_for(runner)
    raise UsageError(f"{path}: runner {runner} takes {' or '.join(suffixes)} files")


__all__ = ["RUNNERS", "Runner", "RunnerKind", "open_runner", "suffixes_for"]

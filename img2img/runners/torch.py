"""`.safetensors` models through torch."""

from __future__ import annotations

from pathlib import Path

from img2img.checkpoint import load_model
from img2img.errors import EnvironmentFault, MissingExtra, UsageError
from img2img.runners.base import Float, Runner, check_channels, check_domain
from img2img.runners.local import Local


class TorchRunner(Runner):
    """`device`: auto, cpu, cuda, cuda:N or mps; float32.

    Raises:
        ModelError: the file is refused.
        MissingExtra: torch is not installed.
        EnvironmentFault: a device asked for by name that is not here.
    """

    def __init__(self, path: Path, device: str = "auto"):
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
        generator, self.info = load_model(path)
        check_channels(self.info, str(path))
        try:
            self._generator = generator.to(place)
        except (RuntimeError, AssertionError) as error:
            line = (str(error).splitlines() or [""])[0]
            raise EnvironmentFault(f"device '{device}' is not here: {line}") from None
        self._torch, self._place = torch, place
        self._local: Local | None = None
        self.description = f"torch {place} fp32"

    def infer(self, x: Float, domain: Float | None = None) -> Float:
        check_domain(self.info, x, domain)
        given = (x,) if domain is None else (x, domain)
        with self._torch.inference_mode():
            y = self._generator(*(self._torch.from_numpy(v).to(self._place) for v in given))
            return y.float().cpu().numpy()

    def local(self) -> Local:
        if self._local is None:
            from img2img.runners.torchlocal import TorchLocal

            self._local = TorchLocal(self._generator, self._place, self.info.name)
        return self._local

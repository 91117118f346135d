"""What every runner is: a model's information and a function from pixels to pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ModelError, UsageError
from img2img.images import LUMA, Pixels, as_values, planes_to_pixels, to_network
from img2img.model_format.export_info import ExportInfo
from img2img.model_format.info import ModelInfo
from img2img.tiling.locality import TiledModel

Float = NDArray[np.float32]
_ROWS = 64
GPU_PIXELS = 2**20


class Runner(ABC):
    """An opened model.

    Attributes:
        info: the metadata of the model file.
        description: what runs it, e.g. `onnxruntime cpu fp32`.
        precision: in which it computes: fp32, bf16, fp16 or int8.
        batch_pixels: the best number of pixels to translate at once. A processor's caches hold one
            picture of 256x256; a GPU needs more.
        reason: why `auto` chose it; empty if nothing was chosen.
        export: what an exported file records about its graph; None for others and older files.
    """

    info: ModelInfo
    description: str
    precision: str
    reason: str = ""
    batch_pixels: int = 2**16
    export: ExportInfo | None = None
    _closed: bool = False

    @property
    def working_size(self) -> int:
        """Long side in pixels at which the network works, 0 for each picture's own size. That of
        the model file, but for an export of one fixed size, which takes no other."""
        if self.export is not None and self.export.height is not None:
            return 0
        return self.info.long_side

    def infer(self, x: Float, domain: Float | None = None) -> Float:
        """(N, in_channels, H, W) in [-1, 1], any H and W -> (N, out_channels, s * H, s * W), where
        s is `info.scale`.

        `domain`: float32 (N, domains) of 0 and 1 (and -1 where `info.relative`) for a
        model of several domains.
        Raises UsageError for a domain that is missing, has a wrong shape or is not expected,
        MemoryFault if this does not fit in memory, ModelError for a result of another size.
        """
        check_domain(self.info, x, domain)
        self._check_open()
        y = self._infer(x, domain)
        scale = self.info.scale
        if y.shape[2:] != (scale * x.shape[2], scale * x.shape[3]):
            raise ModelError(
                f"{self.info.name}: gives {y.shape[3]}x{y.shape[2]} pixels for "
                f"{x.shape[3]}x{x.shape[2]}; its metadata says {scale} times as many along a side"
            )
        return y

    def close(self) -> None:
        """Free what it holds; `infer` and `tiled_model` raise UsageError afterwards."""
        self._closed = True
        self._release()

    @abstractmethod
    def _infer(self, x: Float, domain: Float | None) -> Float:
        """`infer` of an open runner and a domain that fits."""

    @abstractmethod
    def _release(self) -> None:
        """Free what it holds."""

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this runner is closed")

    def batch(
        self, pictures: Sequence[Pixels], domains: Sequence[Sequence[float]] | None = None
    ) -> list[Pixels]:
        """Translate pictures of one size and type at once: uint8 or uint16 (H, W, 3) -> the same
        type, (H, W, 3) of `info.scale` times the size, (H, W, 1) from a model of one channel.
        `domains`: for each picture one 0 or 1 for each of `info.domains`, where the model has them.

        Raises MemoryFault if this does not fit in memory.
        """
        planes = [self.planes(pixels) for pixels in pictures]
        x = planes[0][None] if len(planes) == 1 else np.stack(planes)
        del planes
        vectors = None if domains is None else np.array(domains, np.float32)
        y = self.infer(x, vectors)
        return [planes_to_pixels(p, pictures[0].dtype) for p in y]

    def __call__(self, pixels: Pixels, domain: Sequence[float] | None = None) -> Pixels:
        """`batch` of one picture."""
        return self.batch([pixels], None if domain is None else [domain])[0]

    def tiled_model(self) -> TiledModel:
        """The model as tiles use it. Raises UsageError, saying why, where the model or its runner
        cannot translate in tiles."""
        self._check_open()
        return self._tiles()

    def _tiles(self) -> TiledModel:
        """`tiled_model` of an open runner."""
        raise UsageError(f"{self.description} does not translate in tiles; use `tile` off")

    def planes(self, pixels: Pixels) -> Float:
        """uint8 or uint16 (H, W, 3) -> what the network takes, (in_channels, H, W) in [-1, 1]."""
        height, width = pixels.shape[:2]
        x = np.empty((self.info.in_channels, height, width), np.float32)
        for top in range(0, height, _ROWS):  # the steps between would be copies of the whole
            values: Float = as_values(pixels[top : top + _ROWS])
            if self.info.in_channels == 1:
                values = (values @ LUMA)[:, :, None]
            x[:, top : top + _ROWS] = to_network(values).transpose(2, 0, 1)
        return x


def check_channels(info: ModelInfo, where: str) -> None:
    """Raise ModelError when the model does not turn pictures into pictures."""
    if info.in_channels not in (1, 3) or info.out_channels not in (1, 3):
        raise ModelError(
            f"{where}: takes {info.in_channels} and gives {info.out_channels} channels; "
            "pictures are translated by models of 1 or 3 channels"
        )


def check_domain(info: ModelInfo, x: Float, domain: Float | None) -> None:
    """Raise UsageError unless `domain` is what the model needs for the batch `x`."""
    wanted = (x.shape[0], len(info.domains)) if info.domains else None
    given = None if domain is None else domain.shape
    if given != wanted:
        raise UsageError(
            f"{info.name}: needs {f'a domain vector of shape {wanted}' if wanted else 'no domain'}"
            f", not {given}"
        )

"""What an exported file takes and gives, for those who pack it for a page or a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from img2img.errors import ModelError
from img2img.model_format.info import ModelInfo
from img2img.onnx_format.reading import verified
from img2img.onnx_format.session import Place, open_session

Io = Literal["uint8", "float"]
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, its type (`uint8` or `float32`) and its shape, where None is
    any size."""

    name: str
    type: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX file of ours.

    Attributes:
        data: the whole file.
        digest: its SHA-256, as recorded in the file.
        info: what it says of itself.
        io: `uint8`, (N, H, W, C) pixels, or `float`, (N, C, H, W) in [-1, 1].
        inputs: the picture and, for a model of several domains, the domain vector.
        output: the picture.
    """

    data: bytes
    digest: str
    info: ModelInfo
    io: Io
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def any_size(self) -> bool:
        """True unless batch, height or width of the pictures is fixed."""
        places = (0, 1, 2) if self.io == "uint8" else (0, 2, 3)
        return all(self.inputs[0].shape[place] is None for place in places)


def read_graph(path: Path) -> Graph:
    """Read and check an exported `.onnx` file.

    Raises:
        ModelError: damaged, foreign, or with other inputs and outputs than ours have.
        EnvironmentFault: onnxruntime cannot be loaded.
    """
    file = verified(path)
    info = file.info
    session = open_session(file.model.data, path, optimised=False)
    inputs = tuple(_tensor(place, path) for place in session.inputs)
    outputs = [_tensor(place, path) for place in session.outputs]
    io: Io = "uint8" if inputs[0].type == "uint8" else "float"
    channel = 3 if io == "uint8" else 1
    for tensor, channels in ((inputs[0], info.in_channels), (outputs[0], info.out_channels)):
        whole = tensor.type == inputs[0].type and len(tensor.shape) == 4
        if not whole or tensor.shape[channel] not in (channels, None):
            raise ModelError(f"{path}: {tensor.name} is not a picture of {channels} channels")
    return Graph(file.model.data, file.digest, info, io, inputs, outputs[0])


def _tensor(place: Place, path: Path) -> Tensor:
    if place.type not in _TYPES:
        raise ModelError(f"{path}: {place.name} is of type {place.type}")
    return Tensor(place.name, _TYPES[place.type], place.shape)

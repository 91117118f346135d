"""img2img: image-to-image translation. Importing this package imports nothing heavy; the public
names below are resolved when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from img2img._version import __version__
from img2img.system.threads import let_idle_threads_sleep

let_idle_threads_sleep()  # here, since it counts only before torch is imported

if TYPE_CHECKING:
    from img2img.errors import Img2ImgError
    from img2img.exporting.onnx import export_onnx
    from img2img.images import Picture, read_picture, write_picture
    from img2img.inference import translate
    from img2img.model_format.checkpoint import load_model, read_model_info, save_model
    from img2img.model_format.info import ModelInfo
    from img2img.runners import open_runner
    from img2img.training import TrainConfig, train

_HOMES = {
    "Img2ImgError": "errors",
    "ModelInfo": "model_format.info",
    "Picture": "images",
    "TrainConfig": "training",
    "export_onnx": "exporting.onnx",
    "load_model": "model_format.checkpoint",
    "open_runner": "runners",
    "read_model_info": "model_format.checkpoint",
    "read_picture": "images",
    "save_model": "model_format.checkpoint",
    "train": "training",
    "translate": "inference",
    "write_picture": "images",
}

__all__ = [
    "Img2ImgError",
    "ModelInfo",
    "Picture",
    "TrainConfig",
    "__version__",
    "export_onnx",
    "load_model",
    "open_runner",
    "read_model_info",
    "read_picture",
    "save_model",
    "train",
    "translate",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"img2img.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'img2img' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__

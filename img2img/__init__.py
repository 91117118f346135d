"""img2img: image-to-image translation.

    img2img.load("painting")(image)       one model, pictures in memory: Translator
    img2img.translate_folder(request)     folders of pictures: TranslateRequest
    img2img.translate_clips(request)      video clips, with VideoOptions
    img2img.train(config)                 a model of your own: TrainConfig
    img2img.evaluate(request)             how good a model or a folder is: EvaluateRequest
    img2img.export(model, "model.onnx")   for other programs
    img2img.import_model(file, target)    weights of another project
    img2img.models()                      what is shipped

Importing this package imports nothing heavy; the public names are resolved when they are first
used. docs/reference/api.md describes them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from img2img._version import __version__
from img2img.system.threads import let_idle_threads_sleep

let_idle_threads_sleep()  # here, since it counts only before torch is imported

if TYPE_CHECKING:
    from img2img.errors import Img2ImgError
    from img2img.evaluation.evaluate import evaluate
    from img2img.evaluation.request import EvaluateRequest
    from img2img.exporting.export import export
    from img2img.images import Picture, read_picture, write_picture
    from img2img.inference import TranslateRequest, Translator, load, translate_folder
    from img2img.inference.video import VideoOptions, translate_clips
    from img2img.model_format.checkpoint import load_model, read_model_info, save_model
    from img2img.model_format.find import shipped as models
    from img2img.model_format.importing import ImportOptions, import_model
    from img2img.model_format.info import ModelInfo
    from img2img.runners import open_runner
    from img2img.training import TrainConfig, train

# Name -> (module, its name there)
_HOMES = {
    "EvaluateRequest": ("evaluation.request", "EvaluateRequest"),
    "Img2ImgError": ("errors", "Img2ImgError"),
    "ImportOptions": ("model_format.importing", "ImportOptions"),
    "ModelInfo": ("model_format.info", "ModelInfo"),
    "Picture": ("images", "Picture"),
    "TrainConfig": ("training", "TrainConfig"),
    "TranslateRequest": ("inference", "TranslateRequest"),
    "Translator": ("inference", "Translator"),
    "VideoOptions": ("inference.video", "VideoOptions"),
    "evaluate": ("evaluation.evaluate", "evaluate"),
    "export": ("exporting.export", "export"),
    "import_model": ("model_format.importing", "import_model"),
    "load": ("inference", "load"),
    "load_model": ("model_format.checkpoint", "load_model"),
    "models": ("model_format.find", "shipped"),
    "open_runner": ("runners", "open_runner"),
    "read_model_info": ("model_format.checkpoint", "read_model_info"),
    "read_picture": ("images", "read_picture"),
    "save_model": ("model_format.checkpoint", "save_model"),
    "train": ("training", "train"),
    "translate_clips": ("inference.video", "translate_clips"),
    "translate_folder": ("inference", "translate_folder"),
    "write_picture": ("images", "write_picture"),
}

__all__ = [
    "EvaluateRequest",
    "Img2ImgError",
    "ImportOptions",
    "ModelInfo",
    "Picture",
    "TrainConfig",
    "TranslateRequest",
    "Translator",
    "VideoOptions",
    "__version__",
    "evaluate",
    "export",
    "import_model",
    "load",
    "load_model",
    "models",
    "open_runner",
    "read_model_info",
    "read_picture",
    "save_model",
    "train",
    "translate_clips",
    "translate_folder",
    "write_picture",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        module, there = _HOMES[name]
        return getattr(importlib.import_module(f"img2img.{module}"), there)
    raise AttributeError(f"module 'img2img' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__

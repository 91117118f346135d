"""Training: the config, the loop and what a run leaves in its folder, the same for every method."""

from img2img.training.config import TrainConfig
from img2img.training.loop import train
from img2img.training.presets import presets_of, resolve
from img2img.training.schedule import lr_factor

__all__ = ["TrainConfig", "lr_factor", "presets_of", "resolve", "train"]

"""Training: the config, the loop and what a run leaves in its folder, the same for every method."""

from img2img.training.loop import PRESETS, TrainConfig, lr_factor, resolve, train

__all__ = ["PRESETS", "TrainConfig", "lr_factor", "resolve", "train"]

"""Whether a training can enlarge."""

from __future__ import annotations

from img2img.errors import ConfigError
from img2img.methods import METHODS, Method
from img2img.methods.base import GeneratorSettings
from img2img.settings import Settings
from img2img.training.config import TrainConfig


def check_scale(config: TrainConfig, kind: type[Method], settings: Settings) -> None:
    """Raises ConfigError where a generator with a scale does not go with the method, the crops or
    the working size."""
    scale = settings.scale if isinstance(settings, GeneratorSettings) else 1
    if scale == 1:
        return
    if not kind.enlarges:
        able = next(name for name, method in METHODS.items() if method.enlarges)
        raise ConfigError(
            f"generator.scale={scale}: {config.method} learns from pictures of one size; use the "
            f"method {able} with `pairs=degrade`"
        )
    if config.crop_size % scale:
        raise ConfigError(
            f"crop_size {config.crop_size} cannot be reduced {scale} times; give "
            f"`crop_size={config.crop_size // scale * scale or scale}`"
        )
    if config.working_size:
        raise ConfigError(
            f"working_size {config.working_size}: a network that enlarges works at each picture's "
            "own size; give `working_size=0`"
        )

"""The model files of a run, and what they say of their training."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
import torch
from pydantic import BaseModel

from img2img._version import __version__
from img2img.data import Dataset
from img2img.errors import ConfigError
from img2img.methods import METHODS, Method
from img2img.model_format.checkpoint import save_model
from img2img.model_format.info import ModelInfo
from img2img.nets import DECIDED_BY_DATA, Generator
from img2img.settings import Settings
from img2img.training.config import TrainConfig


def publish(
    config: TrainConfig,
    method: Method,
    facts: Mapping[str, Any],
    step: int,
    data: Dataset,
    quality: Mapping[str, float],
    device: torch.device,
    inputs: Mapping[str, dict[str, Any]],
    kind: str = "",
) -> None:
    """Write a model file for each generator of `method` into the run folder: its key, as in
    model.safetensors; with a `kind` that, as in best.safetensors, or best-AtoB.safetensors."""
    name = config.name or config.out.name
    training = {
        "data": config.data.resolve().name,
        "data_fingerprint": facts["data_fingerprint"],
        "pictures": len(data),
        "skipped": len(facts.get("skipped", ())),
        "step": step,
        "held_out": config.held_out,
        "batch_size": config.per_step,
        "load_size": config.load_size,
        "seed": config.seed,
        "precision": facts["precision"],
        "ema": config.ema,
        "device": device.type,
        "settings": _without_folders(facts["settings"], method.path_settings),
        "img2img": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, generator in method.generators.items():
        info = ModelInfo(
            name=name if len(method.generators) == 1 else f"{name}-{key}",
            method=config.method,
            generator=generator.name,
            generator_config=_plain(generator.config),
            in_channels=generator.in_channels,
            out_channels=generator.out_channels,
            multiple_of=generator.multiple_of,
            minimum=generator.minimum,
            norm_statistics=generator.norm_statistics,
            tiling=generator.tiling,
            size=config.crop_size,
            working_size=working_size(config, generator),
            upsampling="chroma" if generator.head.output == "chroma" else method.upsampling,
            scale=generator.scale,
            domains=tuple(data.domains),
            one_hot=method.one_hot,
            exclusive=method.exclusive,
            relative=method.relative,
            direction=method.directions[key],
            licence=config.licence,
            quality={n: round(v, 4) for n, v in quality.items() if math.isfinite(v)},
            training=training,
            inputs=inputs.get(key, {}),
        )
        stem = key
        if kind:
            stem = kind if len(method.generators) == 1 else f"{kind}-{key}"
        save_model(config.out / f"{stem}.safetensors", generator, info)


def working_size(config: TrainConfig, generator: Generator) -> int | None:
    """What the model file of `generator` states as its working size, in pixels on the long side:
    the setting's, else the method's, else the size of the training crops; None where those are
    below the network's minimum, up to which it extends pictures itself. 0 for one that enlarges.

    Raises ConfigError for a size below the minimum that was set.
    """
    least = generator.minimum
    if generator.scale > 1:
        return 0
    if config.working_size is None:
        kind = METHODS[config.method]
        side = kind.usual_size(kind.Config.parse(config.settings))
        side = config.crop_size if side is None else side
        return side if side == 0 or side >= least else None
    if 0 < config.working_size < least:
        raise ConfigError(
            f"working_size {config.working_size}: the generator needs {least} pixels or more; give "
            f"`working_size={least}`, or 0 for each picture's own size"
        )
    return config.working_size


def resolved_settings(method: Method, settings: Settings) -> dict[str, Any]:
    """The method's settings with every network option written out."""
    resolved = _plain(settings)
    first = next(iter(method.generators.values()))
    judges = [*method.discriminators.values()][:1]
    for key, config in (
        ("generator_options", first.config),
        *(("discriminator_options", D.config) for D in judges),
    ):
        resolved[key] = {k: v for k, v in _plain(config).items() if k not in DECIDED_BY_DATA}
    return resolved


def as_toml(config: TrainConfig, settings: Mapping[str, Any]) -> bytes:
    """The resolved configuration, as config.toml has it: with addresses, not their copies."""
    table = config.model_dump(mode="json", exclude_none=True) | {"settings": settings}
    for name in ("data", "out"):
        table[name] = table.pop(f"remote_{name}") or table[name]
    return tomli_w.dumps(table).encode()


def _without_folders(settings: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """Settings without the folders of the machine that a model was trained on."""
    return {k: Path(v).name if k in paths and v else v for k, v in settings.items()}


def _plain(settings: BaseModel) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_none=True)

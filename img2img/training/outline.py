"""What can be known of a run from its settings alone: its networks in outline, without weights and
without data, so that what does not go together is refused before a picture is read."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from img2img.augment import AdaptiveAugment, AugmentConfig, DiffAugment, JudgedView
from img2img.errors import ConfigError
from img2img.methods import Method
from img2img.settings import Settings
from img2img.training.config import TrainConfig
from img2img.training.devices import (
    choose_compilation,
    choose_device,
    choose_memory_format,
    choose_precision,
)
from img2img.training.publish import working_size
from img2img.training.run_folder import states_of
from img2img.training.warm_start import fit_weights, read_weights


@dataclass(frozen=True)
class _Unread:
    """Stands for data of as many domains as the outline needs."""

    domains: tuple[str, ...]
    one_hot: bool = True


def check_outline(config: TrainConfig, kind: type[Method], settings: Settings) -> None:
    """Refuse what the settings of a run already show to be impossible.

    Raises:
        ConfigError: augmentations, crops, networks or the device do not allow it.
        ModelError: the weights to start from are refused, or do not fit the networks.
        EnvironmentFault: the device is absent.
    """
    AugmentConfig.parse(config.augment, "augment.")
    view_of(config, 0.0)
    _check_device(config)
    method = _outline(config, kind, settings, 2)
    for generator in method.generators.values():
        working_size(config, generator)
    sides = torch.empty(1, 1, config.crop_size, config.crop_size, device="meta")
    for D in method.discriminators.values():
        D.refuse_small(sides)
    if config.init is not None and not states_of(config.out):
        weights = read_weights(method, config.init)
        first = next(iter(weights.values()))
        if domains := int(first.config.get("domains") or 0):
            method = _outline(config, kind, settings, domains)
        with warnings.catch_warnings():  # of copies into networks without weights
            warnings.simplefilter("ignore", UserWarning)
            fit_weights(method, weights)


def view_of(config: TrainConfig, undecided: float) -> JudgedView:
    """What the discriminators see their pictures through; `undecided`: as `Method` has it.

    Raises ConfigError for an unknown policy, or two views at once.
    """
    if config.ada and config.diffaugment:
        raise ConfigError("diffaugment and ada both change what D sees; choose one")
    if config.ada:
        return AdaptiveAugment(config.seed, midpoint=undecided)
    if config.diffaugment:
        return DiffAugment(config.diffaugment, config.seed)
    return JudgedView(config.seed)


def _outline(config: TrainConfig, kind: type[Method], settings: Settings, domains: int) -> Any:
    """The method with networks that have shapes and no weights."""
    data = _Unread(tuple(f"domain{k}" for k in range(domains)))
    with torch.device("meta"):
        return kind.build(settings, data, config.crop_size)


def _check_device(config: TrainConfig) -> None:
    """As `choose_hardware`, without waiting for other processes."""
    device = choose_device(config.device)
    precision, _ = choose_precision(config.precision, device)
    choose_memory_format(config.memory_format, device, precision)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    choose_compilation(config.compile, config.cuda_graphs, device, count, config.checkpointing)

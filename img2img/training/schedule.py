"""The learning rate over a run, and how few steps tell what one costs."""

from __future__ import annotations

import math

from img2img.training.config import TrainConfig


def lr_factor(config: TrainConfig, step: int, steps_per_epoch: int, minutes: float = 0.0) -> float:
    """The factor on the learning rate in `step` (from 0), after `minutes` of training in all: a
    linear rise over `warm_up` steps, times the schedule.

    `linear` by epochs (the reference's rule, stepped at the end of an epoch): 1 for `epochs`
    epochs, then 1 - k / (epochs_decay + 1) in the k-th epoch of decay; by `steps`: 1 for the first
    half, then linearly to 0. `cosine`: half a period from 1 to 0 over the whole run. `step`: a
    tenth after each quarter of the run. `constant`: 1. `time`: 1 for the first half of
    `max_minutes`, then linearly to 0.
    """
    rise = min(1.0, (step + 1) / (config.warm_up + 1))
    return rise * _scheduled(config, step, steps_per_epoch, minutes)


def _scheduled(config: TrainConfig, step: int, steps_per_epoch: int, minutes: float) -> float:
    if config.schedule == "time":
        return max(0.0, min(1.0, 2 - 2 * minutes / (config.max_minutes or math.inf)))
    total = config.steps or (config.epochs + config.epochs_decay) * steps_per_epoch
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / total))
    if config.schedule == "step":
        return 0.1 ** (4 * step // total)
    if config.steps is not None:
        half = config.steps / 2
        return 1.0 - max(0.0, step - half) / half
    epoch = step // steps_per_epoch
    return 1.0 - max(0, epoch + 1 - config.epochs) / (config.epochs_decay + 1)


def dry_steps(total: int, period: int) -> tuple[int, int]:
    """How many steps warm up, and how many are taken in all: a period and at least five more, in
    whole periods, for what a step costs differs within one; fewer in shorter runs."""
    steps = min(period + -(-5 // period) * period, total // period * period) or total
    return (period if steps > period else 0), steps

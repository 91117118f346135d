"""`Degrade`: from a clean photograph, the picture that a network is to repair."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from img2img.augment import damage, tone
from img2img.augment.recipes import DegradeConfig

# The uniform numbers drawn for each picture, in this order, whatever is switched on: turning one
# operation on changes no other's draws. New ones go to the end.
_DRAWS = (
    *("clean", "exposure", "contrast", "gamma", "red", "green", "blue", "saturation", "fade"),
    *("vignette", "scratches", "dust", "grey", "reduced"),
)
_ROUND = (
    *("blur", "blur_sigma", "turned", "blur_across", "angle"),
    *("resize", "part", "down", "up", "noise", "noise_sd", "noise_grey", "shot"),
    *("jpeg", "quality", "halved", "top", "left", "shifted"),
)
_STREAM = 5  # sets these draws apart from those of the crops and the augmentation
_FILTERS: tuple[damage.Filter, ...] = ("bilinear", "bicubic", "area")
# Most software reduces by the bicubic filter, cameras and browsers by others.
_REDUCED: tuple[damage.Filter, ...] = ("bicubic", "bicubic", "area", "bilinear")
_GREY_NOISE = 0.4
Draws = dict[str, float]


class Drawn:
    """Who draws: pictures of a step, or held-out ones that are drawn once and for all."""

    def __init__(self, seed: int):
        self.seed = seed
        self._step: int | None = None
        self._indices: Sequence[int] = ()

    def begin(self, step: int | None, indices: Sequence[int]) -> None:
        """Tell which step and which pictures the next call belongs to; step None: held-out
        pictures, whose draws are always the same."""
        self._step, self._indices = step, list(indices)

    def seeds(self, count: int) -> list[list[int]]:
        """What each of `count` pictures is drawn from: (seed, step, its index)."""
        if len(self._indices) != count:
            raise ValueError(f"{count} pictures, but begin() was given {len(self._indices)}")
        when = [1] if self._step is None else [0, self._step]
        return [[self.seed, _STREAM, *when, index] for index in self._indices]


class Degrade(Drawn):
    """What `config` says, drawn for each picture from (seed, step, its index) and nothing else, so
    that a resumed run repeats it and neighbours in a batch, its size and the device do not matter.

    Float (N, 3, H, W) in [-1, 1] in and out; the input is not changed. With a `scale` above 1 all
    pictures are first reduced to one part in `scale` of their sides, by a filter that is drawn,
    which gives (N, 3, H / scale, W / scale); H and W are multiples of it.
    """

    def __init__(self, config: DegradeConfig, seed: int, scale: int = 1):
        super().__init__(seed)
        self.config, self.scale = config, scale

    def __call__(self, clean: Tensor) -> Tensor:
        """The degraded pictures; `begin` was given their indices."""
        seeds = self.seeds(len(clean))
        # Mixed precision is for networks: eight bits would be lost on pictures here.
        with torch.no_grad(), torch.autocast(clean.device.type, enabled=False):
            pairs = zip(clean.float(), seeds, strict=True)
            return torch.stack([self._one(x, seed) for x, seed in pairs])

    def _one(self, x: Tensor, seed: list[int]) -> Tensor:
        c, u = self.config, _uniform(_DRAWS, [*seed, 0])
        if self.scale > 1:
            x = damage.reduce(x, self.scale, _REDUCED[int(len(_REDUCED) * u["reduced"])])
        if u["clean"] < c.clean:
            return x
        for number in range(c.order):
            x = self._round(x, [*seed, 1 + number])
        x = self._tone(x, u)
        if c.scratches:
            x = damage.scratches(x, _count(c.scratches, u["scratches"]), _generator([*seed, 3]))
        if c.dust:
            x = damage.dust(x, _count(c.dust, u["dust"]), _generator([*seed, 4]))
        return tone.luma(x) if u["grey"] < c.grey else x

    def _round(self, x: Tensor, seed: list[int]) -> Tensor:
        """Lens, size, sensor and file, once."""
        c, u = self.config, _uniform(_ROUND, [*seed, 0])
        if c.blur and u["blur"] < c.blur_probability:
            along = _within(c.blur, u["blur_sigma"])
            across = _within(c.blur, u["blur_across"]) if u["turned"] < 0.5 else along
            x = damage.blur(x, along, across, u["angle"] * math.pi)
        if c.resize and u["resize"] < c.resize_probability:
            # Area would enlarge to blocks.
            down, up = _FILTERS[int(3 * u["down"])], _FILTERS[int(2 * u["up"])]
            x = damage.reduce_and_enlarge(x, _within(c.resize, u["part"]), down, up)
        if (c.noise or c.shot) and u["noise"] < c.noise_probability:
            sd = _within(c.noise, u["noise_sd"]) if c.noise else 0.0
            shot = _within(c.shot, u["shot"]) if c.shot else 0.0
            grey = u["noise_grey"] < _GREY_NOISE
            x = damage.noise(x, sd, shot, grey, _generator([*seed, 1]))
        if c.jpeg and u["jpeg"] < c.jpeg_probability:
            quality = _count(c.jpeg, u["quality"])
            # A picture from elsewhere was often cropped since it was compressed.
            corner = int(16 * u["top"]), int(16 * u["left"])
            corner = corner if u["shifted"] < c.jpeg_shifted else (0, 0)
            x = damage.jpeg(x, quality, u["halved"] < 0.5, *corner)
        return x

    def _tone(self, x: Tensor, u: Draws) -> Tensor:
        c = self.config
        if c.exposure:
            x = tone.exposure(x, _within(c.exposure, u["exposure"]))
        if c.contrast:
            x = tone.contrast(x, _within(c.contrast, u["contrast"]))
        if c.gamma:
            x = tone.gamma(x, _factor(c.gamma, u["gamma"]))
        if c.cast:
            x = tone.cast(x, [_factor(c.cast, u[name]) for name in ("red", "green", "blue")])
        if c.saturation:
            x = tone.saturation(x, _within(c.saturation, u["saturation"]))
        if c.fade:
            x = tone.fade(x, _within(c.fade, u["fade"]))
        if c.vignette:
            x = tone.vignette(x, _within(c.vignette, u["vignette"]))
        return x


def _generator(seed: list[int]) -> np.random.Generator:
    return np.random.default_rng(seed)


def _uniform(names: Sequence[str], seed: list[int]) -> Draws:
    return dict(zip(names, _generator(seed).random(len(names)).tolist(), strict=True))


def _within(range_: tuple[float, float], u: float) -> float:
    low, high = range_
    return low + u * (high - low)


def _factor(range_: tuple[float, float], u: float) -> float:
    """Drawn in the logarithm, so that half is as far away as twice."""
    low, high = range_
    return low * (high / low) ** u


def _count(range_: tuple[float, float], u: float) -> int:
    """A whole number of the range, each as often."""
    low, high = (round(v) for v in range_)
    return low + int(u * (high - low + 1))

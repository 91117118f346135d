"""`Augment`: crop, flip and whatever `AugmentConfig` asks for, drawn for each picture alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from img2img.augment import maps
from img2img.augment.config import AugmentConfig
from img2img.errors import ConfigError, MissingExtra

# The uniform numbers drawn for each picture, in this order, whatever is switched on: turning one
# operation on changes no other's draws. New ones go to the end.
_DRAWS = (
    *("top", "left", "flip", "vflip", "jitter", "jitter_scale", "rotate", "rotate_degrees"),
    *("affine", "affine_x", "affine_y", "affine_scale", "affine_shear"),
    *("perspective", "tilt_x", "tilt_y", "brightness", "brightness_by", "contrast", "contrast_by"),
    *("saturation", "saturation_by", "hue", "hue_degrees", "blur", "blur_sigma"),
    *("noise", "noise_sd", "cutout", "cutout_top", "cutout_left"),
)
_NOISE = 1  # sets the stream of the noise apart from that of the draws
Draws = dict[str, float]
_REFERENCE = AugmentConfig()


class Augment:
    """Random crop and horizontal flip, the second half of the pix2pix jitter (arXiv 1611.07004,
    sec. 6.2), and whatever `config` adds; the first half, the resize to the load size, is done once
    when a picture is read.

    The draw for each picture is a function of (seed, step, its index, number of the call in the
    step) and of nothing else, so that a resumed run repeats it and neighbours in a batch, its size
    and the device do not matter.

    Pictures that are only cropped and flipped are cut out exactly. For the others all that moves
    them is one matrix, and they are sampled once: bilinear, mirrored at the edge. Then, in this
    order and on the input only unless `config.photometric` says otherwise: colour, blur, noise,
    cutout. Colour and noise would leave [-1, 1]; they are clamped, each at once, as in a camera.

    Raises:
        MissingExtra: `config` asks for blur, which is kornia's, and kornia is not installed.
    """

    def __init__(self, crop_size: int, flip: bool, seed: int, config: AugmentConfig = _REFERENCE):
        self.crop_size, self.flip, self.seed = crop_size, flip, seed
        self.config = config
        self._set = config.scaled()
        self._blur = _gaussian_blur() if self._set.blur else None
        self._step, self._calls = 0, 0
        self._indices: Sequence[int] = ()

    def begin(self, step: int, indices: Sequence[int]) -> None:
        """Tell which step and which pictures the following calls belong to."""
        self._step, self._indices, self._calls = step, list(indices), 0

    def __call__(self, *images: Tensor, nearest: Sequence[int] = ()) -> tuple[Tensor, ...]:
        """Augment float (N, C, H, W) tensors of equal N, H, W in [-1, 1] alike.

        `nearest` lists the positions of label maps among `images`: of any dtype and range, they
        move with the rest, but keep their values: nearest neighbour, never colour, blur or noise.

        Returns tensors of (N, C, crop_size, crop_size), in the order given.
        Raises ConfigError when the crop is larger than the pictures.
        """
        n, _, h, w = images[0].shape
        size = self.crop_size
        if h < size or w < size:
            raise ConfigError(f"crop_size {size} is larger than the loaded pictures ({w}x{h})")
        for k, x in enumerate(images):
            if (x.shape[0], *x.shape[2:]) != (n, h, w):
                raise ValueError(f"image {k} is {tuple(x.shape)}, the first has N, H, W {n, h, w}")
        if any(not 0 <= k < len(images) for k in nearest):
            raise ValueError(f"nearest={tuple(nearest)}: there are {len(images)} images")
        call, self._calls = self._calls, self._calls + 1
        seeds = [[self.seed, self._step, self._indices[i], call] for i in range(n)]
        draws = [_uniform(seed) for seed in seeds]
        # Mixed precision is for networks: eight bits would be lost on pictures here.
        with torch.autocast(images[0].device.type, enabled=False):
            out = [self._move(x, draws, k in nearest) for k, x in enumerate(images)]
            if self._set.shades():
                shaded = range(1 if self._set.photometric == "input" else len(out))
                for k in shaded:
                    if k not in nearest:
                        self._shade(out[k], draws, seeds)
        return tuple(out)

    def uniform(self, x: Tensor) -> Tensor:
        """(N, 1, 1, 1) numbers in [0, 1) for N pictures, e.g. the weights of a gradient penalty
        (arXiv 1704.00028). Drawn as everything here, and counted as a call of its own."""
        call, self._calls = self._calls, self._calls + 1
        seeds = [[self.seed, self._step, self._indices[i], call] for i in range(x.shape[0])]
        drawn = np.array([np.random.default_rng(s).random() for s in seeds])
        return torch.from_numpy(drawn).to(x.dtype).to(x.device)[:, None, None, None]

    # --- moving

    def _move(self, x: Tensor, draws: list[Draws], labels: bool) -> Tensor:
        """A new tensor: exact parts of `x` where that is enough, sampled parts elsewhere."""
        h, w = x.shape[2:]
        matrices = {}
        if self._set.moves():
            placed = ((i, self._matrix(u, h, w)) for i, u in enumerate(draws))
            matrices = {i: m for i, m in placed if m is not None}
        out = torch.stack([self._cut(p, u) for p, u in zip(x, draws, strict=True)])
        if matrices:
            chosen, size = list(matrices), (self.crop_size, self.crop_size)
            mode: maps.Mode = "nearest" if labels else "bilinear"
            values = x[chosen] if x.dtype.is_floating_point else x[chosen].float()
            out[chosen] = maps.warp(values, list(matrices.values()), size, mode).to(x.dtype)
        return out

    def _corner(self, u: Draws, h: int, w: int) -> tuple[int, int]:
        return int(u["top"] * (h - self.crop_size + 1)), int(u["left"] * (w - self.crop_size + 1))

    def _flips(self, u: Draws) -> tuple[bool, bool]:
        """Mirrored left to right, top to bottom."""
        return self.flip and u["flip"] < 0.5, u["vflip"] < self._set.vflip

    def _cut(self, picture: Tensor, u: Draws) -> Tensor:
        top, left = self._corner(u, *picture.shape[1:])
        part = picture[:, top : top + self.crop_size, left : left + self.crop_size]
        horizontal, vertical = self._flips(u)
        axes = [-1] * horizontal + [-2] * vertical
        return part.flip(axes) if axes else part

    def _matrix(self, u: Draws, h: int, w: int) -> maps.Matrix | None:
        """Crop, jitter, flips and all distortions in one; None where slicing gives the same
        result."""
        c, size = self._set, self.crop_size
        distortions = []
        if u["rotate"] < c.rotate:
            distortions.append(maps.rotation(_both_ways(u["rotate_degrees"]) * c.rotate_degrees))
        if u["affine"] < c.affine:
            grow = _factor(u["affine_scale"], c.affine_scale)
            move = 2 * c.affine_translate
            distortions += [
                maps.shear(_both_ways(u["affine_shear"]) * c.affine_shear),
                maps.scaling(grow, grow),
                maps.translation(
                    _both_ways(u["affine_x"]) * move, _both_ways(u["affine_y"]) * move
                ),
            ]
        if u["perspective"] < c.perspective:
            x, y = (_both_ways(u[name]) * c.perspective_tilt for name in ("tilt_x", "tilt_y"))
            distortions.append(maps.tilt(x, y))
        top: float
        left: float
        (top, left), side = self._corner(u, h, w), float(size)
        if u["jitter"] < c.jitter:
            low, high = (math.log(s) for s in c.jitter_scale)
            side = min(size / math.exp(low + u["jitter_scale"] * (high - low)), h, w)
            top, left = u["top"] * (h - side), u["left"] * (w - side)
        elif not distortions:
            return None
        horizontal, vertical = self._flips(u)
        mirror = maps.scaling(-1 if horizontal else 1, -1 if vertical else 1)
        matrix = maps.window(top, left, side, h, w)
        for distortion in distortions:
            matrix = matrix @ distortion
        return matrix @ mirror

    # --- colour, blur, noise, cutout

    def _shade(self, x: Tensor, draws: list[Draws], seeds: list[list[int]]) -> None:
        """Change `x`, which is ours, in place; pictures that draw nothing stay as they are."""
        c, size = self._set, self.crop_size
        coloured = {i: m for i, u in enumerate(draws) if (m := self._colours(u)) is not None}
        if coloured:
            chosen = list(coloured)
            x[chosen] = maps.recolour(x[chosen], list(coloured.values())).clamp_(-1, 1)
        blurred = [i for i, u in enumerate(draws) if u["blur"] < c.blur]
        if blurred and self._blur:
            # Below a tenth the kernel would be all centre, and at 0 it would divide by 0.
            sigma = [c.blur_sigma * (0.1 + 0.9 * draws[i]["blur_sigma"]) for i in blurred]
            x[blurred] = self._blur(x[blurred], sigma, c.blur_sigma)
        for i, u in enumerate(draws):
            if u["noise"] < c.noise:
                rng = np.random.default_rng([*seeds[i], _NOISE])
                field = rng.standard_normal(x.shape[1:], np.float32) * (2 * c.noise_sd)
                grain = torch.from_numpy(field * np.float32(u["noise_sd"]))
                x[i] = (x[i] + grain.to(x.device, x.dtype)).clamp_(-1, 1)
            if u["cutout"] < c.cutout:
                side = max(1, round(c.cutout_side * size))
                top, left = (int(u[f"cutout_{k}"] * (size - side + 1)) for k in ("top", "left"))
                x[i, :, top : top + side, left : left + side] = 0

    def _colours(self, u: Draws) -> maps.Matrix | None:
        c = self._set
        steps = []
        if u["hue"] < c.hue:
            steps.append(maps.hue(_both_ways(u["hue_degrees"]) * c.hue_degrees))
        if u["saturation"] < c.saturation:
            steps.append(maps.saturation(_factor(u["saturation_by"], c.saturation_by)))
        if u["contrast"] < c.contrast:
            steps.append(maps.contrast(_factor(u["contrast_by"], c.contrast_by)))
        if u["brightness"] < c.brightness:
            # `maps` counts in half ranges, the settings in whole ones.
            steps.append(maps.brightness(_both_ways(u["brightness_by"]) * 2 * c.brightness_by))
        return maps.in_turn(steps)


def _uniform(seed: list[int]) -> Draws:
    # tolist: Python's floats and truths, not numpy's.
    return dict(zip(_DRAWS, np.random.default_rng(seed).random(len(_DRAWS)).tolist(), strict=True))


def _both_ways(u: float) -> float:
    """[0, 1) -> [-1, 1)."""
    return 2 * u - 1


def _factor(u: float, by: float) -> float:
    """[0, 1) -> 1 / (1 + by) to 1 + by, as often smaller as larger."""
    return (1 + by) ** _both_ways(u)


def _gaussian_blur() -> Callable[[Tensor, list[float], float], Tensor]:
    """(N, C, H, W), N sigmas and their bound -> blurred. Imported here: kornia costs seconds."""
    try:
        from kornia.filters import gaussian_blur2d
    except ImportError:
        raise MissingExtra("augmentation with blur (kornia)", "train") from None

    def blur(x: Tensor, sigmas: list[float], most: float) -> Tensor:
        # Reflection cannot reach further than the picture.
        reach = min(math.ceil(3 * most), min(x.shape[2:]) - 1)
        sigma = torch.tensor(sigmas, dtype=x.dtype)[:, None].expand(-1, 2).to(x.device)
        return gaussian_blur2d(x, (2 * reach + 1, 2 * reach + 1), sigma, "reflect")

    return blur

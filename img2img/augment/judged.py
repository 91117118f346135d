"""What the discriminator sees: `DiffAugment` (arXiv 2006.10738) and `AdaptiveAugment` (ADA, arXiv
2006.06676). Both act on real and generated pictures alike and pass gradients on to the generator.

    d_view.begin(step)
    logits = D(d_view(cat([a, fake], 1), condition_channels=3))

Every call draws anew, as in the papers: real and generated pictures are compared as sets, not one
by one. What is concatenated on channels moves together; colours change on the judged picture only,
the condition (the first `condition_channels`) keeps its own. Values may leave [-1, 1]: nothing is
clamped, for a clamp would stop the gradient, and a discriminator has no need of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.augment import maps
from img2img.errors import ConfigError, proposal

_STREAM = 2006  # keeps these draws apart from those of `Augment` under the same seed
_POLICIES = ("color", "translation", "cutout")


class JudgedView:
    """A differentiable map on what the discriminator sees; this one changes nothing.

    The draws are a function of (seed, step, number of the call in the step, place in the batch), or
    of the picture's index instead of its place, where `begin` is given the indices: then they are
    the same however a batch is divided into parts or among processes.
    """

    changes = False
    """Whether a picture may come out changed."""

    def __init__(self, seed: int):
        self.seed = seed
        self._step, self._calls = 0, 0
        self._indices: list[int] | None = None

    def begin(self, step: int, indices: Sequence[int] | None = None) -> None:
        """Tell which step (and which pictures) the following calls belong to."""
        self._step, self._calls = step, 0
        self._indices = None if indices is None else list(indices)

    def __call__(self, x: Tensor, condition_channels: int = 0) -> Tensor:
        """(N, C, H, W) -> the same shape and dtype. The first `condition_channels` of C are moved
        as the others are, but keep their colours.

        Raises ValueError when no channel is left to judge, or N is not what `begin` was given.
        """
        if not 0 <= condition_channels < x.shape[1]:
            raise ValueError(f"{condition_channels} of {x.shape[1]} channels cannot be a condition")
        call, self._calls = self._calls, self._calls + 1
        n = x.shape[0]
        places = range(n) if self._indices is None else self._indices
        if len(places) != n:
            raise ValueError(f"{n} pictures, but begin() was given {len(places)}")
        generators = [
            np.random.default_rng([self.seed, self._step, call, i, _STREAM]) for i in places
        ]
        with torch.autocast(x.device.type, enabled=False):
            # Eight bits of bfloat16 are too few for colours and for places alike.
            wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
            return self._apply(wide, condition_channels, generators).to(x.dtype)

    def _apply(self, x: Tensor, condition: int, generators: list[np.random.Generator]) -> Tensor:
        return x


class DiffAugment(JudgedView):
    """Always on, of fixed strength (arXiv 2006.10738, sec. 3.1).

    `policy` names, separated by commas: `color` (brightness +-0.5, saturation times 0 to 2,
    contrast times 0.5 to 1.5 about the picture's mean), `translation` (up to an eighth each way,
    middle grey beyond the edge), `cutout` (a middle grey square of half the side, its centre
    anywhere). It may be differentiated twice, so gradient penalties may go through it.

    Raises:
        ConfigError: an unknown policy.
    """

    changes = True

    def __init__(self, policy: str, seed: int):
        super().__init__(seed)
        self.policy = tuple(name.strip() for name in policy.split(",") if name.strip())
        for name in self.policy:
            if name not in _POLICIES:
                known = proposal(name, _POLICIES)
                raise ConfigError(f"unknown differentiable augmentation '{name}'.{known}")

    def _apply(self, x: Tensor, condition: int, generators: list[np.random.Generator]) -> Tensor:
        # All seven are drawn always, so that a policy does not change another's draws.
        draws = np.stack([g.random(7) for g in generators])
        if "color" in self.policy:
            x = torch.cat([x[:, :condition], _jitter(x[:, condition:], draws[:, :3])], 1)
        if "translation" in self.policy:
            x = _translate(x, draws[:, 3:5])
        if "cutout" in self.policy:
            x = x * _hole(x, draws[:, 5:7])
        return x


def _jitter(x: Tensor, draws: np.ndarray) -> Tensor:
    u = torch.from_numpy(draws).to(x.dtype).to(x.device)[..., None, None, None]
    x = x + (u[:, 0] - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (u[:, 1] * 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (u[:, 2] + 0.5)


def _translate(x: Tensor, draws: np.ndarray) -> Tensor:
    h, w = x.shape[2:]
    most = (round(h / 8), round(w / 8))
    padded = F.pad(x, (most[1], most[1], most[0], most[0]))
    parts = []
    for picture, (u, v) in zip(padded, draws, strict=True):
        top, left = int(u * (2 * most[0] + 1)), int(v * (2 * most[1] + 1))
        parts.append(picture[:, top : top + h, left : left + w])
    return torch.stack(parts)


def _hole(x: Tensor, draws: np.ndarray) -> Tensor:
    """(N, 1, H, W): 0 in the square, 1 elsewhere."""
    inside = []
    for axis, length in enumerate(x.shape[2:]):
        side = (length + 1) // 2
        first = np.floor(draws[:, axis] * (length + 1)).astype(np.int64) - side // 2
        start = torch.from_numpy(first).to(x.device)[:, None]
        place = torch.arange(length, device=x.device)
        inside.append((place >= start) & (place < start + side))
    rows, columns = inside
    return (~(rows[:, None, :, None] & columns[:, None, None, :])).to(x.dtype)


class AdaptiveAugment(JudgedView):
    """ADA (arXiv 2006.06676): each operation happens to each picture with probability `p`, and `p`
    grows while the discriminator knows its real pictures too well.

    Its operations are those of the paper that do not leak into what is generated, because each
    leaves some pictures untouched and can be undone in distribution (sec. 2.2, app. B; "bgc"):

    - pixels: mirror left to right, quarter turns, whole-pixel translation up to an eighth;
    - geometry: isotropic scale, turn, stretch, turn, fractional translation;
    - colour of the judged picture: brightness, contrast, luma flip, hue, saturation.

    Not among them: cutout, noise and filters, which the paper found to help little. All geometry is
    sampled once, bilinear, mirrored at the edge, without the paper's wavelet filter against
    aliasing. The sampling cannot be differentiated twice: take a gradient penalty with respect to
    the picture that D was given.

    `target`: what r_t = E[sign(D(real) - midpoint)] is led to. `midpoint`: the logit that means
    undecided: 0, and 0.5 for least squares with targets 0 and 1. `ada_kimg`: thousands of real
    pictures in which p goes from 0 to 1 at most. `interval`: updates between two steps of p.
    `p_max`: beyond about 0.8 operations begin to leak after all (sec. 2.2).
    """

    def __init__(
        self,
        seed: int,
        target: float = 0.6,
        ada_kimg: float = 500.0,
        interval: int = 4,
        p: float = 0.0,
        p_max: float = 0.8,
        midpoint: float = 0.0,
    ):
        super().__init__(seed)
        if not (0 <= p <= p_max <= 1 and ada_kimg > 0 and interval >= 1 and -1 <= target <= 1):
            raise ConfigError(
                "adaptive augmentation needs 0 <= p <= p_max <= 1, ada_kimg > 0, interval >= 1 and "
                f"target in [-1, 1]; given: p {p}, p_max {p_max}, ada_kimg {ada_kimg}, "
                f"interval {interval}, target {target}"
            )
        self.target, self.ada_kimg, self.interval = target, ada_kimg, interval
        self.p, self.p_max, self.midpoint = p, p_max, midpoint
        self.r_t: float | None = None
        """The last measured r_t; None before the first step of p."""
        self.total: Callable[[list[int]], list[int]] = lambda counts: counts
        """Adds counts up over the processes that see parts of one batch, so that all have one p."""
        self._signs: Tensor | int = 0
        self._logits, self._pictures, self._updates = 0, 0, 0

    def update(self, real_logits: Tensor, batch: int) -> None:
        """Tell what D said to `batch` real pictures, seen through this view: logits of any shape
        (those of a PatchGAN are averaged). Every `interval` updates p moves by one step (eq. in
        sec. 3.1); only then are the device and the other processes waited for."""
        centred = real_logits.detach() - self.midpoint
        self._signs = self._signs + (centred > 0).sum() - (centred < 0).sum()
        self._logits += centred.numel()
        self._pictures += batch
        self._updates += 1
        if self._updates < self.interval:
            return
        signs, logits, pictures = self.total([int(self._signs), self._logits, self._pictures])
        self.r_t = signs / logits
        step = float(np.sign(self.r_t - self.target)) * pictures / (self.ada_kimg * 1000)
        self.p = min(max(self.p + step, 0.0), self.p_max)
        self._signs, self._logits, self._pictures, self._updates = 0, 0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: p and what all processes gathered since its last step, however many they
        are; a resume is exact. To be called in all of them."""
        signs, logits, pictures = self.total([int(self._signs), self._logits, self._pictures])
        return {
            "p": self.p,
            "r_t": self.r_t,
            "signs": signs,
            "logits": logits,
            "pictures": pictures,
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any], first: bool = True) -> None:
        """The opposite of `state_dict`. Only the `first` of several processes takes the counts,
        which `total` adds up."""
        self.p, self.r_t, self._updates = state["p"], state["r_t"], state["updates"]
        counts = [state[name] if first else 0 for name in ("signs", "logits", "pictures")]
        self._signs, self._logits, self._pictures = counts

    def _apply(self, x: Tensor, condition: int, generators: list[np.random.Generator]) -> Tensor:
        if self.p == 0:
            return x
        h, w = x.shape[2:]
        moved: dict[int, maps.Matrix] = {}
        coloured: dict[int, maps.Matrix] = {}
        for i, g in enumerate(generators):
            if (m := _ada_geometry(g, self.p, h, w)) is not None:
                moved[i] = m
            if (m := _ada_colour(g, self.p)) is not None:
                coloured[i] = m
        if moved:
            chosen = torch.tensor(list(moved), device=x.device)
            warped = maps.warp(x.index_select(0, chosen), list(moved.values()), (h, w))
            x = x.index_copy(0, chosen, warped)
        if coloured:
            chosen = torch.tensor(list(coloured), device=x.device)
            given, judged = x[:, :condition], x[:, condition:]
            new = maps.recolour(judged.index_select(0, chosen), list(coloured.values()))
            x = torch.cat([given, judged.index_copy(0, chosen, new)], 1)
        return x


def _ada_geometry(g: np.random.Generator, p: float, h: int, w: int) -> maps.Matrix | None:
    """Pixel and geometric operations in the paper's order (app. B, fig. 17); None if none came."""
    happens, u, z = g.random(8), g.random(6), g.standard_normal(4)
    # Two turns, before and after the stretch, that together happen with probability p.
    p_turn = 1 - np.sqrt(1 - p)
    steps: list[maps.Matrix] = []
    if happens[0] < p and u[0] < 0.5:
        steps.append(maps.scaling(-1, 1))
    if happens[1] < p and (quarters := int(u[1] * 4)):
        steps.append(maps.rotation(90 * quarters))
    if happens[2] < p:
        x, y = (round((2 * v - 1) * n / 8) for v, n in ((u[2], w), (u[3], h)))
        if x or y:
            # Among turns, a half width is a half width: in units of the shorter side below.
            steps.append(maps.translation(2 * x / min(h, w), 2 * y / min(h, w)))
    if happens[3] < p:
        steps.append(maps.scaling(2 ** (0.2 * z[0]), 2 ** (0.2 * z[0])))
    if happens[4] < p_turn:
        steps.append(maps.rotation(360 * u[4]))
    if happens[5] < p:
        steps.append(maps.scaling(2 ** (0.2 * z[1]), 2 ** (-0.2 * z[1])))
    if happens[6] < p_turn:
        steps.append(maps.rotation(360 * u[5]))
    if happens[7] < p:
        steps.append(maps.translation(0.25 * z[2] * w / min(h, w), 0.25 * z[3] * h / min(h, w)))
    if not steps:
        return None
    matrix = np.eye(3)
    for step in steps:
        matrix = matrix @ step
    # From each side's own half to the half of the shorter one, so that turns stay turns.
    units = np.diag([w / min(h, w), h / min(h, w), 1.0])
    return np.linalg.inv(units) @ matrix @ units


def _ada_colour(g: np.random.Generator, p: float) -> maps.Matrix | None:
    """Colour operations in the paper's order (app. B); None if none came."""
    happens, u, z = g.random(5), g.random(2), g.standard_normal(3)
    steps = []
    if happens[0] < p:
        steps.append(maps.brightness(0.2 * z[0]))
    if happens[1] < p:
        steps.append(maps.contrast(2 ** (0.5 * z[1])))
    if happens[2] < p and u[0] < 0.5:
        steps.append(maps.luma_flip())
    if happens[3] < p:
        steps.append(maps.hue(360 * u[1]))
    if happens[4] < p:
        steps.append(maps.saturation(2 ** z[2]))
    return maps.in_turn(steps)

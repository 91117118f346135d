"""Failures that the literature names, found by cheap figures of held-out pictures and of losses.

Detectors are pure functions. `Health` runs them at each validation and on each logged row, and
makes a note of a failure that shows itself twice in a row, since the first steps of a healthy
training look like several of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from img2img.images.values import LUMA
from img2img.metrics.collapse import diversity_ratio
from img2img.training.events import HealthFigures, HealthNote

# What D's loss is where real and fake are equally likely; other objectives have no such bound.
_CHANCE = {"vanilla": 2 * math.log(2), "minimax": 2 * math.log(2), "lsgan": 0.5, "hinge": 2.0}
_ROWS = 10  # of the log in which a discriminator must have won
_THUMBNAIL = 16  # side of the pictures whose diversity is compared, in pixels
_LARGEST = 512  # side of the pictures that are looked at, in pixels
_PICTURES = 32  # of one validation

# --- detectors: pictures are (N, C, H, W) in [-1, 1], C 1 or 3


def luminance(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    weights = torch.tensor(LUMA, device=x.device, dtype=x.dtype)
    return (x[:, :3] * weights[:, None, None]).sum(1, keepdim=True)


def discriminator_strength(losses: Sequence[float], gan: str) -> float:
    """How much of D's loss at chance its last losses are, on average: 1 where it cannot tell real
    from fake, near 0 where it is always right, and the generator's gradient vanishes (arXiv
    1701.04862, theorem 2.4). NaN for an objective without bounds or too few rows."""
    if gan not in _CHANCE or len(losses) < _ROWS:
        return math.nan
    return sum(losses[-_ROWS:]) / _ROWS / _CHANCE[gan]


def diversity(outputs: Tensor, inputs: Tensor) -> float:
    """Mean distance between the thumbnails of outputs, divided by that of inputs: near 0 where the
    generator answers the same to everything (mode collapse, arXiv 1606.03498, sec. 3.2). NaN for
    fewer than 4 pictures or inputs that are all the same."""
    if len(outputs) < 4:
        return math.nan
    rows = [F.adaptive_avg_pool2d(luminance(x), _THUMBNAIL).flatten(1) for x in (outputs, inputs)]
    ratio = diversity_ratio(rows[0], rows[1])
    return ratio if math.isfinite(ratio) else math.nan


def change(outputs: Tensor, inputs: Tensor) -> float:
    """Mean difference between outputs and inputs of one size, in levels of 255: of all channels,
    since a model that colours keeps the luminance, or of luminance where one side alone is grey."""
    if outputs.shape[1] != inputs.shape[1]:
        outputs, inputs = luminance(outputs), luminance(inputs)
    return float((outputs - inputs).abs().mean()) * 127.5


def luminance_correlation(outputs: Tensor, inputs: Tensor) -> float:
    """Correlation of luminance between output and input, mean over the pictures: near -1 where the
    generator has learned a negative, which cycle consistency does not forbid. NaN where pictures
    are flat."""
    side = 2 * _THUMBNAIL
    a, b = (F.adaptive_avg_pool2d(luminance(x), side).flatten(1) for x in (outputs, inputs))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    lengths = a.norm(dim=1) * b.norm(dim=1)
    there = lengths > 1e-3
    return float(((a * b).sum(1)[there] / lengths[there]).mean()) if there.any() else math.nan


def checkerboard(x: Tensor) -> float:
    """How far the spectrum of luminance stands out at the frequencies that strided and transposed
    convolutions leave behind, periods of 2 and 4 pixels (Odena et al., Distill 2016): the largest
    ratio of the power there to the median of its neighbours, about 1 to 10 in photographs. NaN for
    sides below 32 pixels."""
    height, width = (side - side % 4 for side in x.shape[2:])
    if min(height, width) < 32:
        return math.nan
    grey = luminance(x)[:, 0, :height, :width].float()
    # A window keeps the jump between opposite borders out of the spectrum.
    window = torch.hann_window(height, device=x.device)[:, None]
    window = window * torch.hann_window(width, device=x.device)
    grey = (grey - grey.mean((1, 2), keepdim=True)) * window
    power = torch.fft.fft2(grey).abs().square().mean(0).cpu().numpy()
    places = [
        (v, u)
        for v in (0, height // 4, height // 2)
        for u in (0, width // 4, width // 2)
        if (v, u) != (0, 0)
    ]
    return max(_prominence(power, v, u) for v, u in places)


def _prominence(power: NDArray[np.float32], v: int, u: int) -> float:
    """The largest power within one bin of (v, u), divided by the median of those 3 to 5 away along
    the diagonals, where neither axis of the spectrum, which is strong in photographs, matters."""
    height, width = power.shape
    near = [power[(v + dv) % height, (u + du) % width] for dv in (-1, 0, 1) for du in (-1, 0, 1)]
    around = [
        power[(v + dv) % height, (u + du) % width]
        for dv in range(-5, 6)
        for du in range(-5, 6)
        if max(abs(dv), abs(du)) >= 3 and ((v or abs(dv) < 3) and (u or abs(du) < 3))
    ]
    rest = float(np.median(around))
    return float(max(near)) / max(rest, 1e-9 * float(power.max()), 1e-12)


def colour_drift(outputs: Tensor, wanted: Tensor) -> float:
    """The largest difference of a channel's mean between outputs and real pictures of the same
    kind, in levels of 255."""
    if outputs.shape[1] != wanted.shape[1]:
        return math.nan
    return float((outputs.mean((0, 2, 3)) - wanted.mean((0, 2, 3))).abs().max()) * 127.5


def border_excess(outputs: Tensor, wanted: Tensor) -> float:
    """Mean difference of luminance in a border of one sixteenth of the side, divided by that
    inside: well above 1 where padding leaves patches along the border. NaN where the border's
    difference is below 8 levels of 255."""
    difference = (luminance(outputs) - luminance(wanted)).abs().mean((0, 1))
    height, width = difference.shape
    rows, columns = max(2, height // 16), max(2, width // 16)
    if height < 4 * rows or width < 4 * columns:
        return math.nan
    inner = difference[rows:-rows, columns:-columns]
    count = difference.numel() - inner.numel()
    border = float(difference.sum() - inner.sum()) / count
    return border / max(float(inner.mean()), 1e-3) if border * 127.5 >= 8 else math.nan


# --- what they tell


@dataclass(frozen=True)
class Problem:
    """A failure: when a figure shows it, and what to say.

    Attributes:
        figure: which figure shows it.
        below, above: it is there where the figure is below or above this.
        ends: a training in which it stays learns no more, so `on_collapse=stop` ends it.
        text: what was seen and what to change.
    """

    figure: str
    text: str
    below: float = -math.inf
    above: float = math.inf
    ends: bool = False

    def shows(self, figures: Mapping[str, float]) -> bool:
        """Whether `figures` show it; one that is missing or NaN shows nothing."""
        value = figures.get(self.figure, math.nan)
        return value < self.below or value > self.above


PROBLEMS: dict[str, Problem] = {
    "discriminator-too-strong": Problem(
        "discriminator",
        "the discriminator is always right, so the generator learns nothing from it: lower its "
        "learning rate or its width, or give `diffaugment=color,translation`, `penalty=r1`, "
        "`gan=lsgan` or `pause_accuracy=0.85`",
        below=0.05,
        ends=True,
    ),
    "mode-collapse": Problem(
        "diversity",
        "mode collapse: the outputs are nearly the same for different inputs: go back to an "
        "earlier state, lower lr, give `penalty=r1`, or raise the weight of the cycle or L1 loss",
        below=0.1,
        ends=True,
    ),
    "unchanged": Problem(
        "change",
        "the outputs equal the inputs: lower the weight of the identity, cycle or content loss, "
        "raise that of the adversarial or style loss, or check that the two sides of the data "
        "differ",
        below=0.5,
    ),
    "inverted": Problem(
        "luminance",
        "the outputs are negatives of the inputs, bright where those are dark: start anew with "
        "another `seed`, or give or raise lambda_identity",
        below=-0.4,
    ),
    "checkerboard": Problem(
        "checkerboard",
        "a checkerboard pattern is in the outputs: give `generator.tail=resize` or "
        "`generator.upsample=resize` where the generator has it, or raise a total variation loss",
        above=30.0,
    ),
    "colour-drift": Problem(
        "colour drift",
        "the colours of the outputs differ from those of the real pictures as a whole: train "
        "longer, give or raise lambda_identity or L1, or check that both sides show alike scenes",
        above=30.0,
    ),
    "border": Problem(
        "border",
        "patches along the border of the outputs: give `generator.padding=reflect`, or larger "
        "crops",
        above=3.0,
    ),
    "not-finite": Problem(
        "not finite",
        "outputs hold NaN or Inf: lower lr, give `clip_grad=1`, or train in `precision=fp32`",
        above=0.0,
    ),
}


class Health:
    """What the detectors say of one run.

    Attributes:
        columns: titles of the columns that were seen last.
        word: the last problem, in a few words; empty where the last look found none.
        ended: what was found in which a training learns no more, else empty.
    """

    def __init__(self, compared: Mapping[str, str], gan: str):
        """`compared`: as `Method` has it; `gan`: the objective, or ""."""
        self._compared, self._gan = compared, gan
        self._seen: dict[str, list[Tensor]] = {}
        self._losses: dict[str, list[float]] = {}
        self._paused: list[float] = []
        self._before: set[str] = set()
        self._count = 0
        self.columns: list[str] = []
        self.word, self.ended = "", ""

    def resume(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take what the log of the run says, so that a resumed run judges as one in one piece."""
        for row in rows:
            if row["event"] == "step":
                self.hear(row["losses"])
            elif row["event"] == "health-figures":
                self._paused = []
                self._before = {n for n, problem in PROBLEMS.items() if problem.shows(row)}

    def see(self, columns: Mapping[str, Tensor]) -> None:
        """Take the columns of some held-out pictures, (N, C, H, W) in [-1, 1]."""
        self.columns = list(columns)
        if self._count >= _PICTURES:
            return
        self._count += len(next(iter(columns.values())))
        for name, x in columns.items():
            x = x.detach().float()
            if max(x.shape[2:]) > _LARGEST:  # cut, not scaled: patterns of single pixels count
                x = x[:, :, :_LARGEST, :_LARGEST]
            self._seen.setdefault(name, []).append(x.cpu())

    def hear(self, losses: Mapping[str, float]) -> None:
        """Take the losses of a logged row."""
        for name, value in losses.items():
            if name in ("D", "D/gan", "D/a", "D/b"):
                self._losses.setdefault(name, []).append(value)
            if name == "D/paused":
                self._paused.append(value)

    def judge(self, step: int) -> tuple[HealthFigures, list[HealthNote]]:
        """The figures since the last call, and notes of what they show for the second time in a
        row."""
        figures = self._figures()
        self._seen, self._count, self._paused = {}, 0, []
        showing = {name for name, problem in PROBLEMS.items() if problem.shows(figures)}
        notes = [
            HealthNote(step, name, problem.text, figures[problem.figure])
            for name, problem in PROBLEMS.items()
            if name in showing and (name in self._before or name == "not-finite")
        ]
        self._before = showing
        self.word = notes[0].problem.replace("-", " ") if notes else ""
        self.ended = next((n.text for n in notes if PROBLEMS[n.problem].ends), "")
        return HealthFigures(step, figures), notes

    def _figures(self) -> dict[str, float]:
        """Of all outputs, the worst where a method has several; of their change the largest, since
        one domain may well leave a picture as it is."""
        found: dict[str, list[float]] = {}

        def add(name: str, value: float) -> None:
            if math.isfinite(value):
                found.setdefault(name, []).append(value)

        for losses in self._losses.values():
            add("discriminator", discriminator_strength(losses, self._gan))
        if self._paused:  # the share of the steps since the last look
            add("paused", sum(self._paused) / len(self._paused))
        alike = {n for n, x in self._seen.items() if len({y.shape[2:] for y in x}) == 1}
        pictures = {name: torch.cat(self._seen[name]) for name in self.columns if name in alike}
        for name, given in self._pairs(list(pictures)):
            x, a = pictures[name], pictures[given]
            if not bool(torch.isfinite(x).all()):
                add("not finite", float((~torch.isfinite(x)).float().mean()))
                continue
            real = pictures.get(f"truth {name}", pictures.get(self._compared.get(name, "")))
            if real is not None:
                add("colour drift", colour_drift(x, real))
            truth = pictures.get(f"truth {name}", a)
            if x.shape[2:] == truth.shape[2:]:
                add("border", border_excess(x, truth))
            add("diversity", diversity(x, a))
            add("luminance", luminance_correlation(x, a))
            if x.shape[2:] == a.shape[2:]:
                add("change", change(x, a))
            # What stands out in the input too was not made by the network.
            own, given_one = checkerboard(x), checkerboard(a)
            if math.isfinite(own) and math.isfinite(given_one):
                add("checkerboard", own / max(1.0, given_one / 5))
        lowest = ("discriminator", "diversity", "luminance")
        return {n: (min if n in lowest else max)(v) for n, v in found.items()}

    def _pairs(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """(output, input): `A to B` is made from A, whatever else from the first column. Cycles and
        real pictures are no outputs."""
        real = {names[0], *self._compared.values()} if names else set()
        pairs = []
        for name in names:
            if name in real or name.startswith("truth ") or name.count(" to ") > 1:
                continue
            source = name.partition(" to ")[0]
            pairs.append((name, source if source in real and source != name else names[0]))
        return pairs

"""Figures that show the failures of trainings that the literature names: pure functions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from img2img.images.values import LUMA
from img2img.metrics.collapse import diversity as variety

# What D's loss is where real and fake are equally likely: of classifiers the mean of both terms,
# of hinge their sum (`discriminator_loss`). Other objectives have no such bound.
_CHANCE = {"vanilla": math.log(2), "minimax": math.log(2), "lsgan": 0.25, "hinge": 2.0}
_ROWS = 10  # of the log in which a discriminator must have won
_THUMBNAIL = 16  # side of the pictures whose diversity is compared, in pixels
_FAINT = 0.4 / 127.5  # amplitude of a pattern that nobody sees, in units of [-1, 1]
_LEAST = 4  # pictures of each kind whose scores are compared
LOOKS = 6  # successive looks at the same pictures that show whether they come to rest

# --- of pictures: (N, C, H, W) in [-1, 1], C 1 or 3


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
    """Mean distance between the thumbnails of outputs, divided by that of inputs, or of real
    pictures of the same kind: near 0 where the generator answers the same to everything (mode
    collapse, arXiv 1606.03498, sec. 3.2). NaN for fewer than 4 pictures or inputs that are all the
    same."""
    if len(outputs) < 4:
        return math.nan
    rows = [F.adaptive_avg_pool2d(luminance(x), _THUMBNAIL).flatten(1) for x in (outputs, inputs)]
    below = variety(rows[1])
    return variety(rows[0]) / below if below else math.nan


def saturated(outputs: Tensor, wanted: Tensor) -> float:
    """The share of values at either end of the range beyond that in real pictures of the same kind:
    near 1 where a generator has diverged, and no gradient comes back through its last function."""
    ends = [float((x.abs() > 0.998).float().mean()) for x in (outputs, wanted)]
    return max(0.0, ends[0] - ends[1])


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
    ratio of the power there to the median of its neighbours, about 1 to 10 in photographs. Below
    an amplitude of 2 levels of 255 no pattern gets to 30, however smooth the rest. NaN for sides
    below 32 pixels."""
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
    faint = (_FAINT / 2 * height * width / 4) ** 2  # of a wave, under the window
    return float(max(near)) / max(rest, 1e-9 * float(power.max()), faint)


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


def thumbnails(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 8, 8): what `swing` compares."""
    return F.adaptive_avg_pool2d(x, 8)


def swing(looks: Sequence[Tensor]) -> float:
    """How far the same outputs go back and forth from look to look, in levels of 255: the mean
    change between two successive looks, less what of it has led away from the first one. Near 0
    where they move one way or rest; large where the two networks chase each other in circles (arXiv
    1801.04406, sec. 2) and successive updates cancel. `looks`: (N, C, h, w) each, in [-1, 1],
    oldest first. NaN for fewer than `LOOKS`."""
    if len(looks) < LOOKS:
        return math.nan
    looks = looks[-LOOKS:]
    path = sum(_apart(a, b) for a, b in itertools.pairwise(looks))
    return (path - _apart(looks[0], looks[-1])) / (len(looks) - 1) * 127.5


def _apart(a: Tensor, b: Tensor) -> float:
    """Root of the mean square, averaged over the pictures."""
    return float((a - b).square().mean((1, 2, 3)).sqrt().mean())


# --- of what a discriminator says: (N,), one score for each picture, higher for real


def memorised(train: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """How far held-out real pictures are on the way from the training pictures to the outputs, as
    the discriminator sees them: 0 where it takes them for real as the training pictures, 1 where it
    takes them for fakes, which is r_v of arXiv 2006.06676, eq. 1. Two standard errors of the
    difference are subtracted, so that few pictures prove nothing. NaN for fewer than 4 of a kind,
    or if the outputs are not distinguished from the training pictures."""
    if min(len(train), len(held_out), len(fake)) < _LEAST:
        return math.nan
    gap = float(train.mean() - fake.mean())
    if gap <= 2 * _standard_error(train, fake):
        return math.nan
    distance = float(train.mean() - held_out.mean()) - 2 * _standard_error(train, held_out)
    return max(0.0, distance) / gap


def _standard_error(a: Tensor, b: Tensor) -> float:
    return float((a.var() / len(a) + b.var() / len(b)).sqrt())


def fooled(real: Tensor, fake: Tensor) -> float:
    """How often an output is judged more real than a real picture, of all pairs of both: 0.5 where
    it cannot tell, near 1 where the generator is ahead of a discriminator that cannot keep up,
    before what the authors of GANs called the Helvetica scenario (arXiv 1406.2661, sec. 6). NaN
    for fewer than 4 of a kind."""
    if min(len(real), len(fake)) < _LEAST:
        return math.nan
    difference = fake[:, None] - real
    return float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())

"""Do two pictures show the same thing in the same place? Their edges are compared, with chance
measured on pictures that do not belong together.

Edges, because the two sides of a pair rarely share colours: a drawing and its photograph, a map and
its aerial view. Whitening before the comparison is that of phase correlation (Kuglin and Hines
1975, "The phase correlation image alignment method").
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.images import Pixels

Maps = NDArray[np.float32]
Spectra = NDArray[np.complex64]
LEAST = 4  # pairs that it takes to know what chance is
SIDE = 64  # of an edge map
RELATED = 3.0  # standard deviations of chance above which two pictures belong together
RELATED_SET = 6.5  # the same for the peak of a whole set, the highest of thousands of values
_BLOCK = 1000  # pairs that are compared with each other
_SMOOTH = 0.18  # cycles a pixel at which the whitened spectrum has fallen to exp(-1/2)
_HANN = np.hanning(SIDE + 2)[1:-1]
_WINDOW = np.sqrt(np.outer(_HANN, _HANN)).astype(np.float32)
_CYCLES = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
_LOW_PASS = np.exp(-(_CYCLES**2) / (2 * _SMOOTH**2)).astype(np.float32)


@dataclass(frozen=True)
class Registration:
    """How well the pictures of each pair lie on each other.

    Attributes:
        z: (N,) similarity of the edges of a pair, in standard deviations above that of pictures
            that do not belong together.
        best: (N,) which B resembles A of a pair most.
        best_z: (N,) how much.
        shift: (N, 2) by how much B lies to the right of and below A, as a share of a side.
        shift_z: (N,) how much more alike the two are when B is moved back by that, in standard
            deviations above what pictures that do not belong together come to.
        common: the shift of all pairs together, as `shift`.
        peak: how clear it is: the height of the peak in standard deviations; chance is below
            `RELATED_SET`.
    """

    z: NDArray[np.float64]
    best: NDArray[np.int64]
    best_z: NDArray[np.float64]
    shift: NDArray[np.float64]
    shift_z: NDArray[np.float64]
    common: tuple[float, float]
    peak: float


def small_grey(pixels: Pixels) -> Pixels:
    """What is compared of a uint8 (H, W, 3) picture: uint8 (SIDE + 2, SIDE + 2), grey."""
    small = Image.fromarray(pixels).resize((SIDE + 2, SIDE + 2), Image.Resampling.BOX)
    return np.asarray(small.convert("L"))


def register(a: Sequence[Pixels], b: Sequence[Pixels]) -> Registration:
    """Compare the two sides, as `small_grey` has them, of at least `LEAST` pairs."""
    parts: list[tuple[NDArray, ...]] = []
    sums: list[Spectra] = []
    for first, last in _blocks(len(a)):
        left, right = (np.stack([_spectrum(x) for x in side[first:last]]) for side in (a, b))
        parts.append(_register(left, right, first))
        sums.append(np.stack([(np.conj(left) * right).sum(0), left.sum(0), right.sum(0)]))
    z, best, best_z, shift, shift_z = (np.concatenate(c) for c in zip(*parts, strict=True))
    common, peak = _common(np.sum(sums, 0) / len(a))
    return Registration(z, best, best_z, shift, shift_z, common, peak)


def _spectrum(grey: Pixels) -> Spectra:
    """The edges of a picture as a spectrum (SIDE, SIDE // 2 + 1), whitened, smoothed and of zero
    mean."""
    x = grey.astype(np.float32)
    across, down = x[1:-1, 2:] - x[1:-1, :-2], x[2:, 1:-1] - x[:-2, 1:-1]
    edges = np.sqrt(np.hypot(across, down)) * _WINDOW
    spectrum = np.fft.rfft2(edges - edges.mean())
    size = np.abs(spectrum)
    spectrum *= _LOW_PASS / np.maximum(size, 1e-3 * max(float(size.max()), 1e-6))
    spectrum[0, 0] = 0
    return spectrum.astype(np.complex64)


def _blocks(count: int) -> list[tuple[int, int]]:
    """Of nearly equal size, so that none is too small to tell what chance is."""
    many = -(-count // _BLOCK)
    borders = [count * k // many for k in range(many + 1)]
    return list(itertools.pairwise(borders))


def _common(means: Spectra) -> tuple[tuple[float, float], float]:
    """The peak of the mean phase correlation, less that of the mean pictures, which is what pairs
    that do not belong together would give; `means` of both together, of A and of B."""
    together, a, b = means
    surface = np.fft.irfft2(together - np.conj(a) * b, (SIDE, SIDE))
    y, x = divmod(int(surface.argmax()), SIDE)
    down = _top(*(float(surface[(y + k) % SIDE, x]) for k in (-1, 0, 1)))
    across = _top(*(float(surface[y, (x + k) % SIDE]) for k in (-1, 0, 1)))
    move = (_signed(x) + across) / SIDE, (_signed(y) + down) / SIDE
    return move, float(surface[y, x] / max(float(surface.std()), 1e-12))


def _top(before: float, here: float, after: float) -> float:
    """Where a parabola through three values has its top, relative to the middle one."""
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend else 0.0


def _signed(place: int) -> int:
    return (place + SIDE // 2) % SIDE - SIDE // 2


def _register(a: Spectra, b: Spectra, first: int) -> tuple[NDArray, ...]:
    count = len(a)
    likeness = _centred(_flat(a) @ _flat(b).T)
    z = likeness / max(_spread(likeness), 1e-9)
    moves, peaks = _moved(a, b)
    others = np.roll(b, 1, axis=0)
    chance = np.sort(_moved(a, others)[1])
    typical, high = chance[count // 2], chance[min(count - 1, round(0.84 * count))]
    return (
        z.diagonal().astype(float),
        z.argmax(1) + first,
        z.max(1).astype(float),
        moves,
        (peaks - typical) / max(float(high - typical), 1e-9),
    )


def _flat(maps: Spectra) -> Maps:
    """Edge maps as rows of real numbers of unit length, whose products are correlations."""
    space = np.fft.irfft2(maps, (SIDE, SIDE)).reshape(len(maps), -1)
    length = np.linalg.norm(space, axis=1, keepdims=True)
    return (space / np.maximum(length, 1e-9)).astype(np.float32)


def _centred(likeness: Maps) -> Maps:
    """Without what a row or a column has in common: a picture that resembles all of them."""
    count = len(likeness)
    apart = likeness * (1 - np.eye(count, dtype=np.float32))
    rows, columns = apart.sum(1) / (count - 1), apart.sum(0) / (count - 1)
    return likeness - rows[:, None] - columns[None] + apart.sum() / (count * (count - 1))


def _spread(likeness: Maps) -> float:
    apart = likeness[~np.eye(len(likeness), dtype=bool)]
    return float(np.sqrt((apart**2).mean()))


def _moved(a: Spectra, b: Spectra) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) the shift at which each pair is most alike, and (N,) how much: the peak of the phase
    correlation in its own standard deviations."""
    moves, peaks = np.zeros((len(a), 2)), np.zeros(len(a))
    for k in range(len(a)):
        surface = np.fft.irfft2(np.conj(a[k]) * b[k], (SIDE, SIDE))
        place = int(surface.argmax())
        y, x = divmod(place, SIDE)
        peaks[k] = surface.flat[place] / max(float(surface.std()), 1e-12)
        moves[k] = _signed(x), _signed(y)
    return moves / SIDE, peaks

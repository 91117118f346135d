"""What a picture is like, in a few figures: enough to tell a line drawing from a photograph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.images.values import LUMA, Pixels

Floats = NDArray[np.float64]

_SIDE = 64  # pixels that the long side is reduced to
_ALIKE = 1.5  # levels between neighbours that look alike
_LIMIT = 1.6  # times the distance that nine in ten of the known pictures keep
_NAMED = 2  # traits that a line names
# Least variances, in the order of `traits`: few or equal pictures must not make all others
# strange.
_VARIANCES = np.array([25.0, 9.0, 0.05, 0.02, 0.05, 0.05, 0.005])
_WORDS = (
    ("darker", "brighter"),
    ("less contrast", "more contrast"),
    ("less colour", "more colour"),
    ("less detail", "more detail"),
    ("fewer flat areas", "more flat areas"),
    ("more different tones", "fewer different tones"),
    ("softer edges", "sharper edges"),
)


def traits(pixels: Pixels) -> Floats:
    """Seven figures of a picture, uint8 or uint16 (H, W, 1 or 3), reduced to 64 pixels on the long
    side: mean and standard deviation of its luma in 8-bit levels; logarithms of its mean chroma
    and of the mean difference of neighbours; log-odds of neighbours that look alike and of the
    most frequent tone; and the logarithm of how few places hold the differences. About 20 ms for
    12 megapixels."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, 2))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    small = np.asarray(image, np.float64)
    luma = small @ LUMA
    steps = np.concatenate([np.abs(np.diff(luma, axis=axis)).ravel() for axis in (0, 1)])
    steps = steps if steps.size else np.zeros(1)
    tones = np.bincount(np.rint(luma).astype(int).ravel(), minlength=256)
    common = np.convolve(tones, np.ones(5), "same").max() / luma.size
    return np.array(
        [
            luma.mean(),
            luma.std(),
            np.log(1 + (small.max(2) - small.min(2)).mean()),
            np.log(0.2 + steps.mean()),
            _log_odds(float((steps < _ALIKE).mean())),
            _log_odds(float(common)),
            np.log(np.sqrt((steps**2).mean()) / (steps.mean() + 0.05) + 0.1),
        ]
    )


def usual_traits(pictures: Iterable[Pixels]) -> dict[str, Any]:
    """Statistics of pictures of one kind, as plain data: `mean` and inverse covariance
    (`precision`) of their traits, and the `limit` of Mahalanobis' distance (Proc. Natl. Inst. Sci.
    India 2, 1936) up to which another one counts as such a picture. Empty for fewer than two."""
    measured = np.array([traits(pixels) for pixels in pictures])
    if len(measured) < 2:
        return {}
    mean = measured.mean(0)
    precision = np.linalg.inv(np.cov(measured.T) + np.diag(_VARIANCES))
    away = [_distance(each, mean, precision) for each in measured]
    return {
        "mean": [round(float(v), 4) for v in mean],
        "precision": [[round(float(v), 6) for v in row] for row in precision],
        "limit": round(_LIMIT * float(np.quantile(away, 0.9)), 3),
    }


def unlike(pixels: Pixels, usual: Mapping[str, Any]) -> str:
    """In words, by what a picture is most unlike the pictures of `usual_traits`; an empty text
    where it is like them, or where nothing is known of them."""
    if not usual:
        return ""
    mean, precision = np.array(usual["mean"]), np.array(usual["precision"])
    found = traits(pixels)
    if _distance(found, mean, precision) <= usual["limit"]:
        return ""
    deviations = (found - mean) / np.sqrt(np.diag(np.linalg.inv(precision)))
    most = np.argsort(-np.abs(deviations), kind="stable")[:_NAMED]
    return ", ".join(_WORDS[place][int(deviations[place] > 0)] for place in most)


def _log_odds(share: float) -> float:
    return float(np.log((share + 0.02) / (1.02 - share)))


def _distance(found: Floats, mean: Floats, precision: Floats) -> float:
    away = found - mean
    return math.sqrt(max(0.0, float(away @ precision @ away)))

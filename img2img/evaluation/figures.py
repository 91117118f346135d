"""What was gathered -> figures, each with its interval, its number of pictures, and warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from img2img.errors import DataError
from img2img.evaluation.gather import Collected, Gathered
from img2img.evaluation.rows import BICUBIC
from img2img.metrics import METRICS
from img2img.metrics.set_figures import SET_METRICS, Sets, name_of
from img2img.metrics.sets import Estimate, halves, inception_score, mean_of, share_of

# Below this number of pictures a distance between sets means little.
FEW = 200
_SCORED = 6  # pictures that an Inception score needs to be shown
# From this number of pictures on, a Frechet distance with Inception is the figure that papers
# report.
PUBLISHED = 2048


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Attributes:
        value, low, high: the figure and its 95 % interval; without one both are NaN.
        n: pictures that it was computed from.
        unit: empty for a plain number.
        better: `higher`, `lower`, or empty where neither is.
        floor: what to measure the value by: of a distance the same between two halves of the real
            pictures, of others what `about` or docs/reference/metrics.md says; NaN for none.
        about: in a few words what it tells.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = ""
    better: str = ""
    floor: float = math.nan
    about: str = ""


def figures_of(found: Gathered, seed: int = 0) -> tuple[dict[str, Figure], list[str]]:
    """The figures by name, and what to be careful about."""
    figures = _of_rows(found)
    warnings: list[str] = []
    compared = [name for name in found.fakes.features if name in found.reals.features]
    for network in found.fakes.features:
        if network in compared:
            try:
                figures |= _of_sets(network, found.reals, found.fakes, seed)
            except DataError as error:
                warnings.append(f"{network}: {error}")
        if len(found.inputs.names) == len(found.fakes.names) > 0:
            figures |= _likeness(network, found.inputs, found.fakes)
    warnings += _careful(found, compared)
    return figures, warnings


# Of what a model did to its inputs: unit, which way is better, and what it means.
FAITHFUL = {
    "came_right": (
        "share",
        "higher",
        "pixels that should change and come within 16 levels of the truth",
    ),
    "spoiled": (
        "share",
        "lower",
        "pixels that should stay but were changed by more than 16 levels",
    ),
    "structure": ("", "higher", "SSIM of the luminance at a quarter of the size, with the input"),
    "change": ("8-bit levels", "", "mean absolute difference to the input"),
    "unchanged": ("share", "lower", "pictures that differ from the input by under 4 levels"),
}
# Those that compare what an edit did with its truth.
FAITHFUL_TO_TRUTH = ("came_right", "spoiled")


def _of_rows(found: Gathered) -> dict[str, Figure]:
    figures = {}
    names = dict.fromkeys(name for row in found.rows.values() for name in row)
    for name in names:
        values = torch.tensor([row[name] for row in found.rows.values() if name in row]).double()
        if name == "unchanged":
            shown = share_of(values > 0)
        elif values.isfinite().all():
            shown = mean_of(values)
        else:  # the PSNR of a picture that equals its truth
            shown = Estimate(math.inf, math.inf, math.inf)
        if name.removeprefix(BICUBIC) in METRICS:
            metric = METRICS[name.removeprefix(BICUBIC)]
            better = "higher" if metric.higher_is_better else "lower"
            unit, about = metric.unit, "distance to the truth, mean over the pictures"
            if name.startswith(BICUBIC):
                better, about = "", "the same of the input enlarged by the bicubic filter"
        else:
            unit, better, about = FAITHFUL[name]
        figures[name] = figure_of(shown, len(values), unit, better, about=about)
    return figures


def figure_of(
    shown: Estimate, n: int, unit: str, better: str, floor: float = math.nan, about: str = ""
) -> Figure:
    """An estimate as a figure; a bound that is not finite is none."""
    low, high = (x if math.isfinite(x) else math.nan for x in (shown.low, shown.high))
    return Figure(shown.value, low, high, n, unit, better, floor, about)


def _of_sets(network: str, reals: Collected, fakes: Collected, seed: int) -> dict[str, Figure]:
    sets = Sets(reals.features[network], fakes.features[network], seed)
    parts = Sets(*halves(sets.real, seed), seed)
    if sets.fewer < 2:
        raise DataError(f"{sets.fewer} pictures are too few; each set needs at least 2")
    figures = {}
    for short, metric in SET_METRICS.items():
        if sets.fewer >= metric.least:
            floor = metric.value(parts) if metric.floor and parts.fewer > 3 else math.nan
            figures[name_of(short, network)] = figure_of(
                metric.estimate(sets), metric.n(sets), metric.unit,
                "higher" if metric.higher_is_better else "lower", floor, metric.about,
            )  # fmt: skip
    if network in fakes.logits and sets.fewer >= _SCORED:
        name = "inception_score" if network == "inception" else f"is_{network}"
        figures[name] = figure_of(
            inception_score(fakes.logits[network], seed), len(sets.fake), "", "higher",
            inception_score(reals.logits[network], seed).value,
            "certainty and variety of the classes seen; the floor is that of the reals",
        )  # fmt: skip
    return figures


def _likeness(network: str, inputs: Collected, fakes: Collected) -> dict[str, Figure]:
    like = F.cosine_similarity(inputs.features[network], fakes.features[network])
    about = "cosine similarity of input and output in the network's features: subject kept"
    return {f"likeness_{network}": figure_of(mean_of(like), len(like), "", "", about=about)}


def _careful(found: Gathered, compared: list[str]) -> list[str]:
    warnings = []
    counts = {"translated": len(found.fakes.names), "real": len(found.reals.names)}
    for what, count in counts.items():
        if compared and count < FEW:
            warnings.append(
                f"{count} {what} pictures: distances between sets say little under {FEW}; compare "
                "them with their floor, and only with figures of the same number of pictures"
            )
    if "inception" in compared and min(counts.values()) < PUBLISHED:
        warnings.append(
            f"FID falls with the number of pictures: under {PUBLISHED} it does not compare with "
            "figures of papers"
        )
    if found.problems:
        done = len(found.rows)
        warnings.append(
            f"{len(found.problems)} pictures could not be used; figures are over {done}"
        )
    return warnings

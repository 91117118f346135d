"""Figures that need more than one pass: a critic, edits, label maps, diversity, memorising."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from img2img.errors import DataError, PictureError
from img2img.evaluation.figures import FAITHFUL, FAITHFUL_TO_TRUTH, Figure, figure_of
from img2img.evaluation.gather import (
    Asked,
    Collected,
    Extractor,
    Gathered,
    Translate,
    collect,
)
from img2img.evaluation.page import Row, Section
from img2img.evaluation.rows import planes
from img2img.evaluation.sources import (
    Item,
    Material,
    folder_of,
    training_rows,
    truth_of_edit,
)
from img2img.images import Pixels
from img2img.metrics.collapse import diversity_ratio, duplicates, memorising, nearest
from img2img.metrics.critic import judge_apart
from img2img.metrics.edits import train_classifier
from img2img.metrics.intervals import wilson
from img2img.metrics.labels import (
    confusion,
    palette_of,
    score_intervals,
    scores_of,
    to_classes,
)
from img2img.metrics.sets import mean_of
from img2img.model_format.domains import Target, vector_of
from img2img.model_format.info import ModelInfo

_TRAINING = 2000  # pictures that the classifier of edits learns from
_NEIGHBOURS = 6


def collapse_figures(found: Gathered) -> dict[str, Figure]:
    """Whether different pictures get different answers, in the features of each network."""
    figures = {}
    for name, made in found.fakes.features.items():
        given = found.inputs.features.get(name)
        if given is None or len(given) != len(made) or len(made) < 2:
            continue
        ratio, n = diversity_ratio(made, given), len(made)
        figures[f"diversity_{name}"] = Figure(
            ratio.value, ratio.low, ratio.high, n,
            about="mean distance between outputs, divided by that between inputs: 0 is collapse",
        )  # fmt: skip
        repeated = duplicates(made, given)
        low, high = wilson(round(repeated * n), n)
        figures[f"duplicates_{name}"] = Figure(
            repeated, low, high, n, "share", "lower",
            about="outputs that another output repeats although the inputs differ",
        )  # fmt: skip
    return figures


def critic_figures(found: Gathered, seed: int) -> dict[str, Figure]:
    """A critic trained from scratch to tell reals from fakes, on copies of 64 pixels.

    Raises:
        DataError: fewer than 32 pictures on a side.
    """
    score = judge_apart(found.reals.small, found.fakes.small, seed=seed)
    low, high = score.interval
    error = 1.96 * score.wasserstein_error
    return {
        "critic_accuracy": Figure(
            score.accuracy, low, high, score.n, "share", "lower", 0.5,
            "held-out pictures that a network trained to tell them apart judges correctly; 0.5 "
            "is chance",
        ),
        "critic_wasserstein": Figure(
            score.wasserstein, score.wasserstein - error, score.wasserstein + error, score.n,
            "8-bit levels", "lower", 0.0, "estimate of the Wasserstein-1 distance at 64 pixels",
        ),
    }  # fmt: skip


def expand(material: Material, info: ModelInfo, data: Path) -> Material:
    """Each input to each domain that it is not in: items with a `target`, which is what the model
    is given, with the labels `wanted` of the answer, and with the `truth` that the folder `data`
    has of it."""
    items = []
    stated = dataclasses.replace(info, relative=False)
    for item in material.inputs:
        own = None if info.one_hot else item.label
        for place, domain in enumerate(info.domains):
            if item.label[place] == 1.0:
                if info.one_hot or any(domain in group for group in info.exclusive):
                    continue
                target = Target(f"no-{domain}", frozenset(), frozenset({place}))
            else:
                target = Target(domain, frozenset({place}))
            items.append(
                dataclasses.replace(
                    item,
                    name=f"{item.name} to {target.name}",
                    target=vector_of(info, target, own),
                    wanted=vector_of(stated, target, own),
                    edit=domain,
                    truth=truth_of_edit(data, item.name, domain),
                )
            )
    return dataclasses.replace(material, inputs=tuple(items))


def edit_figures(
    data: Path, info: ModelInfo, material: Material, found: Gathered, seed: int
) -> dict[str, Figure]:
    """Which edits a classifier sees, trained on the real training pictures at 64 pixels.

    Raises:
        DataError: too few training pictures, or a label that all or none of them have.
    """
    groups = [tuple(range(len(info.domains)))] if info.one_hot else _groups(info)
    rows = [
        row
        for row in training_rows(data, info.domains, info.training.get("held_out"))
        # Two hair colours at once are a mistake of the table.
        if all(sum(row.label[place] for place in group) <= 1 for group in groups)
    ]
    order = np.random.default_rng([seed, 37]).permutation(len(rows))[:_TRAINING]
    chosen = [rows[k] for k in sorted(order)]
    learned, places = collect(chosen, Asked(small=True))
    if not places:
        raise DataError(f"{data}: no training picture can be read")
    labels = torch.tensor([chosen[k].label for k in places])
    classifier = train_classifier(learned.small, labels, groups, seed=seed)
    items = {item.name: item for item in material.inputs}
    used = [items[name] for name in found.fakes.names]
    targets, before = (torch.tensor(x) for x in ([i.wanted for i in used], [i.label for i in used]))
    read = classifier.read(found.fakes.small) == targets.bool()
    edited = targets == 1 if info.one_hot else targets != before
    figures = {}
    for place, domain in enumerate(info.domains):
        rows_of_it = edited[:, place]
        about = "edits to it that a classifier recognises; floor: its accuracy on real pictures"
        figures[f"success_{domain}"] = _share(
            read[rows_of_it, place], about, float(classifier.accuracy[place])
        )
        stays = ~rows_of_it & (targets[:, place] == before[:, place])
        figures[f"kept_{domain}"] = _share(
            read[stays, place], "edits to other domains that leave it as it was"
        )
    figures |= _of_truths(used, found, info.domains)
    return {name: figure for name, figure in figures.items() if not math.isnan(figure.value)}


def _of_truths(edits: Sequence[Item], found: Gathered, domains: Sequence[str]) -> dict[str, Figure]:
    """`came_right` and `spoiled` of the edits of each domain whose truths are known."""
    figures = {}
    for name in FAITHFUL_TO_TRUTH:
        for domain in domains:
            rows = (found.rows[item.name] for item in edits if item.edit == domain)
            values = torch.tensor([row[name] for row in rows if name in row]).double()
            if len(values):
                unit, better, about = FAITHFUL[name]
                figures[f"{name}_{domain}"] = figure_of(
                    mean_of(values), len(values), unit, better, about=about
                )
    return figures


def _groups(info: ModelInfo) -> list[tuple[int, ...]]:
    return [tuple(info.domains.index(name) for name in group) for group in info.exclusive]


def label_figures(
    material: Material, side: int, translate: Translate | None, seed: int = 0
) -> dict[str, Figure]:
    """How well label maps agree with the true ones: the palette is found in the truths, and each
    picture is translated again. Intervals by pictures drawn again, by `seed`.

    Raises:
        DataError: the truths are no label maps of plain colours.
    """
    truths = [item for item in material.reals if _try(item, side) is not None]
    palette = palette_of(planes(item.read(side)) for item in truths)
    counts: list[Tensor] = []
    for item, truth in zip(material.judged, material.reals, strict=True):
        given, true = _try(item, side), _try(truth, side)
        if given is None or true is None:
            continue
        made = translate(given, item) if translate else given
        if made.shape != true.shape:
            continue
        a, b = (to_classes(planes(x), palette) for x in (made, true))
        counts.append(confusion(a, b, len(palette)))
    used = len(counts)
    matrices = torch.stack(counts or [torch.zeros(len(palette), len(palette), dtype=torch.int64)])
    scores, ends = scores_of(matrices.sum(0)), score_intervals(matrices, seed)

    figures = {
        "pixel_accuracy": _resampled(
            scores.pixel_accuracy, ends["pixel_accuracy"], used,
            "pixels whose nearest colour is the true one", "share",
        ),
        "mean_iou": _resampled(
            scores.mean_iou, ends["mean_iou"], used,
            "mean over the classes of intersection over union",
        ),
    }  # fmt: skip
    for k, (colour, iou) in enumerate(zip(palette.tolist(), scores.iou.tolist(), strict=True)):
        if not math.isnan(iou):
            name = f"iou_{''.join(f'{value:02x}' for value in colour)}"
            about = "of the class of this colour (RGB)"
            figures[name] = _resampled(iou, ends["iou"][:, k], used, about)
    return figures


def memory_figures(
    training: Path, found: Gathered, networks: Sequence[Extractor], material: Material, side: int,
    translate: Translate | None, most: int, seed: int,
) -> tuple[dict[str, Figure], list[Section], list[str]]:  # fmt: skip
    """Whether outputs lie nearer to the training pictures than real held-out ones do, the nearest
    neighbours of the outputs that lie nearest, and what could not be computed.

    Raises:
        UsageError, DataError: no such folder, or no pictures in it.
    """
    items = Material(reals=folder_of(training)).some(most, seed).reals
    known, places = collect(items, Asked(side, networks=networks), found.problems)
    figures: dict[str, Figure] = {}
    sections: list[Section] = []
    warnings: list[str] = []
    for name, features in known.features.items():
        if not sections:
            sections = [
                _neighbours(found.fakes, features, name, material, items, places, side, translate)
            ]
        if name not in found.reals.features:
            warnings = ["copies: there are no held-out real pictures to compare with"]
            continue
        try:
            test = memorising(found.fakes.features[name], found.reals.features[name], features)
        except DataError as error:
            warnings = [f"copies: {error}"]
            continue
        figures[f"nearer_{name}"] = _plain(
            test.nearer, test.outputs, "",
            "chance that an output lies nearer to a training picture than a held-out real one does",
        )  # fmt: skip
        figures[f"copies_{name}"] = Figure(
            test.copies, math.nan, math.nan, test.outputs, "share", "lower", test.rate,
            "outputs nearer to a training picture than 95 % of the held-out reals",
        )  # fmt: skip
    return figures, sections, warnings


def _neighbours(
    fakes: Collected, features: Tensor, network: str, material: Material, items: Sequence[Item],
    places: Sequence[int], side: int, translate: Translate | None,
) -> Section:  # fmt: skip
    indices, distances = nearest(fakes.features[network], features)
    judged = {item.name: item for item in material.judged}
    rows = []
    for k in distances[:, 0].argsort()[:_NEIGHBOURS].tolist():
        item = judged[fakes.names[k]]
        given = _try(item, side)
        there = _try(items[places[int(indices[k, 0])]], side)
        if given is None or there is None:
            continue
        made = translate(given, item) if translate else given
        rows.append(Row(item.name, "", {"output": made, "nearest training picture": there}))
    text = f"The outputs that lie nearest to a training picture, in the features of {network}."
    return Section("Nearest training pictures", text, rows)


def _try(item: Item, side: int) -> Pixels | None:
    try:
        return item.read(side)
    except PictureError:
        return None


def _plain(value: float, n: int, better: str, about: str, unit: str = "") -> Figure:
    return Figure(value, math.nan, math.nan, n, unit, better, about=about)


def _resampled(value: float, interval: Tensor, n: int, about: str, unit: str = "") -> Figure:
    low, high = interval.tolist()
    return Figure(value, low, high, n, unit, "higher", about=about)


def _share(hits: Tensor, about: str, floor: float = math.nan) -> Figure:
    """Of (N,) yes or no, with Wilson's interval; NaN of none."""
    n, right = len(hits), int(hits.sum())
    low, high = wilson(right, n)
    return Figure(right / n if n else math.nan, low, high, n, "share", "higher", floor, about)

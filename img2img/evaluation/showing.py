"""Which pictures a report shows: the worst, and some drawn by the seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from img2img.errors import PictureError
from img2img.evaluation.gather import Gathered, Translate
from img2img.evaluation.page import Row, Section
from img2img.evaluation.report import shown
from img2img.evaluation.sources import Item, Material
from img2img.images import Pixels
from img2img.metrics import METRICS

_ROWS = 6
# The figure by which pictures are called the worst: what people agree with most comes first.
_PREFERRED = ("lpips", "vgg19_distance", "ms_ssim", "ssim", "psnr", "l1")


def sections_of(
    material: Material, found: Gathered, side: int, translate: Translate | None, seed: int
) -> list[Section]:
    """The worst pictures where there is a truth, and drawn ones; each is read and translated
    again."""
    items = {item.name: (k, item) for k, item in enumerate(material.judged)}
    names = [name for name in items if name in found.rows]
    sections = []
    figure = next((n for n in _PREFERRED if any(n in row for row in found.rows.values())), None)
    if figure is not None:
        sign = -1 if METRICS[figure].higher_is_better else 1
        scored = [n for n in names if not math.isnan(found.rows[n].get(figure, math.nan))]
        worst = sorted(scored, key=lambda n: -sign * found.rows[n][figure])[:_ROWS]
        rows = [_row(material, *items[n], side, translate, found.rows[n], figure) for n in worst]
        sections.append(Section("The worst", f"The pictures of the worst {figure}.", _whole(rows)))
    order = np.random.default_rng([seed, 23]).permutation(len(names))[:_ROWS]
    drawn = [names[k] for k in sorted(order)]
    rows = [_row(material, *items[n], side, translate, found.rows[n], figure) for n in drawn]
    sections.append(Section("Drawn at random", "Drawn at random with the seed.", _whole(rows)))
    if not material.paired and material.reals:
        order = np.random.default_rng([seed, 29]).permutation(len(material.reals))[:_ROWS]
        reals = {f"real {k + 1}": p for k, p in enumerate(_read(material.reals, order, side))}
        text = "Some of the real pictures that the translated ones are compared with."
        sections.append(Section("Real pictures", text, [Row("", "", reals)] if reals else []))
    return [section for section in sections if section.rows]


def _whole(rows: Sequence[Row | None]) -> list[Row]:
    return [row for row in rows if row is not None]


def _read(items: Sequence[Item], order: Iterable[int], side: int) -> list[Pixels]:
    pictures = []
    for k in order:
        try:
            pictures.append(items[k].read(side))
        except PictureError:
            continue
    return pictures


def _row(
    material: Material, place: int, item: Item, side: int, translate: Translate | None,
    figures: dict[str, float], figure: str | None,
) -> Row | None:  # fmt: skip
    try:
        pixels = item.read(side)
        pictures = {"input": pixels, "output": translate(pixels, item)} if translate else {}
        pictures = pictures or {"output": pixels}
        if material.paired:
            pictures["truth"] = material.reals[place].read(side)
    except PictureError:
        return None
    note = f"{figure} {shown(figures[figure])}" if figure in figures else ""
    if not note and "structure" in figures:
        note = f"structure {shown(figures['structure'])}, change {shown(figures['change'])}"
    return Row(item.name, note, pictures)

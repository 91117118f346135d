"""The report as one self-contained HTML page: figures, distributions, pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from img2img._version import __version__
from img2img.evaluation.report import (
    UNLIKE,
    Report,
    best_of,
    common_warnings,
    comparable,
    interval,
    shown,
)
from img2img.images import Pixels, resize_pixels
from img2img.metrics import METRICS
from img2img.system.atomic import write_atomic
from img2img.system.pages import asset, fill, head, scrolled
from img2img.system.pages import shown_text as _text

_SIDE = 320  # of a picture in the page, in pixels
_QUALITY = 85
_BINS = 24
_SHOWN_PROBLEMS = 50


@dataclass(frozen=True)
class Row:
    """Pictures beside each other, each with its caption."""

    name: str
    note: str
    pictures: Mapping[str, Pixels]


@dataclass(frozen=True)
class Section:
    """Rows of pictures under a heading, with a sentence that says what they are."""

    heading: str
    text: str
    rows: Sequence[Row]


def write_page(path: Path, reports: Sequence[Report], sections: Sequence[Section]) -> None:
    """Write the page of one report, or of several beside each other.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    style = asset("look.css") + asset("report.css")
    title = " / ".join(report.title for report in reports)
    values = {
        "title": _text(title),
        "head": head(_text(title), style),
        "version": __version__,
        "about": "".join(_about(reports)),
        "warnings": _warnings(reports),
        "sections": "\n".join(
            part
            for part in (
                _figures(reports[0]) if len(reports) == 1 else _comparison(reports),
                _plots(reports[0]) if len(reports) == 1 else "",
                *map(_section, sections),
                *map(_problems, reports),
            )
            if part
        ),
    }
    write_atomic(path, fill(asset("report.html"), values).encode("utf-8", "backslashreplace"))


def _about(reports: Sequence[Report]) -> list[str]:
    """The facts of the protocols; where models differ, all their values."""
    facts: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "method": lambda p: p.get("method"),
        "pictures": lambda p: p.get("judged"),
        "real pictures": lambda p: p.get("reals"),
        "long side": lambda p: p.get("long_side") or "as they are",
        "pairs": lambda p: "yes" if p.get("paired") else "no",
        "seed": lambda p: p.get("seed"),
        "feature networks": lambda p: ", ".join(p.get("networks") or ()) or "none",
    }
    said = {
        label: dict.fromkeys(str(fact(r.protocol)) for r in reports if fact(r.protocol) is not None)
        for label, fact in facts.items()
    }
    return [
        f"<div><dt>{label}</dt><dd><bdi>{_text(' / '.join(values))}</bdi></dd></div>"
        for label, values in said.items()
        if values
    ]


def _warnings(reports: Sequence[Report]) -> str:
    lines = [*([] if comparable(reports) else [UNLIKE]), *common_warnings(reports)]
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f'<ul class="warnings">{items}</ul>' if items else ""


_ARROWS = {"higher": "higher is better", "lower": "lower is better"}


def _figures(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{shown(f.value)} <small>{_text(f.unit)}</small></td>"
        f"<td>{interval(f)}</td><td>{shown(f.floor) if math.isfinite(f.floor) else ''}</td>"
        f"<td>{f.n}</td><td>{_ARROWS.get(f.better, '')}</td><td class='about'>{_text(f.about)}</td>"
        "</tr>"
        for name, f in report.figures.items()
    )
    return (
        "<section><h2>Figures</h2><p>The interval in brackets covers the figure in 95 of 100 "
        "random draws of such pictures. The floor is the value to compare with: for a distance, "
        "the distance between two halves of the real pictures.</p>"
        f"{scrolled('Figures')}<table><thead><tr>"
        "<th>figure</th><th>value</th><th>interval</th><th>floor</th><th>pictures</th><th></th>"
        "<th></th></tr></thead><tbody>"
        f"{rows}</tbody></table></div></section>"
    )


def _comparison(reports: Sequence[Report]) -> str:
    names = list(dict.fromkeys(name for report in reports for name in report.figures))
    head = "".join(f"<th>{_text(report.title)}</th>" for report in reports)
    body = []
    for name in names:
        figures = [report.figures.get(name) for report in reports]
        winners = best_of(figures) if comparable(reports) else set()
        cells = "".join(
            f"<td{' class=best' if k in winners else ''}>"
            + (f"{shown(f.value)} <small>{interval(f)}</small>" if f else "")
            + "</td>"
            for k, f in enumerate(figures)
        )
        better = next((f.better for f in figures if f), "")
        body.append(f"<tr><td>{_text(name)}</td>{cells}<td>{_ARROWS.get(better, '')}</td></tr>")
    return (
        "<section><h2>Comparison</h2><p>The best figures are in bold, together with those whose "
        "intervals overlap the best; none are if all overlap or there are no intervals.</p>"
        f"{scrolled('Figures of each model')}<table><thead><tr><th>figure</th>{head}<th></th></tr>"
        "</thead>"
        f"<tbody>{''.join(body)}</tbody></table></div></section>"
    )


def _plots(report: Report) -> str:
    names = list(dict.fromkeys(name for row in report.rows.values() for name in row))
    drawn = [
        _histogram(name, [row[name] for row in report.rows.values() if name in row])
        for name in names
        if name != "unchanged"
    ]
    if not any(drawn) or len(report.rows) < 3:
        return ""
    return (
        "<section><h2>How the pictures differ</h2><p>Each bar counts pictures; a figure is their "
        f"mean.</p><div class='plots'>{''.join(drawn)}</div></section>"
    )


def _histogram(name: str, values: Sequence[float]) -> str:
    some = np.array([v for v in values if math.isfinite(v)])
    if len(some) < 3 or some.max() - some.min() <= 1e-9 * abs(some).max():
        return ""
    counts, edges = np.histogram(some, _BINS)
    tall = counts.max()
    bars = "".join(
        f"<rect x='{k * 12 + 1}' y='{80 - 76 * c / tall:.1f}' width='10' "
        f"height='{76 * c / tall:.1f}'><title>{shown(edges[k])} to {shown(edges[k + 1])}: {c}"
        "</title></rect>"
        for k, c in enumerate(counts)
        if c
    )
    unit = METRICS[name].unit if name in METRICS else ""
    label = f"{name}, {unit}" if unit else name
    return (
        f"<figure><figcaption>{_text(label)}</figcaption><svg viewBox='0 0 {_BINS * 12} 96' "
        f"role='img' aria-label='{_text(name)}: from {shown(edges[0])} to {shown(edges[-1])}, mean "
        f"{shown(float(some.mean()))}'>{bars}<line x1='0' x2='{_BINS * 12}' y1='80.5' y2='80.5'/>"
        f"<text x='0' y='93'>{shown(edges[0])}</text><text x='{_BINS * 12}' y='93' "
        f"text-anchor='end'>{shown(edges[-1])}</text></svg></figure>"
    )


def _section(section: Section) -> str:
    rows = "".join(map(_row, section.rows))
    return (
        f"<section><h2>{_text(section.heading)}</h2><p>{_text(section.text)}</p>"
        f"<div class='rows'>{rows}</div></section>"
    )


def _row(row: Row) -> str:
    cells = "".join(
        f"<figure><img alt='{_text(label)} of {_text(row.name)}' src='{_embedded(pixels)}'>"
        f"<figcaption>{_text(label)}</figcaption></figure>"
        for label, pixels in row.pictures.items()
    )
    columns = _column_class(len(row.pictures))
    return f"<div class='row {columns}'><p><bdi>{_text(row.name)}</bdi> {_text(row.note)}</p>{cells}</div>"  # noqa: E501


def _column_class(count: int) -> str:
    """Styles in attributes are forbidden by the page's policy: the stylesheet has a class each."""
    return f"of{min(count, 8)}"


def _embedded(pixels: Pixels) -> str:
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small = resize_pixels(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    data = io.BytesIO()
    Image.fromarray(small).save(data, "WEBP", quality=_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def _problems(report: Report) -> str:
    if not report.problems:
        return ""
    some = list(report.problems.items())
    items = "".join(
        f"<li><bdi>{_text(name)}</bdi>: {_text(reason)}</li>"
        for name, reason in some[:_SHOWN_PROBLEMS]
    )
    more = len(some) - _SHOWN_PROBLEMS
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    return f"<section><h2>Pictures that could not be used</h2><ul>{items}{rest}</ul></section>"

"""The curves of a run for its page, reduced to a few hundred points each, and its events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from img2img.training.runs import RunFiles

POINTS = 400  # of a curve
_EVENTS = 200
# The groups of curves and what their headings say.
GROUPS = {
    "figures": ("Held-out pictures", "Figures of pictures that are never trained on."),
    "losses": ("Losses", "Means between two rows of the log; the band shows the range."),
    "pace": ("Learning rate and speed", "The rate of the generator, and training pictures/s."),
    "health": (
        "Health",
        "What the detectors measure on the held-out pictures; "
        "docs/how-to/watch-a-training.md explains each of them.",
    ),
}


def thin(steps: Sequence[int], values: Sequence[float], most: int = POINTS) -> dict[str, Any]:
    """A curve of at most `most` points: means of equal numbers of neighbours with their `low` and
    `high`, each at its last step. A mean over a value that is not finite is None."""
    y = np.asarray(values, dtype=float)
    parts = np.array_split(np.arange(len(y)), min(most, len(y)))
    curve: dict[str, Any] = {
        "steps": [int(steps[part[-1]]) for part in parts],
        "mean": [_rounded(y[part].mean()) for part in parts],
    }
    if len(y) > most:
        curve["low"] = [_rounded(y[part].min()) for part in parts]
        curve["high"] = [_rounded(y[part].max()) for part in parts]
    return curve


def evenly(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of `items`, evenly chosen, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[k] for k in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def curves_of(run: RunFiles) -> dict[str, Any]:
    """The curves of a run by group and name, and what happened when."""
    points: dict[str, dict[str, tuple[list[int], list[float]]]] = {g: {} for g in GROUPS}

    def add(group: str, name: str, step: int, value: object) -> None:
        if isinstance(value, (int, float)):
            steps, values = points[group].setdefault(name, ([], []))
            steps.append(step)
            values.append(float(value))

    lr = run.config.get("settings", {}).get("lr", 1.0)
    per_step = run.config.get("batch_size", 1) * run.config.get("accumulate", 1)
    for row in run.rows:
        step, kind = row["step"], row["event"]
        if kind == "step":
            for name, value in row.get("losses", {}).items():
                add("losses", name, step, value)
            add("pace", "learning rate", step, row.get("lr_factor", 1.0) * lr)
            add("pace", "pictures/s", step, row.get("steps_per_second", 0.0) * per_step)
        elif kind in ("validation", "health-figures"):
            group = "figures" if kind == "validation" else "health"
            for name in row.keys() - {"event", "step"}:
                add(group, name, step, row[name])
    curves = {
        group: {name: thin(*points[group][name]) for name in sorted(points[group])}
        for group in points
    }
    return {"name": run.name, "step": run.step, "curves": curves, "events": _happened(run)}


def _happened(run: RunFiles) -> list[dict[str, Any]]:
    found = [
        {"step": row["step"], "kind": "health", "text": str(row.get("text", ""))}
        for row in run.rows
        if row["event"] == "health"
    ]
    found += [dict(event) for event in run.record.get("events", ())]
    best = run.best()
    if best:
        text = f"best so far by {best.name}: {number(best.value)}"
        found.append({"step": best.step, "kind": "best", "text": text})
    return sorted(found, key=lambda event: event["step"])[-_EVENTS:]


def number(value: float) -> str:
    """Four figures."""
    return f"{value:.4g}"

"""Counters and their text, as Prometheus reads it (exposition format 0.0.4)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Kind = Literal["counter", "gauge", "histogram"]


class Metrics:
    """What is counted. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, float]] = {}
        self._help: dict[str, tuple[str, Kind]] = {}

    def describe(self, name: str, text: str, kind: Kind) -> None:
        """Say what `name` counts; it is shown from then on."""
        self._help[name] = (text, kind)
        self._counts.setdefault(name, {})

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._add(name, _labelled("", labels), by)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value, in seconds, to a histogram."""
        for bound in _BUCKETS:
            self._add(name, _labelled("_bucket", labels | {"le": f"{bound:g}"}), value <= bound)
        self._add(name, _labelled("_bucket", labels | {"le": "+Inf"}), 1)
        self._add(name, _labelled("_sum", labels), value)
        self._add(name, _labelled("_count", labels), 1)

    def text(self, gauges: Iterable[tuple[str, float]] = ()) -> str:
        """All of it; `gauges` are the current values."""
        with self._lock:
            for name, value in gauges:
                self._counts.setdefault(name, {})[""] = value
            lines = []
            for name, (about, kind) in self._help.items():
                lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
                # Every digit: rates are differences of large counters.
                lines += [f"{name}{key} {value}" for key, value in self._counts[name].items()]
        return "\n".join(lines) + "\n"

    def _add(self, name: str, key: str, by: float) -> None:
        with self._lock:
            counts = self._counts[name]
            counts[key] = counts.get(key, 0) + by


def _labelled(suffix: str, labels: dict[str, str]) -> str:
    if not labels:
        return suffix
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{suffix}{{{inner}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

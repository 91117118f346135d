"""The options of `img2img translate`, as given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wishes:
    """The options of the command, as given."""

    inputs: list[str]
    out: str
    model: str | None
    direction: str | None
    domains: list[str]
    labels: Path | None
    runner: str
    device: str
    precision: str
    tile: str
    format: str | None
    quality: int
    name: str
    size: str | None
    strength: float
    batch: int | None
    overwrite: bool
    retry_failed: bool
    watch: bool
    follow_links: bool
    compare: Path | None
    gallery: Path | None
    strip_metadata: bool
    strip_gps: bool
    salvage: bool
    max_megapixels: float | None
    timeout: float
    layout: str | None
    range: str | None
    json: bool

"""Which settings of a run differ from the preset it began with, or from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from img2img.methods import METHODS
from img2img.nets import NETWORKS
from img2img.training.config import TrainConfig
from img2img.training.presets import presets_of

# These say what a run is, not how it differs from others.
_OWN = {"method", "data", "out", "name", "preset", "settings", "augment", "cache_folder"}


def changed_settings(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value here, value there) of each setting in `config`, a table as config.toml has it,
    that differs from its preset's; empty for a method that is not known."""
    kind = METHODS.get(str(config.get("method")))
    if kind is None:
        return []
    preset = presets_of(kind).get(str(config.get("preset") or ""), {})
    there = _table(TrainConfig.model_fields) | kind.defaults | preset
    rows = _compared(
        "",
        {n: config[n] for n in sorted(TrainConfig.model_fields.keys() & config.keys() - _OWN)},
        {n: v for n, v in there.items() if n not in _OWN},
    )
    rows += _compared("augment.", config.get("augment", {}), preset.get("augment", {}))
    settings = config.get("settings", {})
    base = _table(kind.Config.model_fields) | preset.get("settings", {})
    own = {n: v for n, v in settings.items() if not n.endswith("_options")}
    rows += _compared("", own, base)
    for what, table in NETWORKS.items():
        options = settings.get(f"{what}_options", {})
        net = table.get(str(settings.get(what)))
        if net is not None and options:
            defaults = _table(net.Config.model_fields) | base.get(f"{what}_options", {})
            rows += _compared(f"{what}.", options, defaults)
    return rows


def _table(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {n: f.get_default(call_default_factory=True) for n, f in fields.items()}


def _compared(
    prefix: str, here: Mapping[str, Any], there: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    return [
        (prefix + name, _shown(value), _shown(there.get(name)))
        for name, value in here.items()
        if _plain(value) != _plain(there.get(name))
    ]


def _plain(value: object) -> object:
    """Comparable with what TOML gives: sequences are lists, a default that is not set is empty."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return "" if value is None else value


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(v) for v in value) or "none"
    if value is None or value == "":
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)

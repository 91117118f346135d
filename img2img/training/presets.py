"""Presets: named sets of settings, those of the loop here, those of a method with the method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from img2img.errors import ConfigError, proposal
from img2img.methods import METHODS, Method, method_named
from img2img.training.config import TrainConfig

# For every method: a few minutes on a laptop, to see that everything works.
_TINY = {"steps": 300, "load_size": 72, "crop_size": 64, "sample_every": 250, "log_every": 25}


def presets_of(method: type[Method]) -> dict[str, dict[str, Any]]:
    """The presets of a method, by name: settings of the loop, and under `settings` its own. Flags
    and settings given beside a preset win."""
    own = {name: dict(values) for name, values in method.presets.items()}
    return own | {"tiny": _TINY | own.get("tiny", {})}


def resolve(values: Mapping[str, Any], preset: str | None = None) -> TrainConfig:
    """The method's defaults, then the preset, then `values`, as a validated TrainConfig. Where
    `max_minutes` is the only length that is given, the learning rate falls to zero by then.

    Raises ConfigError for an unknown method, preset or setting, listing the known ones.
    """
    method = method_named(str(values.get("method", "")))
    chosen = _chosen(method, preset) if preset is not None else {}
    merged = {**method.defaults, **chosen, **values}
    if preset is not None:
        merged["preset"] = preset
    if values.get("epochs") is not None and values.get("steps") is None:
        merged["steps"] = None
    given = {name for name, value in (chosen | dict(values)).items() if value is not None}
    if "max_minutes" in given and not given & {"steps", "epochs", "epochs_decay", "schedule"}:
        merged |= {"schedule": "time", "steps": None}  # the time is the length
    merged["settings"] = _merge(chosen.get("settings", {}), values.get("settings", {}))
    return TrainConfig.parse(merged)


def _chosen(method: type[Method], preset: str) -> dict[str, Any]:
    known = presets_of(method)
    if preset in known:
        return known[preset]
    others = [name for name, other in METHODS.items() if preset in other.presets]
    if others:
        raise ConfigError(f"preset '{preset}' is for {', '.join(others)}, not for {method.name}")
    raise ConfigError(f"unknown preset '{preset}'.{proposal(preset, known)}")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged

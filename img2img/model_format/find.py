"""Finds a model file: by path, by run folder, or among the shipped weights by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2img.errors import ModelError, UsageError, describe_os_error, proposal

_BEST = "best"  # of a run that keeps its best model beside the newest
SUFFIXES = (".onnx", ".safetensors")
_WEIGHTS = (".pth", ".pt", ".ckpt")  # what torch.save writes is mostly called so
DEFAULT_DIRECTION = "AtoB"


@dataclass(frozen=True)
class Shipped:
    """A row of `weights/index.json`.

    Attributes:
        files: by suffix, the names of its files in the weights folder.
        card: file name of its model card, there as well.
        purpose: which pictures it is for and what it makes of them, in words.
        speed: what was measured, in words.
        sample: a sheet of its outputs, as a path in the source tree.
    """

    name: str
    title: str
    licence: str
    files: dict[str, str]
    card: str
    purpose: str
    speed: str
    sample: str


_FIELDS = ("title", "licence", "files", "card", "purpose", "speed", "sample")


def weights_folder() -> Path:
    """Where the shipped weights are: the installed place first, then the checkout's."""
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "weights", here.parent / "weights"):
        if (folder / "index.json").is_file():
            return folder
    raise ModelError("the shipped weights are missing; reinstall img2img")


def _index() -> dict[str, Any]:
    path = weights_folder() / "index.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {describe_os_error(error)}") from None


def shipped() -> dict[str, Shipped]:
    """The shipped models by name."""
    return {
        name: Shipped(name, **{field: row[field] for field in _FIELDS})
        for name, row in _index()["models"].items()
    }


def default_name() -> str:
    """The name of the model that `translate` uses when none is given."""
    return str(_index()["default"])


def taken_for_granted(model: str, direction: str | None) -> str:
    """What to tell a user who gave no direction to a run that has several; empty otherwise."""
    if direction is not None or not Path(model).is_dir():
        return ""
    files = [p for suffix in SUFFIXES for p in Path(model).glob(f"*{suffix}")]
    there = {p.stem for p in files if not p.stem.startswith(_BEST)}
    if DEFAULT_DIRECTION not in there or len(there) < 2:
        return ""
    others = " or ".join(sorted(there - {DEFAULT_DIRECTION}))
    return f"{model}: direction {DEFAULT_DIRECTION}; `direction` {others} for the other"


def find_model(
    model: str, prefer: tuple[str, ...] = SUFFIXES, direction: str | None = None
) -> Path:
    """The model file for a path, a run folder or a shipped name; `prefer` orders the suffixes.
    `direction` chooses in a run of both directions; without it AtoB is taken. Where a run kept its
    best model (best.safetensors), that is it.

    Raises:
        UsageError: nothing of that name or direction; the nearest known names are proposed.
        ModelError: the file's suffix is not that of a model.
    """
    path = Path(model)
    if path.is_dir():
        found = [p for suffix in prefer for p in sorted(path.glob(f"*{suffix}"))]
        if not found:
            raise UsageError(f"{model}: a folder without a model file ({' or '.join(SUFFIXES)})")
        kept = (f"{_BEST}-{direction}",) if direction else (f"{_BEST}-{DEFAULT_DIRECTION}", _BEST)
        for p in found:
            if p.stem in kept:
                return p
        if direction is None:
            return next((p for p in found if p.stem == DEFAULT_DIRECTION), found[0])
        for p in found:
            if p.stem == direction:
                return p
        there = {p.stem for p in found if not p.stem.startswith(_BEST)}
        raise UsageError(f"{model}: no direction '{direction}' there.{proposal(direction, there)}")
    if direction is not None:
        raise UsageError(
            f"`direction` {direction}: only a run folder has directions; {model} is not one"
        )
    if path.exists():
        if not path.is_file():
            raise ModelError(f"{model}: not a regular file")
        if path.suffix in _WEIGHTS:
            raise ModelError(
                f"{model}: weights of another project; img2img models import makes a model file of "
                "them"
            )
        if path.suffix not in SUFFIXES:
            raise ModelError(f"{model}: not a model file; known suffixes: {', '.join(SUFFIXES)}")
        return path
    models = shipped()
    if model not in models:
        near = next((p for s in SUFFIXES if (p := Path(model + s)).is_file()), None)
        if near is not None:
            raise UsageError(f"{model}: no such model; did you mean {near}?")
        if path.suffix in SUFFIXES or len(path.parts) > 1:
            raise UsageError(f"{model}: no such model file")
        raise UsageError(f"no model named '{model}'.{proposal(model, models)}")
    files = models[model].files
    for suffix in prefer:
        if suffix in files:
            return weights_folder() / files[suffix]
    raise UsageError(f"model '{model}' has no {' or '.join(prefer)} file")

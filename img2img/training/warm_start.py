"""Start a training from weights that exist already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from img2img.errors import ModelError
from img2img.methods import Method
from img2img.model_format.checkpoint import load_model
from img2img.model_format.foreign import describe, load_foreign


@dataclass(frozen=True)
class Weights:
    """Of one generator, as a file has them.

    Attributes:
        path: the file.
        described: what it is, in words.
        name, config: of the generator.
        state: its weights by name.
        statistics: which its norm uses outside training, where the file says so.
    """

    path: Path
    described: str
    name: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    statistics: str | None


def warm_start(method: Method, source: Path) -> list[str]:
    """Load generator weights from a model file of ours, whatever its method, or of a reference
    implementation into the (first) generator, or from a run folder into all that it has a model
    for; return what there is to say: also what starts untrained.

    Raises:
        ModelError: the file is refused, or its architecture is another; the settings that would
            fit are named.
    """
    weights = read_weights(method, source)
    said = fit_weights(method, weights)
    if new := [name for name in method.generators if name not in weights]:
        said.append(f"{source} has no weights for {', '.join(new)}: they start untrained")
    return said


def read_weights(method: Method, source: Path) -> dict[str, Weights]:
    """What there is in `source` for the generators of `method`, by the generator's key.

    Raises ModelError for a file that is refused.
    """
    files = {next(iter(method.generators)): source}
    if source.is_dir():
        files = _models_of(source, method)
    return {key: _read(path) for key, path in files.items()}


def fit_weights(method: Method, weights: Mapping[str, Weights]) -> list[str]:
    """Load `weights` into the generators; return what there is to say.

    Raises ModelError where an architecture is another; the settings that would fit are named.
    """
    said = []
    for key, given in weights.items():
        target = method.generators[key]
        mine = target.config.model_dump(mode="json", exclude_none=True)
        try:
            if given.name != target.name:
                raise RuntimeError
            target.load_state_dict(given.state)
        except RuntimeError:
            other = {k: v for k, v in given.config.items() if k in mine and mine[k] != v}
            sets = " ".join(f"`generator.{k}={v}`" for k, v in sorted(other.items()))
            raise ModelError(
                f"{given.path}: its generator differs from this run's; "
                f"use `generator={given.name}` {sets}".rstrip()
            ) from None
        said.append(f"{key} starts from {given.path}{given.described}")
        if given.statistics not in (None, target.norm_statistics):
            said.append(
                f"{key}: the file's norm uses {given.statistics} statistics outside training, this "
                f"run's {target.norm_statistics}; `norm_statistics={given.statistics}` keeps the "
                "former"
            )
    return said


def _read(path: Path) -> Weights:
    if path.suffix == ".safetensors":
        generator, info = load_model(path)
        config = generator.config.model_dump(mode="json", exclude_none=True)
        state = generator.state_dict()
        return Weights(path, f" ({info.name})", generator.name, config, state, info.norm_statistics)
    foreign = load_foreign(path)
    return Weights(
        path, f": {describe(foreign)}", foreign.generator, foreign.config, foreign.state, None
    )


def _models_of(run: Path, method: Method) -> dict[str, Path]:
    """The models of a run folder by the generator that takes them; the one model of a run of
    another method goes into the first."""
    files = {key: run / f"{key}.safetensors" for key in method.generators}
    if any(path.exists() for path in files.values()):
        return files
    single = run / "model.safetensors"
    return {next(iter(files)): single} if single.exists() else files

"""Start a training from weights that exist already."""

from __future__ import annotations

from pathlib import Path

from img2img.errors import ModelError
from img2img.methods import Method
from img2img.model_format.checkpoint import load_model
from img2img.model_format.foreign import describe, load_foreign


def warm_start(method: Method, source: Path) -> list[str]:
    """Load generator weights from a model file of ours, whatever its method, or of a reference
    implementation into the (first) generator, or from a run folder into all that it has a model
    for; return what there is to say: also what starts untrained.

    Raises:
        ModelError: the file is refused, or its architecture is another; the settings that would
            fit are named.
    """
    files = {next(iter(method.generators)): source}
    if source.is_dir():
        files = _models_of(source, method)
    said = []
    for key, path in files.items():
        if path.suffix == ".safetensors":
            generator, info = load_model(path)
            name, config, state = (
                generator.name,
                generator.config.model_dump(mode="json", exclude_none=True),
                generator.state_dict(),
            )
            statistics = info.norm_statistics
            said.append(f"{key} starts from {path} ({info.name})")
        else:
            foreign = load_foreign(path)
            name, config, state = foreign.generator, foreign.config, foreign.state
            statistics = None
            said.append(f"{key} starts from {path}: {describe(foreign)}")
        target = method.generators[key]
        mine = target.config.model_dump(mode="json", exclude_none=True)
        try:
            if name != target.name:
                raise RuntimeError
            target.load_state_dict(state)
        except RuntimeError:
            other = {k: v for k, v in config.items() if k in mine and mine[k] != v}
            sets = " ".join(f"`generator.{k}={v}`" for k, v in sorted(other.items()))
            raise ModelError(
                f"{path}: its generator differs from this run's; "
                f"use `generator={name}` {sets}".rstrip()
            ) from None
        if statistics not in (None, target.norm_statistics):
            said.append(
                f"{key}: the file's norm uses {statistics} statistics outside training, this run's "
                f"{target.norm_statistics}; `norm_statistics={statistics}` keeps the former"
            )
    if new := [name for name in method.generators if name not in files]:
        said.append(f"{source} has no weights for {', '.join(new)}: untrained at the start")
    return said


def _models_of(run: Path, method: Method) -> dict[str, Path]:
    """The models of a run folder by the generator that takes them; the one model of a run of
    another method goes into the first."""
    files = {key: run / f"{key}.safetensors" for key in method.generators}
    if any(path.exists() for path in files.values()):
        return files
    single = run / "model.safetensors"
    return {next(iter(files)): single} if single.exists() else files

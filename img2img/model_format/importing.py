"""Weights of another project -> a model file of ours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from img2img._version import __version__
from img2img.errors import ModelError, UsageError
from img2img.model_format.checkpoint import save_model
from img2img.model_format.foreign import Foreign, load_foreign
from img2img.model_format.info import ModelInfo
from img2img.model_format.layouts import Hints
from img2img.nets import Generator, build_generator

# Of which a face has at most one: StarGAN's own list of hair colours.
_HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_SIZES = {"stargan": 128}  # pixels that the reference trains at; others 256, or the U-Net's own
_SIZE = 256
Statistics = Literal["batch", "running"]


@dataclass(frozen=True)
class ImportOptions:
    """What a file of weights does not record. If None or empty, a default is used and listed as an
    assumption.

    Attributes:
        name: of the model. [the name of its file]
        direction: what goes in and what comes out, in words. [A -> B]
        licence: of the weights. [unknown]
        size: long side in pixels at which the network works, 0 for each picture's own size.
            [128 for StarGAN, 2 ** levels for a U-Net, 256 for others: what the references train at]
        domains: names of StarGAN's domains in the order of its training. [domain1, domain2, ...]
        one_hot: exactly one domain holds. [any may: attributes]
        exclusive: groups of domains of which at most one holds. [StarGAN's hair colours among them]
        statistics: what batch norm uses: `batch`, each picture's own, or `running`. [batch]
        hints: of the architecture.
    """

    name: str | None = None
    direction: str | None = None
    licence: str | None = None
    size: int | None = None
    domains: tuple[str, ...] = ()
    one_hot: bool = False
    exclusive: tuple[tuple[str, ...], ...] = ()
    statistics: Statistics | None = None
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True)
class Imported:
    """A model file made of another project's weights.

    Attributes:
        info: the metadata of the model file.
        foreign: what was recognised, and what was done to the weights.
        assumed: assumptions that were made, one phrase each.
    """

    info: ModelInfo
    foreign: Foreign
    assumed: tuple[str, ...]


def import_model(
    source: Path | str, target: Path | str, options: ImportOptions | None = None
) -> Imported:
    """Write the generator in `source`, a file of CycleGAN, pix2pix, CUT or StarGAN, to the model
    file `target` (.safetensors). No code in `source` is run.

    Raises:
        UsageError: options that contradict the file or each other, or a target of another suffix.
        ModelError: the file is refused (as `load_foreign`), or translates no pictures.
        EnvironmentFault: the target cannot be written.
    """
    options = options or ImportOptions()
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: a model file needs the suffix .safetensors")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target}: the file that is imported; choose another name")
    foreign = load_foreign(source, options.hints)
    generator = build_generator(foreign.generator, foreign.config)
    generator.load_state_dict(foreign.state)
    assumed: list[str] = []
    try:
        _use_statistics(generator, foreign, options, assumed)
        info = _info(source, target, generator.eval(), foreign, options, assumed)
        info.check(str(target))
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    save_model(target, generator, info)
    return Imported(info, foreign, tuple(assumed))


def _use_statistics(
    generator: Generator, foreign: Foreign, options: ImportOptions, assumed: list[str]
) -> None:
    chosen = options.statistics
    if chosen not in (None, "batch", "running"):
        raise UsageError(f"`statistics` {chosen}: give batch or running")
    if generator.norm_statistics not in ("batch", "running"):
        if chosen is not None:
            raise UsageError(f"`statistics` {chosen}: the network has no batch norm")
        return
    if chosen == "running" and not foreign.statistics:
        raise UsageError("`statistics` running: the file has none; leave it out")
    if chosen is None:
        assumed.append("statistics of batch norm: each picture's own (`statistics`)")
    generator.use_norm_statistics(chosen or "batch")


def _info(
    source: Path,
    target: Path,
    generator: Generator,
    foreign: Foreign,
    options: ImportOptions,
    assumed: list[str],
) -> ModelInfo:
    channels = generator.in_channels, generator.out_channels
    if not {*channels} <= {1, 3}:
        raise ModelError(
            f"{source}: {foreign.layout} takes {channels[0]} and gives {channels[1]} channels; "
            "pictures are translated by models of 1 or 3 channels"
        )
    method = foreign.layout.split()[0]
    domains, exclusive = _domains(generator.domains, options, assumed)
    trained = 2 ** foreign.config["depth"] if "depth" in foreign.config else _SIZES.get(method)
    size = max(options.size or trained or _SIZE, generator.minimum)
    if options.size is None:
        assumed.append(f"working size: {size} pixels (`size`)")
    elif 0 < options.size < generator.minimum or options.size < 0:
        raise UsageError(f"`size` {options.size}: give 0, or at least {generator.minimum} pixels")
    direction = _stated(options.direction, "A -> B", "direction", assumed)
    licence = _stated(options.licence, "unknown", "licence", assumed)
    return ModelInfo(
        name=options.name or target.stem,
        method=method,
        generator=generator.name,
        generator_config=generator.config.model_dump(mode="json", exclude_none=True),
        in_channels=channels[0],
        out_channels=channels[1],
        multiple_of=generator.multiple_of,
        minimum=generator.minimum,
        norm_statistics=generator.norm_statistics,
        tiling=generator.tiling,
        size=size,
        working_size=0 if options.size == 0 else size,
        domains=domains,
        one_hot=options.one_hot,
        exclusive=exclusive,
        direction=direction,
        licence=licence,
        training={
            "imported_from": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "layout": foreign.layout,
            "notes": [*foreign.notes],
            "assumed": [*assumed],
            "img2img": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _stated(value: str | None, otherwise: str, name: str, assumed: list[str]) -> str:
    if value is None:
        assumed.append(f"{name}: {otherwise} (`{name}`)")
    return otherwise if value is None else value


def _domains(
    count: int, options: ImportOptions, assumed: list[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The names of the domains, and the groups of which at most one holds."""
    names = options.domains
    for option in ("domains", "one_hot", "exclusive"):
        if getattr(options, option) and not count:
            raise UsageError(f"`{option}`: the network has no domains")
    if not count:
        return (), ()
    if names and len(names) != count:
        raise UsageError(
            f"`domains`: {len(names)} names for {count} domains; name all, in the order of training"
        )
    if len({*names}) < len(names):
        raise UsageError("`domains`: duplicate name")
    if not names:
        names = tuple(f"domain{k + 1}" for k in range(count))
        assumed.append(f"domains: {', '.join(names)} (`domains`, in the order of training)")
    if options.one_hot:
        if options.exclusive:
            raise UsageError("`one_hot` and `exclusive` exclude each other")
        return names, ()
    strange = [name for group in options.exclusive for name in group if name not in names]
    if strange:
        raise UsageError(f"`exclusive`: no domain '{strange[0]}'; there are {', '.join(names)}")
    exclusive = options.exclusive
    hair = tuple(name for name in names if name in _HAIR)
    if not exclusive and len(hair) > 1:
        exclusive = (hair,)
        assumed.append(f"at most one applies of {', '.join(hair)} (`exclusive`)")
    if not exclusive:
        assumed.append("domains: any of them may apply together (`one_hot`, `exclusive`)")
    return names, exclusive

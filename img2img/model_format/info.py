"""`ModelInfo`: the metadata of a model file. Plain data; needs neither torch nor pydantic."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from img2img.errors import ModelError

SCHEMA = 2
"""The newest version that is read."""
_PLAIN, _ENLARGES = 1, 2
KEY = "img2img"
TRAITS = 7  # figures of a picture in `inputs`
UPSAMPLING = ("plain", "guided", "chroma")
SCALES = (1, 2, 4)


@dataclass(frozen=True)
class ModelInfo:
    """Everything needed to rebuild a generator and to use it correctly.

    Attributes:
        name: short name, e.g. `painting`.
        method: the training method (`pix2pix`, ...).
        generator: its name in `GENERATORS`.
        generator_config: its settings.
        in_channels, out_channels: of the pictures (3 = RGB, 1 = grey).
        value_range: of the network's input and output.
        norm_statistics: `instance` (each picture's own), `batch` (batch norm by each picture's
            own statistics), `running` (averages from training) or `none`.
        dropout: `off` outside training, or `none` when the network has none.
        multiple_of, minimum: size rules in pixels; runners pad by reflection and crop back.
        tiling: `exact` or `statistics` (tiles change the result).
        size: side in pixels of the training crops.
        working_size: long side in pixels at which the network works: larger pictures are reduced to
            it and the answer is enlarged again, smaller ones stay as they are. 0: each picture's
            own size. None, as in older files: `size`; see `long_side`.
        upsampling: how the answer is enlarged: `plain` (bicubic), or `guided` by the edges of the
            source, for models whose answer keeps its outlines (`images.enlarge_guided`), or
            `chroma`: only its colour is enlarged, for models that keep the luminance of the source
            (`images.enlarge_chroma`).
        scale: how many times as wide and high as the input the output is: 1, as in older files, or
            2 or 4. Models that enlarge work at each picture's own size.
        domains: names of the domain vector's entries, in order.
        one_hot: exactly one entry is 1 (folders); else any may be (attributes).
        exclusive: groups of domains of which at most one is 1 (hair colours).
        relative: the domain vector states what to change (1 sets, -1 clears, 0 leaves) instead of
            the final state.
        direction: what goes in and what comes out, in words.
        training: provenance: data, steps, settings, versions, device.
        licence: of the weights, with any restriction that the training data bring.
        quality: measured figures by name.
        inputs: statistics of the pictures that the generator learned from
            (`images.usual_traits`); empty: not known.
    """

    name: str
    method: str
    generator: str
    generator_config: dict[str, Any]
    in_channels: int
    out_channels: int
    multiple_of: int
    minimum: int
    norm_statistics: str
    tiling: str
    size: int
    value_range: tuple[float, float] = (-1.0, 1.0)
    dropout: str = "off"
    domains: tuple[str, ...] = ()
    one_hot: bool = False
    exclusive: tuple[tuple[str, ...], ...] = ()
    relative: bool = False
    direction: str = "A -> B"
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    quality: dict[str, float] = field(default_factory=dict)
    working_size: int | None = None
    upsampling: str = "plain"
    inputs: dict[str, Any] = field(default_factory=dict)
    scale: int = 1
    schema: int = _PLAIN

    def __post_init__(self) -> None:
        if self.scale != 1:  # older versions would take the output for one of the input's size
            object.__setattr__(self, "schema", _ENLARGES)

    @property
    def long_side(self) -> int:
        """`working_size` in pixels where the file states one, else `size`; 0: the picture's own."""
        return self.size if self.working_size is None else self.working_size

    def to_dict(self) -> dict[str, Any]:
        """The information as plain JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(values: dict[str, Any], where: str) -> ModelInfo:
        """Rebuild from `to_dict`. Raises ModelError, naming `where`, for what is missing,
        mistyped, contradictory or from a newer version."""
        schema = values.get("schema")
        if not isinstance(schema, int):
            raise ModelError(f"{where}: its img2img metadata has no schema version")
        if schema > SCHEMA:
            raise ModelError(
                f"{where}: written by a newer img2img (schema {schema}, this one reads {SCHEMA}); "
                "update img2img"
            )
        known = {f.name: f for f in dataclasses.fields(ModelInfo)}
        required = [n for n, f in known.items() if _required(f)]
        missing = [n for n in required if n not in values]
        if missing:
            raise ModelError(f"{where}: its metadata lacks {', '.join(missing)}")
        kept = {n: v for n, v in values.items() if n in known}
        kept["domains"] = _tupled(kept.get("domains", ()))
        groups = _tupled(kept.get("exclusive", ()))
        kept["exclusive"] = _tupled(map(_tupled, groups)) if isinstance(groups, tuple) else groups
        kept["value_range"] = _tupled(kept.get("value_range", (-1.0, 1.0)))
        info = ModelInfo(**kept)
        info.check(where)
        return info

    def check(self, where: str) -> None:
        """Raise ModelError when a field is impossible."""
        for name in ("in_channels", "out_channels", "multiple_of", "minimum", "size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65536:
                raise ModelError(f"{where}: metadata field {name} is {value!r}")
        for name in ("name", "method", "generator", "norm_statistics", "tiling", "licence"):
            if not isinstance(getattr(self, name), str):
                raise ModelError(f"{where}: metadata field {name} is not a string")
        for name in ("generator_config", "training", "quality", "inputs"):
            if not isinstance(getattr(self, name), dict):
                raise ModelError(f"{where}: metadata field {name} is not a table")
        least, side = self.minimum, self.working_size
        if side is not None and (
            not isinstance(side, int)
            or isinstance(side, bool)
            or not (side == 0 or least <= side <= 65536)
        ):
            raise ModelError(
                f"{where}: metadata field working_size is {side!r}; 0 or {least} to 65536 pixels "
                "are possible"
            )
        if type(self.scale) is not int or self.scale not in SCALES:
            raise ModelError(
                f"{where}: metadata field scale is {self.scale!r}; 1, 2 and 4 are possible"
            )
        if self.scale > 1 and (self.long_side or self.upsampling != "plain"):
            raise ModelError(
                f"{where}: metadata field scale is {self.scale}, which goes with working_size 0 "
                f"and upsampling plain, not with {self.long_side} and {self.upsampling}"
            )
        if self.upsampling not in UPSAMPLING:
            raise ModelError(
                f"{where}: metadata field upsampling is {self.upsampling!r}; known are "
                f"{', '.join(UPSAMPLING)}"
            )
        if self.inputs and not _statistics(self.inputs):
            raise ModelError(f"{where}: metadata field inputs is not a set of picture statistics")
        if self.value_range != (-1.0, 1.0):
            raise ModelError(f"{where}: value range {self.value_range} is not supported")
        if not _names(self.domains) or len(set(self.domains)) < len(self.domains):
            raise ModelError(f"{where}: metadata field domains is not a list of names, each once")
        for name in ("one_hot", "relative"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"{where}: metadata field {name} is {getattr(self, name)!r}")
        if not isinstance(self.exclusive, tuple) or not all(map(_names, self.exclusive)):
            raise ModelError(f"{where}: metadata field exclusive is not a list of lists of names")
        strange = {name for group in self.exclusive for name in group} - {*self.domains}
        if strange:
            raise ModelError(
                f"{where}: metadata field exclusive names {', '.join(sorted(strange))}, "
                "which is not a domain"
            )


def _tupled(value: object) -> object:
    return tuple(value) if isinstance(value, (list, tuple, map)) else value


def _names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _statistics(values: dict[str, Any]) -> bool:
    """Whether this is what `images.usual_traits` gives."""
    mean, precision = values.get("mean"), values.get("precision")
    if not isinstance(mean, list) or not isinstance(precision, list):
        return False
    rows = [mean, *precision, [values.get("limit")]]
    if len(precision) != len(mean) or not all(isinstance(row, list) for row in rows):
        return False
    if any(len(row) != TRAITS for row in rows[:-1]):
        return False
    return all(isinstance(v, (int, float)) and math.isfinite(v) for row in rows for v in row)


def _required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING

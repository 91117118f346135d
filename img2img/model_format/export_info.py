"""`ExportInfo`: what an exported file says of its graph and of its proof, beside `ModelInfo`. Plain
data; needs neither torch nor onnx."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

from img2img.errors import ModelError

EXPORT_KEY = "img2img_export"
Io = Literal["uint8", "float"]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Parity:
    """Differences between two outputs at one shape, in 8-bit levels; `domain` names the domains
    that the batch went to, separated by spaces."""

    batch: int
    height: int
    width: int
    max_levels: int
    mean_levels: float
    domain: str = ""


@dataclass(frozen=True)
class ExportInfo:
    """Attributes:
    io: `uint8` (NHWC, 0 to 255, in and out) or `float` (NCHW, -1 to 1).
    layout, value_range: the same in words and numbers, for who does not know `io`.
    inputs, outputs: names of the graph's inputs and outputs, in order.
    batch, height, width: fixed sizes; None where any is taken.
    precision: `fp32`, `fp16` or `int8`, of the weights and the computation.
    opset: version of ONNX's own operators.
    source, source_sha256: name and hash of the model file that was exported.
    created: UTC, `2026-11-26T05:00:00Z`.
    versions: of what made the file.
    pictures: on what the proof was made, in words.
    parity: PyTorch against this file, one row for each shape. Of `fp16` and `int8` files the rows
        tell the float network that they were made from, and `quality` what the precision cost.
    quality: figures against fp32, by name; empty for fp32.
    """

    io: Io = "float"
    layout: str = "NCHW"
    value_range: tuple[float, float] = (-1.0, 1.0)
    inputs: tuple[str, ...] = ("input",)
    outputs: tuple[str, ...] = ("output",)
    batch: int | None = None
    height: int | None = None
    width: int | None = None
    precision: Precision = "fp32"
    opset: int = 0
    source: str = ""
    source_sha256: str = ""
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    pictures: str = ""
    parity: tuple[Parity, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON, keys in order."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str, where: str) -> ExportInfo:
        """Rebuild from `to_json`; unknown fields are left out. Raises ModelError, naming `where`,
        for what is mistyped."""
        try:
            values = json.loads(text)
            known = {f.name for f in dataclasses.fields(ExportInfo)}
            kept = {name: value for name, value in values.items() if name in known}
            kept["parity"] = tuple(Parity(**row) for row in kept.get("parity", ()))
            for name in ("value_range", "inputs", "outputs"):
                if name in kept:
                    kept[name] = tuple(kept[name])
            info = ExportInfo(**kept)
            info.check()
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{where}: its metadata {EXPORT_KEY} is unreadable: {error}") from None
        return info

    def check(self) -> None:
        """Raise ValueError when a field that a runner relies on is impossible."""
        if self.io not in ("uint8", "float"):
            raise ValueError(f"io is {self.io!r}")
        if self.precision not in ("fp32", "fp16", "int8"):
            raise ValueError(f"precision is {self.precision!r}")
        for name in ("batch", "height", "width"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} is {value!r}")
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width are not fixed together")

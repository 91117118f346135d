"""ONNX models made elsewhere: the user says how pictures go in, a trial says what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from img2img.errors import ModelError, UsageError
from img2img.model_format.export_info import ExportInfo, Precision
from img2img.model_format.info import ModelInfo
from img2img.onnx_format.channels import channels_first
from img2img.onnx_format.elements import FLOAT, HALF, UINT8, Port
from img2img.onnx_format.folding import folded
from img2img.onnx_format.model import OnnxModel
from img2img.onnx_format.reading import is_ours, layout_of, parse_file, read_whole, wanted
from img2img.onnx_format.session import CPU, ON_CPU, Array, open_session, providers_for
from img2img.onnx_format.trial import Found, Trial, run_trial
from img2img.runners.base import Float, Runner
from img2img.runners.foreign_tiled import ForeignTiledModel
from img2img.runners.onnx_tiled import GraphTiledModel, OnnxTiledModel
from img2img.system.out_of_memory import memory_faults
from img2img.tiling.locality import TiledModel

if TYPE_CHECKING:
    from img2img.runners.openvino import Compiler

LAYOUTS = ("nchw", "nhwc")
VALUE_RANGES = {"-1..1": (-1.0, 1.0), "0..1": (0.0, 1.0), "0..255": (0.0, 255.0)}
_NUMPY = {FLOAT: "float32", HALF: "float16", UINT8: "uint8"}
_PRECISIONS: dict[str, Precision] = {"fp16": "fp16", "int8": "int8"}
METHOD = "foreign"


@dataclass(frozen=True)
class Entry:
    """How pictures go into a foreign model, and come out.

    Attributes:
        layout: `nchw`, channels before height and width, or `nhwc`, after them.
        value_range: a key of `VALUE_RANGES`; None for graphs of uint8, whose values are pixels.

    Raises UsageError for another layout or range.
    """

    layout: str
    value_range: str | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError(f"`layout` {self.layout}: give {' or '.join(LAYOUTS)}")
        if self.value_range is not None and self.value_range not in VALUE_RANGES:
            raise UsageError(f"`value_range` {self.value_range}: give {', '.join(VALUE_RANGES)}")

    @property
    def last(self) -> bool:
        """Whether the channels stand last."""
        return self.layout == "nhwc"


class ForeignRunner(Runner):
    """An ONNX file without our metadata, through onnxruntime on `device` (auto, cpu, cuda, cuda:N),
    or with `openvino` through OpenVINO on the CPU, in `precision` fp32, bf16 or fp16.

    What it says of itself is made up from its graph and from a trial run in a process of its own.
    A fixed size stays one; sides are extended by reflection to what the trial found to work.

    Raises:
        UsageError: an entry that does not fit the graph, or a precision that the file has not.
        ModelError: refused by the check or by the trial; or a file of ours, which needs no entry.
        EnvironmentFault: a device asked for by name that does not load, or as `OpenVinoRunner`.
    """

    def __init__(
        self,
        path: Path,
        entry: Entry,
        device: str = "auto",
        precision: str = "auto",
        openvino: bool = False,
    ):
        data = read_whole(path)
        seen = parse_file(data, path)
        if is_ours(seen):
            raise UsageError(
                f"{path}: made by img2img, its metadata already defines the input format; leave "
                f"`layout` and "
                "`value_range` out"
            )
        picture = _picture(seen, path)
        self._range = _range(entry, picture, seen, path)
        self._entry, self._type = entry, _NUMPY[picture.kind]
        trial = _trial_of(entry, picture, self._type, self._range, path)
        stored = seen.weight_precision
        self._device, self._providers = device, ON_CPU
        if openvino:
            _check_openvino(device, stored, path)
            self.precision = "fp32" if precision == "auto" else precision
        else:
            self._providers = providers_for(device, precision)
            self.precision = stored
            if precision not in ("auto", stored):
                raise UsageError(
                    f"{path}: holds {stored} weights, which onnxruntime computes as they are; "
                    f"leave `precision` {precision} out"
                )
        self._compiler = _compiler_of(self.precision, path) if openvino else None
        found = run_trial(data, trial, str(path))
        self._fixed = (trial.batch, trial.height, trial.width)
        self._pixels_out = found.type == "uint8"
        self.info = _info(path, trial, found)
        self.export = _export(path, data, entry, seen, trial, self._range, stored)
        self._path, self._model, self._input = path, seen, picture.name
        self._call: Callable[[Array], Array] | None = self._opened(data)
        self._tiled: TiledModel | None = None
        if self._compiler is not None:
            self.description = f"openvino cpu {self.precision}"
        else:
            place = "cpu" if self._providers[0][0] == CPU else "cuda"
            self.description = f"onnxruntime {place} {stored}"
        self.reason = "a model made elsewhere"

    def _opened(self, data: bytes) -> Callable[[Array], Array]:
        """The graph as a function of its input."""
        if self._compiler is not None:
            from img2img.runners.openvino import infer

            request = self._compiler(data)
            return lambda given: infer(request, [given])
        session = open_session(data, self._path, self._providers, self._device)
        return lambda given: session.run({self._input: given})[0]

    def _tiles(self) -> TiledModel:
        if self._tiled is None:
            self._tiled = self._by_tiles()
        return self._tiled

    def _by_tiles(self) -> TiledModel:
        name = self.info.name
        problems = {
            "float16 pictures": self._type == "float16",
            f"{self._fixed[0]} pictures at once": self._fixed[0] not in (None, 1),
        }
        if what := [words for words, there in problems.items() if there]:
            raise UsageError(
                f"{name}: cannot be translated in tiles: it takes {what[0]}; use `tile` off"
            )
        model = folded(self._model, self._path)
        try:
            model = channels_first(model) if self._entry.last else model
        except ValueError as error:
            raise UsageError(
                f"{name}: cannot be translated in tiles: {error}; use `tile` off"
            ) from None
        graph: GraphTiledModel
        if self._compiler is not None:
            from img2img.runners.openvino_tiled import OpenVinoTiledModel

            graph = OpenVinoTiledModel(model, self._compiler, name)
        else:
            graph = OnnxTiledModel(model, name, self._providers, self._device, None)
        return ForeignTiledModel(graph, self._entered, self._left, self.info.multiple_of, name)

    def _infer(self, x: Float, domain: Float | None) -> Float:
        batch, fixed_height, fixed_width = self._fixed
        height, width = x.shape[2:]
        if (fixed_height or height, fixed_width or width) != (height, width):
            raise UsageError(
                f"{self.info.name}: takes only {fixed_width or 'any'}x{fixed_height or 'any'}, "
                f"not {width}x{height}; scale or crop the pictures first"
            )
        given = self._entered(self._extended(x))
        with memory_faults(x.shape, self.description):
            at_once = batch or len(given)
            parts = []
            for start in range(0, len(given), at_once):
                # Places that are left over repeat the last picture.
                rows = np.minimum(np.arange(start, start + at_once), len(given) - 1)
                parts.append(self._run(given[rows] if batch else given))
        made = np.concatenate(parts)[: len(given)]
        return np.ascontiguousarray(made[:, :, :height, :width])

    def _extended(self, x: Float) -> Float:
        height, width = x.shape[2:]
        if None not in self._fixed[1:]:
            return x
        step, least = self.info.multiple_of, self.info.minimum
        more = [-(-max(side, least) // step) * step - side for side in (height, width)]
        more = [0 if f else m for m, f in zip(more, self._fixed[1:], strict=True)]
        if not any(more):
            return x
        return np.pad(x, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="reflect")

    def _entered(self, x: Float) -> Array:
        """[-1, 1] NCHW -> the values that the graph takes."""
        least, most = self._range
        values = (x + 1) * np.float32((most - least) / 2) + np.float32(least)
        if self._type == "uint8":
            values = np.rint(values).clip(0, 255)
        return np.ascontiguousarray(values, dtype=self._type)

    def _run(self, given: Array) -> Float:
        """What the graph gives, as [-1, 1] NCHW."""
        assert self._call is not None
        if self._entry.last:
            given = np.ascontiguousarray(given.transpose(0, 2, 3, 1))
        y = self._call(given)
        return self._left(y.transpose(0, 3, 1, 2) if self._entry.last else y)

    def _left(self, y: Array) -> Float:
        """What comes out, NCHW -> [-1, 1]."""
        least, most = (0.0, 255.0) if self._pixels_out else self._range
        return (y.astype(np.float32) - np.float32(least)) * np.float32(2 / (most - least)) - 1

    def _release(self) -> None:
        self._call = self._tiled = None


def _check_openvino(device: str, stored: str, path: Path) -> None:
    """Raise UsageError for what OpenVINO does not run here."""
    from img2img.runners.openvino import check_device

    check_device(device)
    if stored != "fp32":
        raise UsageError(f"{path}: holds {stored} weights; use `runner` onnxruntime")


def _compiler_of(precision: str, path: Path) -> Compiler:
    """What makes requests of graphs; the module is loaded where it is wanted."""
    from img2img.runners.openvino import Compiler

    return Compiler(precision, path)


def _picture(seen: OnnxModel, path: Path) -> Port:
    """The only input. Raises ModelError where there is another number of inputs or outputs."""
    for ports, what in ((seen.inputs, "inputs"), (seen.outputs, "outputs")):
        if len(ports) != 1:
            names = f" ({', '.join(port.words for port in ports[:4])})" if ports else ""
            raise ModelError(f"{path}: has {len(ports)} {what}{names}; one of each is needed")
    picture = seen.inputs[0]
    if picture.kind not in _NUMPY or (picture.dims is not None and len(picture.dims) != 4):
        raise ModelError(
            f"{path}: its input is {picture.words}; pictures must be float32, float16 or uint8 "
            f"with four dimensions"
        )
    return picture


def _range(entry: Entry, picture: Port, seen: OnnxModel, path: Path) -> tuple[float, float]:
    if picture.kind == UINT8:
        if entry.value_range not in (None, "0..255"):
            raise UsageError(
                f"{path}: its input is {picture.words}, which is 0..255; leave `value_range` out"
            )
        return (0.0, 255.0)
    if entry.value_range is None:
        raise ModelError(f"{path}: {wanted(seen)}")
    return VALUE_RANGES[entry.value_range]


def _trial_of(
    entry: Entry, picture: Port, type: str, value_range: tuple[float, float], path: Path
) -> Trial:
    """What to try. Raises UsageError where the layout does not fit the sizes."""
    dims = picture.dims or (None, None, None, None)
    batch, height, width, channels = (
        dims[k] for k in ((0, 1, 2, 3) if entry.last else (0, 2, 3, 1))
    )
    likely = layout_of(dims)
    if channels not in (None, 1, 3) or likely not in ("", entry.layout):
        hint = f"give `layout` {likely}" if likely else "pictures have 1 or 3 channels"
        raise UsageError(
            f"{path}: `layout` {entry.layout} does not fit its input, {picture.words}; {hint}"
        )
    for side in (batch, height, width):
        if side is not None and not 1 <= side <= 65536:
            raise ModelError(f"{path}: its input is {picture.words}, not a picture")
    return Trial(
        channels or 3, entry.last, type, *value_range, batch=batch, height=height, width=width
    )


def _info(path: Path, trial: Trial, found: Found) -> ModelInfo:
    return ModelInfo(
        name=path.stem,
        method=METHOD,
        generator="unknown",
        generator_config={},
        in_channels=trial.channels,
        out_channels=found.channels,
        multiple_of=found.multiple_of,
        minimum=found.minimum,
        norm_statistics="unknown",
        tiling="unknown",
        size=max(trial.height or 1, trial.width or 1, found.minimum),
        direction="unknown",
        licence="unknown",
        working_size=0,
    )


def _export(
    path: Path,
    data: bytes,
    entry: Entry,
    seen: OnnxModel,
    trial: Trial,
    value_range: tuple[float, float],
    stored: str,
) -> ExportInfo:
    return ExportInfo(
        io="uint8" if trial.type == "uint8" else "float",
        layout=entry.layout.upper(),
        value_range=value_range,
        inputs=tuple(port.name for port in seen.inputs),
        outputs=tuple(port.name for port in seen.outputs),
        batch=trial.batch,
        height=trial.height,
        width=trial.width,
        precision=_PRECISIONS.get(stored, "fp32"),
        opset=seen.opset,
        source=path.name,
        source_sha256=hashlib.sha256(data).hexdigest(),
    )

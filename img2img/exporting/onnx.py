"""ONNX export, and the proof that the file gives the same pictures as its source."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from img2img._version import __version__
from img2img.errors import (
    EnvironmentFault,
    MissingExtra,
    ModelError,
    ParityError,
    UsageError,
    describe_os_error,
)
from img2img.exporting import parity
from img2img.exporting import quantize as reduced
from img2img.exporting.pixel_io import with_io
from img2img.images import from_network, to_network
from img2img.model_format.checkpoint import load_model
from img2img.model_format.export_info import EXPORT_KEY, ExportInfo, Io, Parity, Precision
from img2img.model_format.info import KEY, ModelInfo
from img2img.nets import Generator
from img2img.onnx_format.float_core import X, Y
from img2img.onnx_format.reading import DIGEST_KEY, NO_DIGEST, digest_of
from img2img.onnx_format.session import open_session
from img2img.runners.base import check_channels
from img2img.runners.onnx import OnnxRunner
from img2img.system.atomic import atomic_path, sweep_stale

if TYPE_CHECKING:
    from onnx import ModelProto

# The exporter writes 18 for less, and the oldest supported onnxruntime (1.22) knows no more.
OPSETS = range(18, 23)
OPSET = 20
_LARGEST_PROOF = 1024  # pixels a side; beyond, a proof takes minutes and gigabytes
# Protobuf ends there, and external data is never written.
LIMIT_BYTES = 2**31 - 1
_PARTS = ("torch", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Attributes:
        io: `uint8`, NHWC pixels in and out, or `float`, NCHW in [-1, 1].
        size: (height, width) when the graph takes this size alone; None for any.
        batch: pictures at once when fixed; None for any number.
        opset: one of `OPSETS`.
        precision: `fp32`, or `fp16` or `int8`, which need pictures for evaluation.
    """

    io: Io = "uint8"
    size: tuple[int, int] | None = None
    batch: int | None = None
    opset: int = OPSET
    precision: Precision = "fp32"

    def check(self) -> None:
        """Raise UsageError for impossible options."""
        if self.opset not in OPSETS:
            raise UsageError(f"opset {self.opset} is not in {OPSETS[0]} to {OPSETS[-1]}")
        if self.size is not None and not all(1 <= side <= 65536 for side in self.size):
            raise UsageError(f"static size {self.size[0]}x{self.size[1]} is impossible")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch {self.batch} is impossible")

    def shapes(self, working_size: int = 0) -> list[tuple[int, int, int]]:
        """(batch, height, width) of the parity check: `parity.SHAPES`, the first of them
        at the working size where the model has one (0: none)."""
        if self.size is not None:
            return [(n, *self.size) for n in ((1, 3) if self.batch is None else (self.batch,))]
        side = min(working_size or parity.SHAPES[0][1], _LARGEST_PROOF)
        shapes = [(1, side, side), *parity.SHAPES[1:]]
        return [(self.batch or n, height, width) for n, height, width in shapes]


def export_onnx(
    source: Path,
    target: Path,
    options: ExportOptions = ExportOptions(),
    pictures: Path | None = None,
    listen: Callable[[str], None] = lambda line: None,
) -> ExportInfo:
    """Export the `.safetensors` model `source` to `target`; return the metadata of the file.
    Reflection padding to the size rules and cropping are part of the graph; a model with several
    domains takes `domain`, float32 (N, domains), as a second input. The file is compared with the
    PyTorch generator, on the `pictures` of a folder or on photograph-like ones, before it takes its
    name. `listen` receives progress messages, one line at a time.

    Raises:
        UsageError: impossible options, a target with another suffix or in a folder that does not
            exist, or no pictures where the precision needs them.
        ModelError: the source is refused, or larger than one file may be.
        ParityError: more than 1 level anywhere, or more than 0.01 in the mean; or a precision that
            loses too much quality. Nothing is written.
        EnvironmentFault: the target cannot be written.
    """
    if target.suffix != ".onnx":
        raise UsageError(f"{target}: an ONNX file needs the suffix .onnx")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    options.check()
    if options.precision != "fp32" and pictures is None:
        raise UsageError(
            f"{options.precision} is evaluated on real pictures: give `pictures`, a folder"
        )
    generator, info = load_model(source)
    check_channels(info, str(source))
    _refuse_large(generator, source)
    shown = parity.photograph_like() if pictures is None else parity.read_folder(pictures)
    judged_on = "synthetic, photograph-like" if pictures is None else f"{len(shown)} given"
    core = to_core(generator, options)
    facts = _facts(source, generator, options, judged_on)
    by_file = _by_file(_serialised(core, generator, info, facts), options.io)
    table = parity.compare(
        generator, by_file, shown, info.domains, options.shapes(info.long_side), _domain(options)
    )
    _refuse_different(table, source, target)
    facts = dataclasses.replace(facts, parity=table)
    if options.precision != "fp32":
        feeds = _feeds(shown, info, options)
        judged = reduced.reduce(core, options.precision, feeds, f"{target}: not published", listen)
        core, facts = judged.model, dataclasses.replace(facts, quality=judged.quality)
        by_file = _by_file(_serialised(core, generator, info, facts), options.io)
    data = _serialised(core, generator, info, facts)
    sweep_stale(target.parent)
    try:
        with atomic_path(target, durable=True) as temporary:
            temporary.write_bytes(data)
            _check_runner(OnnxRunner(temporary, "cpu"), by_file, shown, info, options)
    except OSError as error:
        raise EnvironmentFault(f"{target}: not written: {describe_os_error(error)}") from None
    return facts


def to_core(generator: Generator, options: ExportOptions = ExportOptions()) -> ModelProto:
    """The float network as an onnx.ModelProto from `img2img_x` (and `domain`) to `img2img_y`,
    without metadata."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise MissingExtra("export", "train") from None
    dynamic = torch.export.Dim.DYNAMIC
    height, width = options.size or (2 * generator.minimum + 1, 3 * generator.minimum + 2)
    batch = options.batch or 2
    free: dict[int, object] = {} if options.size else {2: dynamic, 3: dynamic}
    many: dict[int, object] = {} if options.batch else {0: dynamic}
    examples, shapes = [torch.zeros(batch, generator.in_channels, height, width)], [many | free]
    if generator.domains:
        examples.append(torch.zeros(batch, generator.domains))
        shapes.append(dict(many))
    with _quiet():
        program = torch.onnx.export(
            generator.eval(),
            tuple(examples),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=options.opset,
            input_names=[X, "domain"][: len(examples)],
            output_names=[Y],
            dynamic_shapes=tuple(shapes),
        )
    if program is None:
        raise ModelError("torch returned no ONNX program")
    return _cleaned(program.model_proto, generator, options)


def _cleaned(model: ModelProto, generator: Generator, options: ExportOptions) -> ModelProto:
    """Without stack traces and paths of this machine; shapes named for a reader."""
    from onnx import TensorProto, helper

    graph = model.graph
    for value in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    del graph.input[:], graph.output[:]
    n: int | str = options.batch or "batch"
    s = generator.scale
    sides: tuple[int | str, int | str] = options.size or ("height", "width")
    # Names of sizes are free text to ONNX.
    larger = tuple(s * v if isinstance(v, int) else v if s == 1 else f"{s}*{v}" for v in sides)
    for place, name, channels, sizes in (
        (graph.input, X, generator.in_channels, sides),
        (graph.output, Y, generator.out_channels, larger),
    ):
        place.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [n, channels, *sizes]))
    if generator.domains:
        shape = [n, generator.domains]
        graph.input.append(helper.make_tensor_value_info("domain", TensorProto.FLOAT, shape))
    model.producer_name, model.producer_version = "img2img", ""
    model.graph.name = "img2img"
    return model


def _serialised(
    core: ModelProto, generator: Generator, info: ModelInfo, facts: ExportInfo
) -> bytes:
    """The whole file, with its metadata and a digest over all of it."""
    import json

    import onnx

    model = with_io(core, facts.io)
    model.doc_string = (
        f"Translates pictures: {facts.layout} {facts.io} in {facts.value_range}; metadata '{KEY}' "
        f"and '{EXPORT_KEY}' are JSON. Inputs: {', '.join(facts.inputs)}."
    )
    properties = {
        KEY: json.dumps(info.to_dict(), sort_keys=True),
        EXPORT_KEY: facts.to_json(),
        DIGEST_KEY: NO_DIGEST.decode(),
    }
    onnx.helper.set_model_props(model, properties)
    data = model.SerializeToString(deterministic=True)
    digest, place = digest_of(data)
    return data[:place] + digest.encode() + data[place + len(digest) :]


def _facts(
    source: Path, generator: Generator, options: ExportOptions, judged_on: str
) -> ExportInfo:
    pixels = options.io == "uint8"
    height, width = options.size or (None, None)
    return ExportInfo(
        io=options.io,
        layout="NHWC" if pixels else "NCHW",
        value_range=(0.0, 255.0) if pixels else (-1.0, 1.0),
        inputs=("input", "domain") if generator.domains else ("input",),
        batch=options.batch,
        height=height,
        width=width,
        precision=options.precision,
        opset=options.opset,
        source=source.name,
        source_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        created=_now(),
        versions={"img2img": __version__} | {part: _version(part) for part in _PARTS},
        pictures=judged_on,
    )


def _now() -> str:
    """UTC; SOURCE_DATE_EPOCH (reproducible-builds.org) stands in for the clock."""
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(stated) if stated.isdigit() else time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _version(part: str) -> str:
    for name in (part, f"{part}-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "unknown"


def _by_file(data: bytes, io: Io) -> parity.ByFile:
    """The file as another program runs it: onnxruntime alone, on pixels."""
    session = open_session(data, "the exported file")

    def run(pixels: NDArray[np.uint8], domain: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        more = {} if domain is None else {"domain": domain}
        if io == "uint8":
            return session.run({"input": pixels} | more)[0]
        x = np.ascontiguousarray(to_network(pixels.astype(np.float32)).transpose(0, 3, 1, 2))
        return from_network(session.run({"input": x} | more)[0]).transpose(0, 2, 3, 1)

    return run


def _refuse_large(generator: Generator, source: Path) -> None:
    size = sum(4 * value.numel() for value in generator.state_dict().values())
    if size >= LIMIT_BYTES:
        raise ModelError(
            f"{source}: {size / 2**30:.1f} GiB of weights; an ONNX file holds at most 2 GiB, "
            "and external weights are not written"
        )


def _refuse_different(table: tuple[Parity, ...], source: Path, target: Path) -> None:
    worst = max(table, key=lambda row: (row.max_levels, row.mean_levels))
    if any(
        row.max_levels > parity.MAX_LEVELS or not row.mean_levels <= parity.MAX_MEAN_LEVELS
        for row in table
    ):
        raise ParityError(
            f"{target}: not published: differs from {source} by up to {worst.max_levels} "
            f"levels (mean {worst.mean_levels:.4f}) at {worst.width}x{worst.height}"
        )


def _domain(options: ExportOptions) -> tuple[int, int, int]:
    return (options.batch or 1, *(options.size or (96, 128)))


def _feeds(
    shown: parity.Pictures, info: ModelInfo, options: ExportOptions
) -> list[dict[str, NDArray[np.float32]]]:
    """Inputs of the float network for each picture, at the fixed size or the working size."""
    batch, side = options.batch or 1, min(info.long_side or info.size, _LARGEST_PROOF)
    shape = (batch, *(options.size or (side, side)))
    feeds = []
    for k, pixels in enumerate(parity.batches(shown, [shape] * len(shown), info.in_channels)):
        x = to_network(pixels.astype(np.float32)).transpose(0, 3, 1, 2)
        feed = {X: np.ascontiguousarray(x)}
        if info.domains:
            chosen = [k % len(info.domains)] * batch
            feed["domain"] = np.eye(len(info.domains), dtype=np.float32)[chosen]
        feeds.append(feed)
    return feeds


def _check_runner(
    runner: OnnxRunner,
    by_file: parity.ByFile,
    shown: parity.Pictures,
    info: ModelInfo,
    options: ExportOptions,
) -> None:
    """What `translate` makes of the written file is what the graph gives of itself."""
    shape = min(options.shapes(), key=lambda s: s[0] * s[1] * s[2])
    (pixels,) = parity.batches(shown, [shape], info.in_channels)
    count = len(info.domains)
    domain = np.eye(count, dtype=np.float32)[[0] * shape[0]] if count else None
    x = np.ascontiguousarray(to_network(pixels.astype(np.float32)).transpose(0, 3, 1, 2))
    own = from_network(runner.infer(x, domain)).transpose(0, 2, 3, 1)
    if np.abs(own.astype(int) - by_file(pixels, domain)).max() > parity.MAX_LEVELS:
        raise ParityError("the output of the written file differs from that of the compared graph")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter prints progress to stdout and warnings to stderr at any setting."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

"""ONNX export, and the proof that the file says the same as its source."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from img2img.atomic import atomic_path
from img2img.checkpoint import load_model
from img2img.errors import (
    EnvironmentFault,
    MissingExtra,
    ModelError,
    ParityError,
    describe_os_error,
)
from img2img.images import from_network
from img2img.modelinfo import KEY, ModelInfo
from img2img.nets import Generator
from img2img.runners.onnx import DIGEST_KEY, NO_DIGEST, OnnxRunner, digest_of

OPSET = 20
MAX_LEVELS = 1
MAX_MEAN_LEVELS = 0.01
# (batch, height, width); odd sizes and batches above one among them.
_SHAPES = ((1, 256, 256), (3, 128, 192), (1, 250, 333), (3, 65, 97))
_DOMAIN_SHAPE = (1, 96, 128)


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


def export_onnx(source: Path, target: Path) -> list[Parity]:
    """Export the `.safetensors` model `source` to `target`; return the parity table.

    The graph takes and gives float32 (N, C, H, W) in [-1, 1] of any N, H, W; that of a model of
    several domains takes `domain`, float32 (N, domains), as a second input. Extending to the
    size rules and cropping back happen inside it. The file is compared with the PyTorch generator
    before it takes its name.

    Raises:
        ModelError: the source is refused.
        ParityError: more than 1 level anywhere, or more than 0.01 in the mean; nothing is written.
        EnvironmentFault: the target cannot be written.
    """
    generator, info = load_model(source)
    data = to_onnx(generator, info)
    try:
        with atomic_path(target, durable=True) as temporary:
            temporary.write_bytes(data)
            table = compare(generator, OnnxRunner(temporary, "cpu"))
            worst = max(table, key=lambda row: (row.max_levels, row.mean_levels))
            if worst.max_levels > MAX_LEVELS or worst.mean_levels > MAX_MEAN_LEVELS:
                raise ParityError(
                    f"{target}: not published: differs from {source} by up to {worst.max_levels} "
                    f"levels (mean {worst.mean_levels:.4f}) at {worst.width}x{worst.height}"
                )
    except OSError as error:
        raise EnvironmentFault(f"{target}: not written: {describe_os_error(error)}") from None
    return table


def to_onnx(generator: Generator, info: ModelInfo) -> bytes:
    """The ONNX file of `generator` with `info` and a digest of the whole file in its metadata."""
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise MissingExtra("export", "train") from None
    dynamic = torch.export.Dim.DYNAMIC
    example = torch.zeros(
        2, generator.in_channels, 2 * generator.minimum + 1, 3 * generator.minimum + 2
    )
    examples, shapes = [example], [{0: dynamic, 2: dynamic, 3: dynamic}]
    if generator.domains:
        examples.append(torch.zeros(2, generator.domains))
        shapes.append({0: dynamic})
    with _quiet():
        program = torch.onnx.export(
            generator.eval(),
            tuple(examples),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["input", "domain"][: len(examples)],
            output_names=["output"],
            dynamic_shapes=tuple(shapes),
        )
    if program is None:
        raise ModelError("torch gave no ONNX program")
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:
        # The exporter leaves stack traces with paths of this machine.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    model.producer_name, model.producer_version = "img2img", ""
    onnx.helper.set_model_props(
        model,
        {
            KEY: json.dumps(info.to_dict(), sort_keys=True),
            DIGEST_KEY: NO_DIGEST.decode(),
        },
    )
    data = model.SerializeToString(deterministic=True)
    digest, place = digest_of(data)
    return data[:place] + digest.encode() + data[place + len(digest) :]


@contextlib.contextmanager
def _quiet() -> Any:
    """torch's exporter prints progress to stdout and warnings to stderr whatever it is told."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def compare(generator: Generator, runner: OnnxRunner) -> list[Parity]:
    """Run both on the same smooth random pictures at four shapes; where there are domains, the
    pictures of a batch go to different ones, and one more picture goes to each."""
    random = np.random.default_rng(0)
    names = runner.info.domains
    rows: list[tuple[tuple[int, int, int], list[int]]] = [
        (shape, [k % len(names) for k in range(shape[0])] if names else []) for shape in _SHAPES
    ]
    rows += [(_DOMAIN_SHAPE, [k]) for k in range(len(names))]
    table = []
    for (batch, height, width), chosen in rows:
        coarse = torch.from_numpy(
            random.uniform(-1, 1, (batch, generator.in_channels, 9, 9)).astype(np.float32)
        )
        x = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        domain = torch.eye(len(names))[chosen] if names else None
        with torch.inference_mode():
            expected = from_network(generator(x, domain).numpy()).astype(int)
        vector = None if domain is None else domain.numpy()
        given = from_network(runner.infer(x.numpy(), vector)).astype(int)
        difference = np.abs(expected - given)
        worst, mean = int(difference.max()), float(difference.mean())
        told = " ".join(names[k] for k in chosen)
        table.append(Parity(batch, height, width, worst, mean, told))
    return table

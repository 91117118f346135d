"""fp16 and int8 of an exported network, kept only when they change pictures little.

fp16: weights and computation in half precision, normalisation in float. int8: onnxruntime's static
quantisation (QDQ form, arXiv 1712.05877) of the convolutions, weights by channel, with the first
and the last layer in float; where the gate does not hold, ranges without outliers are tried, then
the layers that cost most go back to float until it does.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from img2img.errors import EnvironmentFault, ParityError, describe_os_error
from img2img.images import from_network
from img2img.model_format.export_info import Precision
from img2img.onnx_format.session import Session, open_session

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization.calibrate import TensorsData as Ranges

Feed = dict[str, NDArray[np.float32]]
GATES: dict[Precision, float] = {"fp16": 50.0, "int8": 38.0}
# Levels that differ nowhere have no PSNR; JSON has no infinity.
_SAME = 99.0
_REPEATS = 7
_FLOAT_NORMS = ("InstanceNormalization", "BatchNormalization")


@dataclass(frozen=True)
class Reduced:
    """The reduced model (onnx.ModelProto) and its figures: `psnr_db` over all pictures judged and
    `psnr_db_worst` of one of them; `speed`, the time of fp32 on this machine over its own; for
    int8 `quantised` of `convolutions` layers."""

    model: ModelProto
    quality: dict[str, float]


def reduce(
    core: ModelProto,
    precision: Precision,
    feeds: Sequence[Feed],
    refusal: str,
    listen: Callable[[str], None],
) -> Reduced:
    """Bring the float network `core` to `precision`; `feeds` are its inputs for real pictures.

    Raises ParityError, beginning with `refusal`, when the result is below the gate of `GATES`.
    """
    gate = GATES[precision]
    if precision == "fp16":
        judge = _Judge(core, feeds)
        model = to_fp16(core)
        psnr, worst = judge.psnr(model)
        quality: dict[str, float] = {}
    else:
        # Judged on others than those that set the ranges, where there are enough.
        calibration = [feed for k, feed in enumerate(feeds) if k % 4] or list(feeds)
        judge = _Judge(core, feeds[::4])
        model, quality = _int8(core, calibration, judge, gate, listen)
        psnr, worst = judge.psnr(model)
    figure = f"{psnr:.1f} dB against fp32 on {len(judge.feeds)} pictures (worst {worst:.1f} dB)"
    if psnr < gate:
        left = ""
        if "quantised" in quality:
            left = f" of {quality['quantised']:.0f} in {quality['convolutions']:.0f} layers"
        raise ParityError(f"{refusal}: {precision}{left} gives {figure}, below {gate:.0f} dB")
    speed = judge.speed(model)
    faster = "" if speed > 1.05 else ", so not faster"
    listen(f"{precision}: {figure}; {speed:.2f} times the speed of fp32 here{faster}")
    quality |= {"psnr_db": psnr, "psnr_db_worst": worst, "speed": speed}
    return Reduced(model, {name: round(value, 4) for name, value in quality.items()})


class _Judge:
    """Compares models with the fp32 one on the same inputs, in delivered 8-bit levels."""

    def __init__(self, core: ModelProto, feeds: Sequence[Feed]):
        self.feeds = feeds
        self._fp32 = _session(core)
        self._expected = [_levels(self._fp32, feed) for feed in feeds]

    def psnr(self, model: ModelProto) -> tuple[float, float]:
        """PSNR over all pictures, and of the worst one, in dB."""
        session = _session(model)
        errors = [
            float(np.mean((_levels(session, feed) - expected) ** 2))
            for feed, expected in zip(self.feeds, self._expected, strict=True)
        ]
        return _decibels(float(np.mean(errors))), _decibels(max(errors))

    def speed(self, model: ModelProto) -> float:
        """Median over pairs of runs of fp32's time over the model's."""
        session, feed = _session(model), self.feeds[0]
        ratios = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            self._fp32.run(feed)
            between = time.perf_counter()
            session.run(feed)
            ratios.append((between - began) / (time.perf_counter() - between))
        return float(np.median(ratios))


def _session(model: ModelProto) -> Session:
    return open_session(model.SerializeToString(), "the network to export")


def _levels(session: Session, feed: Feed) -> NDArray[np.float64]:
    return from_network(session.run(feed)[0]).astype(np.float64)


def _decibels(error: float) -> float:
    return min(_SAME, 10 * float(np.log10(255.0**2 / max(error, 1e-12))))


def to_fp16(core: ModelProto) -> ModelProto:
    """A copy of `core` computing in half precision, its inputs and outputs float32 as before."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(core)
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_FLOAT_NORMS]
    with _quiet():
        return convert_float_to_float16(copy, keep_io_types=True, op_block_list=blocked)


def _int8(
    core: ModelProto,
    calibration: Sequence[Feed],
    judge: _Judge,
    gate: float,
    listen: Callable[[str], None],
) -> tuple[ModelProto, dict[str, float]]:
    layers = [n.name for n in core.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    # onnxruntime has no int8 kernel for transposed convolutions.
    wanted = {n.name for n in core.graph.node if n.op_type == "Conv"} - {layers[0], layers[-1]}
    candidates = [name for name in layers if name in wanted]
    if not candidates:
        raise ParityError("int8: no convolution between the first and the last layer")
    ranges = activation_ranges(core, calibration)
    counts = {"convolutions": float(len(layers))}
    best = judge.psnr(to_int8(core, candidates, ranges))[0]
    if best < gate:
        narrow = activation_ranges(core, calibration, percentile=True)
        without_outliers = judge.psnr(to_int8(core, candidates, narrow))[0]
        listen(f"int8: {best:.1f} dB; {without_outliers:.1f} dB with outliers out of the ranges")
        if without_outliers > best:
            best, ranges = without_outliers, narrow

    def quality_of(nodes: Sequence[str]) -> float:
        return judge.psnr(to_int8(core, nodes, ranges))[0]

    if best >= gate:
        return to_int8(core, candidates, ranges), counts | {"quantised": float(len(candidates))}
    listen(
        f"int8: {best:.1f} dB with {len(candidates)} layers quantised; the worst go back to float"
    )
    alone = {name: quality_of([name]) for name in candidates}
    by_quality = sorted(candidates, key=lambda name: -alone[name])
    count, low, high = 1, 1, len(candidates) - 1
    while low <= high:  # the most layers, best first, that the gate allows
        middle = (low + high) // 2
        if quality_of(by_quality[:middle]) >= gate:
            count, low = middle, middle + 1
        else:
            high = middle - 1
    listen(f"int8: {count} of {len(layers)} layers stay quantised")
    return to_int8(core, by_quality[:count], ranges), counts | {"quantised": float(count)}


def activation_ranges(
    core: ModelProto, calibration: Sequence[Feed], percentile: bool = False
) -> Ranges:
    """The least and the greatest value of what the convolutions take and give, over `calibration`
    (onnxruntime.quantization.TensorsData); with `percentile`, one in 100 000 lies outside.

    Raises EnvironmentFault when the disk has no room for the tools' files.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    method = CalibrationMethod.Percentile if percentile else CalibrationMethod.MinMax
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            source, augmented = Path(folder) / "core.onnx", Path(folder) / "augmented.onnx"
            onnx.save(core, str(source))
            calibrator = create_calibrator(source, ["Conv"], str(augmented), method)
            for feed in calibration:  # all at once would keep every activation of every picture
                calibrator.collect_data(_Reader([feed]))
            return calibrator.compute_data()
    except OSError as error:
        raise EnvironmentFault(f"int8: not made: {describe_os_error(error)}") from None


class _Reader:
    """What onnxruntime calls a CalibrationDataReader."""

    def __init__(self, feeds: Sequence[Feed]):
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def to_int8(core: ModelProto, nodes: Sequence[str], ranges: Ranges) -> ModelProto:
    """A copy of `core` whose convolutions `nodes` are int8: activations uint8, weights int8 by
    channel; `ranges` as `activation_ranges` gives them."""
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType

    with _quiet():
        copy = onnx.shape_inference.infer_shapes(core)
        quantiser = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=list(nodes),
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options={},
        )
        quantiser.quantize_model()
    model = quantiser.model.model
    del model.metadata_props[:], model.graph.value_info[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises through the root logger and by print."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)

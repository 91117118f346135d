"""Measures a model's runners: time, memory, and how far each is from fp32.

Every row is measured in a process of its own: its peak of memory is its own, and a crash or a hang
costs that row alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from img2img.errors import Img2ImgError, UsageError, first_line
from img2img.model_format.checkpoint import read_model_info
from img2img.model_format.find import find_model
from img2img.runners import RUNNERS, check_precision, open_runner, suffixes_for
from img2img.runners.trial import decibels, made_batch, max_levels
from img2img.system.memory import process_peak

# Compiling takes half a minute and more; it is measured when it is named.
DEFAULT_RUNNERS = tuple(name for name in RUNNERS if name != "torch-compile")
_TIMEOUT = 600.0
_MIN_RUNS = 3
_SIDE = 256


@dataclass(frozen=True)
class Row:
    """One measurement, or the `reason` why there is none.

    Attributes:
        runner, precision: as given or, for a row that ran, as they were.
        device: as given.
        size: WIDTHxHEIGHT of the pictures.
        batch: pictures at once.
        ms: median milliseconds for one batch, after the first.
        pictures_per_s, megapixels_per_s: what follows from it.
        open_ms, first_ms: opening the model; the first batch.
        peak_mb: the most memory of the process, in 2**20 bytes, libraries included.
        db: PSNR against fp32, of the worst picture of the batch; 120 where they are the same.
        max_levels: the largest difference from fp32, in 8-bit levels.
        reason: empty for a row that ran.
    """

    runner: str
    precision: str
    device: str
    size: str
    batch: int
    ms: float | None = None
    pictures_per_s: float | None = None
    megapixels_per_s: float | None = None
    open_ms: float | None = None
    first_ms: float | None = None
    peak_mb: float | None = None
    db: float | None = None
    max_levels: int | None = None
    reason: str = ""


def parse_size(text: str) -> tuple[int, int]:
    """`256` or `640x480` (width x height) -> (height, width). Raises UsageError."""
    width, _, height = text.lower().partition("x")
    try:
        sides = int(height or width), int(width)
    except ValueError:
        sides = (0, 0)
    if min(sides) < 1 or max(sides) > 65536:
        raise UsageError(f"size '{text}' is neither a side (256) nor WIDTHxHEIGHT (640x480)")
    return sides


def default_size(
    model: str,
    direction: str | None = None,
    layout: str | None = None,
    value_range: str | None = None,
) -> tuple[int, int]:
    """(height, width) in pixels at which `model` works: a square of its working size, or the one
    size that it was exported for; 256x256 where it works at each picture's own size.

    Raises as `bench`.
    """
    path = find_model(model, direction=direction)
    if path.suffix == ".safetensors":
        side = read_model_info(path).long_side or _SIDE
        return side, side
    runner = open_runner(path, "cpu", "onnxruntime", layout=layout, value_range=value_range)
    try:
        side, export = runner.working_size or _SIDE, runner.export
        fixed = export is not None and (export.height, export.width)
        return (fixed[0] or side, fixed[1] or side) if fixed else (side, side)
    finally:
        runner.close()


def bench(
    model: str,
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    runners: Sequence[str] = (),
    precisions: Sequence[str] = (),
    device: str = "auto",
    seconds: float = 2.0,
    direction: str | None = None,
    layout: str | None = None,
    value_range: str | None = None,
) -> Iterator[Row]:
    """Measure every combination, row by row as it is done, each for at least `seconds`.

    `model`, `direction`: as `find_model` takes them; each runner gets the file it can open.
    `layout`, `value_range`: for a foreign .onnx file, as `open_runner` takes them; onnxruntime and
    OpenVINO run such.
    Without `runners` all but the compiled one, without `precisions` all that a runner has.

    Raises:
        UsageError, ModelError: there is no such model, runner or precision.
    """
    find_model(model, direction=direction)
    for name in runners:
        suffixes_for(name)
    for precision in precisions:
        check_precision(precision)
    entry = (layout, value_range)
    if entry != (None, None):
        runners = runners or ("onnxruntime", "openvino")
        open_runner(find_model(model), "cpu", layout=layout, value_range=value_range).close()
    with tempfile.TemporaryDirectory() as folder:
        truths: dict[tuple[int, int], str] = {}
        for size in sizes:
            truth = Path(folder) / f"{size[1]}x{size[0]}.npy"
            if _keep_truth(model, direction, size, max(batches), truth, entry):
                truths[size] = str(truth)
        for size in sizes:
            for batch in batches:
                for name in runners or DEFAULT_RUNNERS:
                    for precision in precisions or _precisions(name):
                        case = _Case(name, precision, device, *size, batch, seconds, *entry)
                        yield _measured(case, model, direction, truths.get(size, ""))


def _precisions(runner: str) -> tuple[str, ...]:
    # onnxruntime has one precision, that of the file; so it is with `auto`.
    return ("auto",) if runner in ("onnxruntime", "auto") else RUNNERS[runner].precisions


@dataclass(frozen=True)
class _Case:
    runner: str
    precision: str
    device: str
    height: int
    width: int
    batch: int
    seconds: float
    layout: str | None = None
    value_range: str | None = None
    path: str = ""
    truth: str = ""
    keep: str = ""  # where to keep the output instead of measuring

    def row(self, reason: str = "") -> Row:
        size = f"{self.width}x{self.height}"
        return Row(self.runner, self.precision, self.device, size, self.batch, reason=reason)


def _keep_truth(
    model: str,
    direction: str | None,
    size: tuple[int, int],
    batch: int,
    keep: Path,
    entry: tuple[str | None, str | None],
) -> bool:
    """Write the fp32 outputs of the made pictures; False where that did not work."""
    for runner in ("onnxruntime", "torch"):
        try:
            path = find_model(model, suffixes_for(runner), direction)
        except Img2ImgError:
            continue
        case = _Case(runner, "fp32", "cpu", *size, batch, 0.0, *entry, str(path), keep=str(keep))
        if path.suffix in suffixes_for(runner) and not _in_a_child(case).reason:
            return True
    return False


def _measured(case: _Case, model: str, direction: str | None, truth: str) -> Row:
    try:
        path = find_model(model, suffixes_for(case.runner), direction)
    except Img2ImgError as error:
        return case.row(reason=str(error))
    return _in_a_child(_Case(**(asdict(case) | {"path": str(path), "truth": truth})))


def _in_a_child(case: _Case) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "row.json"
        command = [
            sys.executable,
            "-m",
            "img2img.diagnostics.bench",
            json.dumps(asdict(case)),
            str(result),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_TIMEOUT + 10 * case.seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return case.row(reason=f"no result after {_TIMEOUT + 10 * case.seconds:.0f} s")
        try:
            return Row(**json.loads(result.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
            return case.row(reason=f"the process crashed ({how})")


def _run(case: _Case) -> Row:
    """In the child: open, compare, measure."""
    began = time.perf_counter()
    pixels = case.height * case.width * case.batch * 1000
    runner = open_runner(
        case.path, case.device, case.runner, case.precision, pixels, case.layout, case.value_range
    )
    opened = time.perf_counter()
    x, domain = made_batch(runner.info, case.height, case.width, case.batch)
    if case.keep:
        one_by_one = [
            runner.infer(x[k : k + 1], None if domain is None else domain[k : k + 1])
            for k in range(case.batch)
        ]
        np.save(case.keep, np.concatenate(one_by_one))
        return case.row()
    prepared = time.perf_counter()
    y = runner.infer(x, domain)
    first = time.perf_counter()
    times: list[float] = []
    while len(times) < _MIN_RUNS or sum(times) < case.seconds:
        start = time.perf_counter()
        runner.infer(x, domain)
        times.append(time.perf_counter() - start)
    peak = process_peak() / 2**20  # before the comparison, which needs memory of its own
    truth = np.load(case.truth)[: case.batch] if case.truth else None
    median = float(np.median(times))
    name, precision = runner.description.split()[0], runner.precision
    return replace(
        case.row(),
        runner=f"auto: {name}" if case.runner == "auto" else case.runner,
        precision=precision,
        ms=round(median * 1000, 3),
        pictures_per_s=round(case.batch / median, 3),
        megapixels_per_s=round(case.batch * case.height * case.width / median / 1e6, 4),
        open_ms=round((opened - began) * 1000, 1),
        first_ms=round((first - prepared) * 1000, 1),
        peak_mb=round(peak, 1),
        db=None if truth is None else round(decibels(y, truth), 1),
        max_levels=None if truth is None else max_levels(y, truth),
    )


def _child(case: _Case, result: Path) -> None:
    try:
        row = _run(case)
    except Img2ImgError as error:
        row = case.row(reason=str(error))
    except Exception as error:  # a row that cannot run is reported, whatever a library raised
        line = first_line(error)
        row = case.row(reason=f"{type(error).__name__}: {line}")
    result.write_text(json.dumps(asdict(row)), encoding="utf-8")


if __name__ == "__main__":
    _child(_Case(**json.loads(sys.argv[1])), Path(sys.argv[2]))

"""A trial of an ONNX file in a process of its own, which alone a crash or a hang ends.

The child takes the file from its standard input, so that what was checked is what is tried, and
writes what it found into a file, since libraries print what they like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from img2img.errors import (
    EnvironmentFault,
    Img2ImgError,
    ModelError,
    describe_os_error,
    first_line,
)
from img2img.onnx_format.session import Array, Session, open_session

TIMEOUT = 60.0
_NAME = "the model"
# Of address space, where the system knows such a limit; a trial picture needs far less.
_MEMORY = 8 * 2**30
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SIDE = 32
# -P: modules of the folder where somebody unpacked the model are not imported.
_COMMAND = (sys.executable, "-P", "-m", "img2img.onnx_format.trial")


@dataclass(frozen=True)
class Trial:
    """What to try: `channels` of the pictures, `last` for (N, H, W, C), numpy's `type` of the
    input, its least and greatest value, and the sizes that the graph fixes."""

    channels: int
    last: bool
    type: str
    least: float
    greatest: float
    batch: int | None
    height: int | None
    width: int | None


@dataclass(frozen=True)
class Found:
    """What the trial found: sides must be multiples of `multiple_of`, at least `minimum`; pictures
    of `channels` come out, of numpy's `type`."""

    multiple_of: int
    minimum: int
    channels: int
    type: str


def run_trial(
    data: bytes,
    trial: Trial,
    where: str,
    timeout: float = TIMEOUT,
    command: Sequence[str] = _COMMAND,
) -> Found:
    """Load the file `data` and run it on made pictures, on the CPU, in a child process.

    Raises:
        ModelError: it crashed, hung, was refused, or gave no picture of the input's size.
        EnvironmentFault: no child can be started.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="img2img-") as folder:
            result = Path(folder) / "found.json"
            arguments = [*command, json.dumps(asdict(trial)), str(result), str(timeout)]
            try:
                done = subprocess.run(
                    arguments, input=data, capture_output=True, timeout=timeout, check=False
                )
            except subprocess.TimeoutExpired:
                raise ModelError(f"{where}: its trial run hung for {timeout:.0f} s") from None
            try:
                found = json.loads(result.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                code = done.returncode
                how = f"signal {-code}" if code < 0 else f"code {code}"
                raise ModelError(f"{where}: its trial run crashed ({how})") from None
    except OSError as error:
        raise EnvironmentFault(f"{where}: no trial run: {describe_os_error(error)}") from None
    if "refused" in found:
        raise ModelError(f"{where}: {found['refused']}")
    return Found(**found)


def _limit(timeout: float) -> None:
    """Ends the child, even amid native code, should nobody be left to do so."""
    try:
        import resource
        import signal
    except ImportError:  # Windows
        return
    if sys.platform == "linux":  # elsewhere it is not honoured, or counts what is not used
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(int(timeout) + 5)


def _try(data: bytes, trial: Trial) -> dict[str, object]:
    session = open_session(data, _NAME, threads=1)
    fixed = trial.height is not None or trial.width is not None
    seen = ""
    for multiple in (1,) if fixed else _MULTIPLES:
        # Sides that obey this multiple and not the next one.
        odd = max(1, -(-_SIDE // multiple) | 1)
        height, width = trial.height or multiple * odd, trial.width or multiple * (odd + 2)
        try:
            answer = _run(session, trial, height, width)
        except Exception as error:  # whatever the library raises for this size
            seen = seen or first_line(error)
            continue
        shape = answer.shape
        sides = shape[1:3] if trial.last else shape[2:4]
        channels = shape[-1] if trial.last else shape[1] if len(shape) > 1 else 0
        if len(shape) != 4 or shape[0] != (trial.batch or 1):
            return {"refused": f"it gives {shape}, not one picture for each picture"}
        if channels not in (1, 3):
            return {"refused": f"it gives {channels} channels; pictures have 1 or 3"}
        if answer.dtype.name not in ("float32", "float16", "uint8"):
            return {"refused": f"it gives numbers of type {answer.dtype.name}"}
        if tuple(sides) == (height, width):
            least = 1 if fixed else multiple * odd
            return asdict(Found(multiple, least, int(channels), answer.dtype.name))
        seen = seen or f"it turns {width}x{height} pixels into {sides[1]}x{sides[0]}"
    return {"refused": f"its output differs from its input in size: {seen}"}


def _run(session: Session, trial: Trial, height: int, width: int) -> Array:
    import numpy as np

    shape = [trial.batch or 1, trial.channels, height, width]
    if trial.last:
        shape = [shape[k] for k in (0, 2, 3, 1)]
    x = np.random.default_rng(0).uniform(trial.least, trial.greatest, shape).astype(trial.type)
    outputs = session.run({session.inputs[0].name: x})
    if not isinstance(outputs[0], np.ndarray):
        raise ValueError("its output is not a tensor")
    return outputs[0]


def _child(trial: Trial, result: Path) -> None:
    data = sys.stdin.buffer.read()
    try:
        found = _try(data, trial)
    except Img2ImgError as error:  # whoever started the trial names the file
        found = {"refused": str(error).removeprefix(f"{_NAME}: ")}
    except Exception as error:  # onnxruntime has a class of its own for every failure
        found = {"refused": f"onnxruntime refuses it: {first_line(error)}"}
    beside = result.with_suffix(".part")
    beside.write_text(json.dumps(found), encoding="utf-8")
    os.replace(beside, result)


if __name__ == "__main__":
    _limit(float(sys.argv[3]))
    _child(Trial(**json.loads(sys.argv[1])), Path(sys.argv[2]))

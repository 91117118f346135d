"""What a damaged or hostile model file does, counted. `python -m tests.modelfaults [ROW] [--count N]`.

    flips     one bit of an ONNX file is turned: refused, or the opened model is the same to the bit
    renewed   one bit of its structure is turned and the digest made anew, as a hostile author can:
              refused or run, but no crash and no hang of the process

CI runs a few hundred (`tests/test_onnx_faults.py`).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from io import FileIO
from pathlib import Path

import numpy as np

from img2img.errors import Img2ImgError
from img2img.model_format.find import find_model
from img2img.onnx_format.reading import digest_of, verified
from img2img.runners.onnx import OnnxRunner

_HANG = 60.0


def renewed(data: bytes) -> bytes:
    """The same file with the digest that it should have."""
    digest, place = digest_of(data)
    return data if place < 0 else data[:place] + digest.encode() + data[place + len(digest) :]


def flips(model: Path, folder: Path, count: int, seed: int) -> Counter[str]:
    """Turn one bit anywhere, `count` times; `silent` counts what opened and differed."""
    data, draw, seen = model.read_bytes(), random.Random(seed), Counter[str]()
    path = folder / "flipped.onnx"
    path.write_bytes(data)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    truth = OnnxRunner(path, "cpu").infer(x)
    with open(path, "r+b", buffering=0) as file:
        for _ in range(count):
            place, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
            _put(file, place, data[place] ^ bit)
            try:
                verified(path)
            except Img2ImgError as error:
                one_line = "\n" not in str(error) and str(path) in str(error)
                seen["refused" if one_line else "badly worded"] += 1
            else:
                same = np.array_equal(OnnxRunner(path, "cpu").infer(x), truth)
                seen["identical" if same else "silent"] += 1
            _put(file, place, data[place])
    return seen


def _put(file: FileIO, place: int, value: int) -> None:
    file.seek(place)
    file.write(bytes([value]))


def structure_flips(model: Path, folder: Path, count: int, seed: int) -> Counter[str]:
    """Turn one bit among nodes and metadata with the digest made anew, `count` times, in processes
    of their own; a process that ends by itself costs its one trial."""
    seen, done = Counter[str](), 0
    log = folder / "log"
    while done < count:
        log.write_text("")
        command = [sys.executable, "-m", "tests.modelfaults", "child", "--model", str(model)]
        command += ["--count", str(count), "--seed", str(seed), "--start", str(done)]
        child = subprocess.Popen(
            [*command, "--log", str(log)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        size, since = -1, time.monotonic()
        while child.poll() is None:
            time.sleep(0.05)
            if log.stat().st_size != size:
                size, since = log.stat().st_size, time.monotonic()
            elif time.monotonic() - since > _HANG:
                child.kill()
                child.wait()
                break
        lines = log.read_text().split()
        seen.update(lines)
        done += len(lines)
        if done < count:
            code = child.returncode
            seen["hang" if code == -9 else f"crash ({code}) at {done}"] += 1
            done += 1
    return seen


def _child(model: Path, count: int, seed: int, start: int, log: Path) -> None:
    data = model.read_bytes()
    places = _structure(data)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, open(log, "a", buffering=1) as reported:
        path = Path(folder) / "x.onnx"
        for k in range(start, count):
            draw = random.Random(seed * 1_000_003 + k)
            wrong = bytearray(data)
            wrong[draw.choice(places)] ^= 1 << draw.randrange(8)
            path.write_bytes(renewed(bytes(wrong)))
            try:
                runner = OnnxRunner(path, "cpu")
            except Img2ImgError:
                reported.write("refused\n")
                continue
            try:
                runner.infer(x)
                reported.write("ran\n")
            except Exception:  # at run time the library may refuse the picture
                reported.write("failed\n")


def _structure(data: bytes) -> list[int]:
    """Where nodes stand, in front of the weights, and inputs, outputs and metadata, behind them."""
    return [k for k in range(len(data)) if k < 9000 or k >= len(data) - 4000]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", nargs="?", choices=("flips", "renewed", "child"))
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="sketch2avatar")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    model = find_model(given.model, (".onnx",))
    if given.row == "child":
        _child(model, given.count, given.seed, given.start, given.log)
        return 0
    bad = 0
    rows = {"flips": flips, "renewed": structure_flips}
    for name in [given.row] if given.row else rows:
        with tempfile.TemporaryDirectory() as folder:
            seen = rows[name](model, Path(folder), given.count, given.seed)
        wrong = sum(n for word, n in seen.items() if word not in GOOD)
        print(f"{name}: {dict(seen)}, {wrong} of {given.count} wrong")
        bad += wrong
    return 1 if bad else 0


GOOD = ("refused", "identical", "ran", "failed")

if __name__ == "__main__":
    sys.exit(main())

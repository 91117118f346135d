"""Training and translating beside other programs that keep every core busy.

    python benchmarks/busy.py [--rounds 3] [--seconds 12] [--load CORES] [--json]

Trains `pix2pix --preset tiny` on generated pictures and runs the shipped model `sketch2avatar` in
onnxruntime on generated pictures of 256x256 (the network only, without files), each alone and
beside `--load` processes that compute without end (by default one per core), in turns. With as many
busy processes as cores, the fair share is half of the rate alone. The table shows medians over the
rounds; rates are steps and pictures per second, without start-up. Every job runs in a process of
its own. For comparison, `as before` lets OpenMP's threads spin, one for each core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.system import cpu

_SPIN = "while True:\n    sum(range(1000))"
_SIDE = 256


def make_pairs(folder: Path, count: int = 24) -> None:
    """Write pairs of 144x72: a smooth picture on the left, its negative on the right."""
    rng = np.random.default_rng(0)
    for part, n in (("train", count), ("test", 2)):
        (folder / part).mkdir(parents=True)
        for k in range(n):
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            left = np.asarray(coarse.resize((72, 72), Image.Resampling.BICUBIC))
            Image.fromarray(np.hstack([left, 255 - left])).save(folder / part / f"{k}.png")


def train_rate(pairs: Path, seconds: float, threads: int | None) -> float:
    """In the child process: steps per second after the first ten."""
    from img2img.training import resolve, train
    from img2img.training.events import StepDone, TrainingEvent

    marks: list[tuple[int, float]] = []

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, StepDone):
            marks.append((event.step, time.perf_counter()))

    def stop() -> bool:
        return bool(marks) and time.perf_counter() - marks[0][1] > seconds

    with tempfile.TemporaryDirectory() as out:
        values = {
            "method": "pix2pix", "data": pairs, "out": Path(out) / "run", "steps": 20_000,
            "log_every": 10, "sample_every": 20_000, "save_every": 20_000, "device": "cpu",
            "threads": threads,
        }  # fmt: skip
        train(resolve(values, "tiny"), listen, stop)
    (first, began), (last, ended) = marks[0], marks[-1]
    return (last - first) / (ended - began) if last > first else 0.0


def translate_rate(seconds: float) -> float:
    """In the child process: pictures per second through the network, after the first."""
    from img2img.model_format.find import find_model
    from img2img.runners import open_runner

    runner = open_runner(find_model("sketch2avatar", (".onnx",)), "cpu", "onnxruntime")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, _SIDE, _SIDE)).astype(np.float32)
    runner.infer(x)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        runner.infer(x)
        done += 1
    return done / (time.perf_counter() - began)


def measured(job: str, pairs: Path, seconds: float, load: int, spinning: bool) -> float:
    """The rate of `job` in a separate process, beside `load` busy processes."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    command = [sys.executable, __file__, "--child", job, str(pairs), "--seconds", str(seconds)]
    if spinning:
        environment |= {"OMP_WAIT_POLICY": "ACTIVE"}
        command += ["--threads", str(cpu.cores())]
    others = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(load)]
    try:
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--load", type=int, default=cpu.cores())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("JOB", "PAIRS"))
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.child:
        job, pairs = given.child
        training = job == "training"
        print(
            train_rate(Path(pairs), given.seconds, given.threads)
            if training
            else translate_rate(given.seconds)
        )
        return
    cases = [("training", False), ("training", True), ("translating", False)]
    rates: dict[tuple[str, bool, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs"
        make_pairs(pairs)
        for _ in range(given.rounds):
            for job, spinning in cases:
                for load in (0, given.load):
                    rate = measured(job, pairs, given.seconds, load, spinning)
                    rates.setdefault((job, spinning, load), []).append(rate)
                    how = "as before" if spinning else "now"
                    print(f"{job}, {how}, load {load}: {rate:.2f}/s", file=sys.stderr, flush=True)
    fair = cpu.cores() / (cpu.cores() + given.load)
    for job, spinning in cases:
        alone, beside = (statistics.median(rates[job, spinning, n]) for n in (0, given.load))
        row = {
            "job": job + (", as before" if spinning else ""),
            "alone": round(alone, 2),
            "beside": round(beside, 2),
            "of_fair_share": round(beside / (alone * fair), 2),
        }
        print(json.dumps(row) if given.json else "  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()

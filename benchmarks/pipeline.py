"""How well decoding, network and encoding overlap on large photographs.

    python benchmarks/pipeline.py PHOTOS [--count 12] [--megapixels 12] [--model sketch2avatar]
        [--rounds 2]

PHOTOS are enlarged into JPEGs of `--megapixels` in a temporary folder. Each round measures
every stage alone, as the job runs it (decoding in as many processes as the job uses, the network on
all cores, encoding in as many threads as the job uses), and then the whole job; each in a separate
process. The figure is the time of the slowest stage divided by that of the job: 1 means that the
other stages cost nothing. The memory of the job is that of all its processes together, with shared
pages divided among them (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from watched import memory_of_session

from img2img.images import Picture, Reading, read_picture, write_picture
from img2img.inference import Network, Options, plan, run_jobs
from img2img.inference.decoders import Decoder
from img2img.inference.pipeline import WRITERS, reader_count
from img2img.model_format.find import find_model
from img2img.runners import open_runner

STAGES = ("decode", "network", "encode", "job")


def enlarge(photos: Path, folder: Path, count: int, megapixels: float) -> None:
    """Write `count` JPEGs of about `megapixels`."""
    folder.mkdir()
    found = sorted(p for p in photos.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for k in range(count):
        with Image.open(found[k % len(found)]) as image:
            scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
            size = round(image.width * scale), round(image.height * scale)
            image.convert("RGB").resize(size).save(folder / f"{k:02}.jpg", quality=92)


def decode(source: Path) -> float:
    """Seconds to decode all."""
    paths = sorted(source.iterdir())
    decoders = [Decoder(60) for _ in range(reader_count(len(paths)))]
    for decoder in decoders:
        decoder.read(paths[0], Reading(deep=True))
    left, lock = list(paths), threading.Lock()

    def read(decoder: Decoder) -> None:
        while True:
            with lock:
                if not left:
                    return
                path = left.pop()
            decoder.read(path, Reading(deep=True))

    began = time.perf_counter()
    with ThreadPoolExecutor(len(decoders)) as pool:
        list(pool.map(read, decoders))
    seconds = time.perf_counter() - began
    for decoder in decoders:
        decoder.close()
    return seconds


def network(source: Path, model: Path) -> float:
    """Seconds to translate all."""
    net = Network(open_runner(model, "cpu"))
    seconds = 0.0
    for path in sorted(source.iterdir()):
        pixels = read_picture(path).pixels
        began = time.perf_counter()
        net.run([pixels], None)
        seconds += time.perf_counter() - began
    return seconds


def encode(source: Path, out: Path) -> float:
    """Seconds to encode all."""
    out.mkdir()
    paths = sorted(source.iterdir())
    pictures = [read_picture(path) for path in paths[:4]]

    def write(k: int) -> None:
        picture: Picture = pictures[k % len(pictures)]
        write_picture(out / f"{k}.jpg", picture)

    began = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(len(paths))))
    return time.perf_counter() - began


def job(source: Path, out: Path, model: Path) -> float:
    """Seconds of the whole job."""
    net = Network(open_runner(model, "cpu"))
    jobs = plan([source], out)
    began = time.perf_counter()
    summary = run_jobs(jobs, net, Options())
    assert summary.done == len(jobs), summary.failed[:3]
    return time.perf_counter() - began


def one(stage: str, source: Path, out: Path, model: Path) -> float:
    """Seconds of a stage, or of all together."""
    if stage == "decode":
        return decode(source)
    if stage == "network":
        return network(source, model)
    return encode(source, out) if stage == "encode" else job(source, out, model)


def apart(stage: str, source: Path, out: Path, model: Path) -> tuple[float, int]:
    """The same in a separate process: seconds, and the peak memory in bytes."""
    here = [sys.executable, __file__, "--one", stage]
    process = subprocess.Popen(
        [*here, str(source), str(out), str(model)],
        stdout=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of_session(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None and process.returncode == 0
    return float(process.stdout.read().split()[-1]), peak


def main() -> None:
    """Print a line for each stage and the figures."""
    if sys.argv[1:2] == ["--one"]:
        print(one(sys.argv[2], *map(Path, sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--model", default="sketch2avatar")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    model = find_model(arguments.model, (".onnx",), None)
    table: list[list[float]] = []
    peak = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        enlarge(arguments.photos, folder / "in", arguments.count, arguments.megapixels)
        for round in range(arguments.rounds):
            row = []
            for stage in STAGES:
                seconds, most = apart(stage, folder / "in", folder / f"{stage}{round}", model)
                row.append(seconds)
                peak = max(peak, most) if stage == "job" else peak
            table.append(row)
    times = np.array(table)
    pixels = arguments.count * arguments.megapixels
    for stage, seconds in zip(STAGES, np.median(times, 0), strict=True):
        print(f"{stage:8} {seconds:7.2f} s, {seconds / pixels * 1000:6.1f} ms per megapixel")
    ratio = times[:, :3].max(1) / times[:, 3]
    print(f"slowest stage / job: {np.median(ratio):.0%} (rounds {np.round(ratio, 3)})")
    print(f"peak memory of the job: {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

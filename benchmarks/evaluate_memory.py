"""Memory of `img2img evaluate` over more and more pictures.

    python benchmarks/evaluate_memory.py [--counts 1000 20000] [--real 1000] [--side 64]
        [--features NAME ...]

Made pictures (noise of several scales, as JPEG) are judged twice: as pairs, by all metrics of pairs
that need no network, and as a set against --real others, by --features (default: mobilenetv2). Each
command is a process of its own; the table has its seconds, its seconds of processor time, and the
most memory that it or one of its children held.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PAIRS = ("l1", "psnr", "ssim", "ms_ssim")


def main() -> None:
    """Make the pictures, run the commands, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--real", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--features", nargs="+", default=["mobilenetv2"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        fake, real, few = (Path(name) / word for word in ("fake", "real", "few"))
        most = max(options.counts)
        for seed, (folder, count) in enumerate(((fake, most), (real, most), (few, options.real))):
            write(folder, count, options.side, seed)
        print("| figures | pictures | seconds | CPU seconds | MB |\n|---|---|---|---|---|")
        sets = [word for name in options.features for word in ("--features", name)]
        pairs = [word for name in PAIRS for word in ("--metric", name)]
        for figures, other, words in (
            ("pairs", real, ["--paired", *pairs, "--features", "none"]),
            ("set", few, sets),
        ):
            for count in options.counts:
                row = measured("--fake", fake, "--real", other, "--most", count, *words)
                print(
                    f"| {figures} | {count} | {' | '.join(f'{v:.0f}' for v in row)} |", flush=True
                )


def write(folder: Path, count: int, side: int, seed: int) -> None:
    """`count` pictures of `side` pixels, each its own."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:06}.jpg", quality=90)


def measured(*arguments: object) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MB of one command."""
    command = [sys.executable, "-m", "img2img.cli", "evaluate", *map(str, arguments), "--quiet"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()

"""Another commit's command line against this one's, in turns: seconds, CPU seconds, ratios.

    python benchmarks/before_after.py PYTHON PHOTOS [--rounds 5] [--count 60] [--megapixels 12]

PYTHON is the interpreter of an environment in which the other commit is installed, with the same
versions of its packages as in the one that runs this script. Each command is a separate process. A
round runs every job once on each side, the order alternating; the figure is the median of the
rounds' ratios (this commit / the other). `folder` translates `--count` crops of 256 pixels with the
shipped `painting` in one command, `large` four pictures of `--megapixels`, both by each of
onnxruntime and torch. On a shared machine the CPU seconds (all processes and threads) are the more
reliable ones.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image


def main() -> None:
    """Run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="interpreter with the other commit")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--megapixels", type=float, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small", folder / "large"
        prepare(options.photos, small, large, options.count, options.megapixels)
        sides = {"after": sys.executable, "before": str(options.other.absolute())}
        jobs = [(job, arguments(job, small, large)) for job in JOBS]
        seen: dict[str, list[dict[str, tuple[float, float]]]] = {job: [] for job, _ in jobs}
        for round_ in range(options.rounds):
            order = list(sides) if round_ % 2 else list(sides)[::-1]
            for job, given in jobs:
                seen[job].append({side: timed(sides[side], given, folder) for side in order})
    print("| job | seconds before | after | ratio | CPU seconds before | after | ratio |")
    print("|---|---|---|---|---|---|---|")
    for job, rounds in seen.items():
        cells = [job]
        for kind in (0, 1):
            before, after = ([r[side][kind] for r in rounds] for side in ("before", "after"))
            ratio = statistics.median(a / b for a, b in zip(after, before, strict=True))
            middle = [statistics.median(values) for values in (before, after)]
            cells += [f"{middle[0]:.2f}", f"{middle[1]:.2f}", f"{ratio:.2f}"]
        print(f"| {' | '.join(cells)} |")


JOBS = ("--version", "--help", "translate --help", "folder", "folder torch", "large")


def arguments(job: str, small: Path, large: Path) -> list[str]:
    """The command line of a job; OUT stands for a new folder."""
    model = ["--model", "painting"]
    out = ["-o", "OUT"]
    if job == "folder":
        return ["translate", str(small), *out, *model, "--runner", "onnxruntime"]
    if job == "folder torch":
        return ["translate", str(small), *out, *model, "--runner", "torch", "--precision", "fp32"]
    if job == "large":
        return ["translate", str(large), *out, *model, "--runner", "onnxruntime"]
    return job.split()


def prepare(photos: Path, small: Path, large: Path, count: int, megapixels: float) -> None:
    """Crops of 256 pixels and four large pictures, as JPEG."""
    small.mkdir()
    large.mkdir()
    files = sorted(p for p in photos.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    for number in range(count):
        with Image.open(files[number % len(files)]) as image:
            x, y = (37 * number) % (image.width - 256), (53 * number) % (image.height - 256)
            crop = image.convert("RGB").crop((x, y, x + 256, y + 256))
        crop.save(small / f"{number:04}.jpg", quality=92)
    for number in range(4):
        with Image.open(files[number % len(files)]) as image:
            scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
            size = (round(image.width * scale), round(image.height * scale))
            big = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        big.save(large / f"{number}.jpg", quality=92)


def timed(python: str, given: list[str], folder: Path) -> tuple[float, float]:
    """(seconds, CPU seconds of the process and its children) of one command."""
    out = folder / f"out-{time.monotonic_ns()}"
    command = [python, "-m", "img2img.cli"]
    command += [str(out) if text == "OUT" else text for text in given]
    before, began = os.times(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    seconds, after = time.monotonic() - began, os.times()
    if done.returncode != 0:
        sys.exit(f"{' '.join(given)} by {python}: {done.stderr.strip()[-500:]}")
    cpu = after.children_user + after.children_system
    return seconds, cpu - before.children_user - before.children_system


if __name__ == "__main__":
    main()

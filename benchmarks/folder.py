"""`translate` against the plain script: the same network, the same pictures, in turns.

    python benchmarks/folder.py PHOTOS [--count 60] [--side 256] [--width 64] [--blocks 9]
        [--repeats 3] [--only RUNNER/PRECISION...] [--json]

PHOTOS is a folder of photographs; `--count` crops of `--side` pixels are cut from them into a
temporary folder and written as JPEG. The network is a ResNet with random weights, as a .safetensors
file and as its ONNX export. Each round runs the plain script (`plain_script.py`) and then
`translate` with every runner and precision that this machine supports, each in a separate process,
all of them writing PNG; the figure is the median over the rounds of the ratio of seconds. Seconds
are those of the job: on both sides they exclude imports and opening the model, but include the
start of the decoding processes. PSNR compares the PNG files with those of the plain script, which
truncates values where `translate` rounds them: that alone accounts for 51 dB. On a shared machine,
CPU seconds (of all processes and threads) are more reliable than wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.errors import Img2ImgError
from img2img.inference import Naming, Network, Options, plan, run_jobs
from img2img.runners import RUNNERS, open_runner

HERE = Path(__file__).resolve().parent
WAYS = [
    (name, precision)
    for name, kind in RUNNERS.items()
    for precision in kind.precisions
    if name != "torch-compile"
]


def cut(photos: Path, folder: Path, count: int, side: int) -> None:
    """Write `count` crops of `side` pixels, taken from each photograph in turn."""
    folder.mkdir()
    found = sorted(p for p in photos.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    pictures = [Image.open(path).convert("RGB") for path in found]
    rng = np.random.default_rng(0)
    for k in range(count):
        picture = pictures[k % len(pictures)]
        left, top = (int(rng.integers(0, max(1, s - side + 1))) for s in picture.size)
        crop = picture.crop((left, top, left + side, top + side))
        crop.save(folder / f"{k:03}.jpg", quality=95)


def make_models(folder: Path, width: int, blocks: int) -> tuple[Path, Path]:
    """A ResNet with random weights: (.safetensors, .onnx)."""
    import torch

    from img2img.exporting.onnx import export_onnx
    from img2img.model_format.checkpoint import save_model
    from img2img.model_format.info import ModelInfo
    from img2img.nets import build_generator

    torch.manual_seed(0)
    made = build_generator("resnet", {"width": width, "blocks": blocks}).eval()
    info = ModelInfo(
        name="random", method="cyclegan", generator=made.name,
        generator_config=made.config.model_dump(mode="json", exclude_none=True),
        in_channels=3, out_channels=3, multiple_of=made.multiple_of, minimum=made.minimum,
        norm_statistics=made.norm_statistics, tiling=made.tiling, size=256,
    )  # fmt: skip
    path = folder / "random.safetensors"
    save_model(path, made, info)
    export_onnx(path, path.with_suffix(".onnx"))
    return path, path.with_suffix(".onnx")


def job(model: Path, runner: str, precision: str, source: Path, out: Path) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one job."""
    network = Network(open_runner(model, "cpu", runner, precision))
    jobs = plan([source], out, Naming(".png"))
    began, cpu = time.perf_counter(), sum(os.times()[:4])
    summary = run_jobs(jobs, network, Options())
    seconds = time.perf_counter() - began, sum(os.times()[:4]) - cpu
    assert summary.done == len(jobs), summary.failed[:3]
    return seconds


def timed(arguments: list[object]) -> tuple[list[float], str]:
    """The two times in seconds that a script printed, or the reason why there are none."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return [], (done.stderr.strip().splitlines() or ["it failed"])[-1]
    return [float(word) for word in done.stdout.split()[-2:]], ""


def likeness(mine: Path, theirs: Path) -> float:
    """PSNR in dB over all pictures of two folders."""
    errors = []
    for path in sorted(theirs.iterdir()):
        a, b = (np.asarray(Image.open(p), np.float64) for p in (mine / path.name, path))
        errors.append(((a - b) ** 2).mean())
    return float(10 * np.log10(255**2 / max(np.mean(errors), 1e-12)))


def _medians(times: list[list[float]]) -> dict[str, object]:
    seconds, cpu = np.median(times, 0)
    return {"seconds": float(seconds), "cpu_seconds": float(cpu)}


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Run all rounds and return a row for each runner and precision."""
    source = folder / "in"
    cut(arguments.photos, source, arguments.count, arguments.side)
    safetensors, onnx = make_models(folder, arguments.width, arguments.blocks)
    ways = [way for way in WAYS if not arguments.only or "/".join(way) in arguments.only]
    seconds: dict[tuple[str, str], list[list[float]]] = {way: [] for way in ways}
    plain: list[list[float]] = []
    reasons: dict[tuple[str, str], str] = {}
    for round in range(arguments.repeats):
        theirs = folder / f"plain{round}"
        plain.append(timed([HERE / "plain_script.py", safetensors, source, theirs])[0])
        for way in ways:
            if way in reasons:
                continue
            model = onnx if RUNNERS[way[0]].suffix == ".onnx" else safetensors
            mine = folder / f"{'-'.join(way)}{round}"
            taken, reason = timed([__file__, "--one", *way, model, source, mine])
            if reason:
                reasons[way] = reason
            else:
                seconds[way].append(taken)
    rows: list[dict[str, object]] = [
        {"runner": "plain script", "precision": "fp32"} | _medians(plain)
    ]
    for way in ways:
        row: dict[str, object] = {"runner": way[0], "precision": way[1]}
        if way in reasons:
            rows.append(row | {"reason": reasons[way]})
            continue
        ratio, cpu = np.median(np.array(plain) / np.array(seconds[way]), 0)
        last = arguments.repeats - 1
        db = likeness(folder / f"{'-'.join(way)}{last}", folder / f"plain{last}")
        row |= _medians(seconds[way]) | {"ratio": float(ratio), "cpu_ratio": float(cpu), "db": db}
        rows.append(row)
    return rows


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--one"]:
        runner, precision, model, source, out = sys.argv[2:]
        try:
            print(*job(Path(model), runner, precision, Path(source), Path(out)))
        except Img2ImgError as error:
            sys.exit(str(error))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="RUNNER/PRECISION", help="measure only these")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments, Path(folder))
    for row in rows:
        if arguments.json:
            print(json.dumps(row))
        elif "reason" in row:
            print(f"{row['runner']:14}{row['precision']:6} not available: {row['reason']}")
        else:
            print(
                f"{row['runner']:14}{row['precision']:6}{row['seconds']:8.2f} s "
                f"(processor {row['cpu_seconds']:.2f} s)"
                + (
                    f"{row['ratio']:6.2f} times ({row['cpu_ratio']:.2f}), {row['db']:.1f} dB"
                    if "ratio" in row
                    else ""
                )
            )


if __name__ == "__main__":
    main()

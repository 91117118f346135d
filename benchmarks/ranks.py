"""Two processes against one: how fast, and how equal; and one message against many.

    python benchmarks/ranks.py [METHOD...] [--steps 6] [--size 64] [--width 16] [--batch 4]
    python benchmarks/ranks.py --messages [--steps 6] [--size 64] [--width 16] [--batch 4]

The first form trains every method on drawn pictures, alone and in two processes with the same total
batch, one thread each, and prints steps per second without the first step, and the largest
difference of a weight and of a logged loss after the last. The second takes steps of one generator
in two processes by gloo: without an exchange, with gradients averaged in one message after the
backward pass, as a training does it, and with DistributedDataParallel, which sends buckets during
the backward pass. Times are those of a clock: other programs on the machine change
them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from img2img.methods import METHODS
from img2img.model_format.checkpoint import load_state
from img2img.nets import build_generator
from img2img.training import resolve, train
from img2img.training.processes import Processes
from img2img.training.run_folder import states_of

_DISCRIMINATOR = {"layers": 2}


def main() -> None:
    """Compare, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="by default all")
    parser.add_argument("--messages", action="store_true", help="the second form")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--size", type=int, default=64, help="side of a crop in pixels")
    parser.add_argument("--width", type=int, default=16, help="channels of the first layer")
    parser.add_argument("--batch", type=int, default=4, help="of all processes together")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_one(options.methods[0], options.data, options.run, options)
    elif options.messages and "RANK" in os.environ:
        compare_messages(options)
    elif options.messages:
        in_two("--messages", options=options)
    else:
        compare_methods(options)


# --- every method


def compare_methods(options: argparse.Namespace) -> None:
    """Print a row for each method."""
    print("| method | steps/s, one process | two | largest difference of a weight | of a loss |")
    print("|---|---:|---:|---:|---:|")
    for method in options.methods or METHODS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data = draw(method, folder / "data", 2 * options.batch, options.size)
            command = [method, "--data", str(data), "--run"]
            in_one(*command, str(folder / "one"), options=options)
            in_two(*command, str(folder / "two"), options=options)
            rows = [rows_of(folder / run) for run in ("one", "two")]
            rates = [rate_of(folder / run) for run in ("one", "two")]
            states = [load_state(states_of(folder / run)[0])["nets"] for run in ("one", "two")]
            weights = max(
                float((tensor.float() - states[1][net][key].float()).abs().max())
                for net, tensors in states[0].items()
                for key, tensor in tensors.items()
            )
            losses = max(abs(x - y) for a, b in zip(*rows, strict=True) for x, y in pairs(a, b))
            print(
                f"| {method} | {rates[0]:.2f} | {rates[1]:.2f} | {weights:.1e} | {losses:.1e} |",
                flush=True,
            )


def run_one(method: str, data: Path, out: Path, options: argparse.Namespace) -> None:
    """Train in this process, and write the rate of the steps after the first."""
    settings: dict[str, Any] = {"generator_options": {"width": options.width}}
    settings["discriminator_options"] = {"width": options.width, **_DISCRIMINATOR}
    if method == "pix2pix":  # whose dropout draws other numbers in other processes
        settings["generator_options"] |= {"depth": 5, "dropout": False}
    else:
        settings["generator_options"] |= {"blocks": 2}
    if method == "stargan":
        settings["n_critic"] = 2
    if method == "cut":
        settings["nce_blocks"] = [1, 2]
    config = resolve(
        {
            "method": method,
            "data": data,
            "out": out,
            "steps": options.steps,
            "load_size": options.size,
            "crop_size": options.size,
            "batch_size": options.batch,
            "log_every": 1,
            "sample_every": 10**6,
            "save_every": 10**6,
            "held_out": 1,
            "side_by_side": True,
            "device": "cpu",
            "threads": 1,
            "precision": "fp32",
            "settings": settings,
        }
    )
    times: list[float] = []

    def look() -> bool:  # asked before each step
        times.append(time.monotonic())
        return False

    torch.set_num_threads(1)
    train(config, should_stop=look)
    each = statistics.median(np.diff(times[1:]))
    if os.environ.get("RANK", "0") == "0":
        (out / "rate.json").write_text(json.dumps(1 / each))


def draw(method: str, folder: Path, count: int, size: int) -> Path:
    """Pictures of noise and stripes in the layout of a method."""
    generator = np.random.default_rng(0)

    def picture(width: int, place: int) -> Image.Image:
        pixels = generator.integers(0, 100, (size, width, 3))
        pixels[:, :, place % 3] += 100
        pixels[::4] += 50
        return Image.fromarray(pixels.astype(np.uint8))

    groups = {"stargan": ("red", "green", "blue"), "stylize": ("A", "B")}.get(method, ("",))
    for part in ("",) if method == "stylize" else ("train", "test"):
        for place, group in enumerate(groups):
            target = folder / part / group
            target.mkdir(parents=True, exist_ok=True)
            for k in range(count if part != "test" else 1):
                wide = 2 * size if groups == ("",) else size
                picture(wide, place).save(target / f"{k}.png")
    return folder


def rows_of(out: Path) -> list[dict[str, float]]:
    """The logged losses."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["losses"] for row in rows if row["event"] == "step"]


def pairs(a: dict[str, float], b: dict[str, float]) -> list[tuple[float, float]]:
    """Values of one name."""
    return [(a[name], b[name]) for name in a]


def rate_of(out: Path) -> float:
    """Steps per second."""
    return float(json.loads((out / "rate.json").read_text()))


# --- one message, or buckets


def compare_messages(options: argparse.Namespace) -> None:
    """Steps of one generator in this process, one of two; the first prints a table."""
    torch.set_num_threads(1)
    processes = Processes.join()
    torch.manual_seed(processes.rank)
    x = torch.rand(options.batch // 2, 3, options.size, options.size)
    work = {
        "no exchange": stepper(x, options.width, None),
        "one message": stepper(x, options.width, processes.average),
        "DistributedDataParallel": stepper(x, options.width, "ddp"),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(options.steps + 1):
        for name, step in work.items():
            processes.wait()
            began = time.monotonic()
            step()
            processes.wait()
            if round_:  # the first warms up
                times[name].append(time.monotonic() - began)
    if processes.first:
        print("| exchange of gradients | ms per step, median | quickest |\n|---|---:|---:|")
        for name, found in times.items():
            row = [1000 * value for value in (statistics.median(found), min(found))]
            print(f"| {name} | {row[0]:.0f} | {row[1]:.0f} |", flush=True)
    processes.wait()


def stepper(x: torch.Tensor, width: int, exchange: Any) -> Callable[[], None]:
    """A step of a ResNet generator that learns to return its input."""
    torch.manual_seed(0)
    G: Any = build_generator("resnet", {"width": width, "blocks": 6})
    optimizer = torch.optim.Adam(G.parameters(), 1e-4)
    run = DistributedDataParallel(G) if exchange == "ddp" else G

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (run(x) - x).abs().mean().backward()
        if callable(exchange):
            exchange([p.grad for p in G.parameters() if p.grad is not None])
        optimizer.step()

    return step


# --- processes


def in_one(*arguments: str, options: argparse.Namespace) -> None:
    """This program in one other process."""
    subprocess.run(_command(*arguments, options=options), check=True, env=_environment())


def in_two(*arguments: str, options: argparse.Namespace) -> None:
    """This program in two processes of one group."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            _command(*arguments, options=options),
            env=_environment() | group | {"RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit("a process has failed")


def _command(*arguments: str, options: argparse.Namespace) -> list[str]:
    numbers = [f"--{n}={getattr(options, n)}" for n in ("steps", "size", "width", "batch")]
    return [sys.executable, __file__, *arguments, *numbers]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()

"""What one step of a small Pix2Pix costs, with the discriminators that a preset may choose.

    python benchmarks/pix2pix_step.py [--rounds 5] [--steps 2] [--threads 1] [--precision bf16]

All rows train the generator of the preset `labels` on random pairs, two of 256 pixels at once:
`default` with the discriminator that Pix2Pix has by default (PatchGAN of width 64), `narrow` with
one of width 32, `labels` as the preset has it; `generator` is its own pass forward and back. The
rows take turns; printed is the median of the rounds in milliseconds of CPU time, which other
programs change little, and how often a row fits into the time of `default`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from img2img.augment import Augment
from img2img.data import PairedBatch
from img2img.features import find_features, load_lite0
from img2img.methods import Pix2Pix
from img2img.nets import ProjectedDiscriminator
from img2img.training.presets import resolve

_PLAIN: dict[str, Any] = {
    "discriminator": "patch", "gan": "vanilla", "lambda_features": 0.0,
    "discriminator_options": {"width": 64},
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "default": _PLAIN,
    "narrow": _PLAIN | {"discriminator_options": {"width": 32}},
    "labels": {},
}


def main() -> None:
    """Measure the rows in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="of one turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = {name: step_of(change) for name, change in ROWS.items()}
    work["generator"] = generator_alone()
    found: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(options.rounds + 1):
        for name, step in work.items():
            began = time.process_time()
            for _ in range(options.steps):
                with torch.autocast("cpu", torch.bfloat16, options.precision == "bf16"):
                    step()
            if round_:  # the first warms up
                found[name].append(1000 * (time.process_time() - began) / options.steps)
    medians = {name: statistics.median(times) for name, times in found.items()}
    print("| row | ms | times default |\n|---|---:|---:|")
    for name, value in medians.items():
        print(f"| {name} | {value:.0f} | {medians['default'] / value:.2f} |")


def step_of(change: dict[str, Any]) -> Callable[[], None]:
    """One step of the preset `labels` with `change` in its settings, on pictures of its size."""
    config = resolve({"method": "pix2pix", "data": Path("."), "out": Path(".")}, "labels")
    torch.manual_seed(0)
    method = Pix2Pix(Pix2Pix.Config.parse(config.settings | change))
    if isinstance(method.D, ProjectedDiscriminator):
        lite0 = load_lite0(find_features("lite0"))
        lite0.fold_norms()
        method.frozen_nets["lite0"] = lite0
        method.D.look_through(lite0)
    for net in (*method.nets.values(), *method.frozen_nets.values()):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size, count = config.crop_size, config.batch_size
    method.augment = Augment(size, True, 0)
    x = torch.rand(2, count, 3, size, size) * 2 - 1
    batch = PairedBatch(x[0], x[1], list(range(count)))

    def step() -> None:
        method.augment.begin(method.number, batch.indices)
        method.step(batch)
        method.number += 1

    return step


def generator_alone() -> Callable[[], None]:
    """The generator of `labels`, forward and back."""
    config = resolve({"method": "pix2pix", "data": Path("."), "out": Path(".")}, "labels")
    G = Pix2Pix(Pix2Pix.Config.parse(config.settings)).G
    G.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(config.batch_size, 3, config.crop_size, config.crop_size)

    def work() -> None:
        G.zero_grad()
        G(x).float().mean().backward()

    return work


if __name__ == "__main__":
    main()

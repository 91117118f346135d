"""The fused augmentation (one sampling, one colour matrix) against a sequence of kornia's
operators.

    python benchmarks/augment.py [--batch 8] [--side 256] [--repeats 30] [--threads 1]

Both sides apply the same operations by about the same amounts to the same pictures, with explicit
parameters (the resulting pixels differ: kornia's hue and saturation are those of HSV): flip,
rotation, affine, perspective and crop; then brightness, contrast, saturation and hue. They
alternate in one process, so that a busy machine slows both; the figure is the median of the ratios
of adjacent runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import kornia.enhance as enhance
import kornia.geometry.transform as transform
import numpy as np
import torch
from torch import Tensor

from img2img.augment import Augment, AugmentConfig, maps

Operation = Callable[[Tensor], Tensor]


def geometry(n: int, side: int, device: str) -> tuple[Operation, Operation]:
    """(fused, in sequence): (N, 3, side + 30, side + 30) -> (N, 3, side, side)."""
    full = side + 30
    matrix = maps.window(15, 15, side, full, full)
    for step in (maps.rotation(10), maps.shear(5), maps.scaling(1.1, 1.1), maps.tilt(0.1, 0.05)):
        matrix = matrix @ step
    matrix = matrix @ maps.scaling(-1, 1)
    angle = torch.full((n,), 10.0, device=device)
    c, s = np.cos(0.1), np.sin(0.1)
    affine = torch.tensor([[1.1 * c, 1.1 * s, -8], [-1.1 * s, 1.1 * c, 8]], device=device)
    affine = affine.float().expand(n, 2, 3)
    lean = torch.tensor([[1, 0, 0], [0, 1, 0], [1e-4, 5e-5, 1]], device=device).expand(n, 3, 3)

    def in_sequence(x: Tensor) -> Tensor:
        x = transform.rotate(transform.hflip(x), angle, padding_mode="reflection")
        x = transform.warp_affine(x, affine, (full, full), padding_mode="reflection")
        x = transform.warp_perspective(x, lean, (full, full), padding_mode="reflection")
        return x[..., 15 : 15 + side, 15 : 15 + side]

    return lambda x: maps.warp(x, [matrix] * n, (side, side)), in_sequence


def colour(n: int) -> tuple[Operation, Operation]:
    """(fused, in sequence) on pictures in [-1, 1]."""
    matrix = maps.brightness(0.1)
    for step in (maps.contrast(1.1), maps.saturation(1.2), maps.hue(10)):
        matrix = maps.after(step, matrix)

    def in_sequence(x: Tensor) -> Tensor:
        x = enhance.adjust_contrast(enhance.adjust_brightness(x / 2 + 0.5, 0.05), 1.1)
        return enhance.adjust_hue(enhance.adjust_saturation(x, 1.2), 0.17) * 2 - 1

    return lambda x: maps.recolour(x, [matrix] * n).clamp_(-1, 1), in_sequence


def seconds(operation: Operation, x: Tensor) -> float:
    """Seconds of one call, including the work of the device."""
    began = time.perf_counter()
    operation(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Print one line for geometry, one for colour, and the cost of the whole pipeline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    n, side, device = arguments.batch, arguments.side, arguments.device
    x = torch.rand(n, 3, side + 30, side + 30, device=device) * 2 - 1
    cropped = x[..., :side, :side].contiguous()
    print(f"batch {n}, {side} px, {device}, {arguments.threads} thread(s), {torch.__version__}")
    pairs = (("geometry", x, geometry(n, side, device)), ("colour", cropped, colour(n)))
    for name, picture, (fused, in_sequence) in pairs:
        times = np.array(
            [
                (seconds(fused, picture), seconds(in_sequence, picture))
                for _ in range(arguments.repeats + 3)
            ]
        )[3:]
        ours, theirs = np.median(times, 0) * 1000
        low, ratio, high = np.percentile(times[:, 1] / times[:, 0], (25, 50, 75))
        print(
            f"{name:9} fused {ours:.1f} ms, kornia in sequence {theirs:.1f} ms: "
            f"{ratio:.1f} times as fast (quartiles {low:.1f} to {high:.1f})"
        )
    operations = ("rotate", "affine", "perspective", "brightness", "contrast", "saturation", "hue")
    settings: dict[str, float] = dict.fromkeys(operations, 1.0)
    reference = AugmentConfig()
    configs = {
        "crop and flip": reference,
        "all geometry and colour": AugmentConfig.parse(settings),
        "and blur": AugmentConfig.parse(settings | {"blur": 1.0}),
        "and noise": AugmentConfig.parse(settings | {"blur": 1.0, "noise": 1.0}),
    }
    for name, config in configs.items():
        augment = Augment(side, True, 0, config)
        augment.begin(0, range(n))
        taken = [seconds(lambda x: augment(x)[0], x) for _ in range(arguments.repeats)]  # noqa: B023
        print(f"Augment, {name}: {np.median(taken) * 1000:.1f} ms a batch")


if __name__ == "__main__":
    main()

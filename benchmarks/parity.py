"""Parity of every shipped model, and of three untrained networks of full width, with their exports.

    python benchmarks/parity.py [--pictures FOLDER] [--io uint8|float]

Exports each to a temporary file and prints its table (PyTorch against ONNX in 8-bit levels, as
`img2img export` prints it), the size of the file, and the wall-clock and CPU seconds of the export
including the parity check.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from img2img.exporting.onnx import ExportOptions, export_onnx
from img2img.model_format.checkpoint import save_model
from img2img.model_format.find import shipped, weights_folder
from img2img.model_format.info import ModelInfo
from img2img.nets import build_generator

# The reference implementations' generators: 54.4, 11.4 and 8.4 million parameters.
UNTRAINED: dict[str, tuple[str, dict[str, object], tuple[str, ...]]] = {
    "pix2pix": ("unet", {"depth": 8, "width": 64}, ()),
    "cyclegan": ("resnet", {"blocks": 9, "width": 64}, ()),
    "stargan": (
        "resnet",
        {
            "blocks": 6,
            "width": 64,
            "kernel": 4,
            "padding": "zero",
            "affine": True,
            "head_bias": False,
            "domains": 5,
            "init": "default",
        },
        ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"),
    ),
}


def untrained(method: str, folder: Path) -> Path:
    """Write a freshly initialised model of full width, seed 0."""
    name, options, domains = UNTRAINED[method]
    torch.manual_seed(0)
    generator = build_generator(name, options).eval()
    info = ModelInfo(
        name=f"untrained-{method}",
        method=method,
        generator=name,
        generator_config=generator.config.model_dump(mode="json", exclude_none=True),
        in_channels=generator.in_channels,
        out_channels=generator.out_channels,
        multiple_of=generator.multiple_of,
        minimum=generator.minimum,
        norm_statistics=generator.norm_statistics,
        tiling=generator.tiling,
        size=256,
        domains=domains,
    )
    path = folder / f"{info.name}.safetensors"
    save_model(path, generator, info)
    return path


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--io", choices=("uint8", "float"), default="uint8")
    arguments = parser.parse_args()
    options = ExportOptions(io=arguments.io)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [weights_folder() / model.files[".safetensors"] for model in shipped().values()]
        sources += [untrained(method, folder) for method in UNTRAINED]
        for source in sources:
            target = folder / f"{source.stem}.onnx"
            wall, cpu = time.perf_counter(), time.process_time()
            facts = export_onnx(source, target, options, arguments.pictures)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            size = target.stat().st_size / 1e6
            print(f"\n{source.stem}: {size:.1f} MB, {wall:.0f} s ({cpu:.0f} s of CPU)", end="; ")
            print(f"pictures: {facts.pictures}")
            for row in facts.parity:
                print(
                    f"  {row.batch} x {row.width}x{row.height}: at most {row.max_levels}, "
                    f"mean {row.mean_levels:.6f} {row.domain}"
                )


if __name__ == "__main__":
    main()

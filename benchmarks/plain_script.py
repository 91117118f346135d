"""A simple sequential script: one picture at a time, torch in fp32, Pillow's PNG.

    python benchmarks/plain_script.py MODEL.safetensors IN OUT

For each picture: decode, scale to [-1, 1], run the generator without gradients, convert to 8 bits,
save as PNG at Pillow's default level, as the test scripts of the reference repositories do. Prints
the wall-clock and CPU seconds of the loop, without imports and without opening the model.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from img2img.model_format.checkpoint import load_model


def translate_one(generator: torch.nn.Module, source: Path, target: Path) -> None:
    """One picture, read, translated and written."""
    pixels = np.asarray(Image.open(source).convert("RGB"))
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        y = generator(x)
    values = (y[0].permute(1, 2, 0).float().numpy() + 1) / 2 * 255
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(target)


def main() -> None:
    """Translate a folder and print the wall-clock and CPU seconds."""
    model, source, out = (Path(argument) for argument in sys.argv[1:4])
    generator, _ = load_model(model)
    generator.eval()
    out.mkdir(parents=True, exist_ok=True)
    began, cpu = time.perf_counter(), time.process_time()
    for path in sorted(source.iterdir()):
        translate_one(generator, path, out / f"{path.stem}.png")
    print(time.perf_counter() - began, time.process_time() - cpu)


if __name__ == "__main__":
    main()

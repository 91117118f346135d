"""Metrics and samples for a model card: a model and its plain-L1 baseline on held-out pairs.

    python benchmarks/shipped_model.py MODEL.safetensors BASELINE.safetensors DATA SHEET.jpg \
        [--outputs-only]

Prints, for both, the means over all held-out pairs of L1 (8-bit levels), PSNR (dB), SSIM, and the
edge energy: the mean gradient magnitude of the output divided by that of the truth, 1 if the output
is as detailed as the truth and small if it is blurred. Then the time for one picture of the
training size in onnxruntime on one core. SHEET shows 12 held-out pairs: input, model, baseline,
truth.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from img2img.data import Loading, PairedData
from img2img.exporting.onnx import export_onnx
from img2img.images import Picture, contact_sheet, encode_format, write_picture
from img2img.metrics import paired as metrics
from img2img.model_format.checkpoint import load_model
from img2img.training.validation import to_pixels


def edges(x: Tensor) -> Tensor:
    """Mean gradient magnitude of each picture, (N,)."""
    right, down = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
    return torch.hypot(right, down).flatten(1).mean(1)


def levels(x: Tensor) -> Tensor:
    """[-1, 1] -> integers in 0..255."""
    return ((x + 1) * 127.5).round().clamp(0, 255)


def figures_of(y: Tensor, truth: Tensor) -> list[float]:
    """L1, PSNR, SSIM and edge energy of one picture (1, C, H, W), both in 0..255."""
    values = (metrics.l1(y, truth), metrics.psnr(y, truth), metrics.ssim(y, truth))
    return [*map(float, values), float(edges(y) / edges(truth))]


def one_core_ms(model: Path, side: int, repeats: int = 30) -> float:
    """Median milliseconds for one picture in onnxruntime on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "m.onnx"
        export_onnx(model, target)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            target.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    name = session.get_inputs()[0].name
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        session.run(None, {name: x})
        times.append(time.perf_counter() - began)
    return float(np.median(times) * 1000)


def main() -> None:
    """Print the figures and write the sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--outputs-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (model, info), (baseline, _) = load_model(arguments.model), load_model(arguments.baseline)
    data = PairedData(arguments.data, "held-out", Loading(info.size))
    shown = {int(i) for i in np.linspace(0, len(data) - 1, 12)}
    figures: dict[str, list[list[float]]] = {"model": [], "baseline": []}
    rows = []
    for index in range(len(data)):
        batch = data.batch([index]).on(torch.device("cpu"))
        truth = levels(batch.b)
        row = [batch.a]
        for name, net in (("model", model), ("baseline", baseline)):
            with torch.inference_mode():
                y = net(batch.a)
            row.append(y)
            figures[name].append(figures_of(levels(y), truth))
        if index in shown:
            pixels = [to_pixels(x)[0] for x in (*row, batch.b)]
            rows.append(pixels[1:3] if arguments.outputs_only else pixels)
    print(f"{len(data)} held-out pairs of {info.size}x{info.size}")
    for name, table in figures.items():
        l1, psnr, ssim, energy = np.mean(table, 0)
        print(
            f"{name:9} L1 {l1:.2f}  PSNR {psnr:.2f} dB  SSIM {ssim:.4f}  edge energy {energy:.2f}"
        )
    print(f"onnxruntime, one core: {one_core_ms(arguments.model, info.size):.1f} ms")
    if arguments.outputs_only:
        wide = [[p for row in rows[k : k + 4] for p in row] for k in (0, 4, 8)]
        sheet = contact_sheet(wide, ["Pix2Pix", "plain L1"] * 4)
    else:
        # Two pairs in a row keep the sheet readable.
        titles = ["input", "Pix2Pix", "plain L1", "truth"] * 2
        sheet = contact_sheet([a + b for a, b in zip(rows[:6], rows[6:], strict=True)], titles)
    write_picture(arguments.sheet, Picture(sheet, format=encode_format(arguments.sheet.suffix)[0]))


if __name__ == "__main__":
    main()

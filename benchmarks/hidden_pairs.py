"""Metrics of an unpaired model on pairs that its training did not see as pairs.

    python benchmarks/hidden_pairs.py DATA SHEET.jpg AtoB=MODEL [AtoB=OTHER ...] [BtoA=MODEL ...]
        [--size 256]

DATA holds held-out pairs in a layout of `img2img train pix2pix`. Prints for each model the
means over all held-out pairs of L1 (8-bit levels), PSNR (dB), SSIM and edge energy (see
shipped_model.py), and for comparison those of the input itself and of the best single colour, the
mean of all training targets. SHEET shows 8 evenly spaced held-out pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from shipped_model import figures_of, levels
from torch import Tensor

from img2img.data import Loading, PairedData
from img2img.images import Picture, contact_sheet, encode_format, write_picture
from img2img.model_format.checkpoint import load_model
from img2img.training.validation import to_pixels


def mean_colours(data: PairedData) -> tuple[Tensor, Tensor]:
    """The mean colour of A and of B, (1, 3, 1, 1) in [-1, 1]."""
    batch = data.batch(list(range(0, len(data), 8))).on(torch.device("cpu"))
    a, b = (x.mean((0, 2, 3))[None, :, None, None] for x in (batch.a, batch.b))
    return a, b


def main() -> None:
    """Print the table and write the sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("models", nargs="+", metavar="DIRECTION=MODEL")
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    torch.set_num_threads(1)
    loading = Loading(given.size)
    data = PairedData(given.data, "held-out", loading)
    mean_a, mean_b = mean_colours(PairedData(given.data, "train", loading))
    named = [text.partition("=") for text in given.models]
    models = [(direction, Path(path), load_model(path)[0]) for direction, _, path in named]
    table: dict[str, list[list[float]]] = {}
    rows = []
    shown = {int(i) for i in np.linspace(0, len(data) - 1, 8)}
    for index in range(len(data)):
        batch = data.batch([index]).on(torch.device("cpu"))
        row = [batch.a, batch.b]
        for direction, path, net in models:
            forth = direction == "AtoB"
            x, truth = (batch.a, batch.b) if forth else (batch.b, batch.a)
            with torch.inference_mode():
                y = net(x)
            row.append(y)
            one = (mean_b if forth else mean_a).expand_as(truth)
            made = {f"{path.parent.name}/{path.name}": y, "the input": x, "one colour": one}
            for name, picture in made.items():
                key = f"{direction} | {name}"
                done = table.setdefault(key, [])
                if len(done) == index:  # models of one direction share the comparison
                    done.append(figures_of(levels(picture), levels(truth)))
        if index in shown:
            rows.append([to_pixels(x)[0] for x in row])
    print(f"{len(data)} held-out pairs of {given.size}x{given.size}")
    print("| direction | picture | L1 | PSNR | SSIM | edge energy |")
    print("|---|---|---|---|---|---|")
    for key, values_of in table.items():
        l1, psnr, ssim, energy = np.mean(values_of, 0)
        print(f"| {key} | {l1:.2f} | {psnr:.2f} | {ssim:.3f} | {energy:.2f} |")
    titles = ["A", "B", *(f"{d}: {p.parent.name}" for d, p, _ in models)]
    picture = Picture(contact_sheet(rows, titles), format=encode_format(given.sheet.suffix)[0])
    write_picture(given.sheet, picture)


if __name__ == "__main__":
    main()

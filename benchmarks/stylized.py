"""Metrics for the card of a stylizing model: how much of a photograph it keeps and changes.

    python benchmarks/stylized.py MODEL PHOTOS

Prints means over all photographs, at the working size of the model, in 8-bit levels unless noted:

- change: mean absolute difference between output and photograph;
- light: the same between their luminances in cells of 16 pixels: how far light and shade shift;
- hue: the same between their chroma (Cb, Cr) in such cells;
- texture: mean gradient magnitude of the output divided by that of the photograph, 1 if equal;
- flat: that gradient, in levels, in the flattest tenth of the photograph's cells: what the model
  draws on empty skies and walls;
- clipped: share of values at 0 or 255, in per cent.

None of them measures whether a picture is beautiful. Look at a contact sheet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2img.images import LUMA, find_pictures, read_picture, scale_pixels, working_shape
from img2img.model_format.find import find_model
from img2img.runners import open_runner

Values = NDArray[np.float64]
_CELL = 16
_CHROMA = np.array([[-0.168736, 0.5], [-0.331264, -0.418688], [0.5, -0.081312]])


def cells(x: Values) -> Values:
    """(H, W, C) -> means over cells."""
    h, w = (side // _CELL for side in x.shape[:2])
    parts = x[: h * _CELL, : w * _CELL].reshape(h, _CELL, w, _CELL, -1)
    return parts.mean((1, 3))


def gradient(luminance: Values) -> Values:
    """(H, W) -> (H, W, 1) magnitudes."""
    down, right = np.gradient(luminance)
    return np.hypot(down, right)[:, :, None]


def figures(photograph: Values, output: Values) -> list[float]:
    """The six figures of one picture."""
    light = [x @ np.asarray(LUMA, np.float64) for x in (photograph, output)]
    slopes = [gradient(x) for x in light]
    edges = [cells(s)[:, :, 0] for s in slopes]
    flattest = edges[0] <= np.quantile(edges[0], 0.1)
    return [
        float(np.abs(output - photograph).mean()),
        float(np.abs(cells(light[1][:, :, None]) - cells(light[0][:, :, None])).mean()),
        float(np.abs((cells(output) - cells(photograph)) @ _CHROMA).mean()),
        float(slopes[1].mean() / slopes[0].mean()),
        float(edges[1][flattest].mean()),
        float(100 * np.isin(output, (0, 255)).mean()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, help="Working size; default: the model's.")
    given = parser.parse_args()
    runner = open_runner(find_model(given.model), "cpu")
    size = given.size or runner.working_size
    rows = []
    for path in find_pictures(given.photos):
        pixels = read_picture(path).pixels
        height, width = working_shape(pixels.shape[0], pixels.shape[1], size)
        seen = scale_pixels(pixels, width, height)
        rows.append(figures(seen.astype(np.float64), runner(seen).astype(np.float64)))
    print(f"{given.model}: {len(rows)} photographs at {size} pixels")
    for name, value in zip(
        ("change", "light", "hue", "texture", "flat", "clipped"), np.mean(rows, 0), strict=True
    ):
        print(f"{name:8} {value:.2f}")


if __name__ == "__main__":
    main()

"""What a model makes of a folder of photographs, on one sheet to look at.

    python benchmarks/contact_sheet.py MODEL PHOTOS SHEET.jpg [--columns 4] [--width 384]
    python benchmarks/contact_sheet.py MODEL PHOTOS SHEET.jpg --crops 512

Each photograph stands above its output, scaled to the width of a column; with `--crops` a square of
so many pixels from the middle of the output is shown at 100 % instead. Several models, separated by
commas, stand below each other. The pictures are translated as `img2img translate` does it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from img2img.images import (
    Picture,
    Pixels,
    find_pictures,
    read_picture,
    resize_pixels,
    write_picture,
)
from img2img.pretrained import find_model
from img2img.runners import open_runner
from img2img.translate.network import Network

_GAP = 6


def middle(pixels: Pixels, side: int) -> Pixels:
    """The square of at most `side` pixels in the middle."""
    height, width = pixels.shape[:2]
    side = min(side, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def fitted(pixels: Pixels, width: int) -> Pixels:
    """Scaled to `width`."""
    return resize_pixels(pixels, width, max(1, round(pixels.shape[0] * width / pixels.shape[1])))


def paste(cells: list[list[Pixels]], columns: int) -> Pixels:
    """Groups of pictures of one width, each group a stack, in rows of `columns`."""
    width = cells[0][0].shape[1]
    rows = []
    for first in range(0, len(cells), columns):
        stacks = [np.vstack(group) for group in cells[first : first + columns]]
        height = max(stack.shape[0] for stack in stacks) + _GAP
        row = np.full((height, columns * (width + _GAP), 3), 255, np.uint8)
        for k, stack in enumerate(stacks):
            row[: stack.shape[0], k * (width + _GAP) : k * (width + _GAP) + width] = stack
        rows.append(row)
    return np.vstack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models")
    parser.add_argument("photos", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--crops", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="Take every n-th photograph.")
    given = parser.parse_args()
    networks = [Network(open_runner(find_model(name), "cpu")) for name in given.models.split(",")]
    cells = []
    for path in list(find_pictures(given.photos))[:: given.every]:
        photograph = read_picture(path).pixels
        outputs = [network.run([photograph], None)[0] for network in networks]
        if given.crops:
            side = min(given.crops, *(min(o.shape[:2]) for o in outputs))
            cell = [middle(p, side) for p in outputs]
            cells.append([fitted(p, given.crops) if side < given.crops else p for p in cell])
        else:
            cells.append([fitted(p, given.width) for p in (photograph, *outputs)])
    sheet = Picture(paste(cells, given.columns), format="JPEG")
    write_picture(given.sheet, sheet, quality=90)
    print(given.sheet)


if __name__ == "__main__":
    main()

"""A contact sheet: photographs and what one or more models make of them.

    python benchmarks/contact_sheet.py MODEL PHOTOS SHEET.jpg [--width 1600] [--height 256]
    python benchmarks/contact_sheet.py MODEL PHOTOS SHEET.jpg --crops 512

Each photograph is above its output, both resized to the same height; with `--crops N`, a square of
N pixels from the middle of the output is shown at 100 % instead. The outputs of several models,
separated by commas, are below each other. Pictures are translated as by `img2img translate`.
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
from img2img.inference.network import Network
from img2img.model_format.find import find_model
from img2img.runners import open_runner

_GAP = 6


def middle(pixels: Pixels, side: int) -> Pixels:
    """The square of at most `side` pixels in the middle."""
    height, width = pixels.shape[:2]
    side = min(side, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def fitted(pixels: Pixels, height: int) -> Pixels:
    """Resize to `height`, keeping the aspect ratio."""
    return resize_pixels(pixels, max(1, round(pixels.shape[1] * height / pixels.shape[0])), height)


def paste(stacks: list[Pixels], width: int) -> Pixels:
    """Place pictures of one height from left to right, in rows of `width` pixels."""
    rows: list[list[Pixels]] = [[]]
    for stack in stacks:
        if sum(s.shape[1] + _GAP for s in rows[-1]) + stack.shape[1] > width and rows[-1]:
            rows.append([])
        rows[-1].append(stack)
    height = stacks[0].shape[0] + _GAP
    sheet = np.full((len(rows) * height, width, 3), 255, np.uint8)
    for k, row in enumerate(rows):
        left = 0
        for stack in row:
            part = stack[:, : width - left]
            sheet[k * height : k * height + part.shape[0], left : left + part.shape[1]] = part
            left += part.shape[1] + _GAP
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models")
    parser.add_argument("photos", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--width", type=int, default=1600, help="Width of the sheet.")
    parser.add_argument("--height", type=int, default=256, help="Height of each picture.")
    parser.add_argument("--crops", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="Take every n-th photograph.")
    parser.add_argument("--size", type=int, help="Working size; default: the model's.")
    given = parser.parse_args()
    networks = [
        Network(open_runner(find_model(name), "cpu"), given.size)
        for name in given.models.split(",")
    ]
    stacks: list[Pixels] = []
    for path in list(find_pictures(given.photos))[:: given.every]:
        photograph = read_picture(path).pixels
        outputs = [network.run([photograph], None)[0] for network in networks]
        if given.crops:
            stacks += [fitted(middle(p, given.crops), given.crops) for p in outputs]
        else:
            stacks.append(np.vstack([fitted(p, given.height) for p in (photograph, *outputs)]))
    sheet = Picture(paste(stacks, given.width), format="JPEG")
    write_picture(given.sheet, sheet, quality=90)
    print(given.sheet)


if __name__ == "__main__":
    main()

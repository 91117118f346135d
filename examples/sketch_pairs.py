"""Make side-by-side training pairs (line drawing | coloured picture) from a folder of drawings.

    python examples/sketch_pairs.py AVATARS OUT [--held-out 150]

AVATARS holds PNG pictures; the last `--held-out` by name go to OUT/val, the others to OUT/train.
The line drawing is black on white: a pixel is drawn where the colour changes sharply, whatever the
colours are, so it shows shapes but no colours. A model trained on such pairs also translates your
own drawings if their lines are equally thin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

STRENGTH = 2.0


def sketch(picture: Image.Image) -> Image.Image:
    """The line drawing of an RGB picture, as RGB."""
    colours = np.asarray(picture.convert("RGB")).astype(np.float32)
    padded = np.pad(colours, ((0, 1), (0, 1), (0, 0)), mode="edge")
    right = np.abs(padded[:-1, 1:] - padded[:-1, :-1]).max(2)
    down = np.abs(padded[1:, :-1] - padded[:-1, :-1]).max(2)
    lines = 255 - np.clip(STRENGTH * np.hypot(right, down), 0, 255)
    return Image.fromarray(np.rint(lines).astype(np.uint8)).convert("RGB")


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("avatars", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--held-out", type=int, default=150)
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.avatars.iterdir() if p.suffix == ".png")
    if not files:
        parser.error(f"{arguments.avatars}: no PNG pictures")
    for number, path in enumerate(files):
        part = "val" if number >= len(files) - arguments.held_out else "train"
        folder = arguments.out / part
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            colour = Image.new("RGB", image.size, "white")
            colour.paste(image.convert("RGB"), mask=image.convert("RGBA").getchannel("A"))
        pair = Image.new("RGB", (2 * colour.width, colour.height))
        pair.paste(sketch(colour), (0, 0))
        pair.paste(colour, (colour.width, 0))
        pair.save(folder / path.name)


if __name__ == "__main__":
    main()

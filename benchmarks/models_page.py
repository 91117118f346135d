"""Writes docs/reference/models.md and its pictures: what each shipped model makes of six pictures.

    python benchmarks/models_page.py PHOTOS [--avatars AVATARS] [--paintings PAINTINGS]
        [--others OTHERS] [--only NAME...]

PHOTOS and PAINTINGS are folders of pictures, AVATARS that of images/ and list_attr.txt. They are
not hand-picked: every n-th of the folder, so that there are six. Models for damaged, grey or
badly exposed photographs get photographs that are made so (as in benchmarks/shipped_models.py), in
the top row; the output is below. OTHERS is a folder of pictures of another kind (at night, a page
of text, a drawing), all of which every model gets as they are. The page is written for all models,
new sheets for those of --only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from shipped_models import damaged, grey, toned

import img2img
from img2img.images import Picture, Pixels, read_picture, resize_pixels, write_picture
from img2img.model_format.checkpoint import read_model_info
from img2img.model_format.find import Shipped, default_name, shipped, weights_folder

ROOT = Path(__file__).resolve().parent.parent
_COUNT = 6
_WIDTH, _HEIGHT = 300, 200
_GAP = 4
_INTRODUCTION = """# The shipped models

For each model: six pictures that were not hand-picked (every n-th of a folder), above, and what
the model makes of them, below. `python benchmarks/models_page.py` writes this page. The cards in
`weights/` list the data, the training command, figures and limitations.

    img2img models                       # this list, with licences and sizes
    img2img models list --measure        # with the speed on this machine
    img2img translate photos/ -o out/ -m NAME
"""

Before = Callable[[Pixels, int], Pixels]
BEFORE: dict[str, Before] = {
    "restore": lambda clean, number: damaged(clean, number),
    "enhance": lambda clean, number: toned(clean, 0, number),
    "colour": lambda clean, number: grey(clean),
}
DOMAINS = ("avatars",)
SKETCHES = ("sketch2avatar",)
PAINTINGS = ("monet2photo",)


def every_nth(folder: Path) -> list[Path]:
    """Six files of a folder, as far apart as they come."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    return files[:: max(1, len(files) // _COUNT)][:_COUNT]


def cell(pixels: Pixels, width: int = _WIDTH, height: int = _HEIGHT) -> Pixels:
    """The middle of a picture, cut to the cell's aspect ratio and resized to it."""
    h, w = pixels.shape[:2]
    scale = min(h / height, w / width)
    part_h, part_w = round(height * scale), round(width * scale)
    top, left = (h - part_h) // 2, (w - part_w) // 2
    return resize_pixels(pixels[top : top + part_h, left : left + part_w], width, height)


def middle(pixels: Pixels) -> Pixels:
    """The middle of a picture, half as large as a cell."""
    top, left = (pixels.shape[0] - _HEIGHT // 2) // 2, (pixels.shape[1] - _WIDTH // 2) // 2
    return pixels[top : top + _HEIGHT // 2, left : left + _WIDTH // 2]


def grid(rows: list[list[Pixels]]) -> Pixels:
    """Cells of one size in rows, on white."""
    height, width = rows[0][0].shape[:2]
    many = max(map(len, rows))
    shape = (len(rows) * (height + _GAP) - _GAP, many * (width + _GAP) - _GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            top, left = y * (height + _GAP), x * (width + _GAP)
            sheet[top : top + height, left : left + width] = pixels
    return sheet


def photographs(name: str, folder: Path) -> Pixels:
    """Two rows: inputs and outputs."""
    translator = img2img.load(name)
    before = BEFORE.get(name, lambda clean, number: clean)
    inputs = [before(read_picture(p).pixels, k) for k, p in enumerate(every_nth(folder))]
    if translator.info.scale > 1:  # details at 100 %, beside the same place of the small picture
        inputs = [middle(p) for p in inputs]
    outputs = [translator(pixels) for pixels in inputs]
    return grid([[cell(p) for p in inputs], [cell(p) for p in outputs]])


def people(name: str, data: Path) -> Pixels:
    """A row for each of six held-out people: the input, then each domain set (or taken away)."""
    translator = img2img.load(name)
    table = (data / "list_attr.txt").read_text().splitlines()[2:][-150:]
    rows = []
    for line in table[:: len(table) // _COUNT][:_COUNT]:
        file, *values = line.split()
        before = read_picture(data / "images" / file).pixels
        held = dict(zip(translator.info.domains, (v == "1" for v in values), strict=True))
        grouped = {d for group in translator.info.exclusive for d in group}
        asked = [f"no-{d}" if on and d not in grouped else d for d, on in held.items()]
        rows.append([before, *(translator(before, domains=each) for each in asked)])
    return grid(rows)


def others(name: str, folder: Path) -> Pixels:
    """Two rows: pictures that the model was not made for, and what becomes of them; of several
    domains the last one."""
    translator = img2img.load(name)
    domains = translator.info.domains[-1:] or None
    inputs = [read_picture(p).pixels[:, :, :3] for p in sorted(folder.iterdir())]
    inputs = [grey(p) for p in inputs] if name == "colour" else inputs
    if translator.info.scale > 1:
        inputs = [middle(p) for p in inputs]
    outputs = [translator(pixels, domains=domains) for pixels in inputs]
    return grid([[cell(p) for p in inputs], [cell(p) for p in outputs]])


def sketches(name: str) -> Pixels:
    """Two rows: the drawings in examples/ and what becomes of them."""
    translator = img2img.load(name)
    inputs = [read_picture(p).pixels for p in every_nth(ROOT / "examples" / "sketches")]
    return grid([inputs, [translator(p) for p in inputs]])


def section(model: Shipped, default: str) -> str:
    """A model's part of the page."""
    info = read_model_info(weights_folder() / model.files[".safetensors"])
    file = weights_folder() / model.files[".onnx"]
    works = f"{info.long_side} pixels on the long side" if info.long_side else "any size"
    title = model.name + (" (the default)" if model.name == default else "")
    sheet = f"models/{model.name}.jpg"
    shown = f"![{model.name}: inputs and outputs](../images/{sheet})\n\n"
    more = f"models/{model.name}-others.jpg"
    if (ROOT / "docs" / "images" / more).is_file():
        shown += (
            "On other kinds of pictures:\n\n"
            f"![{model.name} on other kinds of pictures](../images/{more})\n\n"
        )
    return (
        f"\n## {title}\n\n{model.title}. {model.purpose}\n\n"
        f"{shown if (ROOT / 'docs' / 'images' / sheet).is_file() else ''}"
        f"| works at | size | speed | licence |\n|---|---|---|---|\n"
        f"| {works} | {file.stat().st_size / 1e6:.1f} MB | {model.speed} | {model.licence} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--avatars", type=Path)
    parser.add_argument("--paintings", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    place = ROOT / "docs" / "images" / "models"
    place.mkdir(parents=True, exist_ok=True)
    for name in shipped():
        if given.only and name not in given.only:
            continue
        if given.others is not None:
            unusual = Picture(others(name, given.others), format="JPEG")
            write_picture(place / f"{name}-others.jpg", unusual, 85)
        if name in DOMAINS:
            if given.avatars is None:
                continue
            sheet = people(name, given.avatars)
        elif name in SKETCHES:
            sheet = sketches(name)
        elif name in PAINTINGS:
            if given.paintings is None:
                continue
            sheet = photographs(name, given.paintings)
        else:
            sheet = photographs(name, given.photos)
        write_picture(place / f"{name}.jpg", Picture(sheet, format="JPEG"), 88)
        print(f"{name}: {sheet.shape[1]}x{sheet.shape[0]}")
    parts = [section(model, default_name()) for model in shipped().values()]
    page = _INTRODUCTION + "".join(parts)
    (ROOT / "docs" / "reference" / "models.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

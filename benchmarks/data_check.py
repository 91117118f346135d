"""What `img2img data check` costs for a large set.

    python benchmarks/data_check.py PICTURES [--count 10000] [--layout unpaired] [--folder FOLDER]

Cuts squares of about 256 pixels out of the pictures of a folder and encodes them anew, as training
sets are: most as JPEG, some PNG, WebP, grey, larger or smaller, one in fifty there twice, one in
fifty saved a second time smaller; in the layout `unpaired`, `pairs` or `photographs`. `--folder`
keeps the set for the next run. Prints seconds of the clock and of processor time; on a machine that
does nothing else, two cores need about half of the latter. `--profile` shows where they go.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.data.checks import check_data
from img2img.images import find_pictures

_LAYOUTS = ("unpaired", "pairs", "photographs")
_KINDS = (("jpg", 0.86), ("png", 0.08), ("webp", 0.06))


def make_set(source: Path, out: Path, count: int, layout: str) -> None:
    """Fill the new folder `out`."""
    files = list(find_pictures(source))
    opened: dict[Path, Image.Image] = {}
    draws = np.random.default_rng(0)
    before: Image.Image | None = None
    for number in range(count):
        path = files[number % len(files)]
        if path not in opened:
            if len(opened) > 50:
                opened.clear()
            opened[path] = Image.open(path).convert("RGB")
        image = before if before and draws.random() < 0.02 else _cut(opened[path], draws)
        before = image
        if draws.random() < 0.02:
            image = image.resize((240, 240), Image.Resampling.BICUBIC)
        if draws.random() < 0.01:
            image = image.convert("L")
        kind = str(draws.choice([k for k, _ in _KINDS], p=[p for _, p in _KINDS]))
        for place in _places(layout, number, count):
            target = out / f"{place}.{kind}"
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target, quality=90)


def _cut(image: Image.Image, draws: np.random.Generator) -> Image.Image:
    side = int(min(image.size) * draws.uniform(0.3, 1))
    left, top = (int(draws.integers(0, length - side + 1)) for length in image.size)
    to = 256 if draws.random() < 0.9 else int(draws.integers(200, 512))
    box = (left, top, left + side, top + side)
    return image.resize((to, to), Image.Resampling.BICUBIC, box=box)


def _places(layout: str, number: int, count: int) -> list[str]:
    part = "test" if number % 20 == 0 else "train"
    if layout == "pairs":
        return [f"{part}/A/{number:06}", f"{part}/B/{number:06}"] if number < count // 2 else []
    side = "" if layout == "photographs" else "AB"[number % 2]
    return [f"{part}{side}/{number:06}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pictures", type=Path, help="folder that the pictures are cut from")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument(
        "--layout", choices=("unpaired", "pairs", "photographs"), default="unpaired"
    )
    parser.add_argument("--folder", type=Path, help="where the set is, or is to be kept")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary) / "set"
        if not root.exists():
            make_set(options.pictures, root, options.count, options.layout)
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        clock, processor = time.monotonic(), time.process_time()
        report = check_data(root).report
        clock, processor = time.monotonic() - clock, time.process_time() - processor
        if options.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(
        json.dumps(
            {
                "pictures": report.total,
                "layout": report.layout,
                "seconds": round(clock, 1),
                "cpu_seconds": round(processor, 1),
                "findings": [finding.kind for finding in report.findings],
            }
        )
    )


if __name__ == "__main__":
    main()

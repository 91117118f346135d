"""Whether the figures of img2img evaluate put damaged pictures into the order that anybody would.

    python benchmarks/order_of_figures.py PHOTOS [NETWORK ...] [--count 60] [--side 192] [--critic]

Square crops of the photographs make two halves. One is the real set; the other is copied as it is,
as JPEG of two qualities, blurred twice, and with its names shuffled. Every copy is judged as a set
against the real half, in the features of each network (default: those whose weights are found), and
as pairs against its undamaged self. Of PHOTOS with at least twice --count pictures no two crops
share a photograph. The tables have a line for each figure; what is out of order is listed below.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from img2img.evaluation.evaluate import evaluate
from img2img.evaluation.figures import Figure
from img2img.evaluation.report import shown
from img2img.evaluation.request import EvaluateRequest
from img2img.features import FEATURES, missing_features
from img2img.images import find_pictures

Damage = Callable[[Image.Image], Image.Image]
Figures = dict[str, dict[str, Figure]]


def jpeg(quality: int) -> Damage:
    """As a JPEG file of this quality gives it back."""

    def damage(picture: Image.Image) -> Image.Image:
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality)
        return Image.open(io.BytesIO(data.getvalue())).convert("RGB")

    return damage


def blur(radius: float) -> Damage:
    """Gaussian, of this radius in pixels."""
    return lambda picture: picture.filter(ImageFilter.GaussianBlur(radius))


COPY, SHUFFLED = "copy", "shuffled"
DAMAGES: dict[str, Damage] = {
    COPY: lambda picture: picture,
    "JPEG 60": jpeg(60),
    "JPEG 10": jpeg(10),
    "blur 1": blur(1),
    "blur 3": blur(3),
}
# From good to bad. Between JPEG and blur nothing is obvious but that shuffled pairs are worst.
ORDERS = ((COPY, "JPEG 60", "JPEG 10", SHUFFLED), (COPY, "blur 1", "blur 3", SHUFFLED))


def crops(photos: Sequence[Path], count: int, side: int, seed: int = 0) -> list[Image.Image]:
    """`count` crops of one to two times `side`, reduced to it, of the photographs in turn."""
    random = np.random.default_rng(seed)
    made = []
    for k in range(count):
        with Image.open(photos[k % len(photos)]) as file:
            photo = file.convert("RGB")
        most = min(*photo.size, 2 * side)
        width = int(random.integers(min(side, most), most + 1))
        x, y = (int(random.integers(whole - width + 1)) for whole in photo.size)
        box = (x, y, x + width, y + width)
        made.append(photo.resize((side, side), Image.Resampling.LANCZOS, box=box))
    return made


def write(folder: Path, pictures: Sequence[Image.Image]) -> Path:
    """As PNG files, numbered."""
    folder.mkdir()
    for k, picture in enumerate(pictures):
        picture.save(folder / f"{k:04}.png")
    return folder


def as_sets(
    work: Path,
    pictures: Sequence[Image.Image],
    networks: Sequence[str],
    damages: Mapping[str, Damage] = DAMAGES,
    critic: bool = False,
) -> Figures:
    """The figures of each damage done to the second half of `pictures`, against the first half."""
    middle = len(pictures) // 2
    real, found = write(work / "real", pictures[:middle]), {}
    for name, damage in damages.items():
        fake = write(work / f"set {name}", [damage(x) for x in pictures[middle:]])
        request = EvaluateRequest(
            fake=fake, real=real, paired=False, networks=tuple(networks) or ("none",), critic=critic
        )
        found[name] = evaluate(request).report.figures
    return {name: dict(figures) for name, figures in found.items()}


def as_pairs(work: Path, pictures: Sequence[Image.Image], metrics: Sequence[str] = ()) -> Figures:
    """The figures of each damage done to `pictures`, against themselves, and of shuffled ones."""
    real, found = write(work / "true", pictures), {}
    copies = {name: [damage(x) for x in pictures] for name, damage in DAMAGES.items()}
    copies[SHUFFLED] = [*pictures[1:], pictures[0]]
    for name, copy in copies.items():
        request = EvaluateRequest(
            fake=write(work / f"pairs {name}", copy), real=real, paired=True,
            networks=("none",), metrics=tuple(metrics),
        )  # fmt: skip
        found[name] = dict(evaluate(request).report.figures)
    return found


def out_of_order(found: Figures, figure: str) -> list[str]:
    """What of ORDERS the figure does not have, in words; neighbours must differ."""
    wrong = []
    for order in ORDERS:
        there = [name for name in order if name in found and figure in found[name]]
        for good, bad in itertools.pairwise(there):
            better, worse = found[good][figure], found[bad][figure]
            sign = 1 if better.better == "higher" else -1
            if not sign * better.value > sign * worse.value:
                wrong.append(f"{figure}: {good} {shown(better.value)}, {bad} {shown(worse.value)}")
    return wrong


def table(found: Figures) -> list[str]:
    """A line for each figure that has a better side, a column for each damage."""
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    lines = [f"| figure | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for name in names:
        values = [shown(row[name].value) if name in row else "" for row in found.values()]
        lines.append(f"| `{name}` | {' | '.join(values)} |")
    return lines


def main() -> None:
    """Make the copies, judge them, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("networks", nargs="*", help="Default: those whose weights are found.")
    parser.add_argument("--count", type=int, default=60, help="Crops of each half; default: 60.")
    parser.add_argument("--side", type=int, default=192, help="Of a crop, in pixels; default: 192.")
    parser.add_argument("--critic", action="store_true", help="Train a critic for each set too.")
    given = parser.parse_args()
    networks = given.networks or [name for name in FEATURES if not missing_features(name)]
    photos = sorted(find_pictures(given.photos))
    # In a folder of several kinds of things, names keep a kind together: both halves need all.
    photos = [photos[k] for k in np.random.default_rng(0).permutation(len(photos))]
    pictures = crops(photos, 2 * given.count, given.side)
    print(f"2 x {given.count} crops of {given.side} pixels of {len(photos)} photographs")
    with tempfile.TemporaryDirectory() as work:
        pairs = as_pairs(Path(work), pictures[given.count :])
        sets = as_sets(Path(work), pictures, networks, critic=given.critic)
    for found in (pairs, sets):
        print("\n" + "\n".join(table(found)), flush=True)
    wrong = [
        line for found in (pairs, sets) for n in found[COPY] for line in out_of_order(found, n)
    ]
    print("\nOut of order:", *(wrong or ["nothing"]), sep="\n")


if __name__ == "__main__":
    main()

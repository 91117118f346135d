"""The figures and sheets of the cards of restore, enhance, colour, enlarge2x and avatars.

    python benchmarks/shipped_models.py PHOTOS [--avatars AVATARS] [--models NAME=MODEL...]
        [--out SHEETS] [--seed 0] [--every 1]

PHOTOS is a folder of good photographs (the 24 Kodak ones in the cards); AVATARS holds images/,
list_attr.txt and truth/. NAME is one of those above, MODEL a name, run or file; by default the
shipped ones. Figures are means over the pictures with a 95 % interval of 1000 bootstrap draws;
beside each stands the same figure of doing nothing. The sheets show every third picture, not chosen
by hand: input, output, truth, and the same at 100 %.

- restore: Gaussian noise of 10 levels, then JPEG of quality 30 (4:2:0); and the clean photograph.
- enhance: the training recipe's tone at a fixed draw for each picture; and the good photograph.
- colour: the luminance of each photograph as a grey picture.
- enlarge2x: each photograph halved by Pillow's bicubic filter; beside it bicubic and Lanczos.
- avatars: each edit of the truth that changes something.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import img2img
from img2img.augment import Degrade, recipe
from img2img.images import read_picture
from img2img.metrics.edits import changed_outside
from img2img.metrics.paired import psnr
from img2img.metrics.perceptual import vgg19_distance

Pixels = NDArray[np.uint8]
Row = dict[str, float]
LUMA = np.array([0.299, 0.587, 0.114])
_SIDE = 256  # of the details at 100 %


def tensor(pixels: Pixels) -> torch.Tensor:
    """uint8 (H, W, 3) -> float (1, 3, H, W) in 0..255."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]


def detail_distance(y: torch.Tensor, t: torch.Tensor) -> float:
    """The VGG19 distance at 100 %: the mean over tiles of 80 pixels, to which it reduces nothing.
    Of whole pictures it sees only what is left at 80 pixels on the long side."""
    side = 80
    tiles = [
        (y[..., top : top + side, left : left + side], t[..., top : top + side, left : left + side])
        for top in range(0, y.shape[2] - side + 1, side)
        for left in range(0, y.shape[3] - side + 1, side)
    ]
    return float(np.mean([float(vgg19_distance(a, b)) for a, b in tiles]))


def compared(after: Pixels, before: Pixels, truth: Pixels) -> Row:
    """PSNR and VGG19 distance of the answer, and of doing nothing."""
    y, x, t = (tensor(p) for p in (after, before, truth))
    return {
        "psnr": float(psnr(y, t)), "psnr of doing nothing": float(psnr(x, t)),
        "vgg19_distance": float(vgg19_distance(y, t)),
        "vgg19_distance of doing nothing": float(vgg19_distance(x, t)),
        "detail_distance": detail_distance(y, t),
        "detail_distance of doing nothing": detail_distance(x, t),
    }  # fmt: skip


def damaged(clean: Pixels, seed: int) -> Pixels:
    """Noise of 10 levels, then JPEG of quality 30."""
    noise = np.random.default_rng(seed).normal(0, 10, clean.shape)
    noisy = np.rint(clean + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file))


def toned(clean: Pixels, seed: int, index: int) -> Pixels:
    """Exposure, contrast, gamma, cast and saturation as the recipe `enhance` draws them."""
    degrade = Degrade(recipe("enhance", {"clean": 0.0}), seed)
    degrade.begin(None, [index])
    x = degrade(tensor(clean) / 127.5 - 1)
    return ((x[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def grey(clean: Pixels) -> Pixels:
    """BT.601 luminance as three equal channels."""
    value = np.rint(clean @ LUMA).astype(np.uint8)
    return np.repeat(value[:, :, None], 3, 2)


def chroma(pixels: Pixels) -> float:
    """Mean distance of the largest and the smallest channel, in levels."""
    return float((pixels.max(2).astype(int) - pixels.min(2)).mean())


Translate = Callable[[Pixels], Pixels]
Case = tuple[Row, tuple[Pixels, ...]]


def restore(translate: Translate, clean: Pixels, seed: int, index: int) -> Case:
    before = damaged(clean, seed + index)
    after, same = translate(before), translate(clean)
    row = compared(after, before, clean)
    row["psnr of a clean picture"] = float(psnr(tensor(same), tensor(clean)))
    return row, (before, after, clean)


def enhance(translate: Translate, clean: Pixels, seed: int, index: int) -> Case:
    before = toned(clean, seed, index)
    after, same = translate(before), translate(clean)
    row = compared(after, before, clean)
    row["gain in dB"] = row["psnr"] - row["psnr of doing nothing"]
    row["change of a good picture in levels"] = float(np.abs(same.astype(int) - clean).mean())
    return row, (before, after, clean)


def colour(translate: Translate, clean: Pixels, seed: int, index: int) -> Case:
    before = grey(clean)
    after = translate(before)
    row = compared(after, before, clean)
    row["luminance moved in levels"] = float(np.abs(after @ LUMA - before[:, :, 0]).max())
    row["chroma"], row["chroma of the truth"] = chroma(after), chroma(clean)
    return row, (before, after, clean)


def enlarge2x(translate: Translate, clean: Pixels, seed: int, index: int) -> Case:
    height, width = (side // 2 * 2 for side in clean.shape[:2])
    clean = clean[:height, :width]
    small = Image.fromarray(clean).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    after = translate(np.asarray(small))
    bicubic, lanczos = (
        np.asarray(small.resize((width, height), how))
        for how in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    )
    row = {}
    for name, pixels in (("", after), (" of bicubic", bicubic), (" of lanczos", lanczos)):
        y, t = tensor(pixels), tensor(clean)
        row[f"psnr{name}"] = float(psnr(y, t))
        row[f"detail_distance{name}"] = detail_distance(y, t)
    return row, (bicubic, after, clean)


PHOTO_MODELS = {
    "restore": restore, "enhance": enhance, "colour": colour, "enlarge2x": enlarge2x,
}  # fmt: skip


def edits(model: str, data: Path, every: int) -> tuple[dict[str, list[Row]], list[Pixels]]:
    """Rows of each attribute, and a sheet's rows: a person, then edit and truth in turns."""
    translator = img2img.load(model)
    names = [*translator.info.domains]
    table = (data / "list_attr.txt").read_text().splitlines()[2:]
    labels = {line.split()[0]: [int(v) for v in line.split()[1:]] for line in table}
    rows: dict[str, list[Row]] = {name: [] for name in names}
    shown: list[Pixels] = []
    people = sorted({p.name.split("_")[0] for p in (data / "truth").glob("*.png")})
    for number, person in enumerate(people[::every]):
        before = read_picture(data / "images" / f"{person}.png").pixels
        strip = [before]
        for place, name in enumerate(names):
            truth = read_picture(data / "truth" / f"{person}_{name}.png").pixels
            held = labels[f"{person}.png"][place] == 1
            exclusive = any(name in group for group in translator.info.exclusive)
            if held and exclusive:
                continue
            after = translator(before, domains=f"no-{name}" if held else name)
            strip += [after, truth]
            x, y, t = (tensor(p).byte() for p in (before, after, truth))
            change = changed_outside(x, y, t, 24)
            stays = (before == truth).all(2)
            rows[name].append(
                {
                    "psnr": float(psnr(y.float(), t.float())),
                    "psnr of doing nothing": float(psnr(x.float(), t.float())),
                    "came right": change.came_right,
                    "error where nothing changes": float(
                        np.abs(after.astype(int) - before)[stays].mean()
                    ),
                }
            )
        if number % 12 == 0 and len(strip) == 11:
            shown.append(np.hstack(strip))
    return rows, shown


def summary(rows: list[Row], seed: int) -> dict[str, list[float]]:
    """Mean and 95 % interval of each figure, and the median of gains."""
    draws = np.random.default_rng(seed).integers(len(rows), size=(1000, len(rows)))
    found: dict[str, list[float]] = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        means = values[draws].mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        found[name] = [float(f"{v:.5g}") for v in (values.mean(), low, high)]
        if name.startswith("gain"):
            found[f"median {name}"] = [round(float(np.median(values)), 4)]
    return found


def report(about: dict[str, str], rows: list[Row], seed: int) -> None:
    """Print a line of JSON."""
    print(json.dumps(about | {"n": len(rows)} | summary(rows, seed)), flush=True)


def sheet(cases: Iterable[tuple[Pixels, ...]]) -> Image.Image:
    """A row for each case: the pictures at half size, then their middle at 100 %."""
    strips = []
    for pictures in cases:
        small = [Image.fromarray(p).resize((384, 256)) for p in pictures]
        parts = []
        for p in pictures:
            top, left = (p.shape[0] - _SIDE) // 2, (p.shape[1] - _SIDE) // 2
            parts.append(p[top : top + _SIDE, left : left + _SIDE])
        strips.append(np.hstack([*(np.asarray(s) for s in small), *parts]))
    return Image.fromarray(np.vstack(strips))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--avatars", type=Path)
    parser.add_argument("--models", nargs="*", default=[*PHOTO_MODELS, "avatars"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    models = dict((m if "=" in m else f"{m}={m}").split("=", 1) for m in given.models)
    photos = sorted(p for p in given.photos.iterdir() if p.is_file())[:: given.every]
    for name, model in models.items():
        if name == "avatars":
            if given.avatars is None:
                continue
            found, shown = edits(model, given.avatars, given.every)
            for attribute, rows in found.items():
                report({"model": name, "edit": attribute}, rows, given.seed)
            picture = Image.fromarray(np.vstack(shown)) if shown else None
        else:
            translator, work = img2img.load(model), PHOTO_MODELS[name]
            cases = [
                work(lambda p: translator(p), read_picture(path).pixels, given.seed, number)  # noqa: B023
                for number, path in enumerate(photos)
            ]
            report({"model": name}, [row for row, _ in cases], given.seed)
            picture = sheet(pictures for _, pictures in cases[::3])
        if given.out is not None and picture is not None:
            given.out.mkdir(parents=True, exist_ok=True)
            picture.save(given.out / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main()

"""Small free sets of pictures, drawn by code: enough to see a training work in two minutes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from img2img.errors import UsageError, proposal
from img2img.images import Picture, write_picture

SIDE = 96
_DRAWN = 4 * SIDE  # and reduced, so that edges are smooth

Rng = np.random.Generator
Drawn = dict[str, Image.Image]  # by place below the folder
Kind = Callable[[int, int], Iterator[Drawn]]


def make_demo(kind: str, out: Path, count: int = 120, seed: int = 0) -> str:
    """Draw `count` pictures (or pairs) of a set into the new folder `out`; returns the method.

    Args:
        kind: paired (outlines and painted houses, A and B), unpaired (days and nights, trainA and
            trainB), domains (leaves of three colours, a folder each) or photographs (landscapes).

    Raises:
        UsageError: an unknown kind, or `out` is not empty.
        EnvironmentFault: the folder cannot be written.
    """
    if kind not in DEMOS:
        raise UsageError(f"unknown kind of set '{kind}'.{proposal(kind, DEMOS)}")
    new_folder(out)
    method, draw = DEMOS[kind]
    for drawn in draw(count, seed):
        for place, image in drawn.items():
            path = out / place
            path.parent.mkdir(parents=True, exist_ok=True)
            write_picture(path, Picture(np.asarray(image), format="PNG"))
    return method


def held_out(count: int) -> int:
    """How many of `count` pictures are held out."""
    return min(8, max(1, count // 10))


def new_folder(out: Path) -> None:
    """Raise UsageError where `out` is a file or a folder that is not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: exists and is not empty; give a new folder")


def _paired(count: int, seed: int) -> Iterator[Drawn]:
    for k, rng in _generators(count, seed, 0):
        house = _house(rng)
        part = "test" if k < held_out(count) else "train"
        yield {
            f"{part}/A/{k:04}.png": _paint(house, outlines=True),
            f"{part}/B/{k:04}.png": _paint(house),
        }


def _unpaired(count: int, seed: int) -> Iterator[Drawn]:
    for side, name in enumerate("AB"):
        for k, rng in _generators(count, seed, 1 + side):
            part = "test" if k < held_out(count) else "train"
            yield {f"{part}{name}/{k:04}.png": _landscape(rng, SIDE, SIDE, night=side == 1)}


def _domains(count: int, seed: int) -> Iterator[Drawn]:
    colours = {"spring": (120, 190, 60), "summer": (30, 110, 40), "autumn": (210, 110, 30)}
    for number, (name, colour) in enumerate(colours.items()):
        for k, rng in _generators(count, seed, 3 + number):
            part = "test" if k < held_out(count) else "train"
            yield {f"{part}/{name}/{k:04}.png": _tree(rng, colour)}


def _photographs(count: int, seed: int) -> Iterator[Drawn]:
    for k, rng in _generators(count, seed, 6):
        yield {f"{k:04}.png": _landscape(rng, 3 * SIDE, 2 * SIDE, night=False)}


def _generators(count: int, seed: int, kind: int) -> Iterator[tuple[int, Rng]]:
    for k in range(count):
        yield k, np.random.default_rng([seed, kind, k])


Shape = tuple[str, list[float], tuple[int, int, int]]


def _house(rng: Rng) -> list[Shape]:
    """Shapes of a house in front of the sky, back to front, in shares of the side."""
    left, wide = float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.4, 0.6))
    top, ground = float(rng.uniform(0.4, 0.55)), float(rng.uniform(0.8, 0.9))
    sky, wall, roof, grass = (_shade(rng, c) for c in _HOUSE)
    shapes: list[Shape] = [
        ("box", [0, 0, 1, ground], sky),
        ("box", [0, ground, 1, 1], grass),
        ("box", [left, top, left + wide, ground], wall),
        (
            "polygon",
            [left - 0.05, top, left + wide / 2, top - 0.25, left + wide + 0.05, top],
            roof,
        ),
        ("box", [left + 0.05, ground - 0.2, left + 0.16, ground], (96, 60, 40)),
    ]
    for k in range(int(rng.integers(1, 4))):
        x = left + 0.2 + 0.12 * k
        shapes.append(("box", [x, top + 0.08, x + 0.08, top + 0.18], (250, 240, 150)))
    return shapes


_HOUSE = ((130, 180, 230), (220, 200, 170), (170, 60, 50), (90, 160, 70))


def _shade(rng: Rng, colour: tuple[int, ...]) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(colour) + rng.integers(-25, 26), 0, 255).tolist()
    return red, green, blue


def _paint(shapes: list[Shape], outlines: bool = False) -> Image.Image:
    image = Image.new("RGB", (_DRAWN, _DRAWN), "white")
    draw = ImageDraw.Draw(image)
    for kind, places, colour in shapes:
        scaled = [v * _DRAWN for v in places]
        style = (
            {"fill": "white", "outline": "black", "width": _DRAWN // 64}
            if outlines
            else {"fill": colour}
        )
        (draw.rectangle if kind == "box" else draw.polygon)(scaled, **style)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _landscape(rng: Rng, width: int, height: int, night: bool) -> Image.Image:
    """Hills one behind the other below the sun or the moon."""
    big = 2 * width, 2 * height
    high, low = ((10, 15, 50), (60, 60, 110)) if night else ((90, 150, 220), (230, 225, 210))
    rise = np.linspace(0, 1, big[1])[:, None, None]
    sky = np.array(high) * (1 - rise) + np.array(low) * rise
    image = Image.fromarray(np.broadcast_to(sky, (big[1], big[0], 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y, r = rng.uniform((0.1, 0.05, 0.04), (0.9, 0.35, 0.09))
    box = [x * big[0], y * big[1], x * big[0] + r * 2 * big[1], y * big[1] + r * 2 * big[1]]
    draw.ellipse(box, fill=(235, 235, 220) if night else (255, 225, 120))
    for layer in range(4):
        tops = _ridge(rng, big[0]) * big[1] * 0.12 + big[1] * (0.42 + 0.14 * layer)
        green = np.array((70, 120, 80)) * (1.15 - 0.2 * layer) * (0.3 if night else 1)
        colour = _shade(rng, tuple(green.astype(int).tolist()))
        edge = [*zip(range(big[0]), tops.tolist(), strict=True), (big[0], big[1]), (0, big[1])]
        draw.polygon(edge, fill=colour)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _ridge(rng: Rng, width: int) -> np.ndarray:
    x = np.arange(width) / width * 2 * np.pi
    waves = zip(rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.3, 1, 6), itertools.count(1))
    return np.sum([a / n * np.sin(n * x + p) for p, a, n in waves], 0)


def _tree(rng: Rng, colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (_DRAWN, _DRAWN), _shade(rng, (200, 220, 240)))
    draw = ImageDraw.Draw(image)
    s, x = _DRAWN, float(rng.uniform(0.4, 0.6))
    draw.rectangle([0, 0.85 * s, s, s], fill=_shade(rng, (150, 140, 90)))
    draw.rectangle([(x - 0.04) * s, 0.5 * s, (x + 0.04) * s, 0.88 * s], fill=(100, 70, 45))
    for _ in range(60):
        u, v, r = rng.normal(x, 0.13), rng.normal(0.38, 0.1), rng.uniform(0.03, 0.08)
        box = [(u - r) * s, (v - r) * s, (u + r) * s, (v + r) * s]
        draw.ellipse(box, fill=_shade(rng, colour))
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


DEMOS: dict[str, tuple[str, Kind]] = {
    "paired": ("pix2pix", _paired),
    "unpaired": ("cyclegan", _unpaired),
    "domains": ("stargan", _domains),
    "photographs": ("pix2pix", _photographs),
}

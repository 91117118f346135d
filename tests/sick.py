"""Short real trainings, healthy ones and sick ones, and what the detectors of health say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from img2img.data.demo import make_demo
from img2img.errors import Diverged
from img2img.training import resolve, train
from img2img.training.events import HealthFigures, HealthNote, TrainingEvent

SIDE = 32  # of the crops, in pixels

_SMALL_D: dict[str, Any] = {"width": 16, "layers": 2, "norm": "instance"}
_UNET: dict[str, Any] = {
    "generator_options": {
        "width": 16,
        "depth": 4,
        "norm": "instance",
        "dropout": False,
        "upsample": "resize",
    },
    "discriminator_options": _SMALL_D,
    "lr": 1e-3,
}
_RESNET: dict[str, Any] = {
    "generator_options": {"width": 12, "blocks": 2, "upsample": "resize"},
    "discriminator_options": _SMALL_D,
    "lr": 1e-3,
}
# The settings in which each method learns on a small set; a sickness is one change of them.
HEALTHY: dict[str, tuple[str, dict[str, Any]]] = {
    "pix2pix": ("paired", _UNET),
    "cyclegan": ("unpaired", _RESNET),
    "cut": (
        "unpaired",
        _RESNET
        | {
            "nce_blocks": [1, 2],
            "patches": 64,
            "head_width": 32,
            "lr": 2e-3,
            "lambda_nce": 0.5,
            "penalty": "r1",
            "lambda_penalty": 1.0,
        },
    ),
    "stargan": (
        "domains",
        {
            "generator_options": {"width": 12, "blocks": 2, "upsample": "resize"},
            "discriminator_options": {"width": 16, "layers": 4},
            "n_critic": 2,
            "lr": 5e-4,
        },
    ),
    "stylize": (
        "unpaired",
        {
            "generator_options": {"width": 8, "blocks": 2, "upsample": "resize"},
            "discriminator_options": {"width": 8, "layers": 2},
            "crops": 100,
            "lr": 1e-3,
        },
    ),
}


@dataclass(frozen=True)
class Case:
    """A training that is to show a problem, or none where `problem` is empty.

    Attributes:
        cause: what makes it sick, in words.
        settings: of the method, on top of the healthy ones.
        loop: settings of the loop.
        pictures: of the demo set.
        keep: how many training pictures are left of it, of each kind; 0: all.
        prepare: changes the set.
    """

    method: str
    problem: str = ""
    cause: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    loop: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 120
    keep: int = 0
    prepare: Callable[[Path], None] = lambda folder: None
    steps: int = 200


@dataclass
class Said:
    """What a training said of its health."""

    figures: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    notes: list[HealthNote] = field(default_factory=list)
    diverged: str = ""

    @property
    def problems(self) -> set[str]:
        return {note.problem for note in self.notes}


def negatives(folder: Path) -> None:
    """B is the negative of A."""
    for a in folder.rglob("A/*.png"):
        ImageOps.invert(Image.open(a).convert("RGB")).save(a.parent.parent / "B" / a.name)


def run_case(case: Case, folder: Path, seed: int = 0) -> Said:
    """Train it in the new `folder`, on one thread."""
    kind, settings = HEALTHY[case.method]
    make_demo(kind, folder / "data", case.pictures, seed)
    for place in {p.parent for p in (folder / "data").rglob("*.png")}:
        if case.keep and "train" in str(place.relative_to(folder)):
            for path in sorted(place.iterdir())[case.keep :]:
                path.unlink()
    case.prepare(folder / "data")
    config = {
        "method": case.method, "data": folder / "data", "out": folder / "run",
        "steps": case.steps, "load_size": SIDE, "crop_size": SIDE, "batch_size": 2,
        "log_every": 4, "sample_every": max(1, case.steps // 8), "save_every": 10**6,
        "device": "cpu", "threads": 1, "precision": "fp32", "seed": seed, "metrics": (),
        "schedule": "constant", "settings": settings | dict(case.settings),
    }  # fmt: skip
    said = Said()

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, HealthFigures):
            said.figures.append((event.step, dict(event.figures)))
        elif isinstance(event, HealthNote):
            said.notes.append(event)

    try:
        train(resolve(config | dict(case.loop)), listen)
    except Diverged as error:
        said.diverged = str(error)
    return said


def framed(folder: Path) -> None:
    """B shows what A shows, in a black frame."""
    for part in ("train", "test"):
        for a, b in zip(
            *(sorted((folder / f"{part}{side}").iterdir()) for side in "AB"), strict=True
        ):
            image = Image.open(a).convert("RGB")
            inside = image.resize((image.width - 16, image.height - 16))
            ImageOps.expand(inside, 8).save(b)


SICK: tuple[Case, ...] = (
    Case(
        "stargan",
        "discriminator-too-strong",
        "the discriminator learns 200 times as fast as the generator, without a penalty",
        {"lr": 1e-5, "lr_discriminator": 2e-3, "gan": "hinge", "penalty": "none"},
    ),
    Case(
        "stargan",
        "discriminator-too-weak",
        "the generator learns 1000 times as fast as the discriminator",
        {
            "lr": 1e-3,
            "lr_discriminator": 1e-6,
            "lambda_class": 0,
            "lambda_reconstruction": 0.1,
            "n_critic": 1,
        },
    ),
    Case(
        "stargan",
        "mode-collapse",
        "a discriminator that cannot keep up, and nothing that holds the pictures together",
        {
            "lr": 3e-3,
            "lr_discriminator": 1e-6,
            "lambda_class": 0,
            "lambda_reconstruction": 0,
            "n_critic": 1,
        },
    ),
    Case(
        "pix2pix",
        "oscillation",
        "no L1 loss, a high learning rate and momentum",
        {"lambda_l1": 0, "lr": 5e-3, "beta1": 0.9, "gan": "lsgan"},
        {"batch_size": 4},
    ),
    Case(
        "cyclegan",
        "discriminator-overfits",
        "eight training pictures of each kind and discriminators that look at whole pictures",
        {
            "discriminator": "image",
            "discriminator_options": {"width": 16, "layers": 4, "norm": "none"},
        },
        keep=8,
    ),
    Case(
        "stargan",
        "unchanged",
        "a weight of 100 on the mask through which the generator paints",
        {
            "generator": "fast",
            "generator_options": {"width": 8, "blocks": 1, "output": "mask"},
            "lambda_mask": 100,
            "mask_from": 0,
            "mask_until": 1,
        },
        steps=280,
    ),
    Case("pix2pix", "inverted", "B is the negative of A", prepare=negatives),
    Case(
        "stargan",
        "checkerboard",
        "transposed convolutions, few steps",
        {"generator_options": {"width": 12, "blocks": 2}},
        steps=120,
    ),
    Case(
        "cut",
        "colour-drift",
        "a weight of 0.05 of the adversarial loss beside 10 of the content",
        {"lambda_gan": 0.05, "lambda_nce": 10},
        steps=160,
    ),
    Case("cyclegan", "border", "the pictures of B have a frame", prepare=framed, steps=160),
    Case(
        "pix2pix",
        "saturated",
        "a learning rate of 1 without norms",
        {"lr": 1.0, "lambda_gan": 0.0, "generator_options": {"width": 8, "norm": "none"}},
    ),
    Case("pix2pix", "not-finite", "a learning rate of 1e20", {"lr": 1e20}),
)

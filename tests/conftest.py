"""Small pictures and models that the tests make for themselves."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.model_format.checkpoint import save_model
from img2img.model_format.info import ModelInfo
from img2img.nets import Generator, build_generator
from img2img.training.events import TrainingEvent
from tests.browser import browser, phone, tab  # noqa: F401 - fixtures for all tests

torch.set_num_threads(1)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: many tests wait for a command or a browser."""
    return (os.cpu_count() or 1) + 1


ROOT = Path(__file__).resolve().parent.parent
# The methods of this project, which keep more than the contract of every method: presets for a
# laptop and a GPU, names in the help, a training that the detectors of health clear.
OWN = ("pix2pix", "cyclegan", "cut", "stargan", "stylize")

# The files whose slow tests take longest.
LONGEST = ("test_faults", "test_loop", "test_packaging", "test_ray", "test_sick_trainings")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A smooth random picture."""
    channels = len(mode) if mode != "CMYK" else 4
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    if channels == 1:
        coarse = coarse[:, :, 0]
    return Image.fromarray(coarse, mode).resize((width, height), Image.Resampling.BICUBIC)


def info_of(generator: Generator, **more: object) -> ModelInfo:
    """Truthful information for a generator made in a test."""
    fields: dict[str, object] = {
        "name": "test",
        "method": "pix2pix",
        "generator": generator.name,
        "generator_config": generator.config.model_dump(mode="json", exclude_none=True),
        "in_channels": generator.in_channels,
        "out_channels": generator.out_channels,
        "multiple_of": generator.multiple_of,
        "minimum": generator.minimum,
        "norm_statistics": generator.norm_statistics,
        "tiling": generator.tiling,
        "size": 64,
        "licence": "free",
        "working_size": 0,
        "scale": generator.scale,
    }
    return ModelInfo(**(fields | more))  # type: ignore[arg-type]


def small_generator(name: str = "unet", **options: object) -> Generator:
    """A generator of a few thousand parameters whose output is not constant."""
    torch.manual_seed(0)
    small: dict[str, object] = {"width": 4}
    if name in ("unet", "resnet"):
        small |= {"norm": "instance", "init_gain": 0.3}
        small |= {"depth": 3} if name == "unet" else {"blocks": 1}
    generator = build_generator(name, small | options).eval()
    if generator.head.output != "direct" or name == "curve":
        with torch.no_grad():
            for parameter in generator.parameters():
                if not parameter.any():  # a layer that starts at zero, as after some training
                    parameter.normal_(0, 0.05)
    return generator


def stargan(path: Path, name: str = "resnet", **more: object) -> Path:
    """Write a random model of three domains, Dark, Fair and Glasses."""
    options: dict[str, object] = {"domains": 3, "dropout": False}
    options |= {"padding": "zero", "affine": True, "kernel": 4} if name == "resnet" else {}
    generator = small_generator(name, **options)
    named: dict[str, object] = {"method": "stargan", "domains": ("Dark", "Fair", "Glasses")}
    save_model(path, generator, info_of(generator, **named | more))
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test needs marks it: `browser` by its fixture, `faults` by its file. The slow tests of
    the longest files come first, so that no process works on alone at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        if item.path.stem.endswith("faults"):
            item.add_marker("faults")


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Every test draws the same numbers, alone or after others: none passes or fails by chance."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small valid `.safetensors` model."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    generator = small_generator()
    save_model(path, generator, info_of(generator))
    return path


@pytest.fixture(scope="session")
def onnx_file(model_file: Path) -> Path:
    """The same model as ONNX."""
    from img2img.exporting.onnx import export_onnx

    path = model_file.with_suffix(".onnx")
    export_onnx(model_file, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three good pictures in two levels."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    picture(40, 30, 1).save(folder / "one.jpg")
    picture(33, 47, 2).save(folder / "two.png")
    picture(20, 20, 3).save(folder / "sub" / "one.jpg")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of six side-by-side pairs: B is A inverted."""
    folder = tmp_path / "pairs"
    for part, count in (("train", 6), ("val", 2)):
        (folder / part).mkdir(parents=True)
        for k in range(count):
            a = np.asarray(picture(48, 48, k + 10 * count))
            Image.fromarray(np.hstack([a, 255 - a])).save(folder / part / f"{k}.png")
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run the command line in a process of its own, in an empty folder."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        environment |= options.pop("env", {})  # type: ignore[arg-type]
        return subprocess.run(
            [sys.executable, "-m", "img2img.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env=environment,
            timeout=1200,
            **({"cwd": tmp_path} | options),  # type: ignore[call-overload]
        )

    return run


Main = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Main:
    """Run the command line in this process, for what ends before any work: no start-up to pay."""
    from img2img.cli import main as command_line

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["img2img", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line()
        said = capsys.readouterr()
        code = ended.value.code if isinstance(ended.value.code, int) else 0
        return subprocess.CompletedProcess(sys.argv, code, said.out, said.err)

    return run


def into(rows: list[dict[str, Any]]) -> Callable[[TrainingEvent], None]:
    """A listener of a training that collects its events as rows of plain data."""
    return lambda event: rows.append(event.as_row())


class Each:
    """A stand-in of the network for the pipeline: a function of one picture, `most` at a time."""

    def __init__(self, function: Callable[..., np.ndarray], most: int = 1, scale: int = 1):
        self.function, self.most, self.scale = function, most, scale
        self.batches: list[int] = []

    def limit(self, pixels: np.ndarray) -> int:
        return self.most

    def run(
        self, pictures: Sequence[np.ndarray], domains: object, report: object = None
    ) -> list[np.ndarray]:
        self.batches.append(len(pictures))
        return [self.function(pixels) for pixels in pictures]

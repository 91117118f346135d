"""Presets: one for a laptop and one for a GPU of every method and every task."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from img2img.features import VGG19
from img2img.methods import METHODS, Method, parts
from img2img.methods.base import GanSettings
from img2img.nets import build_generator
from img2img.training import presets_of, resolve
from img2img.training.config import TrainConfig
from img2img.training.ema import Average
from tests.conftest import OWN

TASKS = {
    "paint": "stylize", "restore": "pix2pix", "colour": "pix2pix", "enhance": "pix2pix",
    "enlarge": "pix2pix", "labels": "pix2pix", "attributes": "stargan",
}  # fmt: skip
CLOCKED = [
    (method, preset)
    for method, kind in METHODS.items()
    for preset, values in presets_of(kind).items()
    if values.get("schedule") == "time"
]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "presets.md"


def config_of(method: str, preset: str) -> TrainConfig:
    return resolve({"method": method, "data": Path("none"), "out": Path("none")}, preset)


def networks_of(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> Method[Any, Any, Any]:
    """The method with its networks, of shapes alone."""
    monkeypatch.setattr(parts, "load_vgg19", lambda path, deepest: VGG19(deepest))
    kind = METHODS[config.method]
    facts = SimpleNamespace(domains=("x", "y"), one_hot=False)
    settings = kind.Config.parse(config.settings)
    with torch.device("meta"):
        return kind.build(settings, facts, config.crop_size)


def test_every_method_and_every_task_has_both() -> None:
    named = {
        *((method, preset) for method in OWN for preset in ("laptop", "gpu")),
        *((method, task) for task, method in TASKS.items()),
        *((method, f"{task}-gpu") for task, method in TASKS.items()),
    }
    assert named == {(method, preset) for method, preset in CLOCKED if method in OWN}


@pytest.mark.parametrize(("method", "preset"), CLOCKED)
def test_they_end_by_the_clock_with_averaged_weights(
    method: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(method, preset)
    assert config.schedule == "time" and 0 < (config.max_minutes or 0) <= 60
    trainer = networks_of(config, monkeypatch)
    assert config.ema >= 0.99 and Average(trainer, config.ema).shadows and config.warm_up
    if preset.removesuffix("-gpu") in ("restore", "enhance", "enlarge"):
        assert config.best == "psnr"
    assert config.crop_size <= config.load_size
    for net in trainer.generators.values():
        assert config.crop_size // net.scale % net.multiple_of == 0, "no border is learned"


@pytest.mark.slow
@pytest.mark.parametrize(("method", "preset"), [c for c in CLOCKED if "gpu" not in c[1]])
def test_one_for_a_gpu_is_the_same_task_with_more_of_everything(
    method: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = config_of(method, preset)
    large = config_of(method, "gpu" if preset == "laptop" else f"{preset}-gpu")
    own = ("generator_options", "discriminator_options")
    same = {n: v for n, v in small.settings.items() if n not in own}
    assert same == {n: v for n, v in large.settings.items() if n not in own}
    assert large.batch_size > small.batch_size and large.crop_size >= small.crop_size
    counts = []
    for config in (small, large):
        generators = networks_of(config, monkeypatch).generators.values()
        counts.append(sum(p.numel() for net in generators for p in net.parameters()))
    assert counts[1] > counts[0]


@pytest.mark.parametrize(("method", "preset"), [c for c in CLOCKED if c[0] != "stargan"])
def test_a_blank_picture_has_no_border(
    method: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the weights: without a norm nothing makes an edge of zeros stronger, and generators
    of domains need zeros around the planes that name them (docs, networks)."""
    for net in networks_of(config_of(method, preset), monkeypatch).generators.values():
        if getattr(net.config, "norm", "none") == "none":
            continue
        torch.manual_seed(0)
        again = build_generator(net.name, net.config.model_dump())
        for parameter in again.parameters():
            if parameter.ndim == 4:
                torch.nn.init.kaiming_normal_(parameter)
        y = again.train().requires_grad_(False)(torch.full((1, 3, 256, 256), 0.3))
        assert (y.amax((2, 3)) - y.amin((2, 3))).max() < 1e-3


@pytest.mark.parametrize("method", OWN)
def test_a_time_alone_is_the_length(method: str) -> None:
    def resolved(preset: str | None = None, **more: Any) -> TrainConfig:
        values = {"method": method, "data": Path("none"), "out": Path("none"), "max_minutes": 30.0}
        return resolve(values | more, preset)

    alone = resolved()
    assert (alone.schedule, alone.steps, alone.max_minutes) == ("time", None, 30)
    for more in ({"steps": 9}, {"epochs": 9}, {"schedule": "constant"}):
        assert resolved(**more).schedule != "time"
    assert resolved("tiny").schedule != "time" and resolved("tiny").steps == 300
    assert resolved("laptop").schedule == "time"


@pytest.mark.parametrize(("method", "preset"), CLOCKED)
def test_discriminators_are_narrow_on_a_laptop(method: str, preset: str) -> None:
    config = config_of(method, preset)
    settings = METHODS[method].Config.parse(config.settings)
    if not isinstance(settings, GanSettings):
        return  # no discriminator
    weight = getattr(settings, "lambda_gan", 1.0)
    if weight and "gpu" not in preset and method != "stylize":  # whose own default is narrow
        assert settings.discriminator_options["width"] <= 32


def test_the_page_has_a_row_for_each() -> None:
    text = PAGE.read_text()
    for method, kind in METHODS.items():
        for preset in presets_of(kind):
            assert f"`{preset}`" in text, (method, preset)

"""Stylize: its data, its step, its time schedule, and what it refuses before the first step."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.augment import Augment
from img2img.data import Loading, StyledData
from img2img.errors import ConfigError, DataError
from img2img.methods import Stylize, StylizeConfig
from img2img.model_format.checkpoint import read_model_info
from img2img.training import TrainConfig, lr_factor, resolve, train
from img2img.training import run as training
from tests.conftest import Main, into, picture
from tests.test_training import Stop, final

SMALL: dict[str, Any] = {
    "generator_options": {"width": 4, "blocks": 1},
    "discriminator_options": {"width": 4, "layers": 1},
    "crops": 6,
}


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Five photographs and three paintings, in two folders."""
    photographs, paintings = tmp_path / "photographs", tmp_path / "paintings"
    photographs.mkdir()
    paintings.mkdir()
    for k in range(5):
        picture(90, 60, k).save(photographs / f"p{k}.png")
    for k in range(3):
        picture(50, 70, 20 + k).save(paintings / f"v{k}.png")
    return photographs, paintings


def config_of(sets: tuple[Path, Path], out: Path, **more: Any) -> TrainConfig:
    values = {
        "method": "stylize", "data": sets[0], "out": out, "steps": 4, "load_size": 40,
        "crop_size": 32, "device": "cpu", "threads": 1, "precision": "fp32",
        "settings": SMALL | {"style": str(sets[1])} | more.pop("settings", {}),
    }  # fmt: skip
    return resolve(values | more)


# --- data


def loaded(root: Path, split: Any = "train", **more: Any) -> StyledData:
    loading = Loading(32, seed=3, held_out=1)
    return StyledData(root, split, loading, **({"style_size": 40} | more))


def test_few_photographs_give_several_crops_each(sets: tuple[Path, Path]) -> None:
    data = loaded(sets[0], style=str(sets[1]), crops=10, crop_scale=(0.6, 1.0))
    assert len(data) == 12 and len(data.names) == 12  # four photographs, three crops each
    held_out = loaded(sets[0], "held-out", style=str(sets[1]))
    assert len(held_out) == 1 and held_out.names[0] not in data.names
    batch = data.batch([0, 1, 2, 3])
    assert batch.a.shape == (4, 3, 32, 32) and batch.b.shape == (4, 3, 40, 40)
    assert not torch.equal(batch.a[0], batch.a[1])  # other crops of one photograph
    again = loaded(sets[0], style=str(sets[1]), crops=10, crop_scale=(0.6, 1.0))
    assert torch.equal(again.batch([1]).a, batch.a[1:2])
    assert data.paintings >= 3 and data.style_batch([0]).b.shape == (1, 3, 40, 40)


def test_crops_keep_the_aspect(tmp_path: Path) -> None:
    # A disc stays a disc: as wide as it is high, though the photograph is three times as wide.
    y, x = np.mgrid[:60, :180]
    disc = ((x - 90) ** 2 + (y - 30) ** 2 < 20**2)[:, :, None] * np.full(3, 255, np.uint8)
    (tmp_path / "a").mkdir()
    for k in range(2):
        Image.fromarray(disc.astype(np.uint8)).save(tmp_path / "a" / f"{k}.png")
    data = loaded(tmp_path / "a", "held-out", style=str(tmp_path / "a" / "0.png"), style_size=60)
    seen = data.batch([0]).a[0, 0] > 127
    assert int(seen.any(0).sum()) == int(seen.any(1).sum())


def test_two_folders_or_one_picture_are_a_style(sets: tuple[Path, Path], tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    sets[0].rename(both / "trainA")
    sets[1].rename(both / "trainB")
    data = loaded(both)
    assert len(data) == 4 and data.paintings >= 2
    one = loaded(both / "trainA", style=str(both / "trainB" / "v1.png"))
    assert one.paintings == 4  # four crops of the one picture
    assert data.fingerprint() != one.fingerprint()


@pytest.mark.parametrize("case", ["none", "empty", "missing", "broken", "no photographs"])
def test_what_is_wrong_with_the_sets_is_one_line(
    case: str, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    photographs, style = sets
    expected = {
        "none": "no style set", "empty": "the style folder contains no pictures",
        "missing": "no such style picture or folder", "broken": "1 training pictures unusable",
        "no photographs": "no photographs",
    }  # fmt: skip
    given = "" if case == "none" else str(style)
    if case == "empty":
        (tmp_path / "void").mkdir()
        given = str(tmp_path / "void")
    if case == "missing":
        given = str(tmp_path / "nowhere")
    if case == "broken":
        (style / "v9.png").write_bytes((style / "v1.png").read_bytes()[:200])
    if case == "no photographs":
        (tmp_path / "void").mkdir()
        photographs = tmp_path / "void"
    with pytest.raises(DataError, match=expected[case]) as caught:
        loaded(photographs, style=given)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


# --- the step


def trainer_of(**settings: Any) -> Stylize:
    torch.manual_seed(0)
    trainer = Stylize.build(StylizeConfig.parse(SMALL | settings), None, 32)
    trainer.augment = Augment(32, False, 0)
    return trainer


@pytest.mark.slow
def test_a_step_lowers_what_it_says(sets: tuple[Path, Path]) -> None:
    data = loaded(sets[0], style=str(sets[1]), crops=8)
    trainer = trainer_of(lambda_colour=1.0, lr=2e-3)
    trainer.prepare(data)
    batch = data.batch([0, 1]).on(torch.device("cpu"))
    rows = []
    for step in range(30):
        trainer.augment.begin(0, [0, 1])
        trainer.number = step
        rows.append(trainer.step(batch))
    assert set(rows[0]) == {"G/content", "G/style", "G/tv", "G/colour", "G/gan", "D"}
    assert not any(value.requires_grad for value in rows[0].values())
    learned = sum(float(rows[-1][n]) for n in ("G/content", "G/style", "G/colour"))
    assert learned < 0.8 * sum(float(rows[0][n]) for n in ("G/content", "G/style", "G/colour"))


def test_terms_of_weight_zero_and_the_adversary_are_left_out(sets: tuple[Path, Path]) -> None:
    trainer = trainer_of(lambda_adversarial=0.0, lambda_tv=0.0)
    data = loaded(sets[0], style=str(sets[1]))
    trainer.prepare(data)
    assert set(trainer.nets) == set(trainer.optimizers) == {"G"}
    trainer.augment.begin(0, [0])
    losses = trainer.step(data.batch([0]).on(torch.device("cpu")))
    assert set(losses) == {"G/content", "G/style"}


def test_the_target_is_the_mean_over_all_paintings(sets: tuple[Path, Path]) -> None:
    data = loaded(sets[0], style=str(sets[1]))
    trainer = trainer_of()
    trainer.prepare(data)
    grams = []
    for k in range(data.paintings):
        maps = trainer.parts.features(data.style_batch([k]).on(torch.device("cpu")).b, ["relu2_1"])
        rows = maps["relu2_1"].flatten(2)[0]
        grams.append(rows @ rows.T / rows.numel())
    expected = torch.stack(grams).mean(0)
    assert torch.allclose(trainer.style["gram"]["relu2_1"], expected, rtol=1e-4, atol=1e-3)
    other = trainer_of()
    other.load_state_dict(trainer.state_dict())
    assert torch.equal(other.style["gram"]["relu4_1"], trainer.style["gram"]["relu4_1"])


# --- settings and refusals


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"crop_scale": [0.9, 0.2]}, "crop_scale must be"),
        ({"content_layer": "relu4_9"}, "VGG19 has no layer 'relu4_9'"),
        ({"style_layers": [0, 0, 0, 0]}, "style_layers needs"),
        ({"style_size": 16}, "style_size 16 is below the crop size 32"),
        ({"generator_options": {"out_channels": 1}}, "needs colour on both sides"),
        ({"vgg19": "/nowhere/vgg.bin"}, "weights of vgg19 cannot be read"),
        ({"lambda_styl": 1}, "lambda_style"),
    ],
)
def test_impossible_settings_are_one_line(
    settings: dict[str, Any], complaint: str, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        train(config_of(sets, tmp_path / "run", settings=settings))
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert not list((tmp_path / "run").glob("*.i2i"))


def test_missing_weights_are_reported_before_any_picture_is_read(
    tmp_path: Path, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.bin").write_bytes(b"other")
    monkeypatch.setenv("IMG2IMG_VGG19", str(tmp_path / "other.bin"))
    done = main("train", "stylize", tmp_path / "no such data", "-o", "run", "--preset", "tiny")
    assert done.returncode == 2
    assert "not the known weights of vgg19" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_no_folder_of_this_machine_goes_into_the_model(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    model = train(config_of(sets, tmp_path / "run", name="painting"))
    info = read_model_info(model)
    assert info.training["settings"]["style"] == "paintings"
    assert str(tmp_path) not in str(info)
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["settings"]["style"] == str(sets[1])  # the run itself must find it again


# --- training by the clock


def test_the_time_schedule_decays_in_the_second_half() -> None:
    values = {"method": "stylize", "data": "d", "out": "o", "schedule": "time", "max_minutes": 60}
    config = TrainConfig.parse(values | {"warm_up": 9})
    factors = [lr_factor(config, 100, 10, minutes) for minutes in (0, 30, 45, 60, 61)]
    assert factors == pytest.approx([1, 1, 0.5, 0, 0])
    assert [lr_factor(config, step, 10, 0) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1])
    with pytest.raises(ConfigError, match="`max_minutes`"):
        TrainConfig.parse({**values, "max_minutes": None})


class Clock:
    """A minute passes at every look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 60
        return self.seconds


def test_a_run_by_the_clock_ends_by_then_and_resumes_its_time(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "time", Clock())
    more = {"schedule": "time", "max_minutes": 30.0, "steps": None, "log_every": 1}
    config = config_of(sets, tmp_path / "run", **more)
    events: list[dict[str, Any]] = []
    train(config, into(events), should_stop=Stop(4))
    assert events[-1]["event"] == "stopped"
    spent = final(tmp_path / "run")["minutes"]
    assert 4 <= spent < 30
    events.clear()
    train(config, into(events))
    assert events[-1]["event"] == "done"
    factors = [e["lr_factor"] for e in events if e["event"] == "step"]
    assert factors[-1] < 0.2 and factors == sorted(factors, reverse=True)
    assert any(e["event"] == "validation" for e in events)
    state = final(tmp_path / "run")
    assert state["minutes"] >= 30
    steps = state["step"]
    train(config, into(events))  # it has come to its end: nothing more is learned
    assert final(tmp_path / "run")["step"] == steps

"""Photographs alone: their crops, what a step makes of them, and a run that is cut and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.augment import Augment, Degrade, DiffAugment, Edges, tone
from img2img.cli.train_command import train_command
from img2img.data import Loading, PairedBatch, PhotographData, epoch_order
from img2img.errors import ConfigError, DataError, UsageError
from img2img.methods import Pix2Pix, Pix2PixConfig
from img2img.model_format.checkpoint import load_model, read_model_info
from img2img.training import TrainConfig, resolve, train
from img2img.training.preview import preview_sheet
from img2img.training.validation import to_pixels
from tests.conftest import Cli, picture
from tests.test_training import Stop, final, same

SMALL: dict[str, Any] = {
    "generator_options": {"width": 4, "depth": 3, "norm": "instance", "dropout": False},
    "discriminator_options": {"width": 4, "layers": 1, "norm": "instance"},
    "pairs": "degrade",
    "crops": 9,
}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six photographs of several sizes in nested folders."""
    root = tmp_path / "photographs"
    (root / "one" / "deeper").mkdir(parents=True)
    for k, place in enumerate(("one", "one/deeper", ".") * 2):
        picture(90 - 4 * k, 60 + 7 * k, k).save(root / place / f"p{k}.png")
    return root


def loaded(root: Path, split: Any = "train", size: int = 24, **more: Any) -> PhotographData:
    return PhotographData(root, split, Loading(size, seed=3, held_out=2), **more)


def trainer_of(**settings: Any) -> Pix2Pix:
    torch.manual_seed(0)
    trainer = Pix2Pix(Pix2PixConfig.parse(SMALL | settings), seed=5)
    trainer.augment = Augment(16, True, 0)
    return trainer


def config_of(root: Path, out: Path, **more: Any) -> TrainConfig:
    values = {
        "method": "pix2pix", "data": root, "out": out, "steps": 6, "load_size": 20, "crop_size": 16,
        "batch_size": 2, "log_every": 1, "sample_every": 6, "save_every": 2, "device": "cpu",
        "threads": 1, "precision": "fp32", "settings": SMALL | more.pop("settings", {}),
    }  # fmt: skip
    return resolve(values | more)


# --- data


def test_each_photograph_gives_crops_until_there_are_enough(photographs: Path) -> None:
    data, held_out = loaded(photographs, crops=10), loaded(photographs, "held-out", crops=10)
    assert len(data) == 12 and len(set(data.names)) == 4  # four photographs, three crops each
    assert len(held_out) == 2 and not set(held_out.names) & set(data.names)
    batch = data.batch([3, 4, 5])
    assert batch.a is batch.b and batch.a.shape == (3, 3, 24, 24) and batch.indices == [3, 4, 5]
    assert not torch.equal(batch.a[0], batch.a[1])
    assert torch.equal(loaded(photographs, crops=10).batch([4]).a, batch.a[1:2])
    other = PhotographData(photographs, "train", Loading(24, seed=4, held_out=2), crops=10)
    assert not torch.equal(other.batch([4]).a, batch.a[1:2])
    assert len(loaded(photographs, crops=1)) == 4


def test_crops_are_squares_no_smaller_than_they_are_brought_to(tmp_path: Path) -> None:
    # Where a pixel's value is its place, the crop says where it was and how large.
    ramp = np.stack(np.broadcast_arrays(np.arange(200)[None], np.arange(100)[:, None], 0), 2)
    for k in range(4):
        Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / f"{k}.png")
    x = loaded(tmp_path, size=50, crops=60, crop_scale=(0.1, 0.6)).batch(range(60)).a.float()
    across = (x[:, 0, 25, -3] - x[:, 0, 25, 2]) / 45 * 50
    down = (x[:, 1, -3, 25] - x[:, 1, 2, 25]) / 45 * 50
    assert (across - down).abs().max() < 2.5
    assert across.min() > 48 and across.max() < 63 and across.max() > 52
    assert x[:, 0, 0, 0].std() > 20 and x[:, 1, 0, 0].std() > 5
    middle = loaded(tmp_path, "held-out", size=50).batch([0]).a.float()
    assert middle[0, 0].mean() == pytest.approx(99.5, abs=1)


@pytest.mark.parametrize("part", ["val", "test"])
def test_sub_folders_are_the_split(photographs: Path, part: str) -> None:
    (photographs / "one").rename(photographs / "train")
    (photographs / part / "x").mkdir(parents=True)
    picture(40, 40).save(photographs / part / "x" / "h.png")
    assert {n.split("/")[0] for n in loaded(photographs).names} == {"train"}
    assert loaded(photographs, "held-out").names == [f"{part}/x/h.png"]
    (photographs / "train").rename(photographs / "one")
    assert len(set(loaded(photographs).names)) == 6  # all but the held-out one


def test_bad_folders_are_reported(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        loaded(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photographs"):
        loaded(tmp_path / "empty")
    for name in ("bad1.jpg", "bad2.jpg"):
        (photographs / name).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2 training pictures unusable: .*bad1.jpg.*bad2.jpg"):
        PhotographData(photographs, "train", Loading(24, held_out=0), crops=20)


@pytest.mark.parametrize("kind", ["memory", "mapped", "device", "decoded"])
def test_crops_come_from_anywhere(photographs: Path, tmp_path: Path, kind: str) -> None:
    expected = loaded(photographs, crops=8).batch([7, 0]).b
    cache = tmp_path / "cache" if kind == "mapped" else None
    some = 0 if kind in ("mapped", "decoded") else 1 << 20
    loading = Loading(24, seed=3, held_out=2, cache_bytes=some, cache=cache)
    data = PhotographData(photographs, "train", loading, crops=8)
    if kind == "device":
        data.store.move_to(torch.device("cpu"))
    assert data.store.kind == kind
    assert torch.equal(data.batch([7, 0]).b, expected)


# --- a step


def test_a_step_learns_from_the_crop_and_what_was_made_of_it() -> None:
    trainer = trainer_of(recipe="colour", lambda_gan=0)
    x = torch.rand(2, 3, 20, 20) * 2 - 1
    batch = PairedBatch(x, x, [3, 8])
    trainer.augment.begin(4, [3, 8])
    a, b = trainer.pairs(batch)
    trainer.augment.begin(4, [3, 8])
    (expected,) = trainer.augment(x)
    assert torch.equal(b, expected)
    assert torch.allclose(a, torch.stack([tone.luma(p) for p in b]), atol=1e-6)


def test_draws_follow_seed_step_and_index() -> None:
    trainer = trainer_of()
    assert isinstance(trainer.make, Degrade)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    trainer.number = 9
    trainer.augment.begin(9, [3, 8])
    a, b = trainer.pairs(PairedBatch(x, x, [3, 8]))
    again = Degrade(trainer.make.config, 5)
    again.begin(9, [3, 8])
    assert torch.equal(again(b), a)
    first = trainer.columns(PairedBatch(x, x, [0, 1]))
    trainer.number = 10
    second = trainer.columns(PairedBatch(x[1:], x[1:], [1]))
    assert torch.equal(first["input"][1:], second["input"])
    assert not torch.equal(first["input"], x) and torch.equal(first["truth output"], x)


@pytest.mark.parametrize("settings", [{"recipe": "colour"}, {"pairs": "edges"}])
def test_a_grey_input_may_be_one_channel(settings: dict[str, Any]) -> None:
    options = SMALL["generator_options"] | {"in_channels": 1}
    trainer = trainer_of(generator_options=options, **settings)
    assert isinstance(trainer.make, Edges if "pairs" in settings else Degrade)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    trainer.augment.begin(0, [0, 1])
    assert all(v.isfinite() for v in trainer.step(PairedBatch(x, x, [0, 1])).values())
    assert trainer.columns(PairedBatch(x, x, [0, 1]))["input"].shape == (2, 1, 16, 16)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pairs": "files", "recipe": "old"}, "recipe is for pairs=degrade.*`pairs=degrade`"),
        ({"pairs": "edges", "recipe": "old"}, "recipe is for pairs=degrade, not pairs=edges"),
        ({"pairs": "files", "degrade_options": {"noise": 3}}, "degrade_options is for"),
        ({"recipe": "restor"}, "unknown recipe 'restor'. Did you mean 'restore'"),
        ({"degrade_options": {"nose": 3}}, "unknown setting 'degrade.nose'. Did you mean 'noise'"),
        ({"direction": "BtoA"}, "direction BtoA is for pairs=files"),
        ({"generator_options": {"in_channels": 1}}, "`recipe=colour`"),
        ({"generator_options": {"out_channels": 1}}, "generator.out_channels"),
        ({"crop_scale": [0, 1]}, "crop_scale must be"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pix2PixConfig.parse(SMALL | settings)


# --- a run


@pytest.mark.parametrize("pairs", ["degrade", "edges"])
def test_a_run_that_is_cut_resumes_to_the_bit(
    photographs: Path, tmp_path: Path, pairs: str
) -> None:
    more = {"pairs": pairs, "lambda_saturation": 2.0}
    if pairs == "degrade":
        more |= {"recipe": "old", "degrade_options": {"scratches": [1, 3]}}
    whole = tmp_path / "whole"
    train(config_of(photographs, whole, settings=more))
    run = tmp_path / "cut"
    train(config_of(photographs, run, settings=more), should_stop=Stop(3))
    assert final(run)["step"] == 3
    train(config_of(photographs, run, settings=more))
    a, b = final(whole), final(run)
    for name in ("step", "nets", "optimizers"):
        assert same(a[name], b[name]), name
    x, y = (load_model(p / "model.safetensors")[0].state_dict() for p in (whole, run))
    assert same(x, y)


def test_the_model_file_says_what_it_learned(photographs: Path, tmp_path: Path) -> None:
    settings = {"recipe": "enhance", "degrade_options": {"exposure": [-1, 1]}}
    config = config_of(photographs, tmp_path / "run", settings=settings, best="psnr", steps=2)
    info = read_model_info(train(config))
    assert info.direction == "degraded -> photograph"
    assert info.training["settings"]["recipe"] == "enhance"
    assert (tmp_path / "run" / "best.safetensors").exists()


# --- the preview


def test_the_preview_shows_what_the_first_steps_learn_from(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(photographs, tmp_path / "run", settings={"recipe": "colour"}, steps=2)
    sheet = np.asarray(preview_sheet(config)).astype(float)
    assert sheet.shape == (4 * 20 + 4, 8 * 20 + 4, 3)  # ten crops: 8 and 2, two rows of each
    assert not (tmp_path / "run").exists()
    seen: list[torch.Tensor] = []
    step = Pix2Pix.pairs

    def watched(self: Pix2Pix, batch: PairedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = step(self, batch)
        seen.extend(torch.stack([b, a], 1))
        return a, b

    monkeypatch.setattr(Pix2Pix, "pairs", watched)
    monkeypatch.setattr("img2img.training.run.usual_inputs", lambda setup: {})  # looks at pairs too
    train(config)
    for place, sample in enumerate(seen):
        for row, x in enumerate(sample):
            top, left = 4 + 20 * row, 4 + 20 * place
            shown = sheet[top : top + 16, left : left + 16]
            levels = (x.permute(1, 2, 0).numpy() + 1) * 127.5
            assert np.abs(shown - levels).max() <= 0.51, (place, row)


def test_the_preview_shows_what_the_discriminator_sees(photographs: Path, tmp_path: Path) -> None:
    config = config_of(photographs, tmp_path / "run", settings={"recipe": "colour"})
    plain = np.asarray(preview_sheet(config))
    config = config.model_copy(update={"diffaugment": "color,translation,cutout"})
    sheet = np.asarray(preview_sheet(config))
    assert plain.shape == (4 * 20 + 4, 8 * 20 + 4, 3) and sheet.shape == (8 * 20 + 4, 8 * 20 + 4, 3)

    def shown(place: int, row: int) -> np.ndarray:
        top, left = 4 + 20 * (row + 4 * (place // 8)), 4 + 20 * (place % 8)
        return sheet[top : top + 16, left : left + 16]

    for place, index in enumerate(epoch_order(config.seed, 0, 10)):
        target, given = (
            torch.from_numpy(shown(place, row).copy()).permute(2, 0, 1)[None] / 127.5 - 1
            for row in (0, 1)
        )
        view = DiffAugment(config.diffaugment, config.seed)
        view.begin(place // config.per_step, [index])
        seen = view(torch.cat([given, target], 1), given.shape[1])
        for row, x in ((2, seen[:, 3:]), (3, seen[:, :3])):
            off = np.abs(to_pixels(x)[0].astype(int) - shown(place, row).astype(int))
            assert off.max() <= 4, (place, row)  # of pixels rounded before, not after


@pytest.mark.parametrize("method", ["cyclegan", "stargan"])
def test_the_preview_is_for_other_methods_too(tmp_path: Path, method: str) -> None:
    for name in "AB":
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(3):
            picture(20, 20, k).save(tmp_path / "data" / name / f"{k}.png")
    small = {"generator_options": {"width": 4, "blocks": 1}, "discriminator_options": {"width": 4}}
    small["discriminator_options"] |= {"layers": 1 if method == "cyclegan" else 2}
    config = config_of(tmp_path / "data", tmp_path / "run", method=method, held_out=0)
    sheet = preview_sheet(config.model_copy(update={"settings": small}))
    assert sheet.size == (
        ((3 if method == "cyclegan" else 6) * 20 + 4),
        44 if method == "cyclegan" else 24,
    )


@pytest.mark.slow
def test_preview_and_dry_run_write_the_sheet_and_nothing_else(
    cli: Cli, photographs: Path, tmp_path: Path
) -> None:
    sheet, run = tmp_path / "sheet.png", tmp_path / "run"
    command = ("train", "pix2pix", photographs, "-o", run, "--preset", "tiny", "--dry-run")
    sets = ("--set", "pairs=degrade", "--set", "degrade.noise=[0,10]", "--set", "crops=4")
    done = cli(*command, *sets, "--preview", sheet)
    assert done.returncode == 0, done.stderr
    with Image.open(sheet) as picture_:
        assert picture_.format == "PNG" and picture_.size[1] == 2 * 68 + 4
    assert not run.exists()
    with pytest.raises(UsageError, match="one process"):
        train_command("pix2pix", photographs, run, preview=sheet, devices=2)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"pairs": "degrade"}, 0),
        ({"pairs": "degrade", "recipe": "old"}, 0),
        ({"pairs": "degrade", "recipe": "colour"}, None),
        ({"pairs": "edges"}, None),
        ({}, None),
    ],
)
def test_what_repairs_pixels_works_at_their_own_size(
    settings: dict[str, Any], size: int | None
) -> None:
    assert Pix2Pix.usual_size(Pix2PixConfig.parse(settings)) == size

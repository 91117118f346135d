"""Networks that enlarge: what they give, what they learn from, and a run of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.augment import Augment, Degrade, damage, recipe
from img2img.data import PairedBatch
from img2img.errors import ConfigError, ModelError
from img2img.methods import METHODS, Pix2Pix, Pix2PixConfig
from img2img.model_format.checkpoint import load_model, read_model_info, save_model
from img2img.model_format.info import ModelInfo
from img2img.nets import build_generator
from img2img.nets.enlarge import Enlarge
from img2img.receptive_field import Seen, UnknownReach
from img2img.training import TrainConfig, resolve, train
from img2img.training.presets import presets_of
from img2img.training.preview import preview_sheet
from img2img.training.setup import check
from tests.conftest import Main, info_of, picture, small_generator

NET = {"width": 4, "blocks": 1, "shrink": 1, "scale": 2}
SMALL: dict[str, Any] = {
    "generator": "fast", "generator_options": NET, "pairs": "degrade", "crops": 9,
    "discriminator_options": {"width": 4, "layers": 1, "norm": "instance"},
}  # fmt: skip


def pictures(count: int, side: int) -> torch.Tensor:
    pixels = np.stack([np.asarray(picture(side, side, k)) for k in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def trainer_of(**settings: Any) -> Pix2Pix:
    torch.manual_seed(0)
    trainer = Pix2Pix(Pix2PixConfig.parse(SMALL | settings), seed=5)
    trainer.augment = Augment(16, True, 0)
    return trainer


# --- networks


@pytest.mark.parametrize("scale", [2, 4])
def test_the_bicubic_enlargement_is_that_of_pillow(scale: int) -> None:
    x = torch.rand(1, 3, 11, 14, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = Enlarge(3, scale)(x)
    for made, plane in zip(y[0].numpy(), x[0].numpy(), strict=True):
        expected = Image.fromarray(plane).resize((14 * scale, 11 * scale), Image.Resampling.BICUBIC)
        inside = slice(2 * scale, -2 * scale)  # Pillow leaves out what lies beyond the border
        assert np.abs(made - np.asarray(expected))[inside, inside].max() < 1e-6
    assert torch.allclose(
        Enlarge(1, scale)(torch.ones(1, 1, 1, 2)), torch.ones(1, 1, scale, 2 * scale)
    )


def test_the_enlargement_keeps_its_precision_in_mixed_precision() -> None:
    x = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    net = Enlarge(3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x)
    assert y.dtype == torch.float32 and torch.equal(y, net(x))


@pytest.mark.parametrize(
    "options", [{}, {"scale": 4}, {"shrink": 2}, {"levels": 2}, {"output": "mask"}, {"output": "direct"}]
)  # fmt: skip
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (16, 12)])
def test_any_size_is_enlarged(options: dict[str, Any], size: tuple[int, int]) -> None:
    net = small_generator("fast", **(NET | options))
    y = net(torch.zeros(2, 3, *size))
    assert y.shape == (2, 3, net.scale * size[0], net.scale * size[1]) and y.abs().max() <= 1


def test_a_fresh_network_gives_the_bicubic_enlargement() -> None:
    net, x = build_generator("fast", NET), pictures(2, 9)
    assert torch.equal(net(x), net.enlarged(x).clamp(-1, 1))
    assert "enlarge.weight" not in net.state_dict()
    plain = build_generator("fast", NET | {"scale": 1})
    assert plain.enlarged(x) is x


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 3}, "generator.scale"),
        ({"tail": "resize"}, "scale=2 is for tail=shuffle"),
        ({"output": "chroma"}, "use output=residual"),
    ],
)
def test_networks_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_generator("fast", NET | options)


def test_a_larger_map_sees_parts_of_pixels() -> None:
    seen = Seen().enlarged(2)
    assert (seen.shrink, seen.before, seen.reach) == (0.5, 0.5, 1)
    assert seen.windowed(3, pad=1).reach == 1 and seen.windowed(2, stride=2).shrink == 1
    assert Seen(4).enlarged(8).shrink == 0.5 and isinstance(Seen(4).enlarged(2).shrink, int)
    for factor in (1.5, 0.5, float("nan"), float("inf")):
        with pytest.raises(UnknownReach):
            Seen().enlarged(factor)


# --- the model file


def test_the_model_file_says_the_scale(tmp_path: Path) -> None:
    net = small_generator("fast", **NET)
    save_model(tmp_path / "m.safetensors", net, info_of(net))
    again, info = load_model(tmp_path / "m.safetensors")
    assert (info.scale, info.schema, again.scale) == (2, 2, 2)
    # Versions that do not know of scales refuse it, and read all others.
    plain = small_generator("fast", scale=1)
    values = info_of(plain).to_dict()
    assert values["schema"] == 1
    del values["scale"]
    assert ModelInfo.from_dict(values, "old").scale == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": 3}, "scale is 3"),
        ({"scale": True}, "scale is True"),
        ({"scale": 2, "working_size": 256}, "not with 256 and plain"),
        ({"scale": 2, "upsampling": "guided"}, "not with 0 and guided"),
    ],
)
def test_an_impossible_scale_is_refused(changes: dict[str, Any], said: str) -> None:
    values = info_of(small_generator("fast")).to_dict()
    with pytest.raises(ModelError, match=said):
        ModelInfo.from_dict(values | changes, "x")


# --- inputs


def test_inputs_are_reduced_by_one_of_the_filters() -> None:
    x = pictures(12, 16)
    degrade = Degrade(recipe("enlarge", {"clean": 1}), 3, scale=2)
    degrade.begin(0, range(12))
    made = degrade(x)
    assert made.shape == (12, 3, 8, 8)
    filters: tuple[damage.Filter, ...] = ("bicubic", "area", "bilinear")
    used = {
        next(name for name in filters if torch.equal(damage.reduce(a, 2, name), b))
        for a, b in zip(x, made, strict=True)
    }
    assert used == {*filters}
    degrade.begin(0, [7])
    assert torch.equal(degrade(x[7:8]), made[7:8])


def test_reducing_changes_no_other_draw() -> None:
    x, options = pictures(4, 16), {"clean": 0, "exposure": [-1, 1]}
    plain, small = (Degrade(recipe("colour", options), 3, scale) for scale in (1, 2))
    flat = x.mean((2, 3), keepdim=True).expand_as(x)  # which reducing leaves as it is
    for degrade in (plain, small):
        degrade.begin(5, range(4))
    assert torch.allclose(plain(flat)[:, :, ::2, ::2], small(flat), atol=1e-5)


# --- a step


@pytest.mark.parametrize("lambda_gan", [0.0, 1.0])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_step_learns_from_small_inputs(lambda_gan: float, scale: int) -> None:
    trainer = trainer_of(
        lambda_gan=lambda_gan, lambda_features=lambda_gan, generator_options=NET | {"scale": scale}
    )
    batch = PairedBatch(x := pictures(2, 20), x, [3, 8])
    trainer.augment.begin(0, [3, 8])
    a, b = trainer.pairs(batch)
    assert a.shape == (2, 3, 16 // scale, 16 // scale) and b.shape == (2, 3, 16, 16)
    trainer.augment.begin(0, [3, 8])
    below, above = reversed(trainer.seen(batch))
    assert below.shape == above.shape and torch.equal(below[:, :, ::scale, ::scale], a)
    trainer.augment.begin(0, [3, 8])
    before = [p.clone() for p in trainer.G.parameters()]
    losses = trainer.step(batch)
    assert all(value.isfinite() for value in losses.values()) and ("D" in losses) == (
        lambda_gan > 0
    )
    assert any(not torch.equal(p, q) for p, q in zip(before, trainer.G.parameters(), strict=True))
    columns = trainer.columns(PairedBatch(b, b, [0, 1]))
    assert {tuple(column.shape) for column in columns.values()} == {(2, 3, 16, 16)}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pairs": "files"}, "pairs=files gives both the same size; give `pairs=degrade`"),
        ({"pairs": "edges"}, "pairs=edges gives both the same size"),
        ({"recipe": "enlarge", "generator_options": {}}, "give `generator.scale=2` or 4"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pix2PixConfig.parse(SMALL | settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop_size": 18, "generator_options": NET | {"scale": 4}}, "`crop_size=16`"),
        ({"working_size": 64}, "`working_size=0`"),
        ({"generator": "unet", "generator_options": {"scale": 2}}, "`generator=fast`"),
        ({"generator_options": NET | {"scale": 3}}, "generator.scale"),
        ({"generator_options": NET | {"tail": "resize"}}, "tail=shuffle"),
        ({"method": "cyclegan"}, "method pix2pix with `pairs=degrade`"),
        ({"method": "stargan"}, "method pix2pix with `pairs=degrade`"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_its_data_are_read(
    changes: dict[str, Any], said: str
) -> None:
    loop = {"method": "pix2pix", "load_size": 20, "crop_size": 16}
    given = {name: changes[name] for name in (*loop, "working_size") if name in changes}
    settings = SMALL if given.get("method", "pix2pix") == "pix2pix" else {"generator": "fast"}
    options = {"generator_options": NET} | {n: v for n, v in changes.items() if n not in given}
    values = loop | given | {"data": "none", "out": "none", "settings": settings | options}
    with pytest.raises(ConfigError, match=said):
        check(resolve(values), dry_run=False)


def test_every_method_says_whether_it_enlarges() -> None:
    assert [name for name, method in METHODS.items() if method.enlarges] == ["pix2pix"]


@pytest.mark.parametrize("preset", ["enlarge", "enlarge-gpu"])
def test_the_presets_are_possible(preset: str) -> None:
    values = {"method": "pix2pix", "data": "none", "out": "none"}
    kind, settings = check(resolve(values, preset), dry_run=True)
    assert kind is Pix2Pix and isinstance(settings, Pix2PixConfig) and settings.scale == 2
    four = values | {"settings": {"generator_options": {"scale": 4}}}
    _, settings = check(resolve(four, preset), dry_run=True)
    assert isinstance(settings, Pix2PixConfig) and settings.scale == 4
    assert preset in presets_of(Pix2Pix)


# --- a run


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    root = tmp_path / "photographs"
    root.mkdir()
    for k in range(6):
        picture(90 - 4 * k, 60 + 7 * k, k).save(root / f"p{k}.png")
    return root


def config_of(root: Path, out: Path, **more: Any) -> TrainConfig:
    return resolve({
        "method": "pix2pix", "data": root, "out": out, "steps": 4, "load_size": 40, "crop_size": 32,
        "batch_size": 2, "log_every": 1, "sample_every": 2, "save_every": 4, "device": "cpu",
        "threads": 1, "precision": "fp32", "held_out": 2, "settings": SMALL, **more,
    })  # fmt: skip


def test_a_run_shows_its_pictures_in_one_size_and_says_what_it_learned(
    photographs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    info = read_model_info(train(config_of(photographs, run)))
    assert (info.scale, info.working_size, info.direction) == (
        2,
        0,
        "photograph -> 2 times as large",
    )
    assert info.training["settings"]["generator_options"]["scale"] == 2 and "psnr" in info.quality
    with Image.open(run / "samples" / "step-00000004.jpg") as sheet:
        assert sheet.size == (3 * 36 + 4, 2 * 36 + 4 + 16)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any(row["event"] == "health-figures" for row in rows)


def test_the_preview_shows_inputs_as_large_as_what_they_become(
    photographs: Path, tmp_path: Path
) -> None:
    sheet = np.asarray(preview_sheet(config_of(photographs, tmp_path / "run")))
    below = sheet[40:72, 4:36]
    assert np.array_equal(below[::2, ::2], below[1::2, 1::2])
    assert not np.array_equal(sheet[4:36:2, 4:36:2], sheet[5:36:2, 5:36:2])


def test_pairs_of_one_size_are_refused_in_one_line(main: Main, pairs: Path, tmp_path: Path) -> None:
    done = main("train", "pix2pix", pairs, "-o", tmp_path / "run", "--set", "generator=fast",
                "--set", "generator.scale=2")  # fmt: skip
    assert done.returncode == 2 and "--set pairs=degrade" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()

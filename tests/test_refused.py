"""Combinations without meaning, and absent feature weights, are named before a picture is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from img2img.errors import ConfigError, DataError, EnvironmentFault, Img2ImgError, ModelError
from img2img.methods import Pix2PixConfig
from img2img.model_format.checkpoint import load_model, save_model
from img2img.training import TrainConfig, train
from img2img.training.events import DataRead, TrainingEvent
from img2img.training.presets import resolve
from img2img.training.run_folder import claimed
from img2img.training.setup import check
from tests.broken_sets import domains, save, scene
from tests.conftest import Main, info_of, small_generator, stargan

ABSENT = "nowhere.bin"


def refused(
    tmp_path: Path,
    method: str,
    settings: dict[str, Any],
    kind: type[Img2ImgError] = ConfigError,
    code: int = 2,
    **loop: Any,
) -> str:
    """What a training of data that do not exist is answered with."""
    out = tmp_path / "run"
    values = {"method": method, "data": tmp_path / "none", "out": out, "settings": settings}
    with pytest.raises(kind) as caught:
        check(resolve(values | loop), dry_run=False)
    assert "\n" not in str(caught.value) and caught.value.exit_code == code and not out.exists()
    return str(caught.value)


@pytest.mark.parametrize("method", ["pix2pix", "stargan"])
@pytest.mark.parametrize("term", ["lambda_statistics", "lambda_sliced"])
def test_a_style_without_a_set_of_it(tmp_path: Path, method: str, term: str) -> None:
    said = refused(tmp_path, method, {term: 1.0})
    assert f"set {term}=0" in said and "or the method stylize" in said


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "stargan"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "chroma", "in_channels": 1}, "needs 3 channels in"),
        ({"output": "mask", "in_channels": 3, "out_channels": 1}, "use output=direct"),
        ({"output": "residual", "in_channels": 1, "out_channels": 3}, "use output=direct"),
        ({"widht": 8}, "width"),
    ],
)
def test_an_output_that_the_channels_do_not_allow(
    tmp_path: Path, method: str, options: dict[str, Any], said: str
) -> None:
    assert said in refused(tmp_path, method, {"generator_options": options})


def test_a_scale_with_pairs_of_one_size(tmp_path: Path) -> None:
    settings = {"generator": "fast", "generator_options": {"scale": 2}}
    assert "give `pairs=degrade`" in refused(tmp_path, "pix2pix", settings)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("stylize", {}),
        ("pix2pix", {"lambda_perceptual": 1.0}),
        ("stargan", {"lambda_perceptual": 1.0}),
        ("cyclegan", {"lambda_style_ab": 1.0}),
        ("cyclegan", {"lambda_content_ba": 1.0}),
        ("cut", {"lambda_statistics": 1.0}),
    ],
)
def test_absent_weights_of_a_term(
    tmp_path: Path, method: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2IMG_VGG19", str(tmp_path / ABSENT))
    assert ABSENT in refused(tmp_path, method, settings)
    given = settings | {"vgg19": str(tmp_path / "other.bin")}
    assert "other.bin" in refused(tmp_path, method, given)


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "cut", "stylize"])
def test_absent_weights_of_a_discriminator(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2IMG_LITE0", str(tmp_path / ABSENT))
    assert ABSENT in refused(tmp_path, method, {"discriminator": "projected"})


@pytest.mark.parametrize("preset", ["labels", "labels-gpu"])
def test_absent_weights_of_a_preset_end_the_command_in_one_line(
    tmp_path: Path, main: Main, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.setenv("IMG2IMG_LITE0", str(tmp_path / ABSENT))
    done = main("train", "pix2pix", tmp_path / "none", "-o", tmp_path / "run", "--preset", preset)
    assert done.returncode == 2 and ABSENT in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()


METHODS = ["pix2pix", "cyclegan", "stargan", "cut", "stylize"]


@pytest.mark.parametrize("method", METHODS)
def test_a_discriminator_that_names_domains_where_there_are_none(
    tmp_path: Path, method: str
) -> None:
    other = ("projected", "stargan") if method == "stargan" else ("stargan", "patch")
    said = refused(tmp_path, method, {"discriminator": other[0]})
    assert f"discriminator {other[0]} " in said and f"give `discriminator={other[1]}`" in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lambda_gan": 0, "lambda_features": 10.0}, "lambda_features needs the discriminator"),
        ({"lambda_gan": 0, "pretrain_steps": 100}, "pretrain_steps needs the discriminator"),
        ({"lambda_gan": 0, "pause_accuracy": 0.8}, "or leave pause_accuracy out"),
        ({"pretrain_steps": 100, "lambda_l1": 0}, "give `lambda_l1` above 0"),
        ({"lambda_saturation": 1, "lambda_l1": 0}, "weights the L1 distance"),
        (
            {"lambda_saturation": 1, "generator_options": {"out_channels": 1}},
            "grey has no saturation",
        ),
        ({"penalty_every": 16}, "give `penalty=r1`"),
    ],
)
def test_settings_that_another_leaves_without_effect(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    assert said in refused(tmp_path, "pix2pix", settings)
    assert Pix2PixConfig.parse({"pretrain_steps": 9, "lambda_l1": 0, "lambda_perceptual": 1})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("loop", "said"),
    [
        ({"diffaugment": "colour"}, "unknown differentiable augmentation 'colour'. Did you mean"),
        ({"ada": True, "diffaugment": "color"}, "both change what D sees; choose one"),
        ({"augment": {"rotat": 0.5}}, "augment.rotat"),
        ({"augment": {"rotate": 2.0}}, "augment.rotate"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 is for CUDA"),
        ({"compile": "on", "checkpointing": True}, "compile=on decides by itself"),
    ],
)
def test_settings_of_the_loop_without_meaning(
    tmp_path: Path, method: str, loop: dict[str, Any], said: str
) -> None:
    assert said in refused(tmp_path, method, {"lambda_perceptual": 0.0}, **loop)


@pytest.mark.parametrize("method", METHODS)
def test_a_working_size_below_the_networks(tmp_path: Path, method: str) -> None:
    options = {"generator_options": {"width": 4}}
    said = refused(tmp_path, method, options, working_size=3)
    assert "working_size 3: the generator needs" in said


@pytest.mark.parametrize(
    ("method", "settings", "loop", "said"),
    [
        ("pix2pix", {}, {}, "needs sides of at least 24 pixels; 16x16 was given"),
        ("cyclegan", {}, {}, "discriminator.layers=2"),
        ("cut", {"discriminator": "multiscale"}, {}, "'multiscale' needs sides"),
        ("stylize", {"lambda_adversarial": 1.0}, {}, "needs sides of at least"),
        ("stargan", {}, {}, "size=64"),
        ("stylize", {"style_size": 12}, {}, "style_size 12 is below the crop size 16"),
        ("pix2pix", {"lambda_colour": 1.0}, {"crop_size": 8}, "give `crop_size=16` or more"),
        ("cyclegan", {"gan": "wgan", "penalty": "gp", "clip": 0.1}, {}, "clip"),
    ],
)
def test_networks_that_cannot_judge_such_crops(
    tmp_path: Path, method: str, settings: dict[str, Any], loop: dict[str, Any], said: str
) -> None:
    sides = {"crop_size": 16, "load_size": 16, "working_size": 0} | loop
    assert said in refused(tmp_path, method, settings, **sides)


@pytest.mark.parametrize("method", METHODS)
def test_an_absent_device(tmp_path: Path, method: str) -> None:
    said = refused(tmp_path, method, {}, EnvironmentFault, 4, device="cuda:99")
    assert "device 'cuda:99' is not available" in said


def test_weights_to_start_from(tmp_path: Path) -> None:
    small = {"generator_options": {"width": 4, "depth": 3, "norm": "instance"}}
    init = tmp_path / "model.safetensors"
    said = refused(tmp_path, "pix2pix", small, ModelError, 3, init=init)
    assert str(init) in said
    init.write_bytes(b"no model")
    assert str(init) in refused(tmp_path, "pix2pix", small, ModelError, 3, init=init)
    generator = small_generator(width=6)
    save_model(init, generator, info_of(generator))
    said = refused(tmp_path, "pix2pix", small, ModelError, 3, init=init)
    assert (
        "its generator differs from this run's; use `generator=unet`" in said
        and "generator.width=6" in said
    )
    fitting = {"generator_options": small["generator_options"] | {"width": 6}}
    values = {"method": "pix2pix", "data": tmp_path / "none", "out": tmp_path / "run"}
    check(resolve(values | {"settings": fitting, "init": init}), dry_run=False)


def test_weights_of_other_domains_are_compared_by_their_networks(tmp_path: Path) -> None:
    init = stargan(tmp_path / "three.safetensors")
    options = load_model(init)[1].generator_config
    options = {name: value for name, value in options.items() if name != "domains"}
    values = {"method": "stargan", "data": tmp_path / "none", "out": tmp_path / "run"}
    values |= {"init": init, "settings": {"generator_options": options}}
    check(resolve(values), dry_run=False)  # of three domains, which the data may have
    said = refused(
        tmp_path, "stargan", {"generator_options": options | {"blocks": 2}}, ModelError, 3,
        init=init,
    )  # fmt: skip
    assert "use `generator=resnet` `generator.blocks=1`" in said


def test_a_folder_that_a_process_trains_in(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = TrainConfig(method="pix2pix", data=tmp_path / "none", out=out)
    with (
        claimed(out),
        pytest.raises(EnvironmentFault, match=f"process {os.getpid()} is already training"),
    ):
        train(config)
    with pytest.raises(DataError, match="no such folder"):
        train(config)


def test_refused_weights_leave_nothing_behind(pairs: Path, tmp_path: Path) -> None:
    """Also where pictures are decoded into the run folder, whose domains are known only then."""
    out, init = tmp_path / "run", tmp_path / "model.safetensors"
    generator = small_generator(width=6)
    save_model(init, generator, info_of(generator))
    sizes = {"crop_size": 32, "load_size": 32, "working_size": 0, "steps": 1, "cache_mb": 0}
    read: list[TrainingEvent] = []
    config = {"method": "pix2pix", "data": pairs, "out": out, "init": init} | sizes
    with pytest.raises(ModelError, match="differs from this run's"):
        train(resolve(config), read.append)
    assert not read and not out.exists()
    three = stargan(tmp_path / "three.safetensors", size=64)
    options = {n: v for n, v in load_model(three)[1].generator_config.items() if n != "domains"}
    domains(tmp_path / "faces", "cat", "dog")
    sizes |= {"crop_size": 64, "load_size": 64, "batch_size": 2}
    config = {"method": "stargan", "data": tmp_path / "faces", "out": out, "init": three} | sizes
    config["settings"] = {"generator_options": options, "discriminator_options": {"width": 4}}
    with pytest.raises(ModelError, match=r"use `generator=resnet` `generator\.domains=3`"):
        train(resolve(config), read.append)
    assert any(isinstance(event, DataRead) for event in read) and not out.exists()


def test_refused_pictures_leave_only_whole_files(tmp_path: Path) -> None:
    out = tmp_path / "run"
    domains(tmp_path / "faces", "cat", "dog")
    (tmp_path / "faces" / "train" / "cat" / "3.png").write_bytes(b"no picture")
    values = {"method": "stargan", "data": tmp_path / "faces", "out": out, "cache_mb": 0}
    with pytest.raises(DataError, match="1 training pictures unusable"):
        train(resolve(values))
    assert not out.exists()
    save(scene(3), tmp_path / "faces" / "train" / "cat" / "3.png")
    for name in ("cat", "dog"):
        path = tmp_path / "faces" / "test" / name / "1.png"
        save(scene(9), path)
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 training pictures unusable"):
        train(resolve(values))
    assert [path.suffix for path in sorted((out / "cache").glob("train-*"))] == [".json", ".u8"]

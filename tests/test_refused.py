"""Combinations without meaning, and absent feature weights, are named before a picture is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from img2img.errors import ConfigError
from img2img.training.presets import resolve
from img2img.training.setup import check
from tests.conftest import Main

ABSENT = "nowhere.bin"


def refused(tmp_path: Path, method: str, settings: dict[str, Any]) -> str:
    """What a training of data that do not exist is answered with."""
    out = tmp_path / "run"
    values = {"method": method, "data": tmp_path / "none", "out": out, "settings": settings}
    with pytest.raises(ConfigError) as caught:
        check(resolve(values), dry_run=False)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2 and not out.exists()
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

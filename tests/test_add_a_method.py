"""The how-to page that adds a method is true: its code is taken from the page and passes the contract
tests that every method passes."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img import methods
from img2img.data.checks import check_data
from img2img.evaluation.sources import for_model
from img2img.methods import METHODS, Method
from img2img.model_format.checkpoint import load_model
from img2img.settings import described
from img2img.training import presets_of, resolve, train
from img2img.training.assigning import assigned
from img2img.training.data_check import wanted
from tests import test_loop, test_pix2pix
from tests.conftest import ROOT, Main, into, picture

PAGE = ROOT / "docs" / "how-to" / "add-a-method.md"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Method]]:
    """The method of the page: its file in the package, its line in the table."""
    text = PAGE.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    ((name, kind),) = re.findall(r'^    "(\w+)": "(\w+)",$', text, re.M)
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    importlib.invalidate_caches()
    monkeypatch.setitem(METHODS, name, kind)
    # Processes that a test starts find it in the same way.
    known = (
        "from img2img import methods\n"
        f"methods.__path__.append({str(folder)!r})\n"
        f"methods.METHODS[{name!r}] = {kind!r}"
    )
    plain = test_loop.in_two_processes
    monkeypatch.setattr(
        test_loop, "in_two_processes", lambda config, logs: plain(config, logs, known)
    )
    yield METHODS[name]
    sys.modules.pop(f"img2img.methods.{name}", None)


@pytest.fixture
def data(mirror: type[Method], pairs: Path, tmp_path: Path) -> dict[str, Path]:
    return test_loop.folders(pairs, tmp_path)


def test_it_keeps_the_contract(mirror: type[Method]) -> None:
    test_pix2pix.test_every_trainer_keeps_the_contract("mirror")


def test_it_trains_publishes_and_shows(data: dict[str, Path], tmp_path: Path) -> None:
    test_loop.test_every_method_trains_publishes_and_shows("mirror", data, tmp_path)
    for name in ("AtoB", "BtoA"):
        assert load_model(tmp_path / "run" / f"{name}.safetensors")[1].method == "mirror"


def test_its_data_are_checked_as_what_it_learns_from(data: dict[str, Path], tmp_path: Path) -> None:
    """Pairs, by the data set that it names; no command names the method."""
    for side in "AB":
        (tmp_path / "two" / side).mkdir(parents=True)
        for k in range(4 if side == "A" else 3):
            picture(40, 40, k).save(tmp_path / "two" / side / f"{k}.png")
    report = check_data(tmp_path / "two", wanted("mirror")).report
    assert report.refused and "unpaired" in [finding.kind for finding in report.findings]
    assert "img2img train mirror" in report.command and "--preset" not in report.command
    assert not check_data(tmp_path / "two", wanted("cyclegan")).report.refused
    assert for_model(data["mirror"], METHODS["mirror"].Data.kind, held_out=2).paired


def test_it_is_validated(data: dict[str, Path], tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    train(test_loop.config_of("mirror", data, tmp_path / "run"), into(events))
    assert "A to B: psnr" in next(e for e in events if e["event"] == "validation")


def test_it_resumes_to_the_bit(data: dict[str, Path], tmp_path: Path) -> None:
    test_loop.test_every_method_resumes_to_the_bit("mirror", data, tmp_path)


def test_its_tiny_preset_really_trains(data: dict[str, Path], tmp_path: Path) -> None:
    test_loop.test_the_tiny_preset_really_trains("mirror", data, tmp_path)


def test_a_dry_run_of_it_writes_nothing(data: dict[str, Path], tmp_path: Path) -> None:
    test_loop.test_a_dry_run_estimates_and_writes_nothing("mirror", data, tmp_path)


@pytest.mark.parametrize("more", [{"diffaugment": "color,translation,cutout"}, {"ada": True}])
def test_it_takes_augmentation_of_what_discriminators_see(
    more: dict[str, Any], data: dict[str, Path], tmp_path: Path
) -> None:
    test_loop.test_augmentation_of_what_the_discriminator_sees("mirror", more, data, tmp_path)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
@pytest.mark.distributed
@pytest.mark.slow
def test_two_processes_learn_it_as_one_does(data: dict[str, Path], tmp_path: Path) -> None:
    test_loop.test_two_processes_learn_what_one_learns("mirror", "instance", data, tmp_path)


def test_one_line_in_the_table_puts_it_into_the_help() -> None:
    program = (
        "import sys; from img2img.methods import METHODS; METHODS['mirror'] = 'Mirror'\n"
        "from img2img.cli import main; sys.argv[1:] = ['train', '--help']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "stargan, stylize or mirror." in " ".join(done.stdout.split())


def test_its_tiny_preset_is_small(mirror: type[Method], tmp_path: Path) -> None:
    values = {"method": "mirror", "data": tmp_path, "out": tmp_path}
    config = resolve(values, "tiny")
    assert (config.steps, config.crop_size) == (300, 64)
    assert config.settings["generator_options"] == {"width": 8, "depth": 4}
    assert "tiny" in presets_of(mirror)


@pytest.mark.parametrize("method", [*METHODS, "mirror"])
def test_every_setting_says_what_it_means(method: str, mirror: type[Method], main: Main) -> None:
    done = main("train", method, "--help-settings")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    for row in described(METHODS[method].Config):
        assert row.meaning, row.name
        (at,) = [k for k, x in enumerate(lines) if x.startswith(f"  {row.name}  (")]
        assert f"default: {row.default})" in lines[at] and lines[at + 1].strip()
    assert any(x.startswith("  crop_size  (integer >= 8; default: ") for x in lines)


def test_defaults_are_those_of_the_method(main: Main) -> None:
    assert (
        "  steps  (integer >= 1; default: 200000)"
        in main("train", "stargan", "--help-settings").stdout
    )
    assert (
        "  steps  (integer >= 1; default: none)"
        in main("train", "pix2pix", "--help-settings").stdout
    )


def test_an_unknown_method_has_no_settings(main: Main) -> None:
    done = main("train", "pix2pics", "--help-settings")
    assert done.returncode == 2 and "Did you mean 'pix2pix'" in done.stderr


def test_a_name_that_the_loop_has_too_is_reached_by_its_prefix() -> None:
    given = {"steps": 5, "settings": {"a": 1}}
    values = assigned(given, ["seed=3", "method.seed=4", "generator.width=8", "augment.flip=false"])
    settings = {"a": 1, "seed": 4, "generator_options": {"width": 8}}
    assert values == {"steps": 5, "seed": 3, "augment": {"flip": False}, "settings": settings}
    assert given == {"steps": 5, "settings": {"a": 1}}

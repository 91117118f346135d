"""The doctor finds what is planted and names the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from img2img.diagnostics import doctor
from img2img.errors import EnvironmentFault, ModelError
from img2img.model_format.find import default_name, find_model, shipped, weights_folder
from img2img.system import installed


@pytest.fixture(autouse=True)
def _plain_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an activated environment, whatever runs the tests."""
    monkeypatch.setattr(installed, "_pip", lambda command: ["pip", command])


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in versions:
            if versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return str(versions[name])
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def problems() -> list[doctor.Finding]:
    return [row for row in doctor.examine() if row.status == "problem"]


@pytest.mark.slow
def test_two_wheels_of_one_import_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, **{"albumentations": "2.0.8", "albumentationsx": "1.0"})
    (row,) = problems()
    assert "albumentations and albumentationsx overwrite each other" in row.what
    assert row.fix.startswith("pip uninstall -y albumentations albumentationsx && pip install ")


def test_the_successor_under_another_licence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, albumentations=None, albumentationsx="2.5.1")
    (row,) = [f for f in doctor.examine() if "albumentationsx" in f.what]
    assert row.status == "problem" and "AGPL" in row.what
    assert row.fix.startswith("pip uninstall -y albumentationsx && pip install 'albumentations>=")
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_a_missing_package_of_a_present_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, onnxscript=None)
    (row,) = problems()
    assert (row.what, row.fix) == ("onnxscript is missing", installed.hint("train"))


def test_an_absent_extra_is_a_note_not_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, **dict.fromkeys(doctor.requirements()["train"]))
    assert problems() == []
    notes = [row for row in doctor.examine() if row.status == "note"]
    assert [row.fix for row in notes] == [installed.hint("train")]


def test_a_wheel_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.importlib.import_module

    def load(name: str) -> object:
        if name == "onnxscript":
            raise OSError("libfoo.so.3: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", load)
    (row,) = problems()
    assert "does not load: libfoo.so.3" in row.what and "--force-reinstall" in row.fix


def test_requirements_are_read_for_this_machine() -> None:
    groups = doctor.requirements()
    names = [n for n in groups[""] if n.startswith("onnxruntime")]
    assert len(names) == 1 and {"numpy", "Pillow", "typer", "rich"} <= set(groups[""])
    assert {"torch", "safetensors"} <= set(groups["train"]) and "pytest" in groups["dev"]


def test_a_damaged_shipped_model_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in weights_folder().iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    victim = tmp_path / f"{default_name()}.safetensors"
    data = bytearray(victim.read_bytes())
    data[-7] ^= 1
    victim.write_bytes(data)
    monkeypatch.setattr("img2img.model_format.find.weights_folder", lambda: tmp_path)
    (row,) = problems()
    assert "damaged" in row.what
    assert row.fix.startswith("pip install --force-reinstall --no-deps ")


def test_missing_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "img2img.model_format.find.__file__", str(tmp_path / "img2img" / "model_format" / "find.py")
    )
    with pytest.raises(ModelError, match="shipped weights are missing"):
        shipped()


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_models_are_whole_and_within_the_limits(name: str) -> None:
    from img2img.model_format.checkpoint import read_model_info
    from img2img.runners import open_runner

    model = shipped()[name]
    for suffix in model.files:
        path = find_model(name, (suffix,))
        assert path.stat().st_size <= 15 * 2**20
        info = read_model_info(path) if suffix == ".safetensors" else open_runner(path, "cpu").info
        assert (info.name, info.licence) == (name, model.licence)
    card = (weights_folder() / model.card).read_text()
    for word in ("Data", "Licence", "Training command", "Quality", "Samples"):
        assert f"## {word}" in card
    assert model.licence.split(":")[0] in card


def test_the_processor_openvino_and_the_choice_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [row.what for row in doctor.examine()]
    (processor,) = [text for text in found if text.startswith("processor: ")]
    assert "cores for this process" in processor
    assert any(text.startswith("device cpu: openvino fp32") for text in found)
    (choice,) = [text for text in found if text.startswith("a long job with ")]
    assert " uses onnxruntime " in choice or " uses openvino " in choice
    monkeypatch.setattr(doctor.cpu, "flags", lambda: frozenset({"avx2"}))
    assert "no bf16 arithmetic" in doctor._processor().what
    (only, _) = doctor._openvino()
    assert only.what == "device cpu: openvino fp32"
    monkeypatch.setattr(doctor.cpu, "flags", lambda: None)
    assert "does not report" in doctor._processor().what


def test_an_openvino_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise EnvironmentFault("OpenVINO cannot be loaded: libtbb.so.12")

    monkeypatch.setattr("img2img.runners.openvino._core", broken)
    first, choice = doctor._openvino()
    assert first.status == "problem" and "libtbb.so.12" in first.what
    assert first.fix == "pip install --force-reinstall openvino"
    assert choice.status == "ok" and "onnxruntime" in choice.what

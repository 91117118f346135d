"""Runs, states, models and manifests that version 0.1.0 wrote before its modules moved."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.methods import METHODS
from img2img.model_format.checkpoint import load_model
from img2img.runners import open_runner
from img2img.training import resolve, train
from img2img.training.run_folder import states_of
from tests.conftest import Cli, into

OLD = Path(__file__).parent / "data" / "made_by_0.1.0"
OLD_METHODS = ("pix2pix", "cyclegan", "stargan", "stylize")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, which is the working directory: the runs have relative paths."""
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    monkeypatch.chdir(folder)
    return folder


def test_every_method_of_that_time_is_here() -> None:
    assert set(OLD_METHODS) <= set(METHODS)


@pytest.mark.parametrize("method", OLD_METHODS)
def test_a_run_resumes_without_a_difference(method: str, old: Path) -> None:
    import tomllib

    config = tomllib.loads((old / method / "config.toml").read_text())
    events: list[dict] = []
    train(resolve(config), into(events))
    assert [e["text"] for e in events if e["event"] == "warning"] == []
    start = next(e for e in events if e["event"] == "start")
    assert start["step"] == 4
    (newest, *_) = states_of(old / method)
    assert newest.name == "state-00000008.i2i"
    rows = [json.loads(x) for x in (old / method / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["event"] == "step"] == list(range(1, 9))


@pytest.mark.parametrize("path", sorted(OLD.glob("*/*.safetensors")), ids=lambda p: p.parent.name)
def test_a_model_loads_and_runs(path: Path) -> None:
    generator, info = load_model(path)
    domain = torch.zeros(1, len(info.domains)) if info.domains else None
    with torch.no_grad():
        answer = generator(torch.zeros(1, 3, 32, 32), domain)
    assert answer.shape == (1, 3, 32, 32) and torch.isfinite(answer).all()


@pytest.mark.parametrize("path", sorted(OLD.glob("*/*.onnx")), ids=lambda p: p.parent.name)
def test_an_export_gives_what_its_source_gives(path: Path) -> None:
    x = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
    runners = [open_runner(p, "cpu", name) for p, name in
               ((path, "onnxruntime"), (path.with_suffix(".safetensors"), "torch"))]  # fmt: skip
    domain = [1.0, 0.0, 0.0] if runners[0].info.domains else None
    domains = None if domain is None else np.array([domain], np.float32)
    a, b = (runner.infer(x, domains) for runner in runners)
    assert np.abs(a - b).max() < 1e-4


def test_a_translated_folder_is_still_done(cli: Cli, old: Path) -> None:
    manifest = old / "translated" / ".img2img" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows[1:]:
        source, output = old / row["source"], old / "translated" / row["output"]
        os.utime(source, ns=(row["of"][1], row["of"][1]))
        os.utime(output, ns=(row["is"][1], row["is"][1]))
    command = ("translate", "data/styled/A", "-m", "pix2pix/model.onnx", "--json")
    done = cli(*command, "-o", "translated", cwd=old)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["done"], summary["skipped"]) == (0, 3)
    assert cli(*command, "-o", "new", cwd=old).returncode == 0
    for row in rows[1:]:
        with Image.open(old / "translated" / row["output"]) as before:
            a = np.asarray(before, int)
        with Image.open(old / "new" / row["output"]) as after:
            assert np.abs(a - np.asarray(after, int)).max() <= 1

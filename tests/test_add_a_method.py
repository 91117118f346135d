"""The how-to page that adds a method is true: its code is taken from the page, trained, resumed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from img2img.methods import METHODS
from img2img.model_format.checkpoint import load_model
from img2img.training import resolve, train
from tests.conftest import ROOT, into
from tests.test_training import Stop, final, same


def test_a_method_in_one_file(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "how-to" / "add-a-method.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "mirror_method.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    method = importlib.import_module("mirror_method").Mirror
    monkeypatch.setitem(METHODS, method.name, method)
    values = {
        "method": "mirror", "data": pairs, "steps": 6, "load_size": 40, "crop_size": 32, "ema": 0.9,
        "device": "cpu", "threads": 1, "precision": "fp32", "sample_every": 3,
        "settings": {"generator_options": {"width": 4, "depth": 3}},
    }  # fmt: skip
    events: list[dict[str, Any]] = []
    train(resolve(values | {"out": tmp_path / "whole"}), into(events))
    assert "A to B: psnr" in next(e for e in events if e["event"] == "validation")
    train(resolve(values | {"out": tmp_path / "cut"}), should_stop=Stop(4))
    train(resolve(values | {"out": tmp_path / "cut"}))
    assert same(final(tmp_path / "whole")["nets"], final(tmp_path / "cut")["nets"])
    for name in ("AtoB", "BtoA"):
        assert load_model(tmp_path / "cut" / f"{name}.safetensors")[1].method == "mirror"

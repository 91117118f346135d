"""The notebooks of examples/ run from top to bottom, with a small configuration and without Jupyter."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def cells_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def run(path: Path, **values: object) -> tuple[dict[str, Any], list[Image.Image]]:
    """The names that the cells of a notebook leave, and the pictures they show: what its last
    expression is, as Jupyter displays it. `values` replace those of the cell of parameters."""
    names: dict[str, Any] = {}
    shown = []
    for number, cell in enumerate(cells_of(path)):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]), f"{path.name}, cell {number}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{path.name}, cell {number}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            assert values.keys() <= names.keys(), "the notebook has no such parameter"
            names |= values
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            shown += [value] if isinstance(value, Image.Image) else []
    return names, shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_clean_and_small(path: Path) -> None:
    whole = json.loads(path.read_text(encoding="utf-8"))
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    cells = whole["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert code[0]["metadata"] == {"tags": ["parameters"]}, "parameters stand first"
    assert path.stat().st_size < 20_000 and cells[0]["source"][0].startswith("# ")
    texts = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#:]+)\)", texts):
        assert (path.parent / target).exists(), target
    assert f"examples/{path.name}" in README


def test_the_notebook_that_translates(
    tmp_path: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = run(
        ROOT / "examples" / "translate_a_folder.ipynb", PHOTOS="photos", OUT="out", SIZE=64
    )
    assert [p.height for p in shown] == [240, 240, 240, 160]
    said = capsys.readouterr().out
    assert "painting       " in said and "3 translated, 0 failed" in said
    assert (tmp_path / "out" / "sub" / "one.jpg").is_file()
    half, whole = (shown[1].crop((k * 324, 0, k * 324 + 320, 240)) for k in (1, 2))
    assert half.tobytes() != whole.tobytes()
    assert names["translator"].info.name == "painting"


def test_the_notebook_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "examples" / "train_your_own.ipynb"
    monkeypatch.chdir(tmp_path)
    names, shown = run(path, COUNT=6, STEPS=2)
    assert (tmp_path / "demo-run" / "model.safetensors").is_file() and len(shown) == 3
    said = capsys.readouterr().out
    assert "'step': 2" in said and "psnr" in said
    # As it stands, by the clock; and the same cells again resume, or end at once.
    end = {"schedule": "time", "max_minutes": 10, "steps": None}
    config = names["resolve"]({**names["settings"], **end}, preset="tiny")
    assert (config.schedule, config.max_minutes, config.steps) == ("time", 10, None)
    again, _ = run(path, COUNT=6, STEPS=2)
    assert again["model"] == names["model"]

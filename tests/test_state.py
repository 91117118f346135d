"""Every field of the state of a training matters: without it, the resumed run is another one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.errors import ModelError
from img2img.training import TrainConfig, run_folder, setup, train
from tests.test_loop import config_of, data, logged
from tests.test_training import Stop, final, same

__all__ = ["data"]  # a fixture
_CUT, _STEPS, _EARLIER = 7, 10, 1000.0


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are scaled as for fp16, which only CUDA has; the scale grows every third step."""
    connect = setup._connect

    def with_scaler(config: Any, method: Any, h: Any) -> Any:
        view = connect(config, method, h)
        method.descent.scaler = torch.amp.GradScaler("cpu", growth_interval=3)
        return view

    monkeypatch.setattr(setup, "_connect", with_scaler)


def _config(data: dict[str, Path], out: Path, **more: Any) -> TrainConfig:
    """A run that uses every field: pools, an average, adaptive augmentation, pauses, a best model
    with patience, and looks at its health."""
    usual = {
        "steps": _STEPS, "save_every": 100, "sample_every": 2, "ema": 0.9, "ada": True,
        "best": "l1", "patience": 50,
    }  # fmt: skip
    config = config_of("cyclegan", data, out, **usual | more)
    settings = config.settings | {"pause_accuracy": 0.55, "gan": "lsgan"}
    return config.model_copy(update={"settings": settings})


def _end(out: Path) -> dict[str, Any]:
    """What a run has come to: its state, whether it counts the minutes before the cut, and what it
    has logged of losses and health."""
    state = final(out)
    rows = [(row["step"], row["losses"]) for row in logged(out, "step")]
    figures = [{**row} for row in logged(out, "health-figures")]
    minutes = state.pop("minutes") >= _EARLIER
    facts = {n: v for n, v in state.pop("facts").items() if n not in ("out", "steps")}
    return {**state, "minutes": minutes, "facts": facts, "losses": rows, "figures": figures}


def _unequal(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one if not same(one[name], other[name])]


@pytest.mark.slow
@pytest.mark.usefixtures("scaled")
def test_a_state_without_one_of_its_fields_is_not_whole(
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each field in turn is what it was before the first step; the facts, which never change, are
    missing. The keys are those of the state itself, so a new field is among them."""
    train(_config(data, tmp_path / "new"), should_stop=Stop(0))
    new = final(tmp_path / "new")
    assert new["step"] == 0 and all(new[name] is not None for name in new)
    load = run_folder.load_state

    train(_config(data, tmp_path / "cut"), should_stop=Stop(_CUT))

    def resumed(dropped: str) -> dict[str, Any]:
        out = shutil.copytree(tmp_path / "cut", tmp_path / f"without-{dropped}")

        def forgetful(path: Path) -> dict[str, Any]:
            state = load(path)
            state["minutes"] += _EARLIER
            lost = {} if dropped == "facts" else new.get(dropped)
            return state | ({dropped: lost} if dropped else {})

        monkeypatch.setattr(run_folder, "load_state", forgetful)
        train(_config(data, out))
        monkeypatch.setattr(run_folder, "load_state", load)
        return _end(out)

    train(_config(data, tmp_path / "whole"))
    whole = _end(tmp_path / "whole") | {"minutes": True}
    assert _unequal(whole, resumed("")) == []
    unnoticed = []
    for field in new:
        try:
            if not _unequal(whole, resumed(field)):
                unnoticed.append(field)
        except ModelError as error:
            assert field == "facts" and "started with other settings" in str(error)
    monkeypatch.undo()
    assert unnoticed == []

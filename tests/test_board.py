"""TensorBoard sees what the log says, once."""

from __future__ import annotations

import importlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from img2img.errors import EnvironmentFault, MissingExtra
from img2img.training import train
from tests.conftest import into
from tests.test_training import Stop, config_of


def read(out: Path) -> EventAccumulator:
    return EventAccumulator(str(out / "tensorboard"), {"scalars": 0, "images": 0}).Reload()


def points(out: Path, name: str) -> list[tuple[int, float]]:
    return [(e.step, e.value) for e in read(out).Scalars(name)]


def test_the_curves_are_those_of_the_log_and_the_sheet_is_the_file(
    pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(config_of(pairs, out, tensorboard=True))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [r for r in rows if r["event"] == "step"]
    for name in ("D", "G/gan", "G/l1"):
        logged = [(r["step"], pytest.approx(r["losses"][name])) for r in steps]
        assert points(out, f"loss/{name}") == logged and len(logged) == 6
    held_out = [(r["step"], pytest.approx(r["ssim"])) for r in rows if r["event"] == "validation"]
    assert points(out, "held-out/ssim") == held_out and [s for s, _ in held_out] == [6, 12]
    assert [s for s, _ in points(out, "run/lr_factor")] == [2, 4, 6, 8, 10, 12]
    images = read(out).Images("held-out")
    assert [i.step for i in images] == [6, 12]
    with (
        Image.open(BytesIO(images[1].encoded_image_string)) as seen,
        Image.open(out / "samples" / "step-00000012.jpg") as file,
    ):
        assert np.array_equal(np.asarray(seen), np.asarray(file))


def test_steps_done_again_appear_once(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = config_of(pairs, out, tensorboard=True)
    train(config, should_stop=Stop(7))
    assert [s for s, _ in points(out, "loss/D")] == [2, 4, 6]
    # A run that was killed has logged steps that its last state does not know.
    (out / "state-00000007.i2i").unlink()
    train(config)
    assert [s for s, _ in points(out, "loss/D")] == [2, 4, 6, 8, 10, 12]
    assert [i.step for i in read(out).Images("held-out")] == [6, 12]


def test_without_the_package_the_extra_is_named_before_any_picture_is_read(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("tensorboard"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    events: list[dict[str, Any]] = []
    with pytest.raises(MissingExtra, match=r"install .*\[tensorboard\]"):
        train(config_of(pairs, tmp_path / "run", tensorboard=True), into(events))
    assert events == [] and not (tmp_path / "run").exists()


def test_a_dry_run_writes_no_event_file_and_a_plain_run_none_either(
    pairs: Path, tmp_path: Path
) -> None:
    train(config_of(pairs, tmp_path / "dry", tensorboard=True), dry_run=True)
    train(config_of(pairs, tmp_path / "plain", steps=1))
    assert not (tmp_path / "dry").exists() and not (tmp_path / "plain" / "tensorboard").exists()


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(
    pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    with pytest.raises(EnvironmentFault, match=r"tensorboard: \S"):
        train(config_of(pairs, tmp_path / "run", tensorboard=True))

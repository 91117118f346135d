"""The report of a run is there before its first step and is kept up while nothing is validated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.methods.pix2pix import Pix2Pix
from img2img.training import TrainConfig, train
from img2img.training.events import Progress, Started, TrainingEvent
from img2img.training.presets import resolve
from img2img.training.record import Record

SMALL = {
    "generator_options": {"width": 4, "norm": "instance"},
    "discriminator_options": {"width": 4, "layers": 1},
}


def config_of(pairs: Path, out: Path) -> TrainConfig:
    values = {"method": "pix2pix", "data": pairs, "out": out, "settings": SMALL, "steps": 4}
    sizes = {"crop_size": 32, "load_size": 32, "working_size": 0}
    return resolve(values | sizes)


def steps_written(
    pairs: Path, out: Path, monkeypatch: pytest.MonkeyPatch, every: float
) -> tuple[dict[str, Any], list[int]]:
    """run.json before the first step, and the step in it at each progress."""
    monkeypatch.setattr("img2img.training.record._EVERY", every)
    monkeypatch.setattr("img2img.training.record._SHARE", 0)
    monkeypatch.setattr("img2img.training.progress._EVERY", 0.0)
    rows: list[dict[str, Any]] = []

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, Progress):
            rows.append(json.loads((out / "run.json").read_text()))
            assert "<title>" in (out / "report.html").read_text()

    train(config_of(pairs, out), listen)
    return rows[0], [row["step"] for row in rows]


def test_a_page_is_there_from_the_start_and_follows(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, steps = steps_written(pairs, tmp_path / "a", monkeypatch, every=0.0)
    assert steps == [0, 1, 2, 3] and first["state"] == "running" and not first["columns"]
    _, steps = steps_written(pairs, tmp_path / "b", monkeypatch, every=1e9)
    assert steps == [0, 0, 0, 0]
    # What a validation and a save write does not depend on it.
    ends = [json.loads((tmp_path / n / "run.json").read_text()) for n in "ab"]
    assert [(end["step"], end["state"]) for end in ends] == [(4, "finished")] * 2
    assert ends[0]["columns"] == ends[1]["columns"] != []


def test_writing_takes_a_hundredth_of_the_time_at_most(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Started] = []
    config = config_of(pairs, tmp_path / "run")
    train(config, lambda e: started.append(e) if isinstance(e, Started) else None)
    now, takes, count = 0.0, 0.25, 0

    def page(*a: object) -> None:
        nonlocal now, count
        now, count = now + takes, count + 1

    monkeypatch.setattr("img2img.training.record.write_report", page)
    record = Record(
        config, started[0], {"settings": {}}, torch.device("cpu"), Pix2Pix, {}, lambda: now
    )

    def written_at(times: list[float]) -> list[float]:
        nonlocal now
        found = []
        for t in times:
            now, before = t, count
            assert record.keep_up(1, 0.0, "running") == ""
            found += [t] if count > before else []
        return found

    assert written_at([0, 30, 60, 61, 100, 120, 122]) == [0, 61, 122]
    takes = 3.0  # 300 seconds apart
    assert written_at([200, 400, 502, 504]) == [200, 504]
    now = 505.0
    record.write(7, 0.1, "running")  # a validation does not wait
    assert written_at([806, 810]) == [810] and count == 7

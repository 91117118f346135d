"""What is shown while the training data are looked at."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from img2img.cli import progress
from img2img.cli.console import set_quiet
from img2img.cli.progress import counting
from img2img.cli.train_progress import Reporter
from img2img.errors import DataError
from img2img.training import train
from img2img.training.events import DataExamined, DataRead, TrainingEvent
from img2img.training.presets import resolve
from tests import broken_sets
from tests.conftest import Main


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_every_ten_seconds_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with counting("looked at") as show:
        for done, now[0] in ((1, 51.0), (2, 60.0), (3, 61.0), (4, 71.0)):
            show(done, 9)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["looked at 2 of 9 pictures", "looked at 4 of 9 pictures"]
    for shown in (True, False):
        set_quiet(shown)
        with counting("looked at", shown=shown) as show:
            now[0] += 100
            show(5, 9)
        set_quiet(False)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(tmp_path: Path, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_sets.pairs(tmp_path / "in", 12)
    monkeypatch.setenv("TERM", "xterm")
    for json in ([], ["--json"]):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            said = main("data", "check", tmp_path / "in", *json)
        assert said.returncode == 0 and "looked at" not in said.stdout
        seen = "looked at" in terminal.getvalue() and "24/24" in terminal.getvalue()
        assert seen == (not json), terminal.getvalue()


def test_a_training_reports_the_progress_of_its_data_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_sets.foreign_file(tmp_path / "in")
    values = {"method": "pix2pix", "data": tmp_path / "in", "out": tmp_path / "run"}
    events: list[TrainingEvent] = []
    with Reporter(json=False) as report, pytest.raises(DataError):
        train(
            resolve(values | {"crop_size": 32, "load_size": 32, "working_size": 0}),
            lambda event: (events.append(event), report(event))[0],
            examine=True,
        )
    looked = [event for event in events if isinstance(event, DataExamined)]
    assert [(e.done, e.total) for e in looked] == [(k, 24) for k in range(1, 25)]
    assert events.index(looked[-1]) < events.index(DataRead(1, 11))
    assert "looked at 24 of 24 pictures" in capsys.readouterr().err.splitlines()

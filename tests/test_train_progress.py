"""What `img2img train` prints while it runs, and the commands that look at runs."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from img2img.cli import train_progress
from img2img.cli.train_progress import Reporter, panel
from img2img.training.events import HealthNote, Progress, StepDone
from tests.conftest import Main
from tests.test_report import run_at

NOW = Progress(3, 10, {"D": 0.5}, 8.0, 90.0, 2**30, "psnr", 21.5, 2, "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(train_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_after_the_first_step_and_then_by_time(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(json=False) as report:
        for step, clock[0] in ((1, 100.0), (2, 109.0), (3, 110.5), (10, 111.0)):
            report(dataclasses.replace(NOW, step=step))
            report(StepDone(step, 10, 0, 1.0, 1.0, 1.0, {"D": 1.0}))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/10", "3/10", "10/10"]
    assert lines[0] == "step 1/10  D 0.5000  8 pictures/s  90 s left"


def test_a_kind_of_health_note_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = Reporter(json=False)
    for step, problem in ((1, "border"), (2, "border"), (3, "inverted")):
        report(HealthNote(step, problem, f"{problem} found: give `seed=1`", 1.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 1: border found") and len(lines) == 2
    assert "--set seed=1" in lines[1]


def test_json_has_every_event(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    report = Reporter(json=True)
    for _ in range(2):
        report(NOW)
        report(HealthNote(3, "border", "seen", 1.0))
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["event"] for row in rows] == ["progress", "health", "health"]
    assert rows[0]["pictures_per_second"] == 8.0 and rows[1]["problem"] == "border"


def test_the_panel_tells_what_a_person_asks() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(panel(NOW))
    console.print(panel(dataclasses.replace(NOW, health="mode collapse")))
    text = console.export_text()
    for part in ("3/10", "90 s left", "D 0.5", "8 pictures/s", "1.0 GiB", "21.5 at step 2"):
        assert part in text
    assert "nothing found" in text and "mode collapse" in text


def test_runs_are_listed_and_compared(main: Main, tmp_path: Path) -> None:
    a, b = run_at(tmp_path / "runs" / "a"), run_at(tmp_path / "runs" / "b", steps=20)
    done = main("runs", str(tmp_path / "runs"))
    head, first, _ = done.stdout.splitlines()
    assert head.split() == ["run", "method", "state", "steps", "best", "time"]
    assert first.split() == [str(a), "pix2pix", "finished", "40/40", "psnr", "19", "at", "20"]
    rows = main("runs", str(tmp_path / "runs"), "--json").stdout.splitlines()
    assert json.loads(rows[1])["step"] == 20
    page = tmp_path / "two.html"
    assert main("report", str(a), str(b), "-o", str(page)).stdout.strip() == str(page)
    assert main("report", str(a)).stdout.strip() == str(a / "report.html")
    for path in (page, a / "report.html"):
        assert "</html>" in path.read_text()
    wrong = main("runs", str(tmp_path / "nothing"))
    assert wrong.returncode == 2 and "no run folder" in wrong.stderr

"""A few trials of each row of the table of faults; `python -m tests.faults` runs the full counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.watched import write_pictures
from tests.conftest import ROOT
from tests.counted import growth
from tests.faults import ROWS, all_rows, run_row

pytestmark = pytest.mark.skipif(os.name != "posix", reason="faults are injected the POSIX way")


# Whole trainings, cut and resumed again and again; slow senders; what other quick tests show too.
LONG = ("cuts", "memory", "ranks", "renames", "signals", "workers", "slow", "requests")
REPEATED = ("bombs", "decoders", "many", "names", "outputs")


# Of the rows of training and serving; the others are slow tests.
QUICK = ("kills", "flips", "uploads")


def marked(name: str) -> Any:
    quick = name not in LONG + REPEATED and (name in ROWS or name in QUICK)
    return pytest.param(name, marks=[] if quick else [pytest.mark.slow])


@pytest.mark.parametrize("row", [marked(name) for name, row in ROWS.items() if row.few])
def test_row(row: str, onnx_file: Path) -> None:
    if row in ("many", "decoders", "names") and sys.platform != "linux":
        pytest.skip("looks into /proc, or needs names of any bytes")
    seen = run_row(row, onnx_file, ROWS[row].few)
    assert seen.trials > 0
    assert seen.wrong == [], seen.figure


@pytest.mark.parametrize("row", [marked(name) for name in all_rows() if name not in ROWS])
def test_row_of_training_or_serving(row: str, onnx_file: Path) -> None:
    if row in ("workers", "memory") and sys.platform != "linux":
        pytest.skip("looks into /proc")
    if row == "memory":  # in a process of its own: what other tests hold must not decide its limit
        command = [sys.executable, "-m", "tests.faults", row, "--count", str(all_rows()[row].few)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    seen = run_row(row, onnx_file, all_rows()[row].few)
    if seen.not_tried:
        pytest.skip(seen.not_tried)
    assert seen.trials > 0
    assert seen.wrong == [], seen.figure


def test_a_row_that_cannot_be_tried_here_says_so(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not keep the rows behind it from being tried."""
    from tests import powerfaults

    monkeypatch.setattr(powerfaults, "no_power", lambda: "no loop devices")
    seen = run_row("power", onnx_file, 1)
    assert seen.words == "not tried: no loop devices" and not seen.wrong


def test_what_goes_wrong_is_seen(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import faults, hostile

    def mislabelled(count: int, seed: int) -> list[hostile.Trial]:
        import numpy as np

        trial = hostile.good(np.random.default_rng(seed))
        return [hostile.Trial("bad", trial.name, trial.data, "bad")]

    monkeypatch.setattr(faults.hostile, "trials", mislabelled)
    seen = run_row("hostile", onnx_file, 1)
    assert any("done" in text for text in seen.wrong)  # a bad picture was translated
    assert any("exit 0" in text for text in seen.wrong)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("leak", "complaint"),
    [
        ("kept.append(np.zeros((8, 8, 3), np.uint8))", "arrays: "),
        ("kept.append(open(os.devnull))", "handles: "),
        ("kept.append({1: []})", "builtins.dict: "),
    ],
)
def test_a_planted_leak_is_counted(
    leak: str, complaint: str, onnx_file: Path, tmp_path: Path
) -> None:
    """One array, one handle, one dictionary a picture."""
    write_pictures(tmp_path / "in", 450, 8)
    job = [tmp_path / "in", "-o", tmp_path / "out", "-m", onnx_file]
    wrong = growth(job, 150, 450, tmp_path, f"kept = globals().setdefault('kept', []); {leak}")
    assert any(text.startswith(complaint) for text in wrong), wrong

"""`img2img bench`: every row from a process of its own, or the reason why there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from img2img.diagnostics import bench as bench_module
from img2img.diagnostics.bench import Row, bench, parse_size
from img2img.errors import UsageError
from img2img.system.memory import process_peak
from tests.conftest import Cli


@pytest.fixture
def run(onnx_file: Path, model_file: Path, tmp_path: Path) -> Path:
    """A folder with a model in both formats."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (onnx_file, model_file):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_sizes_in_words() -> None:
    assert parse_size("256") == (256, 256) and parse_size("640x480") == (480, 640)
    for wrong in ("", "x", "0", "-4x5", "65537", "4x5x6", "ä"):
        with pytest.raises(UsageError, match="neither a side"):
            parse_size(wrong)


@pytest.mark.slow
def test_rows_are_measured_or_say_why_not(run: Path) -> None:
    rows = list(
        bench(str(run), [(48, 40)], [1, 3], ["onnxruntime", "torch"], ["fp32", "bf16"], "cpu", 0.0)
    )
    assert [(r.runner, r.precision, r.batch) for r in rows] == [
        (name, p, n) for n in (1, 3) for name in ("onnxruntime", "torch") for p in ("fp32", "bf16")
    ]
    for row in rows:
        assert row.size == "40x48" and row.device == "cpu"
        if row.runner == "onnxruntime" and row.precision == "bf16":
            assert "runner onnxruntime computes fp32" in row.reason and row.ms is None
        elif row.precision == "fp32":
            assert row.reason == "" and row.ms is not None and row.db is not None
            assert row.pictures_per_s == pytest.approx(1000 * row.batch / row.ms, rel=0.01)
            megapixels = row.pictures_per_s * 40 * 48 / 1e6
            assert row.megapixels_per_s == pytest.approx(megapixels, rel=0.05, abs=1e-4)
            assert row.db > 80 and row.max_levels in (0, 1)
            assert row.peak_mb is not None and row.peak_mb > 30


@pytest.mark.slow
def test_the_error_is_measured_against_fp32(run: Path) -> None:
    from img2img.system import cpu

    rows = {r.precision: r for r in bench(str(run), [(64, 64)], [1], ["openvino"], [], "cpu", 0.0)}
    assert set(rows) == {"fp32", "bf16", "fp16"}
    if cpu.bf16_arithmetic() == "":
        assert "no bf16 arithmetic" in rows["bf16"].reason
    elif not rows["bf16"].reason:
        assert rows["bf16"].db is not None and 30 < rows["bf16"].db < 70
        assert (rows["bf16"].max_levels or 0) >= 1


@pytest.mark.slow
def test_memory_is_that_of_the_row(run: Path) -> None:
    held = np.ones(200 * 2**20, np.uint8)  # what this process holds is not counted
    assert process_peak() > held.nbytes
    small, large = (
        next(bench(str(run), [(side, side)], [1], ["onnxruntime"], [], "cpu", 0.0))
        for side in (32, 1024)
    )
    assert small.peak_mb is not None and large.peak_mb is not None
    assert small.peak_mb < 190 and large.peak_mb > small.peak_mb + 20


def test_a_crash_loses_one_row(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def crashing(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        case = json.loads(command[3])
        if case["precision"] == "bf16":
            command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
        if case["batch"] == 2 and not case["keep"]:
            command = [sys.executable, "-c", "import time; time.sleep(3600)"]
            options["timeout"] = 0.2
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(bench_module.subprocess, "run", crashing)
    rows = list(bench(str(run), [(32, 32)], [1, 2], ["openvino"], ["bf16", "fp32"], "cpu", 0.0))
    killed = "(code" if sys.platform == "win32" else "(signal 9)"
    assert "the process crashed" in rows[0].reason and killed in rows[0].reason
    assert rows[1].reason == "" and rows[1].ms
    assert "no result after" in rows[3].reason


def test_a_file_is_measured_by_the_runners_that_take_it(onnx_file: Path) -> None:
    rows = list(bench(str(onnx_file), [(32, 32)], [1], ["torch", "auto"], [], "cpu", 0.0))
    assert all("takes .safetensors files" in r.reason for r in rows if r.runner == "torch")
    assert rows[-1].runner.startswith("auto: ") and rows[-1].ms


@pytest.mark.slow
def test_the_command(cli: Cli, run: Path, onnx_file: Path) -> None:
    flags = ("--size", "40x32", "--seconds", "0", "--device", "cpu")
    done = cli("bench", run, "--runner", "onnxruntime", "--runner", "torch", *flags)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["runner", "precision", "size", "batch", "ms", "pictures/s", "MP/s", "peak", "MB", "dB", "levels"]  # fmt: skip
    assert lines[1].split()[:4] == ["onnxruntime", "fp32", "40x32", "1"]
    assert "same" in lines[1] and lines[1].endswith(" 0")
    assert any("not measured: torch computes fp16 on cuda and mps" in line for line in lines)
    done = cli("bench", onnx_file, "--runner", "torch", "--json", *flags)
    assert done.returncode == 4
    first = Row(**json.loads(done.stdout.splitlines()[0]))
    assert "takes .safetensors files" in first.reason
    for arguments, code in (
        (("nonesuch",), 2),
        ((run, "--runner", "nonesuch"), 2),
        ((run, "--precision", "fp8"), 2),
        ((run, "--size", "big"), 2),
        ((run, "--batch", "0"), 2),
    ):
        done = cli("bench", *arguments)
        assert done.returncode == code and done.stderr.count("\n") == 1, (arguments, done.stderr)


def test_the_speed_of_a_model_is_measured_after_a_turn_that_does_not_count(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.diagnostics import speed

    ticks = iter([0, 100, 0, 3, 0, 2, 0, 5])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    assert speed.seconds_per_megapixel(onnx_file) == pytest.approx(2 / 0.786432)

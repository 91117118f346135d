"""The figures of `evaluate` do not depend on the process, nor on how many threads torch has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from img2img.features import missing_features
from img2img.metrics.critic import judge_apart
from tests.conftest import Cli
from tests.test_evaluate import crops


@pytest.mark.slow
def test_a_report_is_repeated_to_the_last_digit(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    """A model on photographs, and two sets with a real network, in processes of 1 and 2 threads."""
    if why := missing_features("lite0"):
        pytest.skip(why)
    real = crops(tmp_path / "real", 30, 0, lambda x: x)
    fake = crops(tmp_path / "fake", 30, 1, lambda x: x.quantize(8).convert("RGB"))
    for name, job in (
        ("sets", ("--fake", fake, "--real", real, "--unpaired", "--training", real)),
        ("model", (onnx_file, real)),
    ):
        reports = []
        for threads in ("1", "2"):
            out = tmp_path / f"{name}{threads}"
            command = ("evaluate", *job, "--features", "lite0", "-o", out)
            ended = cli(*command, env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads})
            assert ended.returncode == 0, ended.stderr
            reports.append((out / "report.json").read_bytes())
        assert reports[0] == reports[1], name


def test_the_critic_does_not_depend_on_the_number_of_threads() -> None:
    draws = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=draws)
    fake = (real.float() * 0.9).byte()
    before = torch.get_num_threads()
    try:
        scores = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            scores.append(judge_apart(real, fake, steps=12))
    finally:
        torch.set_num_threads(before)
    assert scores[0] == scores[1]

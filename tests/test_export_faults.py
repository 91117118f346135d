"""A killed export or a full disk leaves the old file whole.

python -m tests.test_export_faults --trials 50 counts more kills than the tests do.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from img2img.model_format.checkpoint import save_model
from img2img.runners.onnx import OnnxRunner
from tests.conftest import Cli, info_of, small_generator

# The network is traced and proven once, so that a kill meets the writing and the rename.
LOOP = """
import sys
from pathlib import Path
import torch
from img2img.exporting import onnx as export
from img2img.exporting import parity
torch.set_num_threads(1)
source, target = map(Path, sys.argv[1:])
core, table = {}, {}
trace, prove = export.to_core, parity.compare
export.to_core = lambda g, o: core.setdefault(0, core.get(0) or trace(g, o))
parity.compare = lambda *a: table.setdefault(0, table.get(0) or prove(*a))
while True:
    export.export_onnx(source, target, export.ExportOptions(size=(16, 16)))
    print("done", flush=True)
"""


def kill_at_random_moments(folder: Path, trials: int, draw: random.Random) -> int:
    """Kill `trials` processes that export to the same file again and again; return how often the
    file could be used afterwards. Each starts by sweeping what the one before left."""
    generator = small_generator()
    source, target = folder / "m.safetensors", folder / "m.onnx"
    save_model(source, generator, info_of(generator))
    whole = 0
    for _ in range(trials):
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(source), str(target)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None and process.stdout.readline() == b"done\n"
        time.sleep(draw.uniform(0, 0.4))
        process.kill()
        process.wait()
        assert len(list(folder.glob(".i2i-*"))) <= 1  # the one before was swept
        y = OnnxRunner(target, "cpu")(np.zeros((16, 16, 3), np.uint8))
        whole += y.shape == (16, 16, 3)
    return whole


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill is SIGKILL here")
def test_a_killed_export_leaves_a_whole_file(tmp_path: Path) -> None:
    assert kill_at_random_moments(tmp_path, 2, random.Random(0)) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size the POSIX way")
def test_a_full_disk_leaves_the_old_export(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    import resource

    (tmp_path / "m.onnx").write_bytes(b"older")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    full = cli(
        "export", model_file, "-o", "m.onnx", "--static", "16x16",
        preexec_fn=limit, env={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert full.returncode == 4 and full.stderr == "img2img: m.onnx: not written: disk full\n"
    assert (tmp_path / "m.onnx").read_bytes() == b"older" and full.stdout == ""
    assert os.listdir(tmp_path) == ["m.onnx"]
    freed = cli("export", model_file, "-o", "m.onnx", "--static", "16x16")
    assert freed.returncode == 0 and OnnxRunner(tmp_path / "m.onnx").export


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw = random.Random(arguments.seed)
        whole = kill_at_random_moments(Path(folder), arguments.trials, draw)
    print(f"{whole} of {arguments.trials} killed exports left a whole file")


if __name__ == "__main__":
    main()

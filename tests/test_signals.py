"""A second signal ends a training at once and leaves what the same command resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_training import final, same
from tests.tinyruns import left_behind, pictures

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")

# The command line, which waits for ever at one moment, and says so.
_PROGRAM = """
import os, sys, time
from pathlib import Path
from img2img.cli import main
from img2img.training.run import Run

learn, replace = Run.learn, os.replace

def wait():
    print("waiting", flush=True)
    end = time.monotonic() + 600
    while time.monotonic() < end:
        time.sleep(60)

def learning(self):
    if self.step == 3:
        wait()
    learn(self)

def replacing(source, target, **more):
    if Path(target).name == "state-00000004.i2i":
        wait()
    replace(source, target, **more)

where = os.environ.get("WAITS")
if where == "step":
    Run.learn = learning
if where == "save":
    os.replace = replacing
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("where", "step"), [("step", 3), ("save", 3)])
def test_a_second_signal_ends_it_at_once(
    sign: signal.Signals, where: str, step: int, tmp_path: Path
) -> None:
    """In a step that never ends, and where a state is written but has not its name yet."""
    data, program = pictures(tmp_path / "data"), tmp_path / "program.py"
    program.write_text(_PROGRAM)

    def start(out: Path, waits: str = "") -> subprocess.Popen[str]:
        command = [
            sys.executable, program, "train", "pix2pix", data, "-o", out, "--preset", "tiny",
            "--steps", "6", "--batch-size", "1", "--set", "save_every=1", "--threads", "1",
            "--device", "cpu", "--json",
        ]  # fmt: skip
        return subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "WAITS": waits},
        )  # fmt: skip

    process = start(tmp_path / "cut", where)
    assert process.stdout is not None and process.stderr is not None
    assert "waiting\n" in iter(process.stdout.readline, "")
    process.send_signal(sign)
    assert any("press Ctrl-C again" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(sign)
    assert "Traceback" not in process.communicate(timeout=300)[1]
    assert process.returncode == 128 + sign
    assert final(tmp_path / "cut")["step"] == step
    assert (left_behind(tmp_path / "cut") is None) == (where == "step")
    for out in ("cut", "whole"):
        process = start(tmp_path / out)
        assert process.communicate()[1].count("Traceback") == process.returncode == 0
    assert left_behind(tmp_path / "cut") is None  # swept
    ends = [final(tmp_path / out) for out in ("cut", "whole")]
    for name in ("step", "nets", "optimizers", "health"):
        assert same(ends[0][name], ends[1][name]), name

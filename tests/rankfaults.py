"""One of two processes of a training killed, stopped or poisoned with NaN: a row of
`python -m tests.faults training`.

The processes run on one machine under torchrun, as `--devices 2` starts them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from img2img.model_format.checkpoint import load_state
from tests.commands import kill_session, left_behind
from tests.faults import Place, Seen, _unless, _within
from tests.tinyruns import differs, ending, pictures

_STEPS = 6
_ENDS = 120.0  # seconds that torchrun and the start of Python may take on top of the time-out
# The command line, in which one process meets its fault before a step.
_PROGRAM = """
import os, signal
from img2img.cli import main
from img2img.training.run import Run

rank, step, fault = os.environ.get("FAULT", "- - -").split()
learn = Run.learn

def hit(self):
    if os.environ["RANK"] == rank and str(self.step) == step:
        if fault == "NaN":
            next(self.method.nets["G"].parameters()).data.fill_(float("nan"))
        else:
            os.kill(os.getpid(), getattr(signal, fault))
    learn(self)

Run.learn = hit
main()
"""
_ARGUMENTS = (
    "--steps", str(_STEPS), "--batch-size", "2", "--set", "load_size=36", "--set", "crop_size=32",
    "--set", "save_every=1", "--set", "generator.width=4", "--set", "generator.depth=3",
    "--set", "generator.norm=instance", "--set", "discriminator.width=4",
    "--set", "discriminator.layers=1", "--set", "discriminator.norm=instance",
    "--device", "cpu", "--precision", "fp32", "--threads", "1",
)  # fmt: skip


def ranks(place: Place) -> Seen:
    """The first or the second of two processes is killed, stopped or gets NaN at a random step: all
    processes end within the time-out, the last state is whole and finite, and the same command ends
    as if nothing had been."""
    seen = Seen()
    data, program = pictures(place.inside("data")), place.folder / "program.py"
    program.write_text(_PROGRAM)
    patience = 20 if place.count >= 12 else 60  # of a process for the others, in seconds

    def train(out: Path, fault: str = "") -> tuple[int, str, float, list[int]]:
        """The exit code, what was said, the seconds, and processes that were left."""
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", program, "train", "pix2pix", data, "-o", out]
        command += [*_ARGUMENTS, "--set", f"process_timeout={patience}"]
        environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"FAULT": fault} if fault else {}
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            said = process.communicate(timeout=600)[1].decode(errors="replace")
            left = left_behind(process.pid, 5)
        finally:
            kill_session(process.pid)
        return process.returncode, said, time.monotonic() - began, left

    code, said, _, _ = train(place.folder / "whole")
    assert code == 0, said
    whole, slowest = ending(place.folder / "whole"), 0.0
    for trial in range(place.count):
        rank, kind = trial % 2, ("SIGKILL", "SIGSTOP", "NaN")[trial // 2 % 3]
        out, step = place.folder / f"run{trial}", int(place.rng.integers(1, _STEPS))
        code, said, seconds, left = train(out, f"{rank} {step} {kind}")
        slowest = max(slowest, seconds)
        wrong = _state_at(out, step)
        again, resumed, _, _ = train(out)
        seen.judge(
            f"trial {trial}, process {rank}, {kind} at step {step}",
            _unless(code != 0, "ended with 0"),
            _unless(kind != "NaN" or "is nan" in said, f"said {said[-300:]!r}"),
            _unless(seconds <= patience + _within(place, _ENDS), f"{seconds:.0f} s"),
            _unless(not left, f"processes {left} were left"), wrong,
            _unless(again == 0, f"the resumed command ended with {again}: {resumed[-300:]!r}"),
            differs(out, whole),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"slowest end {slowest:.0f} s, time-out {patience} s"
    return seen


def _state_at(out: Path, step: int) -> str | None:
    """Complains where the newest state is not a whole and finite one of this step."""
    from img2img.errors import ModelError
    from img2img.training.run_folder import states_of

    try:
        state = load_state(states_of(out)[0])
    except (ModelError, IndexError) as error:
        return f"no whole state: {error}"
    values = [x for net in state["nets"].values() for x in net.values()]
    if not all(bool(torch.isfinite(x).all()) for x in values):
        return "the state is not finite"
    return _unless(state["step"] == step, f"the newest state is of step {state['step']}")

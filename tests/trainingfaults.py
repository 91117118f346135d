"""What a training promises under fault: rows of `python -m tests.faults training`.

What resumes must end with the very networks, optimizers, averages and pools of the run that nothing
happened to.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import ModelError
from tests import diskfaults, powerfaults, processfaults, rankfaults
from tests.conftest import picture
from tests.faults import Place, Row, Seen, _unless
from tests.tinyruns import (
    STEPS,
    Work,
    config,
    differs,
    ending,
    events,
    finished,
    forked,
    left_behind,
    pictures,
    stopping,
    telling,
    undisturbed,
)


def kills(place: Place) -> Seen:
    """SIGKILL at random moments of a loop that saves at every step; then the same training."""
    seen = Seen()
    data, whole, seconds = undisturbed(place)
    amid = 0
    for trial in range(place.count):
        out = place.folder / f"run{trial}"
        run = config(data, out)

        def kill(pid: int) -> None:
            time.sleep(float(place.rng.uniform(0.1, 1.0)) * seconds)
            os.kill(pid, signal.SIGKILL)

        code = forked(finished(run), kill)
        amid += code == -signal.SIGKILL and bool(list(out.glob("state-*")))
        again = forked(finished(run))
        seen.judge(
            f"trial {trial}",
            _unless(code in (0, -signal.SIGKILL), f"ended with {code}"),
            _unless(again == 0, f"the resumed run ended with {again}"),
            differs(out, whole), left_behind(out),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"{amid} kills after the first save"
    return seen


def renames(place: Place) -> Seen:
    """A kill before and one after the n-th rename of a run, for n = 1, 2, ... up to all of them (or
    `count`, spread over the run)."""
    seen = Seen()
    data, whole, _ = undisturbed(place)
    counted = place.folder / "renames"

    def replacing(at: int, after: bool) -> None:
        real, done = os.replace, [0]

        def replace(*names: Any, **more: Any) -> None:
            done[0] += 1
            if done[0] == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*names, **more)
            if done[0] == at and after:
                os.kill(os.getpid(), signal.SIGKILL)
            if at == 0:
                counted.write_text(str(done[0]))

        os.replace = replace

    def work(run: Any, at: int, after: bool) -> Work:
        def inside() -> None:
            replacing(at, after)
            finished(run)()

        return inside

    forked(work(config(data, place.folder / "count"), 0, False))
    total = int(counted.read_text())
    chosen = sorted(
        {1 + k * total // min(total, place.count) for k in range(min(total, place.count))}
    )
    for at in chosen:
        for after in (False, True):
            out = place.folder / f"run{at}{after}"
            run = config(data, out)
            code = forked(work(run, at, after))
            again = forked(finished(run))
            seen.judge(
                f"{'after' if after else 'before'} rename {at}",
                _unless(code == -signal.SIGKILL, f"ended with {code}"),
                _unless(again == 0, f"the resumed run ended with {again}"),
                differs(out, whole),
            )
            shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"{len(chosen)} of {total} renames"
    return seen


def flips(place: Place) -> Seen:
    """One bit of a state or of a model file flipped, evenly over both: refused, or the same."""
    from img2img.model_format.checkpoint import load_model, load_state
    from img2img.training.run_folder import states_of
    from tests.test_training import same

    seen = Seen()
    undisturbed(place)
    state, model = (
        states_of(place.folder / "whole")[0],
        place.folder / "whole" / "model.safetensors",
    )

    def read_model(path: Path) -> Any:
        generator, info = load_model(path)
        return dict(generator.state_dict()), info.to_dict()

    refused = 0
    for path, read in ((state, load_state), (model, read_model)):
        data, good = path.read_bytes(), read(path)
        flipped = place.folder / f"flipped{path.suffix}"
        count = max(1, place.count // 2)
        places = np.linspace(0, 8 * len(data) - 1, count).astype(np.int64)
        for bit in places + place.rng.integers(0, 8, count):
            bit = min(int(bit), 8 * len(data) - 1)
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            flipped.write_bytes(changed)
            complaint = None
            try:
                found = read(flipped)
            except ModelError:
                refused += 1
            except BaseException as error:
                complaint = f"{type(error).__name__}: {error}"
            else:
                complaint = None if same(good, found) else "read as something else"
            seen.judge(f"bit {bit} of {path.name}", complaint)
    seen.figure = f"{refused} refused, the others read as they were"
    return seen


def older(place: Place) -> Seen:
    """The newest state truncated, emptied, overwritten or replaced: the run continues from the one
    before it, says so, and ends as if nothing had been."""
    from img2img.training.run_folder import states_of

    seen = Seen()
    data, whole, _ = undisturbed(place)
    for trial in range(place.count):
        out = place.folder / f"run{trial}"
        run = config(data, out)
        forked(stopping(run, int(place.rng.integers(2, STEPS))))
        newest = states_of(out)[0]
        content = newest.read_bytes()
        cut = int(place.rng.integers(1, len(content)))
        damaged = (
            content[:cut], b"", bytes(len(content)), content[:cut] + bytes(len(content) - cut),
            place.rng.bytes(len(content)), content + b"\0",
        )[trial % 6]  # fmt: skip
        newest.write_bytes(damaged)
        told = out / "told"
        code = forked(telling(run, told))
        warned = [row["text"] for row in events(told, "warning")]
        seen.judge(
            f"trial {trial}",
            _unless(code == 0, f"ended with {code}"),
            _unless(any("falling back to the state before" in w for w in warned), f"said {warned}"),
            differs(out, whole),
        )
        shutil.rmtree(out, ignore_errors=True)
    return seen


def cuts(place: Place) -> Seen:
    """Every method, without workers and with two, stopped at every step (or at `count` of them) and
    resumed. Adaptive augmentation, which has a state of its own, is on, and health is looked at
    four times."""
    from img2img.methods import METHODS

    seen = Seen()
    steps = max(place.count, 4)
    for method in METHODS:
        for workers in (0, 2):
            here = place.inside(f"{method}{workers}")
            data = _data_for(method, here)
            more = {"method": method, "steps": steps, "workers": workers, "save_every": steps}
            more |= {"ada": True, "sample_every": steps // 4}
            forked(finished(config(data, here / "whole", **more)))
            whole = ending(here / "whole")
            for at in range(1, min(steps, place.count + 1)):
                out = here / f"cut{at}"
                run = config(data, out, **more)
                forked(stopping(run, at))
                code = forked(finished(run))
                seen.judge(
                    f"{method}, {workers} workers, step {at}",
                    _unless(code == 0, f"ended with {code}"), differs(out, whole),
                )  # fmt: skip
                shutil.rmtree(out, ignore_errors=True)
    return seen


def _data_for(method: str, folder: Path) -> Path:
    """Data in the layout of the method."""
    if method != "stargan" and method != "stylize":
        return pictures(folder / "data")
    for place, name in enumerate(("A", "B") if method == "stylize" else ("red", "green", "blue")):
        parts = ("",) if method == "stylize" else ("train", "test")
        for part in parts:
            target = folder / "data" / part / name
            target.mkdir(parents=True)
            for k in range(4):
                picture(60, 44, 10 * k + place).save(target / f"{k}.png")
    return folder / "data"


ROWS: dict[str, Row] = {
    "kills": Row(kills, "resumes from a whole state, same end", 2, 200),
    "renames": Row(renames, "a state counts once its last file is there", 3, 1000),
    "full-disk": Row(diskfaults.full_disk, "exit 4, old state whole, goes on with room", 2, 40),
    "gone": Row(diskfaults.gone, "exit 4, never silently unsaved", 3, 60),
    "flips": Row(flips, "refused, or the same", 200, 20000),
    "older": Row(older, "goes back to the state before, says so", 2, 60),
    "cuts": Row(cuts, "same end to the bit", 1, 40),
    "workers": Row(processfaults.workers, "replaced at the same batch, same end", 1, 50),
    "signals": Row(processfaults.signals, "130 or 143 within 10 s, same end", 1, 50),
    "memory": Row(processfaults.memory, "exit 4, what to lower, goes on with room", 1, 10),
    "ranks": Row(rankfaults.ranks, "all end, last state whole, same end", 1, 12),
    "power": Row(powerfaults.power, "what was saved is there, same end", 2, 65),
    "clock": Row(powerfaults.clock, "the newest state is the last, same end", 2, 40),
}

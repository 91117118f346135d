"""What a training promises under fault: rows of `python -m tests.faults training`.

Most trials train a tiny Pix2Pix in a forked process, which spares the start of Python and torch, so
that hundreds of kills take minutes. What resumes must end with the very networks, optimizers,
averages and pools of the run that nothing happened to.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from img2img.errors import Img2ImgError, ModelError
from tests import powerfaults
from tests.conftest import picture
from tests.faults import Place, Row, Seen, _unless, _within

_STEPS = 12
_COMPARED = ("step", "nets", "optimizers", "trainer", "ema", "view", "best")
Work = Callable[[], object]


def pictures(folder: Path, count: int = 4) -> Path:
    """Pairs of 40 pixels: B is A inverted."""
    for part, many in (("train", count), ("val", 1)):
        (folder / part).mkdir(parents=True)
        for k in range(many):
            a = np.asarray(picture(40, 40, k))
            Image.fromarray(np.hstack([a, 255 - a])).save(folder / part / f"{k}.png")
    return folder


def config(data: Path, out: Path, method: str = "pix2pix", **more: Any) -> Any:
    """The settings of a tiny run that saves at every step."""
    from img2img.training import resolve
    from tests.test_loop import SETTINGS

    values = {
        "method": method, "data": data, "out": out, "steps": _STEPS, "load_size": 36,
        "crop_size": 32, "batch_size": 2, "log_every": 1, "sample_every": 100, "save_every": 1,
        "device": "cpu", "threads": 1, "precision": "fp32", "ema": 0.9,
        "settings": SETTINGS[method],
    }  # fmt: skip
    return resolve(values | more)


def forked(work: Work, during: Callable[[int], None] = lambda pid: None) -> int:
    """Do `work` in a forked process; its exit code, or minus the signal that ended it. `during`
    gets the process's number."""
    pid = os.fork()
    if pid == 0:
        code = 0
        with open(os.devnull, "w") as nowhere:
            sys.stderr = nowhere
            try:
                work()
            except Img2ImgError as error:
                code = error.exit_code
            except BaseException:
                code = 99
            os._exit(code)
    during(pid)
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def finished(run: Any) -> Work:
    """The training as work."""
    from img2img.training import train

    return lambda: train(run)


def ending(out: Path) -> dict[str, Any]:
    """What the newest state holds of what must not depend on a fault."""
    from img2img.model_format.checkpoint import load_state
    from img2img.training.run_folder import states_of

    state = load_state(states_of(out)[0])
    return {name: state[name] for name in _COMPARED if name in state}


def differs(out: Path, whole: dict[str, Any]) -> str | None:
    """In words, in what a run's end differs from that of the undisturbed one."""
    from tests.test_training import same

    try:
        found = ending(out)
    except (ModelError, IndexError) as error:
        return f"no whole state: {error}"
    wrong = [name for name in whole if not same(whole[name], found.get(name))]
    return f"another {', '.join(wrong)}" if wrong else None


def undisturbed(place: Place, **more: Any) -> tuple[Path, dict[str, Any], float]:
    """Data, the end of a run without a fault, and how long it took."""
    data = pictures(place.inside("data"))
    began = time.monotonic()
    code = forked(finished(config(data, place.folder / "whole", **more)))
    assert code == 0, f"the undisturbed run ended with {code}"
    return data, ending(place.folder / "whole"), time.monotonic() - began


def _left_behind(out: Path) -> str | None:
    left = [p.name for p in out.rglob("*") if p.name.startswith(".") or p.name.endswith(".tmp")]
    return f"left behind: {left}" if left else None


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
            differs(out, whole), _left_behind(out),
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


def full_disk(place: Place) -> Seen:
    """No file may grow beyond a random size from the fourth step on: the run ends with 4, what was
    saved stays whole, and with room again it goes on."""
    seen = Seen()
    data, whole, _ = undisturbed(place)
    for trial in range(place.count):
        out = place.folder / f"run{trial}"
        run = config(data, out)
        forked(_stopping(run, 4))
        size = next(iter(out.glob("state-*"))).stat().st_size
        most = int(place.rng.integers(1, size))

        def cramped(run: Any = run, most: int = most) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            finished(run)()

        code = forked(cramped)
        kept = differs(out, whole)  # whole, of another step
        again = forked(finished(run))
        seen.judge(
            f"files of {most} of {size} bytes",
            _unless(code == 4, f"ended with {code}"),
            _unless(not (kept or "").startswith("no whole"), kept or ""),
            _unless(again == 0, f"with room again it ended with {again}"),
            differs(out, whole),
        )
        shutil.rmtree(out, ignore_errors=True)
    return seen


def _stopping(run: Any, after: int) -> Work:
    """The training, stopped after so many steps as by Ctrl-C."""
    from img2img.training import train
    from tests.test_training import Stop

    return lambda: train(run, should_stop=Stop(after))


def gone(place: Place) -> Seen:
    """The run folder vanishes, or becomes a file, at a random step: the run ends with 4."""
    from img2img.training import train

    seen = Seen()
    data = pictures(place.inside("data"))
    for trial in range(place.count):
        out, at = place.folder / f"run{trial}", int(place.rng.integers(1, _STEPS - 1))

        def vanish(out: Path = out, at: int = at, as_file: bool = trial % 2 == 1) -> None:
            steps = [0]

            def look() -> bool:
                if steps[0] == at:
                    shutil.rmtree(out)
                    if as_file:
                        out.write_text("")
                steps[0] += 1
                return False

            train(config(data, out), should_stop=look)

        code = forked(vanish)
        seen.judge(f"at step {at}", _unless(code == 4, f"ended with {code}"))
        with contextlib.suppress(OSError):
            out.unlink() if out.is_file() else shutil.rmtree(out)
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
        forked(_stopping(run, int(place.rng.integers(2, _STEPS))))
        newest = states_of(out)[0]
        content = newest.read_bytes()
        cut = int(place.rng.integers(1, len(content)))
        damaged = (
            content[:cut], b"", bytes(len(content)), content[:cut] + bytes(len(content) - cut),
            place.rng.bytes(len(content)), content + b"\0",
        )[trial % 6]  # fmt: skip
        newest.write_bytes(damaged)
        said = place.folder / "said"
        said.write_text("")
        code = forked(_telling(run, said))
        seen.judge(
            f"trial {trial}",
            _unless(code == 0, f"ended with {code}"),
            _unless("falling back to the state before" in said.read_text(), "nothing was said"),
            differs(out, whole),
        )
        shutil.rmtree(out, ignore_errors=True)
    return seen


def _telling(run: Any, said: Path) -> Work:
    """The training, with its warnings written to a file."""
    from img2img.training import train
    from img2img.training.events import Warned

    def listen(event: Any) -> None:
        if isinstance(event, Warned):
            with open(said, "a") as file:
                file.write(event.text + "\n")

    return lambda: train(run, listen)


def cuts(place: Place) -> Seen:
    """Every method, without workers and with two, stopped at every step (or at `count` of them) and
    resumed."""
    from img2img.methods import METHODS

    seen = Seen()
    steps = max(place.count, 4)
    for method in METHODS:
        for workers in (0, 2):
            here = place.inside(f"{method}{workers}")
            data = _data_for(method, here)
            more = {"method": method, "steps": steps, "workers": workers, "save_every": steps}
            forked(finished(config(data, here / "whole", **more)))
            whole = ending(here / "whole")
            for at in range(1, min(steps, place.count + 1)):
                out = here / f"cut{at}"
                run = config(data, out, **more)
                forked(_stopping(run, at))
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


def workers_killed(place: Place) -> Seen:
    """One of two data workers killed at a random moment: started again at the same batch, and the
    run ends as if nothing had been."""
    seen = Seen()
    data, whole, seconds = undisturbed(place, workers=2)
    hit = 0
    for trial in range(place.count):
        out = place.folder / f"run{trial}"

        def kill(pid: int) -> None:
            nonlocal hit
            time.sleep(float(place.rng.uniform(0.1, 0.9)) * seconds)
            children = [c for c in _children(pid) if "resource_tracker" not in _command(c)]
            if children:
                hit += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(children[int(place.rng.integers(len(children)))], signal.SIGKILL)

        code = forked(finished(config(data, out, workers=2)), kill)
        seen.judge(f"trial {trial}", _unless(code == 0, f"ended with {code}"), differs(out, whole))
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"{hit} workers killed"
    return seen


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def signals(place: Place) -> Seen:
    """SIGINT or SIGTERM to the whole command at a random moment, also while it starts: it ends
    within 10 s with 130 or 143 and without a traceback, and the same command does the rest."""
    seen = Seen()
    data = pictures(place.inside("data"))
    slowest = 0.0
    arguments = [
        "--steps", "30", "--set", "load_size=36", "--set", "crop_size=32", "--set", "save_every=1",
        "--set", "generator.width=4", "--set", "generator.depth=3", "--set", "discriminator.width=4",
        "--set", "discriminator.layers=1", "--threads", "1", "--device", "cpu", "--precision", "fp32",
    ]  # fmt: skip
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

    def started(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "img2img.cli", "train", "pix2pix", data, "-o", out]
        return subprocess.Popen(
            [*map(str, command), *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip

    reference = started(place.folder / "whole")
    began = time.monotonic()
    assert reference.wait() == 0
    seconds, whole = time.monotonic() - began, ending(place.folder / "whole")
    for trial in range(place.count):
        out, sign = place.folder / f"run{trial}", (signal.SIGINT, signal.SIGTERM)[trial % 2]
        process = started(out)
        time.sleep(float(place.rng.uniform(0.1, 1.0)) * seconds)
        process.send_signal(sign)
        sent = time.monotonic()
        said = process.communicate(timeout=600)[1].decode(errors="replace")
        taken = time.monotonic() - sent
        slowest = max(slowest, taken)
        again = started(out)
        again.communicate()
        # A signal before Python has set its handlers ends the process as the system does.
        codes = (0, 128 + sign, -sign)
        seen.judge(
            f"trial {trial}",
            _unless(process.returncode in codes, f"exit {process.returncode}"),
            _unless("Traceback" not in said or process.returncode == -sign, said[-200:]),
            _unless(taken <= _within(place, 10), f"{taken:.1f} s"),
            _unless(again.returncode == 0, f"the resumed command ended with {again.returncode}"),
            differs(out, whole), _left_behind(out),
        )  # fmt: skip
        shutil.rmtree(out, ignore_errors=True)
    seen.figure = f"slowest end {slowest:.1f} s"
    return seen


ROWS: dict[str, Row] = {
    "kills": Row(kills, "resumes from a whole state, same end", 2, 200),
    "renames": Row(renames, "a state counts once its last file is there", 3, 1000),
    "full-disk": Row(full_disk, "exit 4, old state whole, goes on with room", 2, 40),
    "gone": Row(gone, "exit 4, never silently unsaved", 2, 40),
    "flips": Row(flips, "refused, or the same", 200, 20000),
    "older": Row(older, "goes back to the state before, says so", 2, 60),
    "cuts": Row(cuts, "same end to the bit", 1, 40),
    "workers": Row(workers_killed, "replaced at the same batch, same end", 1, 50),
    "signals": Row(signals, "130 or 143 within 10 s, same end", 1, 50),
    "power": Row(powerfaults.power, "what was saved is there, same end", 2, 65),
    "clock": Row(powerfaults.clock, "the newest state is the last, same end", 2, 40),
}

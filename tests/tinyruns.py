"""Trainings of a few small pictures in forked processes, for the rows of training faults.

A forked process spares the start of Python and torch, so that hundreds of kills take minutes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from img2img.errors import Img2ImgError, ModelError
from tests.conftest import picture
from tests.faults import Place

STEPS = 12
COMPARED = ("step", "nets", "optimizers", "trainer", "pauses", "ema", "view", "best", "health")
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
    """The settings of a tiny run that saves at every step; its discriminators wait at times, but
    for those that only rank."""
    from img2img.methods import METHODS
    from img2img.training import resolve
    from tests.test_loop import SETTINGS

    critic = METHODS[method].Config().gan.startswith("wgan")

    values = {
        "method": method, "data": data, "out": out, "steps": STEPS, "load_size": 36,
        "crop_size": 32, "batch_size": 2, "log_every": 1, "sample_every": 100, "save_every": 1,
        "device": "cpu", "threads": 1, "precision": "fp32", "ema": 0.9,
        "settings": SETTINGS[method] | {"pause_accuracy": 0.0 if critic else 0.55},
    }  # fmt: skip
    return resolve(values | more)


def forked(
    work: Work, during: Callable[[int], None] = lambda pid: None, said: Path | None = None
) -> int:
    """Do `work` in a forked process; its exit code, or minus the signal that ended it. `during`
    gets the process's number; the text of an error goes into the file `said`."""
    pid = os.fork()
    if pid == 0:
        code, text = 0, ""
        with open(os.devnull, "w") as nowhere:
            sys.stderr = nowhere
            try:
                work()
            except BaseException as error:
                code = error.exit_code if isinstance(error, Img2ImgError) else 99
                text = str(error) if code != 99 else repr(error)
            if said:
                said.write_text(text)
            os._exit(code)
    during(pid)
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def finished(run: Any) -> Work:
    """The training as work."""
    from img2img.training import train

    return lambda: train(run)


def stopping(run: Any, after: int) -> Work:
    """The training, stopped after so many steps as by Ctrl-C."""
    from img2img.training import train
    from tests.test_training import Stop

    return lambda: train(run, should_stop=Stop(after))


def telling(run: Any, told: Path) -> Work:
    """The training, with its events appended to a file as rows of JSON."""
    from img2img.training import train

    def listen(event: Any) -> None:
        with open(told, "a") as file:
            file.write(json.dumps(event.as_row()) + "\n")

    return lambda: train(run, listen)


def events(told: Path, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind that `telling` has written."""
    rows = [json.loads(line) for line in told.read_text().splitlines()]
    return [row for row in rows if row["event"] == kind]


def ending(out: Path) -> dict[str, Any]:
    """What the newest state holds of what must not depend on a fault."""
    from img2img.model_format.checkpoint import load_state
    from img2img.training.run_folder import states_of

    state = load_state(states_of(out)[0])
    return {name: state[name] for name in COMPARED if name in state}


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


def left_behind(out: Path) -> str | None:
    left = [p.name for p in out.rglob("*") if p.name.startswith(".") or p.name.endswith(".tmp")]
    return f"left behind: {left}" if left else None

"""`run.json`, the record of a run beside its log, and `report.html`, kept up to date."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from img2img._version import __version__
from img2img.errors import EnvironmentFault, describe_os_error
from img2img.methods import Method
from img2img.system import cpu
from img2img.system.atomic import write_atomic
from img2img.training.config import TrainConfig
from img2img.training.devices import peak_memory
from img2img.training.events import Started
from img2img.training.health import Health
from img2img.training.report import Sheets, write_report
from img2img.training.runs import RECORD, Best, State, read_run

_EVENTS = 200  # kept
_EVERY = 60.0  # seconds between two writings while nothing is validated or saved
_SHARE = 100  # times what a writing takes lies between them at least: it costs 1 % at most


class Record:
    """What the log does not hold: how the run began and where, its events, time and memory.

    Attributes:
        health: its detectors.
        best: the best validation so far.
    """

    def __init__(
        self,
        config: TrainConfig,
        started: Started,
        facts: Mapping[str, Any],
        device: torch.device,
        method: type[Method],
        health: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ):
        """`health`: the state of its detectors, in a resumed run; `clock`: seconds."""
        self._clock, self._next = clock, 0.0
        self._out, self._device = config.out, device
        self._sheets = Sheets()
        self.health = Health(method.compared, str(facts["settings"].get("gan", "")), method.made_of)
        self.best: Best | None = None
        self._columns: Sequence[str] = ()
        self._warned = False
        self._written: tuple[int, State] | None = None
        self._events: list[dict[str, Any]] = []
        self._fixed = {
            "started": started.as_row(),
            "environment": environment(device),
            "data_fingerprint": facts.get("data_fingerprint"),
            "skipped": facts.get("skipped", []),
        }
        if started.step:
            before = read_run(config.out, "running")
            self.best = before.best()
            self._columns = before.record.get("columns", ())
            self._events = list(before.record.get("events", ()))
            self.health.resume(before.rows, health)
            self.add(started.step, "resume", "resumed")

    def add(self, step: int, kind: str, text: str) -> None:
        """Note an event of the time line."""
        self._events = [*self._events, {"step": step, "kind": kind, "text": text}][-_EVENTS:]

    def write(self, step: int, minutes: float, state: State) -> str:
        """Write the record and the page. Neither is worth ending a training for: where they cannot
        be written, returns what to warn of, once; else ""."""
        if self._written == (step, state):  # validated and saved after the same step
            return ""
        self._written = step, state
        return self._write(step, minutes, state)

    def keep_up(self, step: int, minutes: float, state: State) -> str:
        """`write`, where it was not written for a while; before the first step at once."""
        return self._write(step, minutes, state) if self._clock() >= self._next else ""

    def _write(self, step: int, minutes: float, state: State) -> str:
        began = self._clock()
        self._columns = self.health.columns or self._columns
        row = self._fixed | {
            "state": state,
            "step": step,
            "minutes": round(minutes, 3),
            "memory_bytes": peak_memory(self._device),
            "columns": list(self._columns),
            "events": self._events,
        }
        try:
            write_atomic(self._out / RECORD, json.dumps(row).encode())
            run = read_run(self._out, state)
            self.best = run.best()
            write_report(run, self._sheets)
        except OSError as error:
            text = f"{self._out / RECORD}: not written: {describe_os_error(error)}"
        except EnvironmentFault as error:
            text = str(error)
        else:
            text = ""
        now = self._clock()
        self._next = now + max(_EVERY, _SHARE * (now - began))
        if not text:
            return ""
        warned, self._warned = self._warned, True
        return "" if warned else text


def environment(device: torch.device) -> dict[str, Any]:
    """What a training runs on and with; nothing that names the machine or its user."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "img2img": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "CPU cores": cpu.cores(),
        "device": str(device),
        "GPU": gpu,
    }

"""Idle threads sleep, and the number of threads is measured; the clocks here are invented."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2img.errors import UsageError
from img2img.model_format.find import find_model
from img2img.runners import onnx, open_runner
from img2img.system import cpu
from img2img.system.threads import Turns, best, candidates, let_idle_threads_sleep, wait_policy
from img2img.training import TrainConfig, resolve, train
from img2img.training import setup as training
from img2img.training.pace import Pace, Watch, measure, probe
from tests.conftest import into, picture, small_generator
from tests.test_training import SMALL, Stop, final


class Machine:
    """A clock, and work that takes `seconds[threads]` of it."""

    def __init__(self, seconds: dict[int, float]):
        self.seconds, self.now, self.threads = seconds, 0.0, max(seconds)
        self.calls: list[int] = []

    def clock(self) -> float:
        return self.now

    def use(self, threads: int) -> None:
        self.threads = threads

    def work(self) -> None:
        self.calls.append(self.threads)
        self.now += self.seconds[self.threads]

    def pace(self, fixed: int | None = None, possible: bool = True) -> Pace:
        watch = Watch(self.clock)
        return Pace(fixed, possible, watch, self.clock, self.use, max(self.seconds))


@pytest.mark.slow
def test_openmp_is_asked_before_torch_loads() -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    program = (
        "import sys\n"
        "import img2img, os\n"
        "assert 'torch' not in sys.modules\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'\n"
        "import img2img.training\n"
        "assert 'torch' in sys.modules\n"
    )
    for own, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        shown = program if not own else "import img2img.training"
        environment = clean | {"OMP_DISPLAY_ENV": "TRUE"} | own
        done = subprocess.run(
            [sys.executable, "-c", shown], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        if "OMP_WAIT_POLICY" in done.stderr:  # what the library itself says it read
            assert f"OMP_WAIT_POLICY = '{expected}'" in done.stderr


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_the_users_choice_stays(name: str) -> None:
    environment = {name: "7"}
    let_idle_threads_sleep(environment)
    assert environment == {name: "7"} and wait_policy(environment) == f"{name}=7"
    environment = {}
    let_idle_threads_sleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_sessions_of_onnxruntime_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(data: bytes, options: Any, providers: list[Any]) -> Any:
        seen.append(options)
        return real(data, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    runner = open_runner(find_model("sketch2avatar", (".onnx",)), "cpu", "onnxruntime")
    for options in seen:
        for pool in ("intra", "inter"):
            assert options.get_session_config_entry(f"session.{pool}_op.allow_spinning") == "0"
    kept = runner._session.raw.get_session_options()  # type: ignore[attr-defined]
    assert kept.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert seen


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", 64), ("200000 100000", 2), ("50000 100000", 1), ("x", 64)]
)
def test_a_containers_quota_counts(
    text: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(cpu, "_CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert cpu.cores() == cores


def test_candidates() -> None:
    assert [candidates(n) for n in (1, 2, 6, 8)] == [[1], [2, 1], [6, 4, 2, 1], [8, 4, 2, 1]]


def test_numbers_take_turns_and_the_warm_up_does_not_count() -> None:
    machine = Machine({1: 0.06, 2: 0.04})
    first = {1: True, 2: True}

    def work() -> None:
        if first.pop(machine.threads, False):
            machine.now += 5
        machine.work()

    rates = measure([2, 1], work, machine.use, 100, machine.clock)
    assert rates == {2: pytest.approx(25), 1: pytest.approx(1 / 0.06)}
    turns = [
        n for n, before in zip(machine.calls, [0, *machine.calls], strict=False) if n != before
    ]
    assert turns == [2, 1] * 4


def test_measuring_stays_within_its_budget() -> None:
    machine = Machine({1: 3.0, 2: 2.0, 4: 1.0})
    rates = measure([4, 2, 1], machine.work, machine.use, 5.0, machine.clock)
    assert set(rates) == {4, 2} and machine.now <= 6.0


@pytest.mark.parametrize(
    ("rates", "chosen"), [({1: 31, 2: 54}, 2), ({1: 54, 2: 0.34}, 1), ({1: 52, 2: 54}, 1)]
)
def test_the_best_is_taken_and_of_equals_the_fewest(rates: dict[int, float], chosen: int) -> None:
    assert best(rates) == chosen


def test_a_new_run_measures() -> None:
    machine = Machine({1: 0.01, 2: 1.0})
    p = machine.pace()
    assert p.begin(None, machine.work, 1000) == ""
    assert (p.count, machine.threads, p.facts["threads"]) == (1, 1, 1)
    assert p.reason == "measured 1: 100, 2: 1 passes/s"
    p.end()
    assert machine.threads == 2


@pytest.mark.parametrize(("fixed", "possible"), [(2, True), (None, False)])
def test_a_given_number_is_never_changed(fixed: int | None, possible: bool) -> None:
    machine = Machine({1: 0.01, 2: 30.0})
    p = machine.pace(fixed, possible)
    assert p.begin({"threads": 1, "step": 5}, machine.work, 1000) == ""
    for step in range(20):
        p.watch.begin()
        machine.now += 1 if step < 10 else 500
        assert p.step_taken(step, machine.work, 1000) == ""
    assert (p.count, machine.threads, machine.calls) == (2, 2, [])
    assert p.compared({"threads": 2}) == {"threads": 2}


def test_a_short_run_is_not_measured() -> None:
    machine = Machine({1: 0.01, 2: 0.02})
    p = machine.pace()
    p.begin(None, machine.work, 49)
    assert machine.calls == []
    p.begin(None, machine.work, 60)
    assert machine.calls == [2, 2] and p.count == 2


@pytest.mark.parametrize(
    ("seconds", "kept"), [({1: 0.01, 2: 0.012}, True), ({1: 0.01, 2: 0.1}, False)]
)
def test_a_resumed_run_keeps_its_number_unless_another_is_much_faster(
    seconds: dict[int, float], kept: bool
) -> None:
    machine = Machine(seconds)
    p = machine.pace()
    assert "threads" not in p.compared({"threads": 2, "seed": 0})
    said = p.begin({"threads": 2, "step": 40}, machine.work, 5000)
    assert p.count == (2 if kept else 1)
    if kept:
        assert said == "" and p.changes == []
    else:
        assert said.startswith("now 1 thread instead of 2 (measured 1: 100, 2: 10 passes/s")
        assert "last digits" in said and p.facts["thread_changes"] == [[40, 1]]


def test_a_run_that_slows_down_is_measured_again() -> None:
    machine = Machine({1: 0.5, 2: 0.25})
    p = machine.pace()
    p.begin(None, machine.work, 100_000)
    assert p.count == 2
    said = []
    for step in range(200):
        p.watch.begin()
        machine.now += 1.0 if step < 100 else 10.0
        if step == 100:
            machine.seconds[2] = 20.0
        said.append(p.step_taken(step, machine.work, 100_000))
        machine.now += 1000.0  # validation does not count
    assert [k for k, text in enumerate(said) if text] == [101]
    assert p.count == 1 and p.changes == [[101, 1]]


@pytest.mark.parametrize("name", ["unet", "resnet"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_probe_changes_nothing(name: str, norm: str) -> None:
    net = small_generator(name, norm=norm).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    probe(net, 2, 32, "fp32")()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def config_of(pairs: Path, out: Path, **more: Any) -> TrainConfig:
    values = {
        "method": "pix2pix", "data": pairs, "out": out, "steps": 60, "load_size": 36,
        "crop_size": 32, "batch_size": 2, "sample_every": 60, "save_every": 60, "device": "cpu",
        "settings": SMALL, "precision": "fp32",
    }  # fmt: skip
    return resolve(values | more)


def test_the_number_is_recorded_and_taken_up_again(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    two = functools.partial(Pace, use=used.append, most=2)
    monkeypatch.setattr(training, "Pace", two)
    rates = {1: 9.0, 2: 3.0}
    monkeypatch.setattr(Pace, "_rates", lambda *_: rates)
    events: list[dict[str, Any]] = []
    train(config_of(pairs, tmp_path / "run"), into(events), Stop(5))
    start = next(e for e in events if e["event"] == "start")
    assert (start["threads"], start["threads_reason"]) == (1, "measured 1: 9, 2: 3 passes/s")
    assert final(tmp_path / "run")["facts"]["threads"] == 1 and used == [2, 1, 2]
    rates = {1: 9.0, 2: 10.0}
    events.clear()
    train(config_of(pairs, tmp_path / "run"), into(events), Stop(5))
    assert not [e for e in events if e["event"] == "warning"]
    assert final(tmp_path / "run")["facts"]["threads"] == 1
    train(config_of(pairs, tmp_path / "run", threads=2), into(events), Stop(1))
    (warning,) = [e for e in events if e["event"] == "warning"]
    assert "threads was 1, now 2" in warning["text"]


class Runs:
    """Runs of a network whose rate depends on the number of threads, on an invented clock."""

    def __init__(self, turns_of: Callable[[Callable[[], float]], Turns], rates: dict[int, float]):
        self.now, self.rates = 0.0, rates
        self.turns = turns_of(lambda: self.now)

    def run(self, times: int, pixels: int = 1000) -> list[int]:
        counts = []
        for _ in range(times):
            counts.append(self.turns.count)
            began = self.turns.begin()
            self.now += pixels / self.rates[self.turns.count]
            self.turns.end(began, pixels)
        return counts


def test_an_idle_machine_translates_with_all_cores() -> None:
    runs = Runs(lambda clock: Turns(4, False, clock), {4: 100.0, 2: 1.0, 1: 1.0})
    assert runs.run(50) == [4] * 50


def test_a_busy_machine_tries_each_number_and_keeps_the_best() -> None:
    runs = Runs(lambda clock: Turns(4, True, clock), {4: 10.0, 2: 30.0, 1: 29.5})
    assert runs.run(8) == [4, 2, 1, 4, 2, 1, 1, 1]  # the fewest that come near the best
    runs.rates = {4: 90.0, 2: 30.0, 1: 29.5}
    assert set(runs.run(30)) == {1}  # that another would be faster now is not known
    assert Runs(lambda clock: Turns(1, True, clock), {1: 5.0}).run(5) == [1] * 5


def test_a_rate_that_falls_is_tried_again_but_not_at_once() -> None:
    runs = Runs(lambda clock: Turns(2, False, clock), {2: 100.0, 1: 60.0})
    runs.run(3)
    runs.rates = {2: 20.0, 1: 50.0}
    counts = runs.run(30)
    first = counts.index(1)
    assert 4 <= first <= 8 and counts[first + 3 :] == [1] * (30 - first - 3)
    runs.rates = {2: 20.0, 1: 40.0}  # a little slower is no fall
    assert set(runs.run(30)) == {1}
    runs.rates = {2: 2.0, 1: 4.0}  # nor are small pictures, which have a rate of their own
    assert set(runs.run(30, pixels=10)) == {1}


def test_a_runner_gives_the_same_with_every_number_of_threads(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx.cpu, "cores", lambda: 2)
    monkeypatch.setattr(onnx, "busy", lambda cores: True)
    runner = open_runner(onnx_file, "cpu", "onnxruntime")
    pixels = np.asarray(picture(70, 50, 3))
    answers = [runner(pixels) for _ in range(6)]
    assert all(np.abs(a.astype(int) - answers[0]).max() <= 1 for a in answers)
    assert len(runner._sessions) == 1  # type: ignore[attr-defined] - the others are freed
    runner.close()
    with pytest.raises(UsageError, match="closed"):
        runner(pixels)

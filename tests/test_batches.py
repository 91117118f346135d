"""How many pictures at once: which number is chosen, what fits, and what a resume takes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.errors import ConfigError, Diverged, MemoryFault
from img2img.methods import Pix2Pix
from img2img.training import TrainConfig, batches, train
from img2img.training.batches import Trial, choose, fitting_batch, recorded
from img2img.training.preview import preview_sheet
from img2img.training.setup import choose_hardware
from tests.conftest import Main
from tests.test_training import config_of, final

CPU = torch.device("cpu")


class Tape:
    """Rates of each batch size, and a clock that each measurement moves by so many seconds."""

    def __init__(self, rates: dict[int, float | None], seconds: float = 1.0):
        self.rates, self.seconds, self.now = rates, seconds, 0.0
        self.asked: list[int] = []

    def rate(self, size: int) -> float | None:
        self.asked.append(size)
        self.now += self.seconds
        return self.rates[size]


@pytest.mark.parametrize(
    ("rates", "most", "chosen", "asked"),
    [
        ({1: 4.0, 2: 6.0, 4: 8.0, 8: 8.2, 16: 8.25, 32: 8.0}, 64, 4, [1, 2, 4, 8, 16, 32]),
        ({1: 4.0, 2: 4.0, 4: 4.1, 8: 9.0, 16: 9.0, 32: 9.0}, 64, 8, [1, 2, 4, 8, 16, 32]),
        ({1: 4.0, 2: 3.9, 4: 3.8}, 64, 1, [1, 2, 4]),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 4, 4, [1, 2, 4]),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 7, 4, [1, 2, 4]),
        ({1: 1.0, 2: 2.0, 4: None}, 64, 2, [1, 2, 4]),
        ({1: None}, 64, 1, [1]),
    ],
)
def test_the_smallest_that_comes_near_the_fastest(
    rates: dict[int, float | None], most: int, chosen: int, asked: list[int]
) -> None:
    tape = Tape(rates)
    assert choose(tape.rate, most, lambda: tape.now)[0] == chosen
    assert tape.asked == asked


def test_after_a_minute_no_larger_one_is_tried() -> None:
    tape = Tape({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, seconds=25.0)
    assert choose(tape.rate, 64, lambda: tape.now)[0] == 4


class Steps:
    """Stands for a method: counts its steps and fails at a batch that is too large."""

    def __init__(self, largest: int = 10**6, period: int = 1, error: Exception | None = None):
        self.largest, self.period, self.number = largest, period, 0
        self.error = error or MemoryError()
        self.augment = self.view = self
        self.taken: list[tuple[int, int]] = []

    def begin(self, step: int, indices: list[int]) -> None:
        assert step == self.number

    def step(self, batch: Any) -> dict[str, Any]:
        if batch.size > self.largest:
            raise self.error
        self.taken.append((batch.size, self.number))
        return {}


class Pictures:
    """Stands for data of 100 pictures."""

    def __len__(self) -> int:
        return 100

    def batch(self, indices: list[int]) -> Any:
        self.size = len(indices)
        return self

    def on(self, device: torch.device) -> Any:
        return self


def trial(method: Steps, **more: Any) -> Trial:
    ticks = iter(range(10**6))
    return Trial(method, Pictures(), CPU, "fp32", clock=lambda: next(ticks), **more)  # type: ignore[arg-type]


def test_a_rate_is_of_the_quickest_whole_period_after_one_that_warms_up() -> None:
    method, times = Steps(period=5), iter([0.0, 0.3, 1.0, 1.1, 2.0, 4.0])
    one = trial(method, first=100)
    one.clock = lambda: next(times)
    assert one.rate(2) == pytest.approx(5 * 2 / 0.1)  # 0.3, 0.1 and 2 seconds
    assert method.taken == [(2, 100 + k) for k in (*range(5), *range(15))]


def test_what_does_not_fit_ends_the_trial_and_other_errors_pass() -> None:
    assert trial(Steps(largest=4)).rate(8) is None
    assert fitting_batch(trial(Steps(largest=4)))[0] in (1, 2, 4)
    with pytest.raises(ZeroDivisionError):
        trial(Steps(largest=4, error=ZeroDivisionError())).rate(8)
    assert fitting_batch(trial(Steps(largest=0, error=Diverged("x")))) == (1, "no larger one fits")


def test_a_batch_that_would_take_most_of_the_memory_is_not_tried() -> None:
    method, held = Steps(), [100]
    one = trial(method, used=lambda device: held[0], free=lambda device: 1000)
    assert one.rate(1) is not None
    held[0] = 300
    assert one.rate(2) is not None and one.rate(4) is not None  # 200 for two: 400 of 1200
    assert one.fits(14) and not one.fits(20)
    before = len(method.taken)
    assert one.rate(64) is None and len(method.taken) == before


def open_config(data: Path, out: Path, **more: Any) -> TrainConfig:
    return config_of(data, out, batch_size="auto", **more)


@pytest.mark.slow
def test_a_run_takes_what_was_measured_and_a_resume_the_same(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "choose", lambda rate, most: (2, {1: rate(1) or 0.0, 2: 3.5}))
    whole = open_config(pairs, tmp_path / "whole", steps=6, save_every=2)
    said: list[Any] = []
    train(whole, said.append)
    start = next(e for e in said if e.kind == "start")
    assert start.batch_size == 2 and "2: 3.5 pictures/s" in start.batch_reason
    assert tomllib.loads((whole.out / "config.toml").read_text())["batch_size"] == 2
    given = config_of(pairs, tmp_path / "given", steps=6, save_every=2, batch_size=2)
    train(given)
    cut = whole.model_copy(update={"out": tmp_path / "cut"})
    asked: list[int] = []
    train(cut, should_stop=lambda: asked.append(0) or len(asked) > 3)
    # Measured again it would be another number.
    monkeypatch.setattr(batches, "choose", lambda rate, most: (1, {1: 1.0}))
    said.clear()
    train(cut, said.append)
    start = next(e for e in said if e.kind == "start")
    assert start.step and (start.batch_size, start.batch_reason) == (2, "as before")
    assert not any(e.kind == "warning" for e in said)
    first = final(whole.out)
    for other in (final(cut.out), final(given.out)):
        for name, net in first["nets"].items():
            assert all(torch.equal(net[key], other["nets"][name][key]) for key in net)
        assert first["facts"]["batch_size"] == other["facts"]["batch_size"] == 2


def test_steps_before_the_discriminator_are_not_what_is_measured(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    plain = Pix2Pix.step

    def step(self: Pix2Pix, batch: Any) -> Any:
        seen.append(self.number)
        return plain(self, batch)

    monkeypatch.setattr(Pix2Pix, "step", step)
    monkeypatch.setattr(batches, "choose", lambda rate, most: (1, {1: rate(1) or 0.0}))
    config = open_config(pairs, tmp_path / "run", steps=1)
    train(config.model_copy(update={"settings": config.settings | {"pretrain_steps": 700}}))
    assert min(seen[:-1]) == 700 and seen[-1] == 0


def test_nothing_is_recorded_where_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert recorded(tmp_path) is None
    (tmp_path / "config.toml").write_text("batch_size = 3")
    assert recorded(tmp_path) is None
    (tmp_path / "state-00000004.i2i").write_bytes(b"")
    assert recorded(tmp_path) == 3
    (tmp_path / "config.toml").write_text("batch_size = ")
    assert recorded(tmp_path) is None


def test_a_sheet_needs_no_measurement(tmp_path: Path, pairs: Path) -> None:
    assert preview_sheet(open_config(pairs, tmp_path / "run")).size[0] > 0


def test_several_processes_need_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from img2img.training.processes import Processes

    monkeypatch.setattr(Processes, "join", staticmethod(lambda timeout: Processes(0, 0, 2)))
    with pytest.raises(ConfigError, match="give, for example, `batch_size=8`"):
        choose_hardware(open_config(tmp_path, tmp_path))


@pytest.mark.slow
def test_the_command_takes_a_number_or_auto(main: Main, pairs: Path, tmp_path: Path) -> None:
    for wrong in ("0", "-1", "many"):
        done = main("train", "pix2pix", pairs, "-o", tmp_path / "run", f"--batch-size={wrong}")
        assert done.returncode == 2 and "needs a number of 1 or more, or auto" in done.stderr
    done = main(
        "train", "pix2pix", pairs, "-o", tmp_path / "run", "--preset", "tiny", "--steps", "1",
        "--device", "cpu", "--threads", "1", "--batch-size", "auto", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    start = next(row for row in rows if row["event"] == "start")
    assert start["batch_size"] >= 1 and "pictures/s" in start["batch_reason"]


def test_a_lack_of_memory_names_the_number_that_was_settled(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not 0, which stands for `auto`; and before there is one, what was being done."""

    def short(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(batches, "choose", lambda rate, most: (4, {4: 1.0}))
    monkeypatch.setattr(Pix2Pix, "step", short)
    words = r"a step of 4 crops of \d+x\d+: give `batch_size=2` and `accumulate=2`"
    with pytest.raises(MemoryFault, match=words):
        train(open_config(pairs, tmp_path / "run"))
    monkeypatch.setattr(Pix2Pix, "open", short)
    with pytest.raises(MemoryFault, match="to read the pictures and build the networks"):
        train(open_config(pairs, tmp_path / "other"))

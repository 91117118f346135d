"""The loop: it learns, it resumes to the bit, it stops cleanly, it never saves nonsense."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2img.errors import (
    ConfigError,
    DataError,
    Diverged,
    EnvironmentFault,
    MemoryFault,
    ModelError,
)
from img2img.methods import Pix2Pix
from img2img.model_format.checkpoint import load_model, load_state, read_model_info
from img2img.training import TrainConfig, lr_factor, train
from img2img.training import run_folder as runs
from img2img.training.run import mix
from img2img.training.run_folder import states_of
from tests.conftest import Main, into

SMALL = {
    "generator_options": {"width": 4, "depth": 3, "dropout": True},
    "discriminator_options": {"width": 4, "layers": 1},
}


def config_of(data: Path, out: Path, **more: Any) -> TrainConfig:
    values = {
        "method": "pix2pix", "data": data, "out": out, "steps": 12, "load_size": 40,
        "crop_size": 32, "log_every": 2, "sample_every": 6, "save_every": 4, "device": "cpu",
        "threads": 1, "settings": SMALL, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig.parse(values | more)


class Stop:
    """Says stop after the loop has asked `count` times."""

    def __init__(self, count: int):
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def final(out: Path) -> dict[str, Any]:
    return load_state(states_of(out)[0])


def same(x: Any, y: Any) -> bool:
    if isinstance(x, torch.Tensor):
        return torch.equal(x, y)
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(same(x[k], y[k]) for k in x)
    if isinstance(x, (list, tuple)):
        return len(x) == len(y) and all(same(a, b) for a, b in zip(x, y, strict=True))
    return bool(x == y)


def test_a_run_leaves_what_it_promises(pairs: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    out = tmp_path / "run"
    model = train(config_of(pairs, out, name="inverter", licence="free"), into(events))
    kinds = [e["event"] for e in events]
    assert kinds[-1] == "done" and {"start", "step", "validation", "saved", "data"} <= set(kinds)
    steps = [e for e in events if e["event"] == "step"]
    assert [e["step"] for e in steps] == [2, 4, 6, 8, 10, 12]
    assert set(steps[0]["losses"]) == {"D", "G/gan", "G/l1"} and steps[0]["eta_seconds"] > 0
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        "step-00000006.jpg", "step-00000012.jpg",
    ]  # fmt: skip
    assert [p.name for p in states_of(out)] == ["state-00000012.i2i", "state-00000008.i2i"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["event"] == "validation"] == [6, 12]
    written = tomllib.loads((out / "config.toml").read_text())
    assert written["settings"]["generator_options"]["upsample"] == "transposed"
    info = read_model_info(model)
    assert (info.name, info.licence, info.method) == ("inverter", "free", "pix2pix")
    assert set(info.quality) == {"l1", "psnr", "ssim"} and info.training["step"] == 12
    assert str(tmp_path) not in json.dumps(info.to_dict())
    generator, _ = load_model(model)
    assert generator(torch.zeros(1, 3, 33, 20)).shape == (1, 3, 33, 20)


@pytest.mark.parametrize(
    ("change", "stated"),
    [({}, 32), ({"working_size": 64}, 64), ({"working_size": 0}, 0), ({"crop_size": 8}, None)],
)
def test_the_working_size_is_written_into_the_model_file(
    pairs: Path, tmp_path: Path, change: dict[str, Any], stated: int | None
) -> None:
    deep = {**SMALL, "generator_options": {"width": 4, "depth": 4}}
    short = {"steps": 1, "settings": deep} | change
    info = read_model_info(train(config_of(pairs, tmp_path / "run", **short)))
    assert info.working_size == stated and info.upsampling == "plain"
    assert info.long_side == (short.get("crop_size", 32) if stated is None else stated)


def test_a_method_states_its_own(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pix2Pix, "working_size", 640)
    monkeypatch.setattr(Pix2Pix, "upsampling", "guided")
    info = read_model_info(train(config_of(pairs, tmp_path / "run", steps=1)))
    assert (info.working_size, info.upsampling, info.size) == (640, "guided", 32)


def test_it_learns(pairs: Path, tmp_path: Path) -> None:
    options = {"width": 8, "depth": 3, "norm": "instance", "dropout": False}
    settings = SMALL | {"lambda_gan": 0, "lr": 5e-3, "generator_options": options}
    events: list[dict[str, Any]] = []
    train(
        config_of(
            pairs, tmp_path / "run", steps=150, sample_every=15, settings=settings, batch_size=2
        ),
        into(events),
    )
    figures = [e for e in events if e["event"] == "validation"]
    assert figures[-1]["l1"] < figures[0]["l1"] * 0.6
    assert figures[-1]["psnr"] > figures[0]["psnr"]


def test_a_run_cut_at_any_step_is_the_uninterrupted_one_to_the_bit(
    pairs: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    train(config_of(pairs, whole, batch_size=4))
    a = final(whole)
    for cut in range(12):
        run = tmp_path / f"cut{cut}"
        events: list[dict[str, Any]] = []
        config = config_of(pairs, run, batch_size=4)
        train(config, into(events), Stop(cut))
        assert events[-1]["event"] == "stopped" and events[-1]["step"] == cut
        train(config, into(events))
        b = final(run)
        for name in ("step", "nets", "optimizers", "trainer"):
            assert same(a[name], b[name]), (cut, name)
        rows = [(out / "metrics.jsonl").read_text().splitlines() for out in (whole, run)]
        logged = [[json.loads(r)["step"] for r in part] for part in rows]
        assert logged[0][-1] == logged[1][-1] == 12


@pytest.mark.parametrize("part", ["nets", "optimizers", "step"])
def test_a_state_without_one_part_does_not_pass_for_whole(
    pairs: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above would notice a field that is not restored."""
    train(config_of(pairs, tmp_path / "whole", batch_size=4))
    config = config_of(pairs, tmp_path / "cut", batch_size=4)
    train(config, should_stop=Stop(5))
    whole_load = runs.load_state

    def forgetful(path: Path) -> dict[str, Any]:
        state = whole_load(path)
        if part == "step":
            state["step"] -= 1
        else:
            torch.manual_seed(mix(0, 0))
            fresh = Pix2Pix(Pix2Pix.Config.parse(SMALL))
            state[part] = {n: x.state_dict() for n, x in getattr(fresh, part).items()}
        return state

    monkeypatch.setattr(runs, "load_state", forgetful)
    train(config)
    monkeypatch.undo()
    a, b = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert not (same(a["nets"], b["nets"]) and same(a["optimizers"], b["optimizers"]))


def test_a_damaged_state_falls_back_to_the_one_before(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(config_of(pairs, out))
    whole = final(out)
    newest = states_of(out)[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    events: list[dict[str, Any]] = []
    train(config_of(pairs, out), into(events))
    warnings = [e["text"] for e in events if e["event"] == "warning"]
    assert len(warnings) == 1 and "state-00000012.i2i: damaged" in warnings[0]
    assert next(e for e in events if e["event"] == "start")["step"] == 8
    assert same(whole["nets"], final(out)["nets"])


def test_another_architecture_is_refused_with_the_difference(pairs: Path, tmp_path: Path) -> None:
    train(config_of(pairs, tmp_path / "run"))
    wider = SMALL | {"generator_options": {"width": 8, "depth": 3}}
    with pytest.raises(ModelError, match=r"generator_options.width was 4, now 8"):
        train(config_of(pairs, tmp_path / "run", settings=wider))


def test_other_data_or_batch_is_reported_and_goes_on(pairs: Path, tmp_path: Path) -> None:
    train(config_of(pairs, tmp_path / "run"))
    shutil.copy(pairs / "train" / "0.png", pairs / "train" / "new.png")
    events: list[dict[str, Any]] = []
    train(config_of(pairs, tmp_path / "run", steps=14, batch_size=2), into(events))
    (text,) = [e["text"] for e in events if e["event"] == "warning"]
    assert "not bit-exact" in text and "pictures changed" in text and "batch_size was 1" in text
    assert events[-1]["step"] == 14


@pytest.mark.slow
def test_two_processes_in_one_run_are_refused(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    program = (
        "import sys, pathlib; from img2img.training.run_folder import claimed\n"
        f"with claimed(pathlib.Path({str(out)!r})): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(
            EnvironmentFault, match=f"process {holder.pid} is already training here"
        ):
            train(config_of(pairs, out))
    finally:
        holder.communicate()
    train(config_of(pairs, out, steps=1))


def nan_picture(method: Pix2Pix, batch: Any) -> None:
    batch.b.fill_(float("nan"))


def infinite_gradient(method: Pix2Pix, batch: Any) -> None:
    """The losses of the step stay finite."""
    next(method.G.parameters()).register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize(
    ("poison", "words"),
    [
        (nan_picture, r"the loss of \w is nan; pictures: \d.png"),
        (infinite_gradient, "the gradient of G is not finite; pictures: "),
    ],
)
def test_what_is_not_finite_stops_before_the_step_and_is_named(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    poison: Callable[[Pix2Pix, Any], None], words: str,
) -> None:  # fmt: skip
    whole_step = Pix2Pix.step
    calls = {"count": 0}

    def poisoned(self: Pix2Pix, batch: Any) -> Any:
        calls["count"] += 1
        if calls["count"] == 7:
            poison(self, batch)
        return whole_step(self, batch)

    monkeypatch.setattr(Pix2Pix, "step", poisoned)
    with pytest.raises(Diverged, match=f"step 6: {words}"):
        train(config_of(pairs, tmp_path / "run"))
    state = final(tmp_path / "run")
    assert state["step"] == 4
    assert all(v.isfinite().all() for v in state["nets"]["G"].values())


def test_a_diverged_training_is_one_line_and_5(main: Main, pairs: Path, tmp_path: Path) -> None:
    done = main(
        "train", "pix2pix", pairs, "-o", tmp_path / "run", "--preset", "tiny", "--set", "lr=1e38",
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 5
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("img2img: ")]
    assert re.match(r"img2img: step \d+: the (loss|gradient) of \w is ", line), line


def test_bf16_learns_and_stays_finite(pairs: Path, tmp_path: Path) -> None:
    train(config_of(pairs, tmp_path / "run", precision="bf16"))
    state = final(tmp_path / "run")
    assert all(v.dtype in (torch.float32, torch.int64) for v in state["nets"]["G"].values())


def test_a_grey_to_colour_model(pairs: Path, tmp_path: Path) -> None:
    options = SMALL["generator_options"] | {"in_channels": 1}
    model = train(
        config_of(pairs, tmp_path / "run", settings=SMALL | {"generator_options": options})
    )
    assert (read_model_info(model).in_channels, read_model_info(model).out_channels) == (1, 3)


def test_the_learning_rate_follows_the_reference(tmp_path: Path) -> None:
    by_epochs = TrainConfig(method="pix2pix", data=tmp_path, out=tmp_path)
    factors = [lr_factor(by_epochs, epoch * 7 + 3, 7) for epoch in range(200)]
    assert factors[:100] == [1.0] * 100
    assert np.isclose(factors[100], 0.990099, atol=1e-6)
    assert np.isclose(factors[199], 0.00990099, atol=1e-8)
    by_steps = TrainConfig(method="pix2pix", data=tmp_path, out=tmp_path, steps=100)
    assert [lr_factor(by_steps, s, 7) for s in (0, 50, 75, 99)] == pytest.approx([1, 1, 0.5, 0.02])


def test_the_factor_reaches_every_optimizer(pairs: Path, tmp_path: Path) -> None:
    train(config_of(pairs, tmp_path / "run"))
    for optimizer in final(tmp_path / "run")["optimizers"].values():
        assert optimizer["param_groups"][0]["lr"] == pytest.approx(2e-4 / 6)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"settings": {"lr": float("inf")}}, ConfigError, "finite"),
        ({"method": "pix2pics"}, ConfigError, "Did you mean 'pix2pix'"),
        ({"settings": {"lambda": 3}}, ConfigError, "unknown setting 'lambda'"),
        ({"settings": {"generator_options": {"widht": 3}}}, ConfigError, "generator.widht"),
        ({"crop_size": 64}, ConfigError, "larger than load_size"),
        ({"working_size": 4}, ConfigError, "the generator needs 8 pixels .* `working_size=8`"),
        ({"data": Path("nowhere")}, DataError, "no such folder"),
        ({"device": "cuda:7"}, EnvironmentFault, "is not available"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    pairs: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        train(config_of(**({"data": pairs, "out": tmp_path / "run"} | change)))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_place_is_refused(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(EnvironmentFault, match="permission denied"):
        train(config_of(pairs, tmp_path / "locked" / "run"))


def test_a_run_folder_that_is_a_file_is_refused(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(EnvironmentFault, match="run"):
        train(config_of(pairs, tmp_path / "run"))


def test_a_memory_that_does_not_suffice_is_reported(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a step, with what to lower and the last state whole; and where a network cannot be made,
    for which no memory is enough."""

    def hungry(self: Pix2Pix, batch: Any) -> Any:
        if self.number == 6:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return step(self, batch)

    step = Pix2Pix.step
    monkeypatch.setattr(Pix2Pix, "step", hungry)
    config = config_of(pairs, tmp_path / "run", batch_size=4, log_every=1)
    with pytest.raises(
        MemoryFault, match=r"4 crops of 32x32: give `batch_size=2` and `accumulate=2"
    ):
        train(config)
    assert final(tmp_path / "run")["step"] == 4
    wide = {**SMALL, "discriminator_options": {"width": 10**6, "layers": 1}}
    with pytest.raises(MemoryFault, match="a step of 1 crops of 32x32: give a smaller crop_size"):
        train(config_of(pairs, tmp_path / "wide", settings=wide))
    monkeypatch.setattr(Pix2Pix, "step", lambda self, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(config_of(pairs, tmp_path / "other"))


def test_a_refused_start_leaves_nothing_behind(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        train(config_of(pairs, tmp_path / "run", init=tmp_path / "none.safetensors"))
    assert not (tmp_path / "run").exists()

"""The loop over every method: resume, averages, schedules, accumulation, several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.data import LabelledData, PairedData, StyledData, UnpairedData
from img2img.errors import ConfigError, ModelError
from img2img.methods import METHODS
from img2img.model_format.checkpoint import load_model, load_state, read_model_info
from img2img.nets import NETWORKS
from img2img.system import memory
from img2img.training import (
    TrainConfig,
    lr_factor,
    presets_of,
    resolve,
    train,
)
from img2img.training.devices import choose_precision, peak_memory
from img2img.training.ema import Average
from img2img.training.run_folder import states_of
from tests.conftest import OWN, into, picture
from tests.test_training import Stop, final, same

SETTINGS: dict[str, dict[str, Any]] = {
    "pix2pix": {
        "generator_options": {"width": 4, "depth": 3, "norm": "instance", "dropout": False},
        "discriminator_options": {"width": 4, "layers": 1, "norm": "instance"},
    },
    "cyclegan": {
        "generator_options": {"width": 4, "blocks": 1},
        "discriminator_options": {"width": 4, "layers": 1},
        "pool_size": 3,
    },
    "stargan": {
        "generator_options": {"width": 4, "blocks": 1},
        "discriminator_options": {"width": 4, "layers": 3},
        "n_critic": 2,
    },
    "stylize": {
        "generator_options": {"width": 4, "blocks": 1},
        "discriminator_options": {"width": 4, "layers": 1},
        "crops": 6,
        "lambda_colour": 1.0,
    },
    "cut": {
        "generator_options": {"width": 4, "blocks": 2},
        "discriminator_options": {"width": 4, "layers": 1},
        "nce_blocks": [1, 2],
        "patches": 16,
        "head_width": 8,
        "flip_equivariance": True,
    },
}


BATCH_NORM = (("pix2pix", "batch"), ("stylize", "batch"))
ALWAYS = (("pix2pix", "batch"),)


def test_every_method_of_the_project_is_covered_here() -> None:
    assert set(SETTINGS) == set(OWN)


def settings_of(method: str) -> dict[str, Any]:
    """Those of `SETTINGS`; for a method without an entry those of its preset `tiny`, with instance
    norm and without dropout, so that processes can be compared."""
    if method in SETTINGS:
        return SETTINGS[method]
    given: dict[str, Any] = dict(presets_of(METHODS[method])["tiny"].get("settings", {}))
    defaults = METHODS[method].Config.model_fields
    for what, table in NETWORKS.items():
        if what in defaults:
            options = table[given.get(what, defaults[what].default)].Config.model_fields
            plain = {n: v for n, v in (("norm", "instance"), ("dropout", False)) if n in options}
            given[f"{what}_options"] = given.get(f"{what}_options", {}) | plain
    return given


@pytest.fixture
def data(pairs: Path, tmp_path: Path) -> dict[str, Path]:
    return folders(pairs, tmp_path)


def folders(pairs: Path, tmp_path: Path) -> dict[str, Path]:
    """A folder for each method, by the layout that it learns from: pairs, the same used unpaired,
    and three labelled domains."""
    folder = tmp_path / "domains"
    for part, count in (("train", 4), ("test", 1)):
        for place, name in enumerate(("red", "green", "blue")):
            (folder / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = np.asarray(picture(40, 40, 7 * k + place)).copy()
                pixels[:, :, place] = 255
                Image.fromarray(pixels).save(folder / part / name / f"{k}.png")
    for side in "AB":
        (tmp_path / "styled" / side).mkdir(parents=True)
        for k in range(4):
            picture(60, 44, 3 * k + (side == "B")).save(tmp_path / "styled" / side / f"{k}.png")
    styled = tmp_path / "styled"
    layouts = {PairedData: pairs, UnpairedData: pairs, LabelledData: folder, StyledData: styled}
    return {n: layouts[kind.Data] for n, kind in METHODS.items() if kind.Data in layouts}


def config_of(method: str, data: dict[str, Path], out: Path, **more: Any) -> TrainConfig:
    values = {
        "method": method, "data": data[method], "out": out, "steps": 8, "load_size": 36,
        "crop_size": 32, "batch_size": 2, "log_every": 1, "sample_every": 8, "save_every": 3,
        "device": "cpu", "threads": 1, "precision": "fp32", "settings": settings_of(method),
    }  # fmt: skip
    return resolve(values | more)


def logged(out: Path, event: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == event]


def losses(out: Path) -> list[dict[str, float]]:
    return [row["losses"] for row in logged(out, "step")]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_followed_by_a_figure(
    method: str, data: dict[str, Path], tmp_path: Path
) -> None:
    """Without truths too: the first model is the best, and the second, which is no better, ends the
    run. Untrained networks leave no picture as it was."""
    more = {"metrics": ("unchanged",), "best": "unchanged", "patience": 1, "sample_every": 1}
    train(config_of(method, data, tmp_path / "run", **more))
    validations = logged(tmp_path / "run", "validation")
    assert [row["step"] for row in validations] == [1, 2]
    for row in validations:
        figures = {name: value for name, value in row.items() if name.endswith("unchanged")}
        assert figures and set(figures.values()) == {0}
    assert [*(tmp_path / "run").glob("best*.safetensors")]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_publishes_and_shows(
    method: str, data: dict[str, Path], tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    first = train(config_of(method, data, tmp_path / "run", name="it"), into(events))
    models = sorted(p.name for p in (tmp_path / "run").glob("*.safetensors"))
    assert first.name in models
    start = next(e for e in events if e["event"] == "start")
    for name in models:
        generator, info = load_model(tmp_path / "run" / name)
        assert info.name.startswith("it") and list(info.domains) == start["domains"]
        domain = torch.zeros(1, len(info.domains)) if info.domains else None
        with torch.no_grad():
            assert generator(torch.zeros(1, 3, 33, 20), domain).shape == (1, 3, 33, 20)
    with Image.open(tmp_path / "run" / "samples" / "step-00000008.jpg") as sheet:
        assert sheet.size[0] > 3 * 32
    assert all(np.isfinite(list(row.values())).all() for row in losses(tmp_path / "run"))


@pytest.mark.parametrize(
    "method",
    ["pix2pix", *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS if m != "pix2pix")],
)
def test_every_method_resumes_to_the_bit(
    method: str, data: dict[str, Path], tmp_path: Path
) -> None:
    more = {"ema": 0.9, "ada": True}
    whole = tmp_path / "whole"
    train(config_of(method, data, whole, **more))
    a = final(whole)
    for cut in (1, 4, 7):
        run = tmp_path / f"cut{cut}"
        config = config_of(method, data, run, **more)
        train(config, should_stop=Stop(cut))
        assert final(run)["step"] == cut
        train(config)
        b = final(run)
        for name in ("step", "nets", "optimizers", "trainer", "ema", "view"):
            assert same(a[name], b[name]), (cut, name)
        assert losses(whole) == losses(run), cut
        for path in whole.glob("*.safetensors"):
            x, y = (load_model(p)[0].state_dict() for p in (path, run / path.name))
            assert same(x, y), (cut, path.name)


def test_the_published_model_is_the_average(data: dict[str, Path], tmp_path: Path) -> None:
    train(config_of("pix2pix", data, tmp_path / "run", ema=0.999, steps=20))
    state = final(tmp_path / "run")
    model = load_model(tmp_path / "run" / "model.safetensors")[0].state_dict()
    assert same(dict(model), dict(state["ema"]["shadows"]["model"]))
    assert not same(dict(model), dict(state["nets"]["G"]))


def test_the_average_follows_the_formula(data: dict[str, Path], tmp_path: Path) -> None:
    method = METHODS["pix2pix"]
    trainer = method.build(method.Config.parse(SETTINGS["pix2pix"]), None, 32)
    parameter = next(iter(trainer.generators["model"].parameters()))
    with torch.no_grad():
        parameter.fill_(0)
    average = Average(trainer, 0.999)
    expected = 0.0
    for count in range(1, 40):
        with torch.no_grad():
            parameter.fill_(float(count))
        average.update()
        decay = min(0.999, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * count
    name = next(iter(average.shadows["model"]))
    assert average.shadows["model"][name].mean().item() == pytest.approx(expected, rel=1e-5)


def test_accumulation_gives_the_gradient_of_the_whole_batch(
    data: dict[str, Path], tmp_path: Path
) -> None:
    settings = SETTINGS["pix2pix"] | {"lambda_gan": 0}
    common = {"steps": 3, "flip": False, "load_size": 32, "settings": settings}
    train(config_of("pix2pix", data, tmp_path / "whole", batch_size=4, **common))
    train(config_of("pix2pix", data, tmp_path / "parts", batch_size=1, accumulate=4, **common))
    a, b = (final(tmp_path / n)["nets"]["G"] for n in ("whole", "parts"))
    # Biases before an instance norm have a gradient of zero, and Adam follows its rounding noise.
    for name in a:
        if name.endswith("weight"):
            assert (a[name] - b[name]).abs().max() < 1e-5, name
    for x, y in zip(losses(tmp_path / "whole"), losses(tmp_path / "parts"), strict=True):
        assert x["G/l1"] == pytest.approx(y["G/l1"], abs=1e-5)


def test_clipping_bounds_the_step(data: dict[str, Path], tmp_path: Path) -> None:
    train(config_of("cyclegan", data, tmp_path / "free", steps=2))
    train(config_of("cyclegan", data, tmp_path / "bound", steps=2, clip_grad=1e-6))
    moments = [
        max(
            s["exp_avg"].abs().max().item()
            for s in final(tmp_path / n)["optimizers"]["G"]["state"].values()
        )
        for n in ("free", "bound")
    ]
    assert moments[1] < 1e-6 < moments[0]


def test_schedules(tmp_path: Path) -> None:
    def factors(schedule: str) -> list[float]:
        config = TrainConfig(
            method="pix2pix",
            data=tmp_path,
            out=tmp_path,
            steps=100,
            schedule=schedule,  # type: ignore[arg-type]
        )
        return [lr_factor(config, s, 10) for s in (0, 25, 50, 75, 99)]

    assert factors("constant") == [1] * 5
    assert factors("step") == pytest.approx([1, 0.1, 0.01, 0.001, 0.001])
    assert factors("cosine")[:4] == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert factors("linear") == pytest.approx([1, 1, 1, 0.5, 0.02])


ALL_PRESETS = sorted({name for method in METHODS.values() for name in presets_of(method)})


@pytest.mark.parametrize("preset", ALL_PRESETS)
def test_presets_fit_their_methods_and_what_is_given_wins(preset: str, tmp_path: Path) -> None:
    for method in METHODS:
        values = {"method": method, "data": tmp_path, "out": tmp_path, "batch_size": 3,
                  "settings": {"lr": 0.5, "generator_options": {"width": 8}}}  # fmt: skip
        if preset not in presets_of(METHODS[method]):
            with pytest.raises(ConfigError, match="is for"):
                resolve(values, preset)
            continue
        config = resolve(values, preset)
        assert config.batch_size == 3 and config.settings["lr"] == 0.5
        assert config.settings["generator_options"]["width"] == 8
        METHODS[method].Config.parse(config.settings)
    with pytest.raises(ConfigError, match="Did you mean 'tiny'"):
        resolve({"method": "pix2pix", "data": tmp_path, "out": tmp_path}, "tinny")


def test_stargan_has_its_papers_defaults(tmp_path: Path) -> None:
    config = resolve({"method": "stargan", "data": tmp_path, "out": tmp_path})
    assert (config.steps, config.batch_size, config.crop_size) == (200_000, 16, 128)
    assert lr_factor(config, 100_000, 10) == 1 and lr_factor(config, 199_999, 10) < 1e-4
    by_epochs = resolve({"method": "stargan", "data": tmp_path, "out": tmp_path, "epochs": 3})
    assert by_epochs.steps is None


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_tiny_preset_really_trains(method: str, data: dict[str, Path], tmp_path: Path) -> None:
    values = {
        "method": method,
        "data": data[method],
        "out": tmp_path / "run",
        "steps": 2,
        "threads": 1,
    }
    train(resolve(values, "tiny"))
    assert final(tmp_path / "run")["step"] == 2


def test_precision_is_chosen_with_a_reason() -> None:
    cpu = torch.device("cpu")
    chosen, reason = choose_precision("auto", cpu)
    assert chosen in ("fp32", "bf16") and "CPU" in reason
    assert choose_precision("fp32", cpu) == ("fp32", "as set")
    with pytest.raises(ConfigError, match="use bf16 or fp32"):
        choose_precision("fp16", cpu)


def test_time_is_up(data: dict[str, Path], tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    train(config_of("pix2pix", data, tmp_path / "run", max_minutes=1e-9), into(events))
    assert events[-1]["event"] == "stopped" and events[-1]["time_is_up"]
    assert final(tmp_path / "run")["step"] == 0
    assert not list((tmp_path / "run").glob("*.safetensors"))  # nothing learned, nothing published


@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_estimates_and_writes_nothing(
    method: str, data: dict[str, Path], tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    train(config_of(method, data, tmp_path / "run", steps=5000), into(events), dry_run=True)
    last = events[-1]
    assert last["event"] == "dry-run" and last["steps"] == 5000
    assert last["seconds"] == pytest.approx(5000 * last["seconds_per_step"])
    assert last["memory_bytes"] > 2**20
    assert (
        last["parameters"].keys()
        == METHODS[method]
        .build(METHODS[method].Config.parse(settings_of(method)), _Domains, 32)
        .nets.keys()
        and min(last["parameters"].values()) > 0
    )
    assert not (tmp_path / "run").exists()


class _Domains:
    domains, one_hot = ("a", "b", "c"), True


@pytest.mark.parametrize(("method", "steps", "expected"), [
    ("pix2pix", 5000, 2), ("pix2pix", 1, 102), ("stargan", 5000, 7), ("stargan", 3, 107),
])  # fmt: skip
def test_a_dry_run_leaves_the_warm_up_out_and_measures_whole_periods(
    method: str, steps: int, expected: float, data: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    now = [0.0]

    def step(self: Any, batch: Any) -> dict[str, torch.Tensor]:
        now[0] += 2 + 10 * ((self.number + 1) % self.period == 0 and self.period > 1)
        now[0] += 100 * (self.number < self.period)  # slow while everything is new
        return {}

    monkeypatch.setattr(METHODS[method], "step", step)
    monkeypatch.setattr("img2img.training.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    events: list[dict[str, Any]] = []
    config = config_of(method, data, tmp_path / "run", steps=steps)
    train(config, into(events), dry_run=True)
    assert events[-1]["seconds_per_step"] == expected


def test_a_stopped_dry_run_writes_nothing(data: dict[str, Path], tmp_path: Path) -> None:
    train(config_of("pix2pix", data, tmp_path / "run"), should_stop=Stop(2), dry_run=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
@pytest.mark.parametrize(("system", "unit"), [("darwin", 1), ("linux", 1024)])
def test_peak_memory_in_bytes_everywhere(
    system: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = SimpleNamespace(ru_maxrss=5000)
    monkeypatch.setattr("resource.getrusage", lambda who: used)
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("img2img.system.memory._STATUS", Path("/nowhere"))
    assert peak_memory(torch.device("cpu")) == 5000 * unit


def test_peak_memory_on_windows_is_that_of_the_working_set() -> None:
    def ask(process: Any, counters: Any, size: int) -> int:
        assert process == "this" and size == 72 == counters._obj.cb  # of 64-bit Windows
        counters._obj.PeakWorkingSetSize, counters._obj.WorkingSetSize = 2**33, 5
        return 1

    def this() -> str:
        return "this"

    kernel32 = SimpleNamespace(K32GetProcessMemoryInfo=ask, GetCurrentProcess=this)
    assert memory._windows_peak(kernel32) == 2**33
    kernel32.K32GetProcessMemoryInfo = lambda *_: 0
    assert memory._windows_peak(kernel32) == 0


def test_warm_start_from_a_model_a_run_and_a_reference(
    data: dict[str, Path], tmp_path: Path
) -> None:
    train(config_of("cyclegan", data, tmp_path / "first"))
    run = tmp_path / "first"
    train(
        config_of(
            "cyclegan",
            data,
            tmp_path / "both",
            init=run,
            settings=SETTINGS["cyclegan"] | {"lr": 1e-12},
        )
    )
    for name in ("AtoB", "BtoA"):
        x, y = (
            load_model(r / f"{name}.safetensors")[0].state_dict() for r in (run, tmp_path / "both")
        )
        assert all((x[k] - y[k]).abs().max() < 1e-6 for k in x)
    with pytest.raises(ModelError, match=r"use `generator=resnet` `generator\.blocks=1`"):
        wider = SETTINGS["cyclegan"] | {"generator_options": {"width": 4, "blocks": 2}}
        train(
            config_of(
                "cyclegan", data, tmp_path / "x", init=run / "AtoB.safetensors", settings=wider
            )
        )
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"junk\.pth"):
        train(config_of("cyclegan", data, tmp_path / "y", init=tmp_path / "junk.pth"))


@pytest.mark.slow
def test_cyclegan_starts_from_a_model_of_stylize(data: dict[str, Path], tmp_path: Path) -> None:
    train(config_of("stylize", data, tmp_path / "style"))
    same = {"width": 4, "blocks": 1, "norm": "batch", "affine": True, "upsample": "resize"}
    settings = SETTINGS["cyclegan"] | {"generator_options": same, "lr": 1e-12}
    for init in (tmp_path / "style", tmp_path / "style" / "model.safetensors"):
        events: list[dict[str, Any]] = []
        run = tmp_path / f"from {init.name}"
        train(config_of("cyclegan", data, run, init=init, settings=settings), into(events))
        said = [e["text"] for e in events if e["event"] == "warning"]
        assert "AtoB starts from" in said[0] and "`norm_statistics=running` keeps" in said[1]
        assert "no weights for BtoA: they start untrained" in said[2]
        x, y = (
            load_model(path)[0].state_dict()
            for path in (tmp_path / "style" / "model.safetensors", run / "AtoB.safetensors")
        )
        weights = [k for k in x if k.endswith("weight")]
        assert all((x[k] - y[k]).abs().max() < 1e-6 for k in weights)
    with pytest.raises(ModelError, match=r"generator\.affine=True"):
        train(config_of("cyclegan", data, tmp_path / "x", init=tmp_path / "style"))


def test_other_domains_are_refused(data: dict[str, Path], tmp_path: Path) -> None:
    train(config_of("stargan", data, tmp_path / "run"))
    (data["stargan"] / "train" / "blue").rename(data["stargan"] / "train" / "azure")
    with pytest.raises(ModelError, match="domains was"):
        train(config_of("stargan", data, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"diffaugment": "color,translation,cutout"}, {"ada": True}])
@pytest.mark.parametrize("method", METHODS)
def test_augmentation_of_what_the_discriminator_sees(
    method: str, more: dict[str, Any], data: dict[str, Path], tmp_path: Path
) -> None:
    train(config_of(method, data, tmp_path / "plain"))
    train(config_of(method, data, tmp_path / "seen", **more))
    assert all(np.isfinite(list(row.values())).all() for row in losses(tmp_path / "seen"))
    plain, seen = (final(tmp_path / run)["nets"] for run in ("plain", "seen"))
    judged = any(name.startswith("D") for name in plain)
    # ADA begins with a probability of zero; a method without a discriminator has nothing to view.
    assert same(plain, seen) != judged or (judged and "ada" in more)
    with pytest.raises(ConfigError, match="choose one"):
        train(config_of(method, data, tmp_path / "x", ada=True, diffaugment="color"))


# Handlers run in reverse order, so this one runs after the group has been left.
PROGRAM = """
import atexit, contextlib, json, sys
from pathlib import Path

@atexit.register
def last():
    names = set()
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            names.add(path.read_text().strip())
    print("of the group at the end:", sorted(n for n in names if "gloo" in n), flush=True)

from img2img.training import TrainConfig, train
{more}
train(TrainConfig.parse(json.loads(sys.argv[1])))
"""


def in_two_processes(config: TrainConfig, logs: Path, more: str = "") -> list[str]:
    """Train by torchrun, without a restart; what each rank printed to stdout. `more` is Python
    that runs before the training. What fails shows what every rank said."""
    logs.mkdir()
    (logs / "program.py").write_text(PROGRAM.format(more=more))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "--max-restarts=0", "--log-dir", str(logs), "--redirects=3",
         str(logs / "program.py"), config.model_dump_json()],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=1200,
    )  # fmt: skip
    said = {
        (rank, name): path.read_text(errors="replace")
        for rank in (0, 1)
        for name in ("stdout", "stderr")
        for path in logs.glob(f"*/attempt_0/{rank}/{name}.log")
    }
    ends = [f"rank {rank} {name}: {text[-3000:]}" for (rank, name), text in said.items()]
    assert done.returncode == 0, "\n".join([done.stderr[-1500:], *ends])
    return [said[rank, "stdout"] for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("method", "norm"),
    [
        # One of them runs always; the rest takes a minute more.
        pytest.param(*case, marks=[] if case in ALWAYS else [pytest.mark.slow])
        for case in [*((m, "instance") for m in METHODS), *BATCH_NORM]
    ],
)
def test_two_processes_learn_what_one_learns(
    method: str, norm: str, data: dict[str, Path], tmp_path: Path
) -> None:
    """The same global batch, 18 steps: losses, running statistics and ADA agree within 1e-5."""
    settings = settings_of(method)
    if norm == "batch" or method == "stylize":  # whose generator has batch norm by default
        settings = settings | {
            key: settings[key] | {"norm": norm}
            for key in ("generator_options", "discriminator_options")
        }
    if method == "cyclegan":
        # Adam's first steps are as long for a gradient of pure rounding noise as for any other, so
        # at the usual rate the noise grows tenfold a step, whoever computes it.
        settings = settings | {"pool_size": 50, "lr": 1e-6}
    if method == "cut":  # whose temperature of 0.07 makes fourteen times as much of the noise
        settings = settings | {"lr": 1e-7}
    if method == "stylize":
        settings = settings | {"lr": 1e-6, "lr_discriminator": 1e-6}
    # ADA moves every fourth update, so that something is still gathered at the end.
    more = {"steps": 18, "settings": settings, "save_every": 20, "sample_every": 20, "ada": True}
    config = config_of(method, data, tmp_path / "one", **more)
    train(config)
    two = config.model_copy(update={"out": tmp_path / "two"})
    for said in in_two_processes(two, tmp_path / "ranks"):
        # A thread of the group that outlives it aborts the process while Python is taken down.
        assert said.splitlines()[-1] == "of the group at the end: []"
    pairs = list(zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True))
    assert len(pairs) == 18
    for step, (x, y) in enumerate(pairs):
        assert x.keys() == y.keys()
        for name in x:
            assert x[name] == pytest.approx(y[name], rel=1e-5, abs=1e-5), (step, name)
    first, other = (logged(tmp_path / n, "validation") for n in ("one", "two"))
    assert [row.keys() for row in first] == [row.keys() for row in other] and len(first) == 1
    for name in first[0].keys() - {"event"}:  # whose pictures the two have shared
        assert first[0][name] == pytest.approx(other[0][name], rel=1e-4, abs=1e-4), name
    one, state = (load_state(states_of(tmp_path / n)[0]) for n in ("one", "two"))
    assert state["facts"]["processes"] == 2 and len(state["trainer"]) == 2
    assert state["view"] == one["view"] and state["view"]["p"] >= 0
    running = 0
    for net, tensors in one["nets"].items():
        for name in (n for n in tensors if "running" in n):
            running += 1
            assert torch.allclose(tensors[name], state["nets"][net][name], atol=1e-5), name
    assert (running > 0) == (norm == "batch")


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_processes_with_nothing_left_to_do_leave_together(
    data: dict[str, Path], tmp_path: Path
) -> None:
    """A finished run, started again: the first process waits for the one that is late."""
    config = config_of("stargan", data, tmp_path / "run", steps=1)
    train(config)
    more = """
import os, time
from img2img.training import run
marks, rank = Path(sys.argv[0]).parent, os.environ["RANK"]
restore = run.restore

def late(*arguments):
    if rank == "1":
        time.sleep(2)
    print("left already:", [p.name for p in marks.glob("left-*")])
    return restore(*arguments)

run.restore = late
atexit.register(lambda: (marks / f"left-{rank}").touch())
"""
    for said in in_two_processes(config, tmp_path / "ranks", more):
        assert said.splitlines()[0] == "left already: []"


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    from img2img.training.processes import Processes

    with pytest.raises(ConfigError, match="use `batch_size` 4"):
        Processes(0, 0, 2).check_batch(3)
    assert Processes(1, 1, 2).share(6) == slice(3, 6)


def test_a_written_config_reproduces_the_run(data: dict[str, Path], tmp_path: Path) -> None:
    train(config_of("stargan", data, tmp_path / "run"))
    values = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    train(resolve(values | {"out": tmp_path / "again"}))
    assert same(final(tmp_path / "run")["nets"], final(tmp_path / "again")["nets"])
    assert read_model_info(tmp_path / "again" / "model.safetensors").domains == (
        "blue",
        "green",
        "red",
    )

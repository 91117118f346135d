"""Layout and compilation: chosen with a reason, checked before use, the same training."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.errors import ConfigError
from img2img.model_format.checkpoint import load_model
from img2img.training import compiling, train
from img2img.training.devices import Compilation, choose_compilation, choose_memory_format
from tests.conftest import into
from tests.test_training import SMALL, Stop, config_of, final, same

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
COMPILERS = ("g++", "clang++", "cl")


def test_the_layout_is_chosen_with_a_reason() -> None:
    chosen = [
        choose_memory_format("auto", d, p)[0]
        for d, p in ((CUDA, "bf16"), (CUDA, "fp32"), (CPU, "bf16"))
    ]
    assert chosen == ["channels_last", "contiguous", "contiguous"]
    assert choose_memory_format("channels_last", CPU, "fp32") == ("channels_last", "as set")


def test_compiling_is_chosen_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    present = {"triton": True}

    def load(name: str) -> None:
        if not present[name]:
            raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", load)

    def choose(
        choice: Any, graphs: Any, device: torch.device, count: int = 1, less: bool = False
    ) -> str:
        return str(choose_compilation(choice, graphs, device, count, less))

    assert choose("auto", "auto", CPU) == "plain"
    assert choose("auto", "auto", CUDA) == "compiled with CUDA graphs"
    assert choose("auto", "off", CUDA) == choose("auto", "auto", CUDA, 2) == "compiled"
    assert choose("on", "auto", CPU) == "compiled"
    assert choose("off", "auto", CUDA) == choose("auto", "auto", CUDA, less=True) == "plain"
    with pytest.raises(ConfigError, match="use checkpointing=false"):
        choose("on", "auto", CUDA, less=True)
    present["triton"] = False
    assert choose_compilation("auto", "auto", CUDA, 1, False).reason == "triton is not installed"


def test_channels_last_trains_resumes_and_publishes(pairs: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    more: dict[str, Any] = {"memory_format": "channels_last", "batch_size": 2, "ema": 0.9}
    train(config_of(pairs, tmp_path / "whole", **more), into(events))
    start = next(e for e in events if e["event"] == "start")
    assert (start["memory_format"], start["memory_format_reason"]) == ("channels_last", "as set")
    assert (start["compile"], start["compile_reason"][:24]) == ("plain", "compiling was not faster")
    train(config_of(pairs, tmp_path / "cut", **more), should_stop=Stop(5))
    train(config_of(pairs, tmp_path / "cut", **more))
    whole, cut = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert same(whole["nets"], cut["nets"]) and same(whole["optimizers"], cut["optimizers"])
    weight = whole["nets"]["G"]["downs.1.1.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    net, _ = load_model(tmp_path / "whole" / "model.safetensors")
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_a_run_resumes_in_the_other_layout(pairs: Path, tmp_path: Path) -> None:
    """The fused Adam kernel reads weights and averages side by side."""
    more: dict[str, Any] = {"batch_size": 2}
    train(config_of(pairs, tmp_path / "a", **more), should_stop=Stop(5))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    reported: list[dict[str, Any]] = []
    train(config_of(pairs, tmp_path / "a", **more))
    train(config_of(pairs, tmp_path / "b", memory_format="channels_last", **more), into(reported))
    assert any("memory_format was 'contiguous'" in e.get("text", "") for e in reported)
    rows = ((tmp_path / n / "metrics.jsonl").read_text().splitlines() for n in "ab")
    a, b = ([row for row in map(json.loads, lines) if "l1" in row][-1] for lines in rows)
    assert b["l1"] == pytest.approx(a["l1"], rel=1e-3)
    for name, value in final(tmp_path / "a")["nets"]["G"].items():
        other = final(tmp_path / "b")["nets"]["G"][name]
        assert torch.allclose(value, other, atol=2e-4), name


@pytest.mark.parametrize("scale", [float("nan"), 1.5])
@pytest.mark.parametrize("choice", ["auto", "on"])
def test_wrong_compiled_gradients_are_found(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: Any, scale: float
) -> None:
    def wrong(net: Any, **options: Any) -> None:
        net._compiled_call_impl = lambda x: net._call_impl(x) * scale

    monkeypatch.setattr(torch.nn.Module, "compile", wrong)
    monkeypatch.setattr(
        "img2img.training.setup.choose_compilation",
        lambda *a: Compilation(True, "for the test", requested=choice == "on"),
    )
    events: list[dict[str, Any]] = []
    config = config_of(pairs, tmp_path / "run", steps=2)
    if choice == "on":
        with pytest.raises(
            ConfigError, match=r"compile=on: compiled fp32 gradients .*; use compile=off"
        ):
            train(config)
        assert not (tmp_path / "run" / "config.toml").exists()
        return
    train(config, into(events))
    (warning,) = [e["text"] for e in events if e["event"] == "warning"]
    assert warning.startswith("the generators are not compiled: compiled fp32 gradients")
    assert [e["compile"] for e in events if e["event"] == "start"] == ["plain"]
    train(config_of(pairs, tmp_path / "plain", steps=2, compile="off"))
    assert same(final(tmp_path / "plain")["nets"], final(tmp_path / "run")["nets"])


def test_a_compiler_that_fails_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import small_generator

    def broken(net: Any, **options: Any) -> None:
        raise RuntimeError("no compiler\nand a long story")

    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    how = Compilation(True, "for the test")
    text = compiling.compile_generators([small_generator()], how, 1, 32, "fp32", bool)
    assert text == "the generators are not compiled: compiling fails here (no compiler)"


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="torch.compile on the CPU needs a C++ compiler"
)
def test_a_compiled_training_publishes_plain_names(pairs: Path, tmp_path: Path) -> None:
    options = {"width": 4, "depth": 2, "norm": "none", "dropout": False}
    settings = SMALL | {"generator_options": options}
    events: list[dict[str, Any]] = []
    config = config_of(
        pairs, tmp_path / "run", steps=2, sample_every=2, settings=settings, compile="on"
    )
    train(config, into(events))
    assert [e["compile"] for e in events if e["event"] == "start"] == ["compiled"]
    train(config_of(pairs, tmp_path / "plain", steps=2, sample_every=2, settings=settings))
    a, b = final(tmp_path / "run")["nets"]["G"], final(tmp_path / "plain")["nets"]["G"]
    assert a.keys() == b.keys()
    # Two steps of Adam move a weight by 4e-4.
    assert max(float((a[n] - b[n]).abs().max()) for n in a) < 2e-5
    net, _ = load_model(tmp_path / "run" / "model.safetensors")
    assert same(net.state_dict(), a)

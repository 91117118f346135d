"""Recomputing in the backward pass: less is kept, nothing else differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.nets import build_generator
from img2img.training import train
from tests.test_training import config_of, final, same

CASES = [
    (name, norm, dropout, attention)
    for name in ("unet", "resnet")
    for norm, dropout, attention in (("instance", False, False), ("batch", True, True))
]
DEEP = {"unet": {"depth": 6}, "resnet": {"blocks": 3}, "fast": {"blocks": 3}}


def passed(checkpointing: bool, name: str, more: dict[str, Any]) -> tuple[Any, Any, int]:
    """Gradients, state and bytes kept of one training pass."""
    torch.manual_seed(0)
    net = build_generator(name, {"width": 4, "init_gain": 0.3} | DEEP.get(name, {}) | more)
    net.checkpointing = checkpointing
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.data_ptr()] = x.numel() * x.element_size()
        return x

    x = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = net(x)
        weights = sum(p.numel() * p.element_size() for p in net.parameters())
        held = sum(kept.values()) - weights
    (out * torch.linspace(-1, 1, 64)).sum().backward()
    gradients = {n: p.grad for n, p in net.named_parameters()}
    return gradients, net.state_dict(), held


@pytest.mark.parametrize(("name", "norm", "dropout", "attention"), CASES)
def test_gradients_and_running_statistics_are_the_same_and_less_is_kept(
    name: str, norm: str, dropout: bool, attention: bool
) -> None:
    more = {"norm": norm, "dropout": dropout, "attention": attention}
    gradients, state, held = passed(False, name, more)
    again, state_again, held_again = passed(True, name, more)
    assert all(
        g is not None and g.abs().sum() > 0
        for n, g in gradients.items()
        if "weight" in n and "attention" not in n
    )
    assert same(gradients, again) and same(state, state_again)
    assert held_again < 0.7 * held


@pytest.mark.parametrize("name", DEEP)
def test_outside_training_nothing_is_recomputed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from img2img.nets import generator

    calls: list[Any] = []
    monkeypatch.setattr(generator, "recomputed", lambda part, x: calls.append(part) or part(x))
    net = build_generator(name, {"width": 4} | DEEP.get(name, {}))
    net.checkpointing = True
    x = torch.zeros(2, 3, 64, 64)
    net.eval()(x)
    with torch.no_grad():
        net.train()(x)
    assert calls == []
    net(x)
    assert len(calls) >= 3


def test_a_training_with_it_is_the_same_training(pairs: Path, tmp_path: Path) -> None:
    train(config_of(pairs, tmp_path / "plain", steps=3))
    train(config_of(pairs, tmp_path / "less", steps=3, checkpointing=True))
    plain, less = final(tmp_path / "plain"), final(tmp_path / "less")
    assert plain["nets"]["G"].keys() == less["nets"]["G"].keys()
    assert same(plain["nets"], less["nets"]) and same(plain["optimizers"], less["optimizers"])


def test_the_setting_reaches_the_generators(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.nets import generator

    calls: list[Any] = []
    monkeypatch.setattr(generator, "recomputed", lambda part, x: calls.append(part) or part(x))
    train(config_of(pairs, tmp_path / "run", steps=1, checkpointing=True))
    assert len(calls) == 6

"""A discriminator that is too often right pauses: when, what is counted, and what survives."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from img2img.augment import Augment
from img2img.data import LabelledBatch, PairedBatch, UnpairedBatch
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.methods import METHODS, CycleGAN, Method, StarGAN, parts
from img2img.methods.base import GanSettings, adversary_loss
from img2img.methods.pause import Pause
from img2img.training import train
from img2img.training.health import Health
from tests.test_training import config_of, final

SMALL = {"pix2pix": {"width": 4, "depth": 3}, "stargan": {"width": 4, "blocks": 1}}
METHODS_OF_TWO_SETS = ("cyclegan", "cut", "stylize")


def method_of(name: str, **settings: Any) -> Method[Any, Any, Any]:
    """A small method whose discriminators pause above 0.8."""
    kind, options = METHODS[name], SMALL.get(name, {"width": 4, "blocks": 1})
    small: dict[str, Any] = {
        "generator_options": options,
        "discriminator_options": {"width": 4, "layers": 2},
    }
    small |= {"pause_accuracy": 0.8, "gan": "lsgan"}
    small |= {"cut": {"nce_blocks": [1], "head_width": 4}}.get(name, {})
    small |= {"stargan": {"penalty": "none", "n_critic": 1}}.get(name, {})
    torch.manual_seed(0)
    facts = SimpleNamespace(domains=("x", "y"), one_hot=True)
    method = kind.build(kind.Config.parse(small | settings), facts, 32)
    method.augment = Augment(32, False, 0)
    return method


def batch_of(name: str) -> Any:
    x, y = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    if name == "stargan":
        return LabelledBatch(x, torch.eye(2), torch.eye(2).flip(0), [0, 1])
    return (PairedBatch if name == "pix2pix" else UnpairedBatch)(x, y, [0, 1])


def step(method: Method[Any, Any, Any], name: str, number: int = 0) -> dict[str, torch.Tensor]:
    batch = batch_of(name)
    method.number = number
    for pause in method.pauses.values():
        pause.begin()
    method.augment.begin(number, batch.indices)
    return method.step(batch)


def test_accuracy_is_the_share_of_answers_on_the_right_side_scale_by_scale() -> None:
    pause = Pause(0.8, 0.5)
    real, made = torch.tensor([0.6, 0.9, 0.4, 0.7]), torch.tensor([0.1, 0.6])
    pause.observe(real, made)  # 3 of 4 and 1 of 2
    assert pause.accuracy == pytest.approx(0.9 * 0.5 + 0.1 * 0.625)
    scales = Pause(0.8, 0.5)
    scales.observe([real, real.new_ones(1000)], [made, made.new_zeros(1000)])
    assert scales.accuracy == pytest.approx(0.9 * 0.5 + 0.1 * (0.75 + 1 + 0.5 + 1) / 4)
    halved = Pause(0.8, 0.5, across=lambda share: share / 2)
    halved.observe(real, made)
    assert halved.accuracy == pytest.approx(0.9 * 0.5 + 0.1 * 0.3125)


def test_it_pauses_above_the_accuracy_and_learns_again_below() -> None:
    pause, seen = Pause(0.8, 0.0), []
    right, wrong = torch.ones(4), -torch.ones(4)
    for number in range(24):
        pause.begin()
        seen.append(pause.paused)
        assert pause.losses["D/paused"] == float(pause.paused)
        pause.observe(*((right, wrong) if number < 12 else (wrong, right)))
    # 0.5 nears 1 by a tenth of the way a step: 0.806 after nine. Back from 0.859, 0.773 after one.
    assert seen == [False] * 9 + [True] * 4 + [False] * 11


def test_a_paused_discriminator_judges_without_a_gradient_and_without_its_penalty() -> None:
    c = GanSettings.parse({"gan": "hinge", "penalty": "r1", "pause_accuracy": 0.6})
    net = nn.Sequential(nn.Conv2d(3, 1, 3))
    real, fake = torch.rand(2, 2, 3, 8, 8)
    pause, judged = Pause(0.6, 0.0), []

    def loss() -> torch.Tensor:
        return adversary_loss(
            net, real, fake, c, torch.rand(2, 1, 1, 1), lambda a, n: judged.append(n), 0, pause
        )

    assert loss().requires_grad
    pause.accuracy = 1.0
    pause.begin()
    paused = loss()
    assert not paused.requires_grad and judged == [2, 2]
    free = GanSettings.parse({"gan": "hinge"})
    plain = adversary_loss(net, real, fake, free, torch.rand(2, 1, 1, 1), lambda a, n: None)
    assert paused.item() == pytest.approx(plain.item())


@pytest.mark.parametrize("name", ["pix2pix", "stargan", *METHODS_OF_TWO_SETS])
def test_in_every_method_the_networks_that_judge_wait_while_the_others_learn(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "load_vgg19", lambda path, deepest: VGG19(deepest).eval())
    method = method_of(name)
    if name == "stylize":
        method.prepare(_Paintings())
    assert {n: float(v) for n, v in step(method, name).items() if "paused" in n} == {"D/paused": 0}
    for pause in method.pauses.values():
        pause.accuracy = 0.99
    before = {n: [p.clone() for p in net.parameters()] for n, net in method.nets.items()}
    losses = step(method, name, 1)
    assert losses["D/paused"] == 1 and 0.8 < losses["D/accuracy"] < 1
    moved = {
        n: any((p != q).any() for p, q in zip(before[n], net.parameters(), strict=True))
        for n, net in method.nets.items()
    }
    # StarGAN's also names the domains, which it goes on to learn.
    assert moved == {n: n not in method.discriminators or name == "stargan" for n in moved}


class _Paintings:
    paintings = 1

    def style_batch(self, part: range) -> Any:
        batch = batch_of("stylize")
        return SimpleNamespace(on=lambda device: batch)


def test_one_of_two_discriminators_waits_alone() -> None:
    method = method_of("cyclegan")
    assert isinstance(method, CycleGAN)
    step(method, "cyclegan")
    method.pauses["D_a"].accuracy = 0.99
    before = {n: [p.clone() for p in method.nets[n].parameters()] for n in ("D_a", "D_b")}
    assert step(method, "cyclegan", 1)["D/paused"] == 0.5
    for name, parameters in before.items():
        now = method.nets[name].parameters()
        assert any((p != q).any() for p, q in zip(parameters, now, strict=True)) is (name == "D_b")


def test_stargan_still_learns_to_name_domains_from_real_pictures_alone() -> None:
    method = method_of("stargan")
    assert isinstance(method, StarGAN)
    method.pauses["D"].accuracy = 0.99
    losses = step(method, "stargan")
    assert losses["D/paused"] == 1 and losses["D/class"] > 0


def test_off_by_default_and_nothing_in_the_log() -> None:
    method = method_of("pix2pix", pause_accuracy=0.0)
    assert method.pauses == {}
    assert not any("paused" in n or "accuracy" in n for n in step(method, "pix2pix"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pause_accuracy": 0.3}, "below chance; give 0.5 to 1"),
        ({"pause_accuracy": 1.0}, "pause_accuracy"),
        ({"gan": "wgan-gp", "penalty": "gp"}, "give `gan=hinge`, `gan=lsgan` or `gan=vanilla`"),
        ({"gan": "kl"}, "only ranks"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        method_of(
            "pix2pix", **{"discriminator_options": {"width": 4, "norm": "instance"}} | settings
        )


def test_a_run_that_is_cut_resumes_to_the_bit_and_says_how_often_it_paused(
    tmp_path: Path, pairs: Path
) -> None:
    whole = config_of(pairs, tmp_path / "whole", steps=12, save_every=4, log_every=2)
    settings = whole.settings | {"pause_accuracy": 0.5, "gan": "hinge"}
    whole = whole.model_copy(update={"settings": settings})
    train(whole)
    cut = whole.model_copy(update={"out": tmp_path / "cut"})
    done: list[int] = []
    train(cut, should_stop=lambda: done.append(0) or len(done) > 5)
    state = final(cut.out)
    assert state["step"] < 12 and state["pauses"]["D"]["accuracy"] != 0.5
    train(cut)
    first, second = final(whole.out), final(cut.out)
    assert first["pauses"] == second["pauses"]
    for name, net in first["nets"].items():
        assert all(torch.equal(net[key], second["nets"][name][key]) for key in net)
    rows = [json.loads(row) for row in (whole.out / "metrics.jsonl").read_text().splitlines()]
    shares = [row["losses"]["D/paused"] for row in rows if row["event"] == "step"]
    assert 0 < sum(shares) / len(shares) < 1
    figures = [row for row in rows if row["event"] == "health-figures"]
    assert all(0 <= row["paused"] <= 1 for row in figures) and figures


def test_health_says_how_often_since_the_last_look() -> None:
    health = Health({}, "hinge")
    for share in (0.0, 0.5, 1.0):
        health.add_losses({"D": 1.0, "D/paused": share})
    assert health.judge(1)[0].figures["paused"] == pytest.approx(0.5)
    health.add_losses({"D": 1.0, "D/paused": 1.0})
    assert health.judge(2)[0].figures["paused"] == 1.0
    assert "paused" not in health.judge(3)[0].figures

"""Each detector is fed a sick and a healthy case; a note needs two looks in a row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import Diverged
from img2img.losses import Gan, discriminator_loss
from img2img.methods import CycleGAN
from img2img.methods.base import undecided
from img2img.training import train
from img2img.training.events import HealthNote
from img2img.training.health import PROBLEMS, Health, made_from
from img2img.training.symptoms import (
    border_excess,
    change,
    checkerboard,
    colour_drift,
    discriminator_strength,
    diversity,
    fooled,
    luminance_correlation,
    memorised,
    saturated,
    swing,
)
from img2img.training.verdicts import Scores
from tests.conftest import into
from tests.test_training import config_of


def scenes(count: int = 6, side: int = 64) -> Tensor:
    """Smooth random pictures with a little fine texture, in [-1, 1]."""
    torch.manual_seed(1)
    coarse = F.interpolate(torch.randn(count, 3, 6, 6), side, mode="bicubic")
    return (0.4 * coarse + 0.05 * torch.randn(count, 3, side, side)).clamp(-1, 1)


def restyled(x: Tensor) -> Tensor:
    """A healthy output: less contrast, darker."""
    return 0.5 * x - 0.2


def test_a_discriminator_that_always_wins() -> None:
    gans: tuple[Gan, ...] = ("vanilla", "minimax", "lsgan", "hinge")
    for gan in gans:
        answer = torch.full((4, 1, 3, 3), undecided(gan))
        chance = float(discriminator_loss(lambda x: x, answer, answer, gan))
        assert discriminator_strength([chance] * 12, gan) == pytest.approx(1, abs=0.01)
        assert discriminator_strength([1.0] * 5 + [0.01 * chance] * 10, gan) < 0.05
    assert math.isnan(discriminator_strength([0.0] * 9, "hinge"))
    assert math.isnan(discriminator_strength([0.0] * 99, "wgan"))


def test_a_collapsed_generator_has_no_diversity() -> None:
    x = scenes()
    one = restyled(x[:1]).expand_as(x) + 0.01 * torch.randn_like(x)
    assert diversity(one, x) < 0.1 < 0.4 < diversity(restyled(x), x)
    assert math.isnan(diversity(x[:3], x[:3]))


def test_outputs_that_are_the_inputs() -> None:
    x = scenes()
    assert change(x + 0.002, x) < 0.5 < 10 < change(restyled(x), x)
    grey = x.mean(1, keepdim=True)
    assert change(grey, x) < 20  # another number of channels


def test_a_negative() -> None:
    x = scenes()
    assert luminance_correlation(-restyled(x), x) < -0.9
    assert luminance_correlation(restyled(x), x) > 0.9
    assert math.isnan(luminance_correlation(torch.zeros_like(x), x))


@pytest.mark.parametrize("period", [2, 4])
def test_a_checkerboard(period: int) -> None:
    x = scenes()
    wave = torch.ones(64)
    wave[torch.arange(64) % period >= period // 2] = -1
    assert checkerboard(x + 0.06 * wave[:, None] * wave) > 30
    assert checkerboard(x + 0.06 * wave) > 30  # stripes
    assert checkerboard(x) < 15 and checkerboard(restyled(x)) < 15
    assert checkerboard(torch.zeros_like(x)) < 15
    assert math.isnan(checkerboard(x[..., :16, :16]))


def test_colours_that_have_drifted() -> None:
    x = scenes()
    tint = torch.tensor([0.5, 0, 0])[:, None, None]
    assert colour_drift(x + tint, x.flip(0)) == pytest.approx(63.75, abs=1)
    assert colour_drift(x.flip(3), x) < 1
    assert math.isnan(colour_drift(x[:, :1], x))


def test_patches_along_the_border() -> None:
    x = scenes()
    patched = restyled(x)
    patched[..., :4, :] = 1
    patched[..., -4:, :] = -1
    assert border_excess(patched, restyled(x)) > 3
    noisy = restyled(x) + 0.2 * torch.randn_like(x)
    assert border_excess(noisy, restyled(x)) == pytest.approx(1, abs=0.1)
    assert math.isnan(border_excess(x, x))


def test_values_at_the_ends_of_the_range() -> None:
    x = scenes()
    assert saturated(x.sign(), x) > 0.9 and saturated(x, x) == 0
    assert saturated(x.sign(), x.sign()) == 0  # as in drawings


def looks(outputs: Tensor, times: int = 2) -> list[HealthNote]:
    health = Health({"output": "truth output"}, "hinge")
    x = scenes(len(outputs))
    notes: list[HealthNote] = []
    for step in range(times):
        for k in range(len(x)):
            health.see({"input": x[k : k + 1], "output": outputs[k : k + 1]})
        notes = health.judge(step)[1]
    return notes


def test_a_problem_is_noted_when_it_shows_itself_twice() -> None:
    assert looks(scenes(), times=1) == []
    (note,) = looks(scenes())
    assert (note.step, note.problem) == (1, "unchanged") and note.value == 0
    assert looks(restyled(scenes())) == []
    assert [n.problem for n in looks(-scenes())] == ["inverted"]


def test_one_domain_may_leave_pictures_as_they_are() -> None:
    health = Health({}, "")
    x = scenes()
    for step in range(2):
        health.see({"input": x, "Smiling": x, "Glasses": restyled(x)})
        assert health.judge(step)[1] == []


def test_non_finite_outputs_are_noted_at_once_and_alone() -> None:
    x = scenes()
    x[0, 0, 0, 0] = float("nan")
    assert [n.problem for n in looks(x, times=1)] == ["not-finite"]


def test_a_collapse_ends_a_training_and_a_pattern_does_not() -> None:
    assert {n for n, p in PROBLEMS.items() if p.ends} == {
        "discriminator-too-strong",
        "mode-collapse",
        "saturated",
    }
    health = Health({}, "hinge")
    for step in range(2):
        for _ in range(10):
            health.add_losses({"D/gan": 0.001, "G/gan": 3.0})
        health.see({"input": scenes(), "output": restyled(scenes())})
        _, notes = health.judge(step)
    assert [n.problem for n in notes] == ["discriminator-too-strong"] and health.ended


def test_each_output_of_a_cycle_is_compared_with_its_own_input() -> None:
    health = Health(CycleGAN.compared, "lsgan", CycleGAN.made_of)
    a, b = scenes(), scenes().flip(0)
    columns = {"A": a, "A to B": restyled(a), "A to B to A": a}
    columns |= {"B": b, "B to A": restyled(b), "B to A to B": b}
    health.see(columns)
    figures, _ = health.judge(1)
    assert figures.figures["luminance"] > 0.9 and figures.figures["change"] > 10
    assert health.columns == list(columns)


def test_outputs_are_what_a_method_says_or_all_but_real_pictures() -> None:
    a, b = scenes(), scenes().flip(0)
    seen = {"A": a, "A to B": b, "A to B to A": a, "B": b, "B to A": a, "truth A to B": b}
    names = [*seen, "other"]
    cycle = CycleGAN.compared, CycleGAN.made_of
    assert made_from(names, *cycle) == [("A to B", "A"), ("B to A", "B")]
    assert made_from(["A", "A to B", "B to A"], *cycle) == [("A to B", "A")]  # B was not shown
    plain: tuple[dict[str, str], dict[str, str]] = {"A to B": "B"}, {}
    assert made_from(["A", "A to B", "B", "truth A to B", "other"], *plain) == [
        ("A to B", "A"),
        ("other", "A"),
    ]
    assert made_from([], *plain) == []


def test_a_resumed_run_judges_as_one_in_one_piece() -> None:
    health = Health({}, "hinge")
    rows: list[dict[str, Any]] = [
        {"event": "step", "step": n, "losses": {"D/gan": 0.001}} for n in range(10)
    ]
    rows.append({"event": "health-figures", "step": 9, "discriminator": 0.001, "diversity": 0.9})
    health.resume(rows, {})
    health.see({"input": scenes(), "output": restyled(scenes())})
    assert [n.problem for n in health.judge(10)[1]] == ["discriminator-too-strong"]


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["warn", "stop"])
def test_a_training_whose_generator_answers_the_same_to_all(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    """A generator that gives one grey is a collapse, in the log and in the page."""
    monkeypatch.setattr(
        "img2img.methods.pix2pix.Pix2Pix.columns",
        lambda self, batch: {
            "input": torch.randn(4, 3, 32, 32),
            "output": torch.zeros(4, 3, 32, 32),
        },
    )
    config = config_of(pairs, tmp_path / "run", steps=3, sample_every=1, on_collapse=choice)
    events: list[dict[str, Any]] = []
    if choice == "stop":
        with pytest.raises(Diverged, match="step 2: mode collapse"):
            train(config, into(events))
    else:
        train(config, into(events))
    steps = [
        e["step"] for e in events if e["event"] == "health" and e["problem"] == "mode-collapse"
    ]
    assert steps == ([2] if choice == "stop" else [2, 3])
    assert "mode collapse" in (config.out / "report.html").read_text()


def test_colour_on_a_kept_luminance_is_a_change() -> None:
    grey = scenes().mean(1, keepdim=True).expand(-1, 3, -1, -1) * 0.8
    shift = torch.tensor([0.0, 0.114, -0.587])[None, :, None, None] * 0.2  # luminance of 0
    assert change(grey, grey) == 0
    assert change(grey + shift, grey) > 2
    assert change((grey + shift)[:, :1], grey) < 1e-3  # one channel against three: by luminance


def turning(angle: float, looks: int) -> list[Tensor]:
    """The same outputs at successive looks, on a circle of 40 levels."""
    torch.manual_seed(2)
    base, x, y = torch.randn(3, 5, 3, 8, 8) / 4
    x, y = (40 / 127.5 * v / v.square().mean((1, 2, 3), keepdim=True).sqrt() for v in (x, y))
    return [base + math.cos(angle * k) * x + math.sin(angle * k) * y for k in range(looks)]


def test_outputs_that_swing_and_outputs_that_move_on() -> None:
    circle = turning(math.tau / 5, 6)
    assert swing(circle) == pytest.approx(2 * 40 * math.sin(math.pi / 5), rel=0.05)
    there_and_back = turning(math.pi, 6)
    assert swing(there_and_back) == pytest.approx(80 * 4 / 5, rel=0.05)
    a, b = there_and_back[:2]
    assert swing([a.lerp(b, k / 5) for k in range(6)]) < 0.1
    assert swing([a] * 6) == 0
    assert swing([*circle, *[a] * 6]) == 0  # of old looks nothing stays
    assert math.isnan(swing(circle[:5]))


def test_an_oscillation_needs_the_looks_of_one_set() -> None:
    health, x = Health({}, ""), scenes()
    for step in range(8):
        health.see({"input": x, "output": restyled(x) + (0.4 if step % 2 else -0.4)})
        figures, notes = health.judge(step)
        assert ("swing" in figures.figures) == (step >= 5)
    assert [n.problem for n in notes] == ["oscillation"]
    health.see({"input": x[:4], "output": restyled(x[:4])})  # the held-out pictures changed
    assert "swing" not in health.judge(9)[0].figures


def test_a_discriminator_that_knows_its_pictures_by_heart() -> None:
    noise = torch.linspace(-0.5, 0.5, 16)
    assert memorised(5 + noise, -3 + noise, -3 + noise) > 0.9  # held-out ones are as fakes
    assert memorised(5 + noise, 5 + noise, -3 + noise) == 0
    assert memorised(5 + noise, 1 + noise, -3 + noise) == pytest.approx(0.5, abs=0.05)
    assert memorised(5 + noise, 4.8 + noise, -3 + noise) == 0  # within the errors
    assert math.isnan(memorised(noise, noise - 1, noise))  # it tells nothing apart
    assert math.isnan(memorised(5 + noise, noise[:3], noise))
    assert math.isnan(memorised(torch.empty(0), noise, noise))


def test_a_discriminator_that_does_not_follow() -> None:
    real, fake = torch.arange(8.0), torch.arange(8.0) + 0.5
    assert fooled(real, fake) == pytest.approx(36 / 64)
    assert fooled(real, real) == 0.5
    assert fooled(real, real + 20) == 1 and fooled(real, real - 20) == 0
    assert math.isnan(fooled(real[:3], fake))
    health = Health({}, "wgan")
    for step in range(2):
        health.take({"D": Scores(torch.empty(0), real, fake + 20)})
        health.see({"input": scenes(), "output": restyled(scenes())})
        figures, notes = health.judge(step)
    assert [n.problem for n in notes] == ["discriminator-too-weak"]
    assert figures.figures["fooled"] == 1 and "memorised" not in figures.figures


def test_a_faint_pattern_on_a_blank_output_is_no_checkerboard() -> None:
    wave = torch.ones(64)
    wave[1::2] = -1
    blank = torch.zeros(2, 3, 64, 64)
    assert checkerboard(blank + 1 / 127.5 * wave) < 30 < checkerboard(blank + 4 / 127.5 * wave)


def test_outputs_as_alike_as_the_real_pictures_are_no_collapse() -> None:
    health = Health({"A to B": "B"}, "")
    a = scenes()
    nights = 0.05 * a.flip(0) - 0.8
    for step in range(2):
        health.see({"A": a, "A to B": 0.05 * a - 0.8, "B": nights})
        figures, notes = health.judge(step)
    assert figures.figures["diversity"] == pytest.approx(1, abs=0.2)
    assert "mode-collapse" not in {n.problem for n in notes}
    assert looks(0.05 * a - 0.8)[0].problem == "mode-collapse"  # nothing to compare with


def test_what_is_about_to_vanish_is_not_noted() -> None:
    health, x = Health({"output": "truth output"}, ""), scenes()
    reported = []
    for shift in (0.9, 0.45, 0.45, 0.2, 0.9):  # 115, 57, 57, 25 and 115 levels of 255; limit 40
        health.see({"input": x, "output": x * 0.1 + shift, "truth output": x * 0.1})
        reported.append("colour-drift" in {n.problem for n in health.judge(1)[1]})
    assert reported == [False, False, True, False, False]

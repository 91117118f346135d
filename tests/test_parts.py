"""Loss terms by weight: which are computed, by how many looks of VGG19, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from img2img.data import Loading, UnpairedData
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.losses import content_loss, gram_matrix
from img2img.methods.parts import (
    STYLE_LAYERS,
    Parts,
    PartSettings,
    Style,
    Transfer,
    check_parts,
    load_features,
    pictures_of,
    style_on,
)
from tests.conftest import picture

CPU = torch.device("cpu")
NONE = Transfer()
ALL = {
    f"lambda_{name}": 2.0
    for name in ("perceptual", "statistics", "sliced", "frequency", "tv", "colour", "light")
}
NAMES = {f"G/{name.removeprefix('lambda_')}" for name in ALL}


def noise(seed: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def features() -> VGG19:
    """A small random network of the same layers would do as well; these weights need no file."""
    torch.manual_seed(0)
    return VGG19("relu4_2").eval()


def parts_of(features: VGG19 | None, transfer: Transfer = NONE, **given: Any) -> Parts:
    return Parts(PartSettings.parse(given), features, transfer)


def looks(features: VGG19, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, tuple[str, ...]]]:
    """Of each look: whether a gradient is taken, and the layers."""
    seen: list[tuple[bool, tuple[str, ...]]] = []
    plain = VGG19.forward

    def forward(self: VGG19, x: Tensor, layers: Any) -> dict[str, Tensor]:
        seen.append((torch.is_grad_enabled() and x.requires_grad, tuple(sorted(set(layers)))))
        return plain(self, x, layers)

    monkeypatch.setattr(VGG19, "forward", forward)
    return seen


def test_without_weights_nothing_is_loaded_or_computed() -> None:
    parts = parts_of(None)
    assert load_features(PartSettings(), 8) is None
    assert parts(noise(0), noise(1)) == {} and not parts.frozen_nets and not parts.styled
    check_parts(PartSettings(), (1, 1))


def test_every_term_by_one_look_at_the_output(
    features: VGG19, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(features, Transfer(1.0, 3.0), **ALL)
    assert set(parts.frozen_nets) == {"vgg19"}
    style = parts.style_of([noise(7), noise(8, 1)])
    seen = looks(features, monkeypatch)
    fake = noise(0).requires_grad_()
    losses = parts(fake, noise(1), style=style)
    assert set(losses) == NAMES | {"G/content", "G/style"}
    content = ("relu1_2", "relu2_2", "relu3_2", "relu4_1", "relu4_2")
    assert seen == [(True, tuple(sorted({*STYLE_LAYERS, *content}))), (False, content)]
    torch.stack(list(losses.values())).sum().backward()
    assert fake.grad is not None and bool(fake.grad.isfinite().all())
    assert all(p.grad is None for p in features.parameters())


def test_only_the_layers_in_use_are_computed(
    features: VGG19, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looks(features, monkeypatch)
    parts_of(features, lambda_tv=1.0, lambda_frequency=1.0)(noise(0), noise(1))
    assert seen == []
    parts_of(features, lambda_perceptual=1.0, perceptual_layers=["relu2_1"])(noise(0), noise(1))
    assert seen == [(False, ("relu2_1",))] * 2


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_term_is_weighted_alone(name: str, features: VGG19) -> None:
    once, twice = (parts_of(features, **{name: weight}) for weight in (1.0, 2.0))
    style = once.style_of([noise(7)])
    (key, one), *rest = once(noise(0), noise(1), style=style).items()
    assert key == f"G/{name.removeprefix('lambda_')}" and not rest
    assert float(one) > 0
    assert float(twice(noise(0), noise(1), style=style)[key]) == pytest.approx(2 * float(one))


def test_the_truth_is_compared_where_it_is_known(features: VGG19) -> None:
    of_style = ("lambda_statistics", "lambda_sliced")
    parts = parts_of(features, **{n: w for n, w in ALL.items() if n not in of_style})
    fake, source, truth = noise(0), noise(1), noise(2)
    with_truth, as_source = parts(fake, source, truth), parts(fake, truth)
    assert with_truth.keys() == as_source.keys()
    assert all(torch.equal(with_truth[n], as_source[n]) for n in with_truth)
    assert float(parts(truth, source, truth)["G/perceptual"]) == 0


def test_terms_are_those_of_the_losses(features: VGG19) -> None:
    parts = parts_of(features, Transfer(content=3.0, layer="relu3_1"))
    fake, source = noise(0), noise(1)
    a, b = (features(x, ["relu3_1"])["relu3_1"] for x in (fake, source))
    assert torch.equal(parts(fake, source)["G/content"], 3.0 * content_loss(a, b))


def test_a_style_is_the_mean_over_its_pictures(features: VGG19) -> None:
    parts = parts_of(features, Transfer(style=1.0), lambda_statistics=1.0, lambda_sliced=1.0)
    pictures = noise(3, 3)
    style = parts.style_of(pictures[k : k + 2] for k in (0, 2))
    assert set(style) == {"gram", "statistics", "sliced"}
    maps = features(pictures, ["relu2_1"])["relu2_1"]
    expected = gram_matrix(maps).mean(0)
    assert torch.allclose(style["gram"]["relu2_1"], expected, rtol=1e-4)
    assert style["statistics"]["relu2_1"].shape == (2, 128)
    own = parts(pictures, pictures, style=style)
    assert all(float(loss) < 1e-3 for loss in own.values())
    again: Style = style_on(style, CPU)
    assert torch.equal(again["sliced"]["relu4_1"], style["sliced"]["relu4_1"])


def test_layers_of_weight_zero_do_not_count(features: VGG19) -> None:
    deep = parts_of(features, lambda_statistics=1.0, style_layers=[0, 0, 0, 1])
    style = deep.style_of([noise(7)])
    before = float(deep(noise(0), noise(1), style=style)["G/statistics"])
    style["statistics"]["relu1_1"] *= 5
    assert float(deep(noise(0), noise(1), style=style)["G/statistics"]) == before


def test_half_precision_stays_close(features: VGG19) -> None:
    parts = parts_of(features, Transfer(1.0, 1.0), **ALL)
    style = parts.style_of([noise(7)])
    plain = parts(noise(0), noise(1), style=style)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = parts(noise(0), noise(1), style=style)
    for name, loss in plain.items():
        assert float(mixed[name]) == pytest.approx(float(loss), rel=0.05), name


def test_pictures_of_a_side_are_an_even_choice(tmp_path: Path) -> None:
    for side in "AB":
        (tmp_path / side).mkdir()
        for k in range(8):
            picture(20, 20, 10 * k + (side == "B")).save(tmp_path / side / f"{k}.png")
    data = UnpairedData(tmp_path, "train", Loading(16, held_out=1))
    rows = list(pictures_of(data.stores, 1, CPU, most=3, at_once=2))
    assert [len(x) for x in rows] == [2, 1]
    every = torch.cat(list(pictures_of(data.stores, 1, CPU)))
    assert len(every) == 7 and -1 <= float(every.min()) < float(every.max()) <= 1
    assert torch.equal(torch.cat(rows), every[[0, 2, 4]])
    other = torch.cat(list(pictures_of(data.stores, 0, CPU)))
    assert not torch.equal(every, other)


def test_pictures_of_pairs_used_without_relation(pairs: Path) -> None:
    data = UnpairedData(pairs, "train", Loading(16))
    a, b = (torch.cat(list(pictures_of(data.stores, side, CPU))) for side in (0, 1))
    assert a.shape == b.shape and not torch.equal(a, b)


@pytest.mark.parametrize(
    ("given", "channels", "more", "complaint"),
    [
        ({"lambda_sliced": 1}, (3, 3), {}, "lambda_sliced=0, or use lambda_perceptual"),
        ({"lambda_statistics": 1}, (3, 3), {}, "has none: set lambda_statistics=0"),
        ({"lambda_perceptual": 1}, (1, 1), {}, "lambda_perceptual needs colour on both sides"),
        ({"lambda_colour": 1}, (3, 1), {}, "takes 3 channels and gives 1: set lambda_colour=0"),
        ({"lambda_light": 1}, (1, 3), {}, "lambda_light needs colour"),
        ({"lambda_frequency": 1}, (1, 3), {}, "set lambda_frequency=0"),
        ({"lambda_perceptual": 1, "vgg19": "/no/file"}, (3, 3), {}, "cannot be read"),
        ({"lambda_colour": 1}, (1, 1), {"truth": True}, "needs colour on both sides"),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: dict[str, Any], channels: tuple[int, int], more: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        check_parts(PartSettings.parse(given), channels, **more)
    assert "\n" not in str(caught.value)


def test_what_a_truth_makes_possible(features: VGG19) -> None:
    check_parts(PartSettings(lambda_frequency=1, lambda_colour=1), (1, 3), truth=True)
    check_parts(PartSettings(lambda_frequency=1, lambda_tv=1), (1, 1))
    with pytest.raises(ConfigError, match="`crop_size=16` or more"):
        load_features(PartSettings(lambda_colour=1), 8)
    with pytest.raises(ConfigError, match=r"Did you mean 'relu4_1'"):
        PartSettings.parse({"perceptual_layers": ["relu4_11"]})
    with pytest.raises(ValueError, match="load_features"):
        parts_of(None, lambda_perceptual=1.0)

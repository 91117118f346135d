"""The discriminator on frozen features: what it judges, what it keeps, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from img2img.augment import Augment, DiffAugment
from img2img.data import PairedBatch
from img2img.errors import ConfigError
from img2img.features import Lite0, find_features, load_lite0
from img2img.methods import CycleGAN, Method, Pix2Pix, Pix2PixConfig, Stylize
from img2img.nets import ProjectedDiscriminator, build_discriminator
from img2img.training import train
from img2img.training.run_folder import states_of
from img2img.training.setup import check
from tests.conftest import Main
from tests.test_training import config_of, final


def made(**options: object) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    D = build_discriminator("projected", {"width": 4, "projected": 6, **options})
    assert isinstance(D, ProjectedDiscriminator)
    D.look_through(Lite0())
    return D


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (65, 47)])
def test_a_map_of_logits_for_the_pixels_and_each_scale(size: tuple[int, int]) -> None:
    D = made(condition_channels=3).eval()  # in training spectral norms move at every pass
    x = torch.rand(2, 6, *size) * 2 - 1
    answers = D(x)
    assert all(a.shape[:2] == (2, 1) and a[0].numel() for a in answers) and len(answers) == 5
    if size[0] % 32 == size[1] % 32 == 0:
        places = (size[0] // 32, size[1] // 32)
        assert [tuple(a.shape[2:]) for a in answers[1:]] == [places] * 4
    for scale, logits in zip(D.features(x), answers, strict=True):
        assert torch.equal(scale[-1], logits)


def test_the_features_see_the_judged_picture_alone() -> None:
    D = made(condition_channels=3).eval()
    judged = torch.rand(1, 3, 64, 64) * 2 - 1
    one, two = (D(torch.cat([condition, judged], 1)) for condition in torch.rand(2, 1, 3, 64, 64))
    assert not torch.equal(one[0], two[0])
    assert all(torch.equal(a, b) for a, b in zip(one[1:], two[1:], strict=True))


def test_each_answer_has_a_gradient_to_the_pixels_and_none_to_the_features() -> None:
    D = made()
    for number in range(5):
        x = (torch.rand(1, 3, 64, 64) * 2 - 1).requires_grad_()
        D(x)[number].sum().backward()
        assert x.grad is not None and x.grad.abs().sum() > 0
    net = D._seen_through[0]
    assert all(p.grad is None for p in net.parameters())  # type: ignore[attr-defined]


def test_the_state_holds_the_projections_and_not_the_feature_network() -> None:
    D = made()
    names = set(D.state_dict())
    assert {"across0", "between3"} <= names and not any("blocks" in name for name in names)
    trained = {name for name, _ in D.named_parameters()}
    assert not any(name.startswith(("across", "between")) for name in trained)
    torch.manual_seed(99)
    other = ProjectedDiscriminator(D.config)  # type: ignore[arg-type]
    other.look_through(D._seen_through[0])
    x = torch.rand(1, 3, 64, 64)
    assert not torch.equal(D.eval()(x)[2], other.eval()(x)[2])
    other.load_state_dict(D.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(D.eval()(x), other.eval()(x), strict=True))


def test_the_maps_are_those_that_the_pooled_features_are_made_of() -> None:
    net = load_lite0(find_features("lite0"))
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    deepest = net.maps(x)[-1]
    from torch.nn import functional as F

    pooled = F.relu6(net._bn1(net._conv_head(deepest))).mean((2, 3))
    assert torch.allclose(pooled, net((x * 127.5 + 127.5 - 127) / 128), atol=1e-5)


def test_what_it_cannot_judge_is_refused() -> None:
    with pytest.raises(ConfigError, match="discriminator=patch"):
        made(in_channels=2)
    with pytest.raises(ConfigError, match="at least 32 pixels"):
        made()(torch.zeros(1, 3, 31, 64))
    alone = build_discriminator("projected", {})
    with pytest.raises(ConfigError, match="no feature network"):
        alone(torch.zeros(1, 3, 64, 64))


def test_missing_weights_are_reported_before_any_picture_is_read(
    tmp_path: Path, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2IMG_LITE0", str(tmp_path / "absent.pth"))
    config = config_of(tmp_path / "no-data", tmp_path / "run")
    settings = config.settings | {"discriminator": "projected", "discriminator_options": {}}
    with pytest.raises(ConfigError, match=r"absent\.pth"):
        check(config.model_copy(update={"settings": settings}), dry_run=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_training_resumes_to_the_bit_and_keeps_the_features_out(
    tmp_path: Path, pairs: Path
) -> None:
    options = {"width": 4, "projected": 6}
    settings = {"discriminator": "projected", "discriminator_options": options, "gan": "hinge"}
    whole = config_of(pairs, tmp_path / "whole", steps=4, save_every=2)
    whole = whole.model_copy(update={"settings": whole.settings | settings})
    train(whole)
    cut = whole.model_copy(update={"out": tmp_path / "cut", "steps": 2})
    train(cut)
    train(cut.model_copy(update={"steps": 4}))
    first, second = final(tmp_path / "whole"), final(tmp_path / "cut")
    assert states_of(tmp_path / "cut")[0].stat().st_size < 10 * 2**20
    for net in ("G", "D"):
        one, two = first["nets"][net], second["nets"][net]
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_what_was_seen_serves_several_judgements() -> None:
    D = made(condition_channels=3).eval()
    x = torch.rand(1, 6, 64, 64) * 2 - 1
    looked = D.look(x)
    for plain, shared in zip(D.features(x), D.features_of(x, looked), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(plain, shared, strict=True))
    patch = build_discriminator("patch", {"width": 4, "layers": 2}).eval()
    alone = torch.rand(1, 3, 32, 32)
    assert patch.look(alone) == []
    assert torch.equal(patch.features_of(alone, [])[0][-1], patch(alone))


@pytest.mark.parametrize(
    ("weight", "policy", "looks"), [(0.0, "", 2), (2.0, "", 2), (2.0, "color", 3)]
)
def test_a_step_looks_at_each_picture_once(weight: float, policy: str, looks: int) -> None:
    """Real and made, each once, for the step of D, that of G and the feature matching; where the
    view draws anew, what D and G are shown differs."""
    torch.manual_seed(0)
    trainer = Pix2Pix(
        Pix2PixConfig.parse(
            {
                "generator_options": {"width": 4, "depth": 3},
                "discriminator": "projected",
                "discriminator_options": {"width": 4, "projected": 6},
                "gan": "hinge",
                "lambda_features": weight,
            }
        )
    )
    D, net = trainer.D, Lite0()
    assert isinstance(D, ProjectedDiscriminator)
    D.look_through(net)
    trainer.augment = Augment(64, False, 0)
    if policy:
        trainer.view = view = DiffAugment(policy, 0)
        view.begin(0)
    shown: list[bool] = []
    net._conv_stem.register_forward_hook(lambda m, given, out: shown.append(out.requires_grad))
    batch = PairedBatch(*torch.rand(2, 2, 3, 64, 64), [0, 1])
    trainer.augment.begin(0, batch.indices)
    losses = trainer.step(batch)
    assert ("G/features" in losses) is bool(weight)
    assert len(shown) == looks and sum(shown) == 1, "one with a gradient: what G made"


@pytest.mark.parametrize("method", [Pix2Pix, CycleGAN])
def test_a_method_says_which_features_its_discriminators_need(method: type[Method]) -> None:
    def needed(**settings: str) -> tuple[str, ...]:
        return method.required_features(method.Config.parse(settings))

    assert needed(discriminator="projected") == ("lite0",)
    assert needed() == needed(discriminator="unknown") == ()
    assert Stylize.required_features(Stylize.Config.parse({"style": "x.jpg"})) == ()
    unjudged = {"style": "x.jpg", "discriminator": "projected", "lambda_adversarial": 0}
    assert Stylize.required_features(Stylize.Config.parse(unjudged)) == ()

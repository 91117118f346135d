"""What the discriminator sees: differentiable, reproducible, the condition moves but keeps its
colours, and the adaptive probability follows the discriminator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from img2img.augment import AdaptiveAugment, DiffAugment, JudgedView
from img2img.errors import ConfigError

ALL = "color,translation,cutout"


def noise(
    n: int = 4, channels: int = 3, side: int = 16, dtype: torch.dtype = torch.float32
) -> Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.rand(n, channels, side, side, generator=g, dtype=dtype) * 2 - 1


def views() -> list[JudgedView]:
    return [DiffAugment(ALL, seed=5), AdaptiveAugment(seed=5, p=0.8)]


@pytest.mark.parametrize("view", views())
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (4, 6, 16, 20), (3, 1, 17, 15), (2, 4, 8, 8)])
def test_smoke_and_cardinality(view: JudgedView, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape).uniform_(-1, 1)
    view.begin(0)
    y = view(x, 3 if shape[1] > 3 else 0)
    assert y.shape == x.shape and y.dtype == x.dtype and torch.isfinite(y).all()
    assert not torch.equal(x, y)
    half = view(x.bfloat16())
    assert half.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("view", views())
def test_gradients_reach_the_picture(view: JudgedView) -> None:
    x = noise(3, 4, 8, torch.float64).requires_grad_()

    def seen(x: Tensor) -> Tensor:
        view.begin(2)
        return view(x, 1)

    assert torch.autograd.gradcheck(seen, (x,))


def test_a_gradient_penalty_may_go_through_diffaugment() -> None:
    view = DiffAugment(ALL, seed=5)
    x = noise(2, 3, 6, torch.float64).requires_grad_()

    def seen(x: Tensor) -> Tensor:
        view.begin(2)
        return view(x) ** 2

    assert torch.autograd.gradgradcheck(seen, (x,))


@pytest.mark.parametrize("kind", ["diff", "ada"])
def test_the_draw_depends_on_seed_step_call_and_place_alone(kind: str) -> None:
    def run(
        seed: int, step: int, n: int, calls: int = 1, indices: list[int] | None = None
    ) -> Tensor:
        view = DiffAugment(ALL, seed) if kind == "diff" else AdaptiveAugment(seed, p=0.8)
        view.begin(step, indices)
        return [view(noise(1).expand(n, -1, -1, -1)) for _ in range(calls)][-1]

    first = run(1, 7, 4)
    assert torch.equal(first, run(1, 7, 4))
    assert torch.equal(first[:2], run(1, 7, 2))
    assert torch.equal(first[2:], run(1, 7, 2, indices=[2, 3]))
    for other in (run(2, 7, 4), run(1, 8, 4), run(1, 7, 4, calls=2)):
        assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("view", views())
def test_mixed_precision_changes_nothing(view: JudgedView) -> None:
    view.begin(0)
    plain = view(noise())
    view.begin(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain, view(noise()))


@pytest.mark.parametrize("view", views())
def test_the_condition_moves_along_and_keeps_its_colours(view: JudgedView) -> None:
    """A condition equal to the judged picture: its values are those of a colour-free view."""
    x = noise(8)
    for step in range(5):
        view.begin(step)
        seen = view(torch.cat([x, x], 1), 3)
        condition, judged = seen[:, :3], seen[:, 3:]
        assert condition.abs().max() <= 1 + 1e-6
        assert not torch.equal(condition, judged)
        if isinstance(view, DiffAugment):
            still = DiffAugment("translation,cutout", view.seed)
            still.begin(step)
            assert torch.equal(condition, still(x))
            # Where the condition was moved out or cut, so was the judged picture.
            assert torch.equal((condition == 0).all(1), (judged == 0).all(1))


def test_the_condition_must_leave_something_to_judge() -> None:
    for channels in (3, 4, -1):
        with pytest.raises(ValueError, match="of 3 channels cannot be a condition"):
            DiffAugment(ALL, 0)(noise(), channels)
    view = DiffAugment(ALL, 0)
    view.begin(0, [1])
    with pytest.raises(ValueError, match=r"4 pictures, but begin\(\) was given 1"):
        view(noise())


def test_an_unknown_policy_is_refused_with_a_proposal() -> None:
    with pytest.raises(ConfigError, match=r"'colour'\. Did you mean 'color'"):
        DiffAugment("colour, cutout", 0)
    assert torch.equal(DiffAugment("", 0)(noise()), noise())


def test_translation_is_by_up_to_an_eighth_with_grey_beyond() -> None:
    view = DiffAugment("translation", 0)
    x = torch.arange(1.0, 257).view(1, 1, 16, 16)
    seen = set()
    for step in range(300):
        view.begin(step)
        y = view(x)[0, 0]
        # The values of the middle survive any shift and tell it.
        top, left = divmod(int(y[8, 8]) - 1, 16)
        seen.add((top - 8, left - 8))
    assert seen == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    assert (y == 0).any() or y.equal(x[0, 0])


def test_cutout_is_half_a_side() -> None:
    view = DiffAugment("cutout", 0)
    most = 0
    for step in range(100):
        view.begin(step)
        hole = view(torch.ones(1, 2, 16, 16)) == 0
        rows, columns = hole[0, 0].any(1).sum(), hole[0, 0].any(0).sum()
        assert int(hole.sum()) == 2 * int(rows * columns) > 0
        most = max(most, int(rows * columns))
    assert most == 64


def test_a_policy_does_not_change_the_draws_of_another() -> None:
    def run(policy: str, x: Tensor) -> Tensor:
        view = DiffAugment(policy, 0)
        view.begin(3)
        return view(x)

    assert torch.equal(
        run("cutout", run("translation", noise())), run("translation,cutout", noise())
    )


# --- ADA


def test_p_0_changes_nothing() -> None:
    view = AdaptiveAugment(0)
    assert view(noise()) is not None and torch.equal(view(noise()), noise())


def test_p_says_how_many_pictures_are_touched() -> None:
    """Eight geometric and five colour operations; a small p leaves most pictures alone."""
    x = noise(1).expand(400, -1, -1, -1)
    shares = []
    for p in (0.02, 0.1, 0.8):
        view = AdaptiveAugment(0, p=p)
        shares.append(float((view(x) != x).flatten(1).any(1).float().mean()))
    # 1 - P(nothing): mirror and luma flip count half, quarter turns three quarters.
    p = 0.02
    nothing = (1 - p / 2) ** 2 * (1 - 0.75 * p) * (1 - p) ** 9
    assert abs(shares[0] - (1 - nothing)) < 0.06
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.99


def test_only_the_geometry_touches_the_condition() -> None:
    view = AdaptiveAugment(0, p=0.3)
    flat = torch.full((64, 6, 8, 8), 0.25)
    seen = view(flat, 3)
    assert torch.allclose(seen[:, :3], flat[:, :3], atol=1e-6)  # a flat picture shows no motion
    assert not torch.allclose(seen[:, 3:], flat[:, 3:], atol=1e-3)


def test_p_follows_the_discriminator() -> None:
    view = AdaptiveAugment(0, target=0.6, ada_kimg=1, interval=2)
    sure, unsure = torch.ones(4, 1, 3, 3), torch.tensor([1.0, -1.0]).repeat(18).view(4, 1, 3, 3)
    view.update(sure, 4)
    assert view.p == 0 and view.r_t is None
    view.update(sure, 4)
    assert view.p == pytest.approx(8 / 1000) and view.r_t == 1
    for _ in range(1000):
        view.update(sure, 4)
    assert view.p == 0.8
    view.update(unsure, 4)
    view.update(unsure, 4)
    assert view.p == pytest.approx(0.792) and view.r_t == 0
    for _ in range(1000):
        view.update(unsure, 4)
    assert view.p == 0


def test_the_midpoint_of_least_squares() -> None:
    view = AdaptiveAugment(0, interval=1, ada_kimg=1, midpoint=0.5, p=0.5)
    view.update(torch.full((8,), 0.4), 8)
    assert view.r_t == -1 and view.p == pytest.approx(0.492)


def test_a_resume_is_exact_in_the_middle_of_an_interval() -> None:
    g = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 1, 5, 5, generator=g) + 1 for _ in range(23)]
    whole, first, second = (AdaptiveAugment(0, ada_kimg=0.1) for _ in range(3))
    for x in logits:
        whole.update(x, 2)
    for x in logits[:10]:
        first.update(x, 2)
    state = first.state_dict()
    assert all(v is None or type(v) in (int, float) for v in state.values())
    second.load_state_dict(state)
    for x in logits[10:]:
        second.update(x, 2)
    assert second.state_dict() == whole.state_dict()
    assert whole.p > 0


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"p": 0.9}, {"ada_kimg": 0}, {"interval": 0}, {"target": 2}, {"p_max": 1.5}):
        with pytest.raises(ConfigError, match="adaptive augmentation needs"):
            AdaptiveAugment(0, **wrong)  # type: ignore[arg-type]

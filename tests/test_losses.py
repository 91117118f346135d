"""Objectives and penalties against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.losses import (
    EXP_LIMIT,
    GANS,
    PENALTIES,
    Gan,
    Penalty,
    bounded_exp,
    check_objective,
    classification_loss,
    clip_weights,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    gradient_penalty,
    l1_loss,
    r1_penalty,
    saturation_weighted_l1,
)

REAL, FAKE = [2.0, -1.0], [0.5, -3.0]
HALVED = {"minimax", "vanilla", "lsgan"}
F_DIVERGENCES = {"kl", "reverse-kl", "pearson", "hellinger", "js"}


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def mean(function: Callable[[float], float], values: list[float]) -> float:
    return sum(function(v) for v in values) / len(values)


def near(x: Tensor | float, y: float, rel: float = 1e-5) -> bool:
    return math.isclose(float(torch.as_tensor(x).detach()), y, rel_tol=rel, abs_tol=1e-6)


# For D the term of the real and of the fake answers, and for G that of the fake ones. f-GAN is
# written as in its table 2, activation and conjugate apart, so that the simplified forms are held.
ACTIVATION: dict[str, Callable[[float], float]] = {
    "kl": lambda v: v,
    "reverse-kl": lambda v: -math.exp(-v),
    "pearson": lambda v: v,
    "hellinger": lambda v: 1 - math.exp(-v),
    "js": lambda v: math.log(2) - math.log(1 + math.exp(-v)),
}
CONJUGATE: dict[str, Callable[[float], float]] = {
    "kl": lambda t: math.exp(t - 1),
    "reverse-kl": lambda t: -1 - math.log(-t),
    "pearson": lambda t: t * t / 4 + t,
    "hellinger": lambda t: t / (1 - t),
    "js": lambda t: -math.log(2 - math.exp(t)),
}
Term = Callable[[float], float]
BY_HAND: dict[str, tuple[Term, Term, Term]] = {
    "minimax": (lambda v: softplus(-v), softplus, lambda v: -softplus(v)),
    "vanilla": (lambda v: softplus(-v), softplus, lambda v: softplus(-v)),
    "lsgan": (lambda v: (v - 1) ** 2, lambda v: v * v, lambda v: (v - 1) ** 2),
    "hinge": (lambda v: max(0.0, 1 - v), lambda v: max(0.0, 1 + v), lambda v: -v),
    "wgan": (lambda v: -v, lambda v: v, lambda v: -v),
    "wgan-gp": (lambda v: -v, lambda v: v, lambda v: -v),
}
for name in F_DIVERGENCES:
    g, conjugate = ACTIVATION[name], CONJUGATE[name]
    BY_HAND[name] = (
        lambda v, g=g: -g(v),  # type: ignore[misc]
        lambda v, g=g, c=conjugate: c(g(v)),  # type: ignore[misc]
        (lambda v, g=g, c=conjugate: -c(g(v)))  # type: ignore[misc]
        if name == "reverse-kl"
        else (lambda v, g=g: -g(v)),  # type: ignore[misc]
    )


def same(x: Tensor) -> Tensor:
    return x


def test_the_names_and_the_tables_agree() -> None:
    assert set(get_args(Gan)) == set(GANS) == set(BY_HAND)
    assert get_args(Penalty) == PENALTIES


@pytest.mark.parametrize("gan", GANS)
def test_values(gan: Any) -> None:
    on_real, on_fake, on_generated = BY_HAND[gan]
    whole = mean(on_real, REAL) + mean(on_fake, FAKE)
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert near(GANS[gan].discriminator(real, fake), whole)
    assert near(GANS[gan].generator(fake), mean(on_generated, FAKE))
    assert GANS[gan].halved == (gan in HALVED)
    assert near(discriminator_loss(same, real, fake, gan), whole / 2 if gan in HALVED else whole)
    assert near(generator_loss(same, fake, gan), mean(on_generated, FAKE))


@pytest.mark.parametrize("gan", GANS)
def test_scales_count_alike_whatever_their_size(gan: Any) -> None:
    def two(x: Tensor) -> tuple[Tensor, Tensor]:
        return x, 2 * x[:1]

    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    first, second = (
        discriminator_loss(same, r, f, gan) for r, f in ((real, fake), (2 * real[:1], 2 * fake[:1]))
    )
    assert near(discriminator_loss(two, real, fake, gan), (first + second).item() / 2)
    first, second = (generator_loss(same, f, gan) for f in (fake, 2 * fake[:1]))
    assert near(generator_loss(two, fake, gan), (first + second).item() / 2)
    one = discriminator_loss(lambda x: [x], real, fake, gan)
    assert torch.equal(one, discriminator_loss(same, real, fake, gan))


@pytest.mark.parametrize("gan", GANS)
def test_gradients_reach_d_from_the_one_and_g_from_the_other(gan: Any) -> None:
    D = nn.Conv2d(1, 1, 1)
    real = torch.rand(1, 1, 4, 4)
    fake = torch.rand(1, 1, 4, 4, requires_grad=True)
    discriminator_loss(D, real, fake, gan).backward()
    assert fake.grad is None and D.weight.grad is not None
    assert torch.isfinite(D.weight.grad).all() and D.weight.grad.abs().sum() > 0
    generator_loss(D, fake, gan).backward()
    assert fake.grad is not None and fake.grad.abs().sum() > 0


@pytest.mark.parametrize("gan", GANS)
def test_float32_whatever_d_answers(gan: Any) -> None:
    x = torch.tensor([0.5, -0.25], dtype=torch.bfloat16)
    for loss in (discriminator_loss(same, x, x, gan), generator_loss(same, x, gan)):
        assert loss.dtype == torch.float32 and loss.ndim == 0
    exact = discriminator_loss(same, x.float(), x.float(), gan)
    assert torch.equal(discriminator_loss(same, x, x, gan), exact)


@pytest.mark.parametrize("gan", GANS)
def test_a_sure_d_gives_finite_losses_and_gradients(gan: Any) -> None:
    for far in (-1e4, -100.0, 0.0, 100.0, 1e4):
        v = torch.tensor([far], requires_grad=True)
        losses = [GANS[gan].discriminator(v, -v), GANS[gan].generator(v)]
        for loss in losses:
            (gradient,) = torch.autograd.grad(loss, v)
            assert torch.isfinite(loss) and torch.isfinite(gradient).all(), (gan, far)


@pytest.mark.parametrize("gan", sorted(set(GANS) - {"lsgan"}))
def test_g_always_wants_a_higher_answer(gan: str) -> None:
    v = torch.linspace(-8, 8, 33, requires_grad=True)
    (gradient,) = torch.autograd.grad(GANS[gan].generator(v), v)
    assert (gradient < 0).all()


@pytest.mark.parametrize("gan", sorted(set(GANS) - {"minimax", "hinge"}))
def test_g_learns_from_a_d_that_is_sure_of_a_fake(gan: str) -> None:
    v = torch.tensor([-30.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(GANS[gan].generator(v), v)
    assert gradient.item() <= -0.9


def test_the_bounded_exponential_continues_as_its_tangent() -> None:
    x = torch.tensor([-1.0, EXP_LIMIT, EXP_LIMIT + 2], requires_grad=True)
    y = bounded_exp(x)
    top = math.exp(EXP_LIMIT)
    assert all(near(a, b) for a, b in zip(y.tolist(), [math.exp(-1), top, 3 * top], strict=True))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert all(near(a, b) for a, b in zip(gradient.tolist(), [math.exp(-1), top, top], strict=True))


# Two distributions over three points, as counts of 8 samples each, so that means are expectations.
P, Q = [4, 3, 1], [1, 3, 4]


def total(function: Callable[[float, float], float]) -> float:
    return sum(function(p / 8, q / 8) for p, q in zip(P, Q, strict=True))


# The answer that is best for D, from the density ratio p / q, and the loss of D it gives.
OPTIMUM: dict[str, tuple[Callable[[float], float], Callable[[], float]]] = {
    "kl": (lambda u: 1 + math.log(u), lambda: -total(lambda p, q: p * math.log(p / q))),
    "reverse-kl": (math.log, lambda: -total(lambda p, q: q * math.log(q / p))),
    "pearson": (lambda u: 2 * (u - 1), lambda: -total(lambda p, q: (p - q) ** 2 / q)),
    "hellinger": (
        lambda u: math.log(u) / 2,
        lambda: -total(lambda p, q: (math.sqrt(p) - math.sqrt(q)) ** 2),
    ),
    "js": (
        math.log,
        lambda: -total(lambda p, q: p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))),
    ),
    "vanilla": (
        math.log,
        lambda: -total(lambda p, q: p * math.log(p / (p + q)) + q * math.log(q / (p + q))),
    ),
    "lsgan": (lambda u: u / (u + 1), lambda: total(lambda p, q: p * q / (p + q))),
    "hinge": (lambda u: float((u > 1) - (u < 1)), lambda: 2 * total(min)),
}


@pytest.mark.parametrize("gan", OPTIMUM)
def test_the_best_d_measures_the_divergence(gan: str) -> None:
    best, expected = OPTIMUM[gan]
    v = torch.tensor([best(p / q) for p, q in zip(P, Q, strict=True)], requires_grad=True)

    def loss(answers: Tensor) -> Tensor:
        real = answers.repeat_interleave(torch.tensor(P))
        fake = answers.repeat_interleave(torch.tensor(Q))
        return GANS[gan].discriminator(real, fake)

    assert near(loss(v), expected())
    if gan != "hinge":  # which has corners there
        (gradient,) = torch.autograd.grad(loss(v), v)
        assert gradient.abs().max() < 1e-6
    for moved in 0.3 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0)):
        assert loss(v.detach() + moved) >= loss(v) - 1e-6


# ---- Label smoothing ----


def test_smoothing_lowers_the_real_label_alone() -> None:
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    expected = mean(lambda v: 0.9 * softplus(-v) + 0.1 * softplus(v), REAL) + mean(softplus, FAKE)
    assert near(discriminator_loss(same, real, fake, "vanilla", smooth=0.1), expected / 2)
    assert near(discriminator_loss(same, real, fake, "minimax", smooth=0.1), expected / 2)
    expected = mean(lambda v: (v - 0.9) ** 2, REAL) + mean(lambda v: v * v, FAKE)
    assert near(discriminator_loss(same, real, fake, "lsgan", smooth=0.1), expected / 2)
    assert near(discriminator_loss(lambda x: [x, x], real, fake, "lsgan", 0.1), expected / 2)


@pytest.mark.parametrize("gan", sorted(set(GANS) - HALVED))
def test_smoothing_is_refused_where_there_are_no_labels(gan: Any) -> None:
    x = torch.zeros(1)
    with pytest.raises(ConfigError, match="minimax, vanilla, lsgan"):
        discriminator_loss(same, x, x, gan, smooth=0.1)


@pytest.mark.parametrize("smooth", [0.9, -0.1, math.nan])
def test_a_label_given_as_smoothing_is_refused(smooth: float) -> None:
    x = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"for a label of 0\.9 set smooth = 0\.1"):
        discriminator_loss(same, x, x, "vanilla", smooth=smooth)


def test_an_unknown_objective_is_refused_with_the_nearest() -> None:
    x: Any = torch.zeros(1)
    wrong: Any = "wgangp"
    for call in (
        lambda: discriminator_loss(same, x, x, wrong),
        lambda: generator_loss(same, x, wrong),
        lambda: check_objective(wrong),
    ):
        with pytest.raises(ConfigError, match="'wgan-gp'"):
            call()


# ---- Penalties ----


class Linear(nn.Module):
    """D(x) = <w, x> per sample: the gradient is w everywhere."""

    def __init__(self, w: list[float]):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) * self.w).sum(1)


def pictures(n: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.rand(n, 1, 2, 2, generator=rng),
        torch.rand(n, 1, 2, 2, generator=rng),
        torch.rand(n, generator=rng),
    )


def test_penalties_of_a_linear_critic() -> None:
    D = Linear([1.0, 2.0, 2.0, 4.0])  # norm 5
    real, fake, alpha = pictures()
    assert near(gradient_penalty(D, real, fake, alpha), 16)
    assert near(gradient_penalty(D, real, fake, alpha, centre=0), 25)
    assert near(r1_penalty(D, real), 12.5)
    (gradient,) = torch.autograd.grad(gradient_penalty(D, real, fake, alpha), D.w)
    # d (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    assert torch.allclose(gradient, 2 * 4 * D.w.detach() / 5)
    (gradient,) = torch.autograd.grad(r1_penalty(D, real), D.w)
    assert torch.allclose(gradient, D.w.detach())


def test_the_whole_source_map_is_summed() -> None:
    def D(x: Tensor) -> Tensor:
        return torch.cat([3 * x[:, :, 0, 0], 4 * x[:, :, 0, 0], x[:, :, 1, 1]], 1)

    real, fake, alpha = pictures()
    assert near(gradient_penalty(D, real, fake, alpha, 0.0), 49 + 1)  # not 9 + 16 + 1
    assert near(r1_penalty(D, real), 25)


def test_the_penalty_is_taken_between_the_pictures() -> None:
    def D(x: Tensor) -> Tensor:
        return 0.5 * (x**2).flatten(1).sum(1)  # the gradient is x itself

    real, fake, alpha = pictures()
    a = alpha.view(3, 1, 1, 1)
    norms = (a * real + (1 - a) * fake).flatten(1).norm(dim=1)
    for given in (alpha, a):
        assert near(gradient_penalty(D, real, fake, given), ((norms - 1) ** 2).mean().item())
    ends = torch.tensor([1.0, 1.0, 1.0])
    at_real = gradient_penalty(D, real, fake, ends, centre=0.0)
    assert near(at_real, 2 * r1_penalty(D, real).item())
    assert near(at_real, (real**2).sum().item() / 3)


def test_each_scale_is_penalised_by_itself() -> None:
    one, two = Linear([1.0, 2.0, 2.0, 4.0]), Linear([0.0, 0.0, 3.0, 4.0])
    three = Linear([0.0, 0.0, 0.0, 2.0])
    real, fake, alpha = pictures()

    def D(x: Tensor) -> list[Tensor]:
        return [one(x), two(x), three(x)]

    assert near(gradient_penalty(D, real, fake, alpha), (16 + 16 + 1) / 3)
    penalty = r1_penalty(D, real)
    assert near(penalty, (12.5 + 12.5 + 2) / 3)
    penalty.backward()
    assert three.w.grad is not None and near(three.w.grad[3], 2 / 3)


@pytest.mark.parametrize("spectral", [False, True])
def test_penalties_are_differentiated_again(spectral: bool) -> None:
    torch.manual_seed(0)
    last: nn.Module = nn.Conv2d(4, 1, 3)
    if spectral:
        last = nn.utils.parametrizations.spectral_norm(last)
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.LeakyReLU(0.2), last)
    real, fake = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8, requires_grad=True)
    real.requires_grad_(True)
    loss = discriminator_loss(D, real.detach(), fake, "wgan-gp")
    loss = loss + 10 * gradient_penalty(D, real, fake, torch.rand(2, 1, 1, 1)) + r1_penalty(D, real)
    loss.backward()
    assert real.grad is None and fake.grad is None
    for name, p in D.named_parameters():
        if name != "3.bias":  # which no gradient with respect to the picture contains
            assert p.grad is not None and torch.isfinite(p.grad).all()
    assert D[0].weight.grad.abs().sum() > 0


def test_a_flat_critic_has_a_finite_gradient() -> None:
    D = Linear([0.0, 0.0, 0.0, 0.0])
    real, fake, alpha = pictures()
    penalty = gradient_penalty(D, real, fake, alpha)
    assert near(penalty, 1)
    penalty.backward()
    assert D.w.grad is not None and torch.isfinite(D.w.grad).all()


def test_penalties_leave_autocast_outside() -> None:
    torch.manual_seed(0)
    D = nn.Sequential(nn.Conv2d(1, 8, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 1))
    real, fake, alpha = pictures()
    exact = gradient_penalty(D, real, fake, alpha), r1_penalty(D, real)
    with torch.autocast("cpu", torch.bfloat16):
        halved = gradient_penalty(D, real, fake, alpha), r1_penalty(D, real)
        assert D(real).dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(exact, halved, strict=True))
    assert gradient_penalty(D, real.bfloat16(), fake.bfloat16(), alpha).dtype == torch.float32


def test_a_penalty_wants_one_alpha_per_pair() -> None:
    real, fake, alpha = pictures()
    for arguments in ((real, fake, alpha[:1]), (real, fake[:1], alpha)):
        with pytest.raises(ValueError, match="one alpha per pair"):
            gradient_penalty(same, *arguments)


def test_clip_weights() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    nn.init.constant_(net[0].bias, 0.005)
    parameters = list(net.parameters())
    clip_weights(net, 0.01)
    assert all(p.abs().max() <= 0.01 for p in parameters) and all(
        p is q for p, q in zip(parameters, net.parameters(), strict=True)
    )
    assert torch.equal(net[0].bias.detach(), torch.full((2,), 0.005))
    for limit in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match=r"0\.01 is usual"):
            clip_weights(net, limit)


# ---- Other terms ----


def test_l1_is_a_mean_in_float32() -> None:
    x = torch.tensor([1.0, -1.0, 0.5], dtype=torch.bfloat16)
    assert l1_loss(x, torch.zeros(3)).dtype == torch.float32
    assert near(l1_loss(x, torch.zeros(3)), 2.5 / 3)


def test_feature_matching_means_over_layers_then_scales() -> None:
    real = [
        [torch.tensor([1.0, 2.0, 3.0, 6.0], requires_grad=True), torch.tensor([0.5])],
        [torch.tensor([4.0])],
    ]
    fake = [
        [torch.zeros(4, requires_grad=True), torch.tensor([0.0])],
        [torch.tensor([1.0], dtype=torch.bfloat16)],
    ]
    loss = feature_matching_loss(real, fake)
    assert loss.dtype == torch.float32 and near(loss, ((3 + 0.5) / 2 + 3) / 2)
    loss.backward()
    assert real[0][0].grad is None and fake[0][0].grad is not None
    assert torch.allclose(fake[0][0].grad, torch.full((4,), -1 / 16))
    with pytest.raises(ValueError):
        feature_matching_loss(real, fake[:1])


def test_classification_of_exclusive_domains() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    labels = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    first = math.log(math.exp(1) + math.exp(2) + math.exp(0.5)) - 2
    second = math.log(1 + math.exp(-1) + math.exp(3)) - 0
    assert near(classification_loss(logits, labels, exclusive=True), (first + second) / 2)


def test_classification_of_attributes_sums_over_them() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    labels = torch.tensor([[1, 0, 1], [0, 0, 1]])
    expected = (
        softplus(-1) + softplus(2) + softplus(-0.5) + softplus(0) + softplus(-1) + softplus(-3)
    )
    assert near(classification_loss(logits, labels, exclusive=False), expected / 2)
    assert near(classification_loss(logits.bfloat16(), labels, exclusive=False), expected / 2)
    with pytest.raises(ValueError, match=r"\(N, domains\)"):
        classification_loss(logits, labels[:, :2], exclusive=False)
    with pytest.raises(ValueError, match=r"\(N, domains\)"):
        classification_loss(logits, labels.argmax(1), exclusive=True)


# ---- What goes together ----


@pytest.mark.parametrize(
    "settings",
    [
        {"gan": "vanilla", "norm": "batch"},
        {"gan": "vanilla", "smooth": 0.1, "norm": "batch"},
        {"gan": "vanilla", "penalty": "r1", "lambda_penalty": 10.0, "norm": "instance"},
        {"gan": "lsgan", "lambda_penalty": 10.0, "norm": "instance"},
        {"gan": "hinge", "spectral": True, "norm": "instance"},
        {"gan": "wgan", "clip": 0.01, "norm": "batch"},
        {"gan": "wgan", "spectral": True},
        {"gan": "wgan", "spectral": True, "penalty": "r1", "lambda_penalty": 1.0},
        {"gan": "wgan-gp", "penalty": "gp", "lambda_penalty": 10.0, "norm": "instance"},
        {"gan": "wgan-gp", "penalty": "zero-centred", "lambda_penalty": 10.0},
        {"gan": "js", "penalty": "gp", "lambda_penalty": 10.0},
    ],
)
def test_combinations_that_work(settings: dict[str, Any]) -> None:
    check_objective(**settings)


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"gan": "wgan-gp"}, "set penalty = gp and lambda_penalty = 10"),
        ({"gan": "wgan-gp", "penalty": "gp"}, "10 is usual"),
        ({"gan": "wgan-gp", "penalty": "gp", "lambda_penalty": math.nan}, "10 is usual"),
        ({"gan": "vanilla", "penalty": "r1", "lambda_penalty": -1.0}, "10 is usual"),
        (
            {"gan": "wgan-gp", "penalty": "r1", "lambda_penalty": 10.0},
            "penalty = gp or zero-centred",
        ),
        ({"gan": "wgan"}, "set a clip limit .* or use gan = wgan-gp"),
        ({"gan": "wgan", "penalty": "gp", "lambda_penalty": 10.0}, "is gan = wgan-gp: use that"),
        ({"gan": "wgan", "penalty": "r1", "lambda_penalty": 10.0}, "set a clip limit"),
        ({"gan": "wgan", "spectral": True, "norm": "batch"}, "use norm = none"),
        ({"gan": "wgan", "spectral": True, "clip": 0.01}, "set clip = 0"),
        ({"gan": "wgan", "clip": -0.01}, r"try 0\.01"),
        ({"gan": "hinge", "clip": 0.01}, "set clip = 0, or use gan = wgan"),
        (
            {"gan": "wgan-gp", "clip": 0.01, "penalty": "gp", "lambda_penalty": 10.0},
            "set clip = 0",
        ),
        (
            {"gan": "vanilla", "penalty": "r1", "lambda_penalty": 10.0, "norm": "batch"},
            "norm = instance or none",
        ),
        ({"gan": "hinge", "smooth": 0.1}, "use one of minimax, vanilla, lsgan"),
        ({"gan": "vanilla", "smooth": 0.9}, r"set smooth = 0\.1"),
        ({"gan": "vanilla", "penalty": "zero-centered", "lambda_penalty": 1.0}, "'zero-centred'"),
        ({"gan": "lsgam"}, "'lsgan'"),
    ],
)
def test_combinations_that_are_refused_with_the_answer(
    settings: dict[str, Any], answer: str
) -> None:
    with pytest.raises(ConfigError, match=answer):
        check_objective(**settings)


def test_a_saturated_pixel_counts_more_and_neighbours_in_the_batch_do_not_matter() -> None:
    # Two pixels: grey, and red (largest less smallest: the whole range). Weights 1 and 1 + 3.
    truth = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])[None, :, None]
    wrong_grey = truth + torch.tensor([0.5, 0.0])
    wrong_red = truth + torch.tensor([0.0, 0.5])
    assert saturation_weighted_l1(wrong_grey, truth, 3).item() == pytest.approx(0.25 * 1 / 2.5)
    assert saturation_weighted_l1(wrong_red, truth, 3).item() == pytest.approx(0.25 * 4 / 2.5)
    x, y = torch.rand(3, 3, 4, 5), torch.rand(3, 3, 4, 5)
    assert saturation_weighted_l1(x, y, 0).item() == pytest.approx(l1_loss(x, y).item())
    each = [saturation_weighted_l1(a[None], b[None], 2) for a, b in zip(x, y, strict=True)]
    whole = saturation_weighted_l1(x, y, 2)
    assert whole.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_a_lazy_penalty_is_due_every_n_steps_with_n_times_its_weight() -> None:
    from img2img.methods.base import GanSettings, adversary_loss

    c = GanSettings(gan="hinge", penalty="r1", lambda_penalty=2.0, penalty_every=4)
    net = nn.Conv2d(1, 1, 1)
    real, fake = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    alpha = torch.zeros(2, 1, 1, 1)

    def loss(number: int) -> float:
        return adversary_loss(net, real, fake, c, alpha, lambda answer, n: None, number).item()

    plain = loss(1)
    assert loss(2) == loss(3) == plain
    # The gradient of the summed answers is the weight at every place.
    slope = float(net.weight.detach().square().sum()) * 16
    assert loss(0) - plain == pytest.approx(4 * 2.0 * slope / 2, rel=1e-4)
    assert loss(4) == loss(0)

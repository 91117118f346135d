"""GAN objectives: pure functions, tensors in, scalar out, computed in float32.

`real` and `fake` are what D answers: logits of any shape, averaged over all their elements. A D
that answers with several tensors (one per scale) counts each scale alike, whatever its size.
Every objective is written so that a higher answer means "more real".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import ConfigError, proposal
from img2img.losses.reconstruction import wide

Gan = Literal[
    "minimax",
    "vanilla",
    "lsgan",
    "hinge",
    "wgan",
    "wgan-gp",
    "kl",
    "reverse-kl",
    "pearson",
    "hellinger",
    "js",
]
Judgement = Tensor | Sequence[Tensor]
"""What a discriminator answers: logits, or those of several scales."""
Critic = Callable[[Tensor], Judgement]
"""A discriminator, or a function that picks the judgement out of what one answers."""


# ---- Discriminators that classify ----------------------------------------------------------------


def vanilla_real_fake(real: Tensor, fake: Tensor, smooth: float = 0.0) -> Tensor:
    """-log s(real) - log(1 - s(fake)) with s the sigmoid (arXiv 1406.2661, eq. 1). With `smooth`
    the real label is 1 - smooth: -(1 - smooth) log s(real) - smooth log(1 - s(real)) - ...
    (one-sided label smoothing, arXiv 1606.03498, sec. 3.4)."""
    return F.binary_cross_entropy_with_logits(
        real, torch.full_like(real, 1 - smooth)
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def vanilla_generator(fake: Tensor) -> Tensor:
    """-log s(fake), the non-saturating form (arXiv 1406.2661, sec. 3)."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def minimax_generator(fake: Tensor) -> Tensor:
    """log(1 - s(fake)), the saturating form (arXiv 1406.2661, eq. 1): little gradient where D is
    sure of a fake. Its D is the one of `vanilla`."""
    return -F.softplus(fake).mean()


def lsgan_real_fake(real: Tensor, fake: Tensor, smooth: float = 0.0) -> Tensor:
    """(real - 1 + smooth)^2 + fake^2 (arXiv 1611.04076, eq. 9, without its 1/2)."""
    return ((real - (1 - smooth)) ** 2).mean() + (fake**2).mean()


def lsgan_generator(fake: Tensor) -> Tensor:
    """(fake - 1)^2 (arXiv 1611.04076, eq. 9, without its 1/2)."""
    return ((fake - 1) ** 2).mean()


# ---- Critics -------------------------------------------------------------------------------------


def hinge_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake) (arXiv 1705.02894; arXiv 1802.05957, eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def wgan_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """-real + fake (arXiv 1701.07875, eq. 2, as something to minimise). Means something only for a
    critic of bounded slope: `clip_weights`, spectral norm or `gradient_penalty`."""
    return fake.mean() - real.mean()


def critic_generator(fake: Tensor) -> Tensor:
    """-fake: the generator of `wgan` (arXiv 1701.07875, alg. 1) and of `hinge` (arXiv 1802.05957,
    eq. 17)."""
    return -fake.mean()


# ---- f-GAN: a divergence of our choice (arXiv 1606.00709) ----------------------------------------
#
# P is the real, Q the fake distribution, v what D answers, g the output activation and f* the
# conjugate of table 2. D minimises -(E_P[g(v)] - E_Q[f*(g(v))]) (eq. 7), which is minus a lower
# bound of the divergence; the functions below have f*(g(v)) written out and simplified, because
# composing the two loses digits and leaves the domain of f* by rounding.
#
# G minimises the paper's alternative -E_Q[g(v)] (sec. 3.2), for the reason that made `vanilla` of
# `minimax`: eq. 7's -E_Q[f*(g(v))] loses its gradient exactly where D is sure of a fake (kl,
# hellinger, js), and Pearson's even points to worse pictures for v < -2. Reverse KL is the other
# way round (there eq. 7 gives -v, while -g(v) = exp(-v) explodes), so it keeps eq. 7. Every
# generator below therefore falls with v everywhere.

EXP_LIMIT = 10.0
"""Where `bounded_exp` leaves the exponential: gradients up to exp(10) = 22026 fit float16."""


def bounded_exp(x: Tensor) -> Tensor:
    """exp(x) up to `EXP_LIMIT`, its tangent beyond: finite, convex, and with a gradient that still
    leads back, where clamping would leave none. The variational bounds are exact while the
    exponents stay below the limit, for kl: density ratios up to exp(10)."""
    return torch.exp(x.clamp(max=EXP_LIMIT)) + math.exp(EXP_LIMIT) * F.relu(x - EXP_LIMIT)


def kl_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """-real + exp(fake - 1): minus a bound of KL(P||Q) = sum p log(p/q), tight at
    v = 1 + log(p/q). g(v) = v, f*(t) = exp(t - 1) (arXiv 1606.00709, table 2)."""
    return bounded_exp(fake - 1).mean() - real.mean()


def kl_generator(fake: Tensor) -> Tensor:
    """-g(fake) = -fake (arXiv 1606.00709, sec. 3.2)."""
    return -fake.mean()


def reverse_kl_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """exp(-real) + fake - 1: minus a bound of KL(Q||P) = sum q log(q/p), tight at v = log(p/q).
    g(v) = -exp(-v), f*(t) = -1 - log(-t) (arXiv 1606.00709, table 2)."""
    return bounded_exp(-real).mean() + fake.mean() - 1


def reverse_kl_generator(fake: Tensor) -> Tensor:
    """-f*(g(fake)) = 1 - fake (arXiv 1606.00709, eq. 7): the one generator here that keeps the
    form of eq. 7, because it does not saturate and exp(-fake) of sec. 3.2 explodes."""
    return 1 - fake.mean()


def pearson_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """-real + fake^2 / 4 + fake: minus a bound of sum (p - q)^2 / q, tight at v = 2 (p/q - 1).
    g(v) = v, f*(t) = t^2 / 4 + t (arXiv 1606.00709, table 2). The divergence is that of the
    paper's f(u) = (u - 1)^2; its table 1 prints the integral with p and q exchanged."""
    return (0.25 * fake**2 + fake).mean() - real.mean()


def pearson_generator(fake: Tensor) -> Tensor:
    """-g(fake) = -fake (arXiv 1606.00709, sec. 3.2)."""
    return -fake.mean()


def hellinger_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """exp(-real) + exp(fake) - 2: minus a bound of the squared Hellinger distance
    sum (sqrt p - sqrt q)^2, tight at v = log(p/q) / 2. g(v) = 1 - exp(-v), f*(t) = t / (1 - t)
    (arXiv 1606.00709, table 2)."""
    return bounded_exp(-real).mean() + bounded_exp(fake).mean() - 2


def hellinger_generator(fake: Tensor) -> Tensor:
    """-g(fake) = exp(-fake) - 1 (arXiv 1606.00709, sec. 3.2). Its gradient grows with D's
    certainty, so the weight of other terms (L1) means less here than elsewhere."""
    return bounded_exp(-fake).mean() - 1


def js_real_fake(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real) - log(1 - s(fake)) - 2 log 2: minus a bound of sum p log(2p / (p + q)) +
    q log(2q / (p + q)), tight at v = log(p/q). g(v) = log 2 - log(1 + exp(-v)),
    f*(t) = -log(2 - exp(t)) (arXiv 1606.00709, table 2). That is twice the Jensen-Shannon
    divergence, as the paper's f gives it, and `vanilla` but for a constant and the halving."""
    return F.softplus(-real).mean() + F.softplus(fake).mean() - 2 * math.log(2)


def js_generator(fake: Tensor) -> Tensor:
    """-g(fake) = -log s(fake) - log 2 (arXiv 1606.00709, sec. 3.2)."""
    return F.softplus(-fake).mean() - math.log(2)


# ---- The table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Objective:
    """What D and G minimise, as functions of D's answers.

    Attributes:
        discriminator: (real, fake) -> loss of D, not halved.
        generator: fake -> loss of G.
        halved: D takes half the loss. Only for classifiers; the published weights of penalties
            (10 in arXiv 1704.00028 and 1711.09020) stand against a whole critic loss.
        smoothed: (real, fake, smooth) -> `discriminator` with the real label 1 - smooth; None
            where there is no label to smooth.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    halved: bool = False
    smoothed: Callable[[Tensor, Tensor, float], Tensor] | None = None


GANS: dict[str, Objective] = {
    "minimax": Objective(vanilla_real_fake, minimax_generator, True, vanilla_real_fake),
    "vanilla": Objective(vanilla_real_fake, vanilla_generator, True, vanilla_real_fake),
    "lsgan": Objective(lsgan_real_fake, lsgan_generator, True, lsgan_real_fake),
    "hinge": Objective(hinge_real_fake, critic_generator),
    "wgan": Objective(wgan_real_fake, critic_generator),
    "wgan-gp": Objective(wgan_real_fake, critic_generator),
    "kl": Objective(kl_real_fake, kl_generator),
    "reverse-kl": Objective(reverse_kl_real_fake, reverse_kl_generator),
    "pearson": Objective(pearson_real_fake, pearson_generator),
    "hellinger": Objective(hellinger_real_fake, hellinger_generator),
    "js": Objective(js_real_fake, js_generator),
}


def discriminator_loss(
    D: Critic, real: Tensor, fake: Tensor, gan: Gan, smooth: float = 0.0
) -> Tensor:
    """What D minimises. `fake` is detached here. Computed in float32; mean over D's scales.

    For minimax, vanilla and lsgan it is half the sum of the real and the fake term, as the pix2pix
    paper slows D (arXiv 1611.07004, sec. 3.3); for all others the whole sum. `smooth`, 0 to 0.5,
    lowers the real label to 1 - smooth.

    Raises:
        ConfigError: unknown `gan`, or a `smooth` that is impossible for it.
    """
    objective = objective_of(gan)
    check_smooth(gan, smooth)
    losses = []
    for r, f in zip(scales(D(real)), scales(D(fake.detach())), strict=True):
        if smooth and objective.smoothed is not None:
            losses.append(objective.smoothed(wide(r), wide(f), smooth))
        else:
            losses.append(objective.discriminator(wide(r), wide(f)))
    loss = torch.stack(losses).mean()
    return 0.5 * loss if objective.halved else loss


def generator_loss(D: Critic, fake: Tensor, gan: Gan) -> Tensor:
    """What G minimises so that D takes `fake` for real. Computed in float32; mean over D's scales.

    Raises:
        ConfigError: unknown `gan`.
    """
    generator = objective_of(gan).generator
    return torch.stack([generator(wide(f)) for f in scales(D(fake))]).mean()


# ---- Other terms ---------------------------------------------------------------------------------


def classification_loss(logits: Tensor, labels: Tensor, exclusive: bool) -> Tensor:
    """How badly D names the domain (arXiv 1711.09020, eq. 2 and 3), in float32.

    Exclusive domains: cross entropy over the domains, mean over the batch. Attributes: binary cross
    entropy, summed over the attributes, mean over the batch.

    Args:
        logits: (N, domains), unnormalised.
        labels: (N, domains), 0 or 1; exactly one 1 in each row where `exclusive`.
    """
    if logits.ndim != 2 or logits.shape != labels.shape:
        raise ValueError(
            f"logits and labels must both be (N, domains): {tuple(logits.shape)} and "
            f"{tuple(labels.shape)} were given"
        )
    if exclusive:
        return F.cross_entropy(wide(logits), labels.argmax(1))
    total = F.binary_cross_entropy_with_logits(wide(logits), wide(labels), reduction="sum")
    return total / len(logits)


def check_smooth(gan: str, smooth: float) -> None:
    """Raise ConfigError for a smoothing that is impossible for the objective."""
    if smooth and GANS[gan].smoothed is None:
        able = [name for name, objective in GANS.items() if objective.smoothed is not None]
        raise ConfigError(
            f"gan = {gan} has no labels to smooth: set smooth = 0, or use one of {', '.join(able)}"
        )
    if not 0 <= smooth < 0.5:
        raise ConfigError(
            "smooth is subtracted from the real label 1 and must lie in [0, 0.5), "
            f"{smooth:g} was given; for a label of 0.9 set smooth = 0.1"
        )


def objective_of(gan: str) -> Objective:
    """The entry of `GANS`. Raises ConfigError for an unknown name."""
    if gan not in GANS:
        raise ConfigError(f"There is no objective {gan!r}.{proposal(gan, GANS)}")
    return GANS[gan]


def scales(answer: Judgement) -> Sequence[Tensor]:
    """What D answers, one tensor for each scale."""
    return [answer] if isinstance(answer, Tensor) else answer

"""What keeps a discriminator smooth, and which settings of it go together."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError, proposal
from img2img.losses.gan import Critic, check_smooth, objective_of, scales
from img2img.losses.reconstruction import wide

Penalty = Literal["none", "gp", "r1", "zero-centred"]
PENALTIES: tuple[Penalty, ...] = ("none", "gp", "r1", "zero-centred")


def gradient_penalty(
    D: Critic, real: Tensor, fake: Tensor, alpha: Tensor, centre: float = 1.0
) -> Tensor:
    """(||grad D(x)|| - centre)^2 at x = alpha real + (1 - alpha) fake, mean over the batch: WGAN-GP
    for centre 1 (arXiv 1704.00028, eq. 3), zero-centred for centre 0 (arXiv 1902.03984).

    The gradient is that of the sum of D's whole answer, the norm the L2 norm of all of a sample's
    numbers. Each scale of D is penalised by itself, then averaged. Both pictures are detached, the
    penalty reaches D's parameters alone. Where a condition is concatenated to the pictures, the
    gradient runs over its channels too. D runs without autocast: second derivatives of a half
    precision graph are too coarse.

    Args:
        real, fake: (N, C, H, W), the same shape.
        alpha: (N,) or (N, 1, 1, 1), uniform in [0, 1], drawn by the caller.
    """
    if real.shape != fake.shape or alpha.numel() != len(real):
        raise ValueError(
            f"one alpha per pair is needed: real {tuple(real.shape)}, fake {tuple(fake.shape)}, "
            f"alpha {tuple(alpha.shape)}"
        )
    weight = wide(alpha).reshape(-1, *[1] * (real.ndim - 1))
    mixed = weight * wide(real.detach()) + (1 - weight) * wide(fake.detach())
    # vector_norm, unlike the root of a sum of squares, has a finite gradient at zero.
    return torch.stack(
        [
            ((torch.linalg.vector_norm(slope, dim=1) - centre) ** 2).mean()
            for slope in _slopes(D, mixed)
        ]
    ).mean()


def r1_penalty(D: Critic, real: Tensor) -> Tensor:
    """||grad D(real)||^2 / 2, mean over the batch (arXiv 1801.04406, eq. 9 without its gamma).
    Scales, conditions and precision as in `gradient_penalty`."""
    slopes = _slopes(D, wide(real.detach()))
    return torch.stack([0.5 * (slope**2).sum(1).mean() for slope in slopes]).mean()


def clip_weights(net: nn.Module, limit: float) -> None:
    """Clamp every parameter of `net` into [-limit, limit], in place, after each step of the critic
    (arXiv 1701.07875, alg. 1, limit 0.01).

    Raises:
        ConfigError: `limit` is not above 0.
    """
    if not limit > 0:
        raise ConfigError(f"a clip limit must be above 0, {limit:g} was given; 0.01 is usual")
    with torch.no_grad():
        for p in net.parameters():
            p.clamp_(-limit, limit)


def check_objective(
    gan: str,
    *,
    penalty: str = "none",
    lambda_penalty: float = 0.0,
    clip: float = 0.0,
    smooth: float = 0.0,
    spectral: bool = False,
    norm: str = "none",
) -> None:
    """Refuse what cannot work together, before an hour of training shows it.

    Args:
        gan: a name in `GANS`.
        penalty: a name in `PENALTIES`; `lambda_penalty` is what it is multiplied by.
        clip: the limit of `clip_weights`, 0 for none.
        smooth: one-sided label smoothing, 0 for none.
        spectral: D's weights are spectrally normalised.
        norm: D's normalisation layers: instance, batch or none.

    Raises:
        ConfigError: the combination makes no sense; the text says what would.
    """
    objective_of(gan)
    if penalty not in PENALTIES:
        raise ConfigError(f"There is no penalty {penalty!r}.{proposal(penalty, PENALTIES)}")
    check_smooth(gan, smooth)
    _check_penalty(gan, penalty, lambda_penalty, norm)
    _check_clip(gan, clip, spectral)
    if gan == "wgan" and not clip:
        if not spectral:
            raise ConfigError(
                "gan = wgan needs a critic of bounded slope: set a clip limit (0.01) or spectral "
                "norm, or use gan = wgan-gp with penalty = gp"
            )
        if norm != "none":
            raise ConfigError(
                f"gan = wgan relies on spectral norm alone, and norm = {norm} rescales after it, "
                "so the slope is not bounded: use norm = none, or gan = wgan-gp with penalty = gp"
            )


def _check_penalty(gan: str, penalty: str, weight: float, norm: str) -> None:
    if penalty == "none":
        if gan == "wgan-gp":
            raise ConfigError(
                "gan = wgan-gp needs a gradient penalty: set penalty = gp and lambda_penalty = 10"
            )
        return
    if not 0 < weight < math.inf:
        raise ConfigError(
            f"penalty = {penalty} needs lambda_penalty above 0, {weight:g} was given: 10 is usual, "
            "or use another objective with penalty = none"
        )
    if gan == "wgan" and penalty != "r1":
        raise ConfigError(
            f"gan = wgan with penalty = {penalty} is gan = wgan-gp: use that, without a clip limit"
        )
    if gan == "wgan-gp" and penalty == "r1":
        raise ConfigError(
            "penalty = r1 bounds the slope at real pictures only, gan = wgan-gp needs it between "
            "real and fake: use penalty = gp or zero-centred, or r1 with gan = vanilla"
        )
    if norm == "batch":
        raise ConfigError(
            f"penalty = {penalty} takes the gradient of each sample by itself, and batch norm in D "
            "couples the samples of a batch: use norm = instance or none in D"
        )


def _check_clip(gan: str, clip: float, spectral: bool) -> None:
    if not 0 <= clip < math.inf:
        raise ConfigError(
            f"clip must be 0 (none) or a limit above it, {clip:g} was given; try 0.01"
        )
    if clip and gan != "wgan":
        raise ConfigError(
            f"a clip limit belongs to gan = wgan, not to {gan}: set clip = 0, or use gan = wgan"
        )
    if clip and spectral:
        raise ConfigError(
            "spectral norm divides the weights again by their norm, so clipping them does nothing: "
            "set clip = 0 or switch spectral norm off"
        )


def _slopes(D: Critic, x: Tensor) -> list[Tensor]:
    """The gradient of each scale of D at float32 `x`, (N, numbers of a sample), differentiable."""
    x.requires_grad_(True)
    with torch.autocast(x.device.type, enabled=False):
        return [
            torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0].flatten(1)
            for y in scales(D(x))
        ]

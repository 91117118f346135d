"""An independent critic: can a network trained from scratch tell outputs from real pictures?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from img2img.errors import DataError
from img2img.losses.gan import vanilla_real_fake
from img2img.losses.penalties import gradient_penalty
from img2img.metrics.intervals import wilson
from img2img.metrics.small_nets import (
    BATCH,
    LEAST_SIDE,
    SmallNet,
    answers,
    batches,
    descend,
    moved,
    new_net,
    one_thread,
)

LEAST_PICTURES = 32
_PENALTY = 10.0
_COMPARED = 1000  # pictures between any two of which the critic's slope is looked at


@dataclass(frozen=True)
class CriticScore:
    """How well a critic tells held-out real pictures from held-out fake ones.

    Attributes:
        accuracy: share of held-out pictures it judges rightly: 0.5 where it cannot tell them apart,
            1 where it always can.
        interval: Wilson's 95 % interval of it, as if all pictures were independent. Where fakes
            correspond to reals it is rather too wide: what the two of a pair share cancels.
        n: held-out pictures, real and fake together.
        wasserstein: estimate of the Wasserstein-1 distance of the two distributions, from below;
            the distance of two pictures is their root mean square difference in 8-bit levels. At
            most 10 for fakes that are the reals with every value raised by 10. Around 0, on either
            side, for equal distributions.
        wasserstein_error: standard error of it from the held-out pictures' scores.
        seed, steps: what it was trained with.
    """

    accuracy: float
    interval: tuple[float, float]
    n: int
    wasserstein: float
    wasserstein_error: float
    seed: int
    steps: int


def judge_apart(real: Tensor, fake: Tensor, *, seed: int = 0, steps: int = 1500) -> CriticScore:
    """Train two small networks from scratch on one half of the pictures and test them on the other:
    a classifier (a classifier two-sample test, arXiv 1610.06545) and a Wasserstein critic with
    gradient penalty (arXiv 1704.00028; the estimate is that of arXiv 1701.07875, sec. 3, on
    held-out pictures, which no critic can have learned by heart).

    Where there are as many fakes as reals, picture k of the one is taken to correspond to picture k
    of the other, and the two are always in the same half. Otherwise as many as the fewer are drawn
    from the more, and nothing corresponds.

    On the CPU with one thread; the global random state stays as it is. The same pictures, seed and
    steps give the same figures on the same machine and version of torch.

    Args:
        real, fake: uint8 (N, 3, H, W) and (M, 3, H, W), sides of at least 32; 64 to 96 are usual.
            Both must have come to this size in the same way, or the critic sees the difference.
        steps: of each network, of 16 real and 16 fake pictures each. The default takes about two
            minutes at 64x64; faint damage needs it, and a smaller figure may miss it.

    Raises:
        DataError: fewer than 32 pictures on a side, or sides below 32.
        ValueError: pictures of different sizes, or not uint8.
    """
    _check(real, fake)
    draws = torch.Generator().manual_seed(seed)
    n, paired = min(len(real), len(fake)), len(real) == len(fake)
    if not paired:
        real, fake = (x[torch.randperm(len(x), generator=draws)[:n]] for x in (real, fake))
    order = torch.randperm(n, generator=draws)
    train, test = order[: n // 2], order[n // 2 :]
    learned, held_out = (real[train], fake[train]), (real[test], fake[test])
    with one_thread():
        classifier = _classifier(*learned, seed, steps)
        on_real, on_fake = (answers(classifier, x)[:, 0] for x in held_out)
        critic = _critic(*learned, seed, steps)
        gap, error = _distance(critic, *held_out, paired)
    hits = int((on_real > 0).sum() + (on_fake <= 0).sum())
    count = 2 * len(test)
    return CriticScore(hits / count, wilson(hits, count), count, gap, error, seed, steps)


def _check(real: Tensor, fake: Tensor) -> None:
    if real.dtype != torch.uint8 or fake.dtype != torch.uint8:
        raise ValueError("real and fake must be uint8")
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"real {tuple(real.shape)} and fake {tuple(fake.shape)} differ in size")
    if min(len(real), len(fake)) < LEAST_PICTURES:
        raise DataError(
            f"an independent critic needs at least {LEAST_PICTURES} real and {LEAST_PICTURES} fake "
            f"pictures, {len(real)} and {len(fake)} were given"
        )
    if min(real.shape[2:]) < LEAST_SIDE:
        height, width = real.shape[2:]
        raise DataError(
            f"an independent critic needs pictures with sides of at least {LEAST_SIDE}, "
            f"{width}x{height} were given"
        )


def _classifier(real: Tensor, fake: Tensor, seed: int, steps: int) -> SmallNet:
    # With a norm (and twice the rate) faint damage was found later: after 600 steps JPEG of quality
    # 90 at 62 % instead of 77 %.
    net = new_net(1, seed, norm=False)
    draws = torch.Generator().manual_seed(seed)
    places = batches(len(real), BATCH // 2, draws)

    def loss(step: int) -> Tensor:
        at = next(places)
        x = torch.cat([moved(real[at], draws), moved(fake[at], draws)])
        return vanilla_real_fake(*net(x).chunk(2))

    descend(net, loss, steps, rate=1e-3, decay=1e-2)
    return net


def _critic(real: Tensor, fake: Tensor, seed: int, steps: int) -> SmallNet:
    net = new_net(1, seed, norm=False)
    draws = torch.Generator().manual_seed(seed)
    ours, theirs = (batches(len(real), BATCH // 2, draws) for _ in range(2))

    def loss(step: int) -> Tensor:
        a, b = moved(real[next(ours)], draws), moved(fake[next(theirs)], draws)
        on_real, on_fake = net(torch.cat([a, b])).chunk(2)
        penalty = gradient_penalty(net, a, b, torch.rand(len(a), generator=draws))
        return on_fake.mean() - on_real.mean() + _PENALTY * penalty

    descend(net, loss, steps, rate=1e-3)
    return net


def _distance(critic: SmallNet, real: Tensor, fake: Tensor, paired: bool) -> tuple[float, float]:
    """The difference of the critic's mean scores and its standard error, in 8-bit levels."""
    on_real, on_fake = (answers(critic, x, flips=False)[:, 0].double() for x in (real, fake))
    some = slice(_COMPARED // 2)  # their order is a random one
    steepest = _steepest(
        torch.cat([real[some], fake[some]]), torch.cat([on_real[some], on_fake[some]])
    )
    unit = 1 / max(steepest, 1e-12)
    variance = (on_real - on_fake).var() if paired else on_real.var() + on_fake.var()
    error = math.sqrt(variance.item() / len(real))
    return (on_real.mean() - on_fake.mean()).item() * unit, error * unit


def _steepest(pictures: Tensor, scores: Tensor) -> float:
    """The greatest slope of the scores between any two pictures, per 8-bit level of root mean
    square difference. Divided by it the critic is 1-Lipschitz on these pictures, so that by
    Kantorovich's duality its gap is no more than their distance; a penalty alone only urges it."""
    x = pictures.flatten(1)
    steepest = 0.0
    for a, own in zip(x.split(64), scores.split(64), strict=True):
        far = torch.cdist(a.float(), x.float(), compute_mode="donot_use_mm_for_euclid_dist")
        far = far.double() / math.sqrt(x.shape[1])
        slope = (own[:, None] - scores).abs() / far  # NaN for a picture and itself
        steepest = max(steepest, slope.nan_to_num(0, posinf=0).max().item())
    return steepest

"""Terms that compare the style of feature maps beside the Gram matrix of `perceptual`: pure
functions, tensors in, scalar out, computed in float32.

The style of a batch is the mean over its pictures of what describes one picture, so that it can be
averaged over a whole set of pictures beforehand, and over processes that share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.losses.reconstruction import wide

_TINY = 1e-8
_EPS = 1e-5


def channel_statistics(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2, C): mean and standard deviation of each channel over its places, as
    AdaIN has them (arXiv 1703.06868, eq. 5 and 6, with 1e-5 under the root)."""
    rows = wide(features).flatten(2)
    var, mean = torch.var_mean(rows, dim=2, correction=0)
    return torch.stack([mean, (var + _EPS).sqrt()], 1)


def statistics_style_loss(
    fake: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    weights: Mapping[str, float] | None = None,
    across: Callable[[Tensor], Tensor] = lambda mean: mean,
) -> Tensor:
    """How far the means and standard deviations of the channels are from a style's
    (arXiv 1701.01036, matching of batch norm statistics; arXiv 1703.06868, eq. 13; L1 instead of
    L2, and relative as below).

    For each layer the mean absolute difference of the batch's mean `channel_statistics` from the
    target's, divided by the target's mean magnitude; then the mean over the layers, by `weights`
    where given. 2 C numbers a layer instead of the C^2 of a Gram matrix: palette and grain, without
    which channels occur together.

    Args:
        fake: feature maps (N, C, H, W) by layer.
        target: (2, C) for each of these layers, the mean over a set of pictures.
        weights: of the layers; equal by default.
        across: the mean over the processes that share a batch, through which gradients pass.
    """
    return _relative(
        {n: across(channel_statistics(fake[n]).mean(0)) for n in target}, target, weights
    )


def style_directions(channels: int, seed: int = 0) -> Tensor:
    """(C, C): as many random unit vectors (in rows) as there are channels (arXiv
    2006.07229), a function of both arguments."""
    source = torch.Generator().manual_seed(1000 * seed + channels)
    return F.normalize(torch.randn(channels, channels, generator=source), dim=1)


def sliced_quantiles(features: Tensor, directions: Tensor, count: int = 256) -> Tensor:
    """(N, C, H, W) -> (N, D, count): for each picture and each of `directions` (D, C), the
    projections of all places, sorted, as the means of `count` equal parts. Maps of all sizes
    compare."""
    # Mixed precision would round the projections to eight bits.
    with torch.autocast(features.device.type, enabled=False):
        projected = directions.to(features.device) @ wide(features).flatten(2)
        return F.adaptive_avg_pool1d(projected.sort(dim=2).values, count)


def sliced_style_loss(
    fake: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    weights: Mapping[str, float] | None = None,
    across: Callable[[Tensor], Tensor] = lambda mean: mean,
    seed: int = 0,
) -> Tensor:
    """Sliced Wasserstein distance between the features of a batch and a style (arXiv 2006.07229;
    W1 instead of W2, fixed directions, relative to the target's mean magnitude).

    Along each of `style_directions` the distributions of all places are compared by their sorted
    values, which sees everything that the set of features has, not only its moments. The sorted
    values of several pictures are averaged, which in one dimension is their Wasserstein mean.

    Args:
        fake: feature maps (N, C, H, W) by layer.
        target: (C, count) for each of these layers: the mean of `sliced_quantiles` over a set of
            pictures, for the directions of `seed`.
        weights: of the layers; equal by default.
        across: the mean over the processes that share a batch, through which gradients pass.
        seed: of the directions.
    """
    own = {}
    for layer, wanted in target.items():
        directions = style_directions(len(wanted), seed)
        own[layer] = across(sliced_quantiles(fake[layer], directions, wanted.shape[1]).mean(0))
    return _relative(own, target, weights)


def _relative(
    own: Mapping[str, Tensor], target: Mapping[str, Tensor], weights: Mapping[str, float] | None
) -> Tensor:
    """The mean over the layers, by weight, of the relative mean absolute differences."""
    terms, total = [], 0.0
    for layer, wanted in target.items():
        weight = 1.0 if weights is None else weights[layer]
        off = (own[layer] - wanted).abs().mean() / (wanted.abs().mean() + _TINY)
        terms.append(weight * off)
        total += weight
    return torch.stack(terms).sum() / total

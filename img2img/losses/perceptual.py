"""Terms that compare feature maps: pure functions, tensors in, scalar out, computed in float32.

The maps come from a frozen network (`img2img.features`) or from a discriminator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from img2img.losses.reconstruction import l1_loss, wide

_TINY = 1e-8


def feature_matching_loss(
    real_features: Sequence[Sequence[Tensor]], fake_features: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Mean absolute difference of D's features, layer by layer (arXiv 1711.11585, eq. 4).

    Both arguments: for each scale, the answers of D's layers. `real_features` are detached. Each
    layer counts alike within its scale, each scale alike. The paper sums over both; its code sums
    layers with weight 4 / their number and averages scales, so its weight of 10 is 40 here.
    """
    scales = [
        torch.stack([l1_loss(f, r.detach()) for r, f in zip(reals, fakes, strict=True)]).mean()
        for reals, fakes in zip(real_features, fake_features, strict=True)
    ]
    return torch.stack(scales).mean()


def content_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of two feature maps (N, ...), relative to the mean magnitude of
    `real`, picture by picture, averaged (arXiv 1603.08155, eq. 2; L1 as in CartoonGAN, Chen et al.,
    CVPR 2018, eq. 4). 0 is the same content; the division makes a weight mean the same for every
    layer."""
    real = wide(real.detach()).flatten(1)
    off = (wide(fake).flatten(1) - real).abs().mean(1)
    return (off / (real.abs().mean(1) + _TINY)).mean()


def perceptual_loss(
    fake: Mapping[str, Tensor],
    real: Mapping[str, Tensor],
    weights: Mapping[str, float] | None = None,
) -> Tensor:
    """`content_loss` of several layers, averaged, by `weights` where given (arXiv 1603.08155, eq.
    2; several layers with L1 as in arXiv 1707.09405, eq. 1, whose weights per layer are here the
    magnitudes of `real`).

    Args:
        fake, real: feature maps (N, C, H, W) by layer; the layers of `real` count, detached.
    """
    terms, total = [], 0.0
    for layer, wanted in real.items():
        weight = 1.0 if weights is None else weights[layer]
        terms.append(weight * content_loss(fake[layer], wanted))
        total += weight
    return torch.stack(terms).sum() / total


def gram_matrix(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, C): sums over places of products of channels, divided by C * H * W
    (arXiv 1603.08155, eq. 3), so that maps of all sizes compare."""
    channels, places = features.shape[1], features.shape[2] * features.shape[3]
    # Mixed precision would keep three digits of sums over ten thousand places.
    with torch.autocast(features.device.type, enabled=False):
        rows = wide(features).flatten(2)
        return rows @ rows.transpose(1, 2) / (channels * places)


def gram_style_loss(
    fake: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    weights: Mapping[str, float] | None = None,
    across: Callable[[Tensor], Tensor] = lambda mean: mean,
) -> Tensor:
    """How far the batch is from a style (arXiv 1508.06576, eq. 4 and 5; L1 instead of L2).

    For each layer the mean absolute difference between the batch's mean Gram matrix and the
    target, divided by the target's mean magnitude; then the mean over the layers, by `weights`
    where given. Matching the mean over a batch instead of each picture leaves a picture the
    freedom that single paintings of one painter have.

    Args:
        fake: feature maps (N, C, H, W) by layer.
        target: (C, C) for each of these layers, the mean over a whole set of pictures or the Gram
            matrix of one.
        weights: of the layers; equal by default.
        across: the mean over the processes that share a batch, through which gradients pass.
    """
    terms, total = [], 0.0
    for layer, wanted in target.items():
        weight = 1.0 if weights is None else weights[layer]
        own = across(gram_matrix(fake[layer]).mean(0))
        terms.append(weight * (own - wanted).abs().mean() / (wanted.abs().mean() + _TINY))
        total += weight
    return torch.stack(terms).sum() / total

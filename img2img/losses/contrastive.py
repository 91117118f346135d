"""Terms that compare places of a picture with each other: pure functions, computed in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.losses.reconstruction import wide


def patch_nce_loss(query: Tensor, key: Tensor, tau: float = 0.07) -> Tensor:
    """How well each place of a picture is told by its features from the other places of the same
    picture (PatchNCE with internal negatives, arXiv 2007.15651, sec. 3): cross entropy over cosines
    divided by `tau`, where the place itself is right; mean over places and pictures. ln P
    for features that tell nothing.

    Args:
        query: (N, P, C), features of P places of the N generated pictures.
        key: (N, P, C), features of the same places of their sources; detached.
        tau: temperature, above 0.
    """
    if query.shape != key.shape or query.ndim != 3:
        raise ValueError(
            f"query and key must both be (N, P, C): {tuple(query.shape)} and {tuple(key.shape)} "
            "were given"
        )
    with torch.autocast(query.device.type, enabled=False):
        q, k = F.normalize(wide(query), dim=2), F.normalize(wide(key.detach()), dim=2)
        logits = (q @ k.transpose(1, 2) / tau).flatten(0, 1)
    right = torch.arange(query.shape[1], device=query.device).repeat(len(query))
    return F.cross_entropy(logits, right)


def multilayer_nce_loss(
    queries: Sequence[Tensor], keys: Sequence[Tensor], tau: float = 0.07
) -> Tensor:
    """`patch_nce_loss`, mean over the layers (arXiv 2007.15651, sec. 3, which sums; its code
    averages)."""
    terms = [patch_nce_loss(q, k, tau) for q, k in zip(queries, keys, strict=True)]
    return torch.stack(terms).mean()

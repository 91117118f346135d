"""Distances in the features of frozen networks, between a translated picture and the true one."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from img2img.features import VGG19, find_features, load_vgg19
from img2img.features.alexnet import AlexNet, load_alexnet

_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_1")
# Long sides are reduced to this: the cost falls with its square, and shapes and texture are still
# there. Changing it changes every figure.
_SIDE = 80
# LPIPS's own normalisation of RGB in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


def vgg19_distance(x: Tensor, y: Tensor) -> Tensor:
    """How different two pictures look to VGG19, 0 for equal ones; inputs (N, C, H, W) in 0..255,
    sides >= 16. Returns (N,).

    Squared distance of the features of four layers, each scaled to unit length over its channels,
    averaged over the places and the layers, as LPIPS without its learned weights (arXiv
    1801.03924). The long side is reduced to 80 pixels first. It is not LPIPS and does not compare
    with its figures.
    """
    network = _network()  # on the CPU: few pictures, and the figure is the same everywhere
    maps = network(_seen(torch.cat([x, y]).detach().cpu()), _LAYERS)
    parts = []
    for name in _LAYERS:
        a, b = F.normalize(maps[name].float(), dim=1, eps=1e-6).chunk(2)
        parts.append((a - b).square().sum(1).flatten(1).mean(1))
    return torch.stack(parts).mean(0)


def lpips(x: Tensor, y: Tensor) -> Tensor:
    """LPIPS 0.1 on AlexNet, 0 for equal pictures; inputs (N, C, H, W) in 0..255 at their own size,
    sides >= 32. Returns (N,).

    Squared distance of the features of five layers, each scaled to unit length over its channels,
    weighted by channel as people judged, averaged over the places and summed over the layers (Zhang
    et al., arXiv 1801.03924).
    """
    net, weights = _alexnet()
    shift, scale = (torch.tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
    maps = [net((_colour(z.detach().cpu()) / 127.5 - 1 - shift) / scale) for z in (x, y)]
    total = torch.zeros(len(x))
    for a, b, weight in zip(*maps, weights, strict=True):
        a, b = (z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10) for z in (a, b))
        total += ((a - b).square() * weight).sum(1).flatten(1).mean(1)
    return total


@functools.lru_cache(1)
def _alexnet() -> tuple[AlexNet, list[Tensor]]:
    """The network, and (1, C, 1, 1) weights of each layer's channels."""
    stored = torch.load(find_features("lpips"), map_location="cpu", weights_only=True)
    weights = [stored[f"lin{k}.model.1.weight"].float() for k in range(5)]
    return load_alexnet(find_features("alexnet")), weights


@functools.lru_cache(1)
def _network() -> VGG19:
    net = load_vgg19(find_features("vgg19"), deepest=_LAYERS[-1]).eval()
    convert_conv2d_weight_memory_format(net, torch.channels_last)
    return net


def _colour(x: Tensor) -> Tensor:
    """Float (N, 3, H, W) of one or three channels."""
    return (x.repeat(1, 3, 1, 1) if x.shape[1] == 1 else x).float()


def _seen(x: Tensor) -> Tensor:
    x = _colour(x)
    longer = max(x.shape[2:])
    if longer > _SIDE:
        size = [max(16, round(side * _SIDE / longer)) for side in x.shape[2:]]
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    return x / 127.5 - 1

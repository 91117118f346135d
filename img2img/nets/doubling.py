"""Doubling of the sides followed by a 3x3 convolution, computed at the smaller size.

After a nearest doubling neighbouring pixels are equal, so each of the four outputs that a pixel
becomes depends on 2x2 pixels of the small map: four 2x2 convolutions whose weights are sums of the
3x3 ones (sub-pixel convolution, arXiv 1609.05158; that the two are one, arXiv 1609.07009). It takes
4/9 of the products, and neither the doubled nor the padded map is ever written.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.nets.blocks import ReflectPad


def doubled_conv(x: Tensor, conv: nn.Conv2d, mirrored: bool) -> Tensor:
    """What `conv` (3x3) makes of (N, C, H, W) doubled in H and W by repetition and extended by one
    pixel, by reflection where `mirrored` and else by zeros: (N, C', 2H, 2W), up to rounding."""
    height, width = x.shape[2:]
    # A doubled map repeats its border pixel, so its reflection repeats the small map's border.
    x = _repeated(x) if mirrored else F.pad(x, (1, 1, 1, 1))
    bias = None if conv.bias is None else conv.bias.repeat(4)
    y = F.conv2d(x, _summed(conv.weight), bias)
    corners = [
        part[:, :, down : down + height, right : right + width]
        for part, (down, right) in zip(y.chunk(4, 1), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
    ]
    return F.pixel_shuffle(torch.stack(corners, 2).flatten(1, 2), 2)


def _repeated(x: Tensor) -> Tensor:
    """The border repeated once; torch's own padding is slower."""
    x = torch.cat((x[:, :, :1], x, x[:, :, -1:]), 2)
    return torch.cat((x[..., :1], x, x[..., -1:]), 3)


def _summed(weight: Tensor) -> Tensor:
    """(C', C, 3, 3) -> (4 C', C, 2, 2): for the upper left, upper right, lower left and lower right
    of the four outputs of a pixel."""
    first, middle, last = weight.unbind(2)
    upper, lower = (first, middle + last), (first + middle, last)
    corners = []
    for rows in (upper, lower):
        both = torch.stack(rows, 2)
        left, centre, right = both.unbind(3)
        corners += [
            torch.stack((left, centre + right), 3),
            torch.stack((left + centre, right), 3),
        ]
    return torch.cat(corners)


# Of fewer places summing the weights takes longer than what it saves.
_PLACES = 1024


class Layers(nn.Sequential):
    """A chain that, in training on the CPU, takes a doubling and the convolution behind it in one:
    see `doubled_conv`. Outside training, and so for export and tiles, one layer after the other."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        place = 0
        while place < len(layers):
            x, taken = follow(layers, place, x, self.training)
            place += taken
        return x


def follow(layers: list[nn.Module], place: int, x: Tensor, training: bool) -> tuple[Tensor, int]:
    """What the layer at `place` makes of `x`, in training with those that belong to a doubling,
    and how many layers that were."""
    layer = layers[place]
    if training and isinstance(layer, nn.Upsample) and _pays(x):
        conv, mirrored = _behind(layers[place + 1 : place + 3])
        if layer.scale_factor == 2 and layer.mode == "nearest" and conv is not None:
            return doubled_conv(x, conv, mirrored), 2 + mirrored
    return layer(x), 1


def _pays(x: Tensor) -> bool:
    """Measured on processors alone."""
    return x.device.type == "cpu" and x[:, 0].numel() >= _PLACES


def _behind(layers: list[nn.Module]) -> tuple[nn.Conv2d | None, bool]:
    """The 3x3 convolution that keeps the sides, with or without a reflection by one before it, and
    whether there is a reflection."""
    mirrored = bool(layers) and type(layers[0]) is ReflectPad and layers[0].size == 1
    rest = layers[mirrored:]
    conv = rest[0] if rest else None
    return (conv if isinstance(conv, nn.Conv2d) and _plain(conv, mirrored) else None), mirrored


def _plain(conv: nn.Conv2d, mirrored: bool) -> bool:
    padding = (0, 0) if mirrored else (1, 1)
    sides_kept = (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), padding)
    return sides_kept and (conv.groups, conv.dilation) == (1, (1, 1))

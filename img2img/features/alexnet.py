"""AlexNet's convolutions as LPIPS uses them (Krizhevsky, arXiv 1404.5997; torchvision's layout)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# (channels, kernel, stride, padding) of each convolution, and whether the maps are halved before.
_CONVS = (
    (64, 11, 4, 2, False),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, True),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, False),
)
# Their places in torchvision's `features`.
_PLACES = (0, 3, 6, 8, 10)


class AlexNet(nn.Module):
    """Float (N, 3, H, W), normalised, sides >= 32 -> the five maps after each ReLU, (N, C, h, w)
    with 64, 192, 384, 256 and 256 channels. No parameter takes a gradient."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        self.convs = nn.ModuleList()
        for after, kernel, stride, padding, _ in _CONVS:
            self.convs.append(nn.Conv2d(before, after, kernel, stride, padding))
            before = after
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for conv, (*_, halved) in zip(self.convs, _CONVS, strict=True):
            if halved:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(conv(x))
            found.append(x)
        return found


def load_alexnet(path: Path) -> AlexNet:
    """With torchvision's weights in `path`, which `find_features` has verified; only tensors are
    read from it, never code."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    net = AlexNet()
    for conv, place in zip(net.convs, _PLACES, strict=True):
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        conv.weight.copy_(stored[f"features.{place}.weight"])
        conv.bias.copy_(stored[f"features.{place}.bias"])
    return net.eval()

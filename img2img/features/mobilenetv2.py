"""MobileNetV2 without its classifier as a frozen feature network.

Sandler et al., arXiv 1801.04381. The names of the modules are those in the weight file.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Expansion, channels, repeats, stride of each stage (table 2 there).
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
_HEAD = 1280


def _conv(
    before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after)]


class _Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; added to its input where it fits."""

    def __init__(self, before: int, after: int, expansion: int, stride: int):
        super().__init__()
        inner = before * expansion
        layers = [*_conv(before, inner), nn.ReLU6(inplace=True)] if expansion > 1 else []
        layers += [
            *_conv(inner, inner, 3, stride, groups=inner),
            nn.ReLU6(inplace=True),
            *_conv(inner, after),
        ]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Float (N, 3, H, W), normalised -> (N, 1280), the means of the last maps; no gradients to
    parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_conv(3, 32, 3, 2), nn.ReLU6(inplace=True))]
        before = 32
        for expansion, after, repeats, stride in _STAGES:
            for k in range(repeats):
                layers.append(_Block(before, after, expansion, stride if k == 0 else 1))
                before = after
        layers.append(nn.Sequential(*_conv(before, _HEAD), nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*layers)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))

    def fold_norms(self) -> None:
        """Multiply the norms, whose statistics are fixed, into the convolutions before them: the
        same features up to rounding, without a second walk over each map."""
        for part in list(self.modules()):
            if isinstance(part, nn.Sequential):
                for place, (conv, norm) in enumerate(pairwise(list(part))):
                    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                        part[place] = fuse_conv_bn_eval(conv, norm)
                        part[place + 1] = nn.Identity()

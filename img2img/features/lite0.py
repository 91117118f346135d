"""EfficientNet-Lite0 as a frozen feature network.

EfficientNet (Tan and Le, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6 instead of
swish; stem and head keep their width. The names of the modules are those in the weight file.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Expansion, channels, repeats, stride, kernel of each stage (table 1 there; stages 2 to 8).
_STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
_HEAD = 1280
_SHOWN = (2, 4, 10, 15)  # the last blocks at 1/4, 1/8, 1/16 and 1/32
_CLASSES = 1000
_EPSILON = 1e-3  # of batch normalisation


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding `SAME`: what does not divide by two goes to the right
    and the bottom."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        down, right = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]
        )
        if down % 2 or right % 2:
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            down = right = 0
        padding = (down // 2, right // 2)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


class _Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; added to its input where it fits."""

    def __init__(self, before: int, after: int, expansion: int, stride: int, kernel: int):
        super().__init__()
        inner = before * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and before == after
        if self.expands:
            self._expand_conv = _SameConv(before, inner, 1, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._depthwise_conv = _SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._project_conv = _SameConv(inner, after, 1, 1)
        self._bn2 = nn.BatchNorm2d(after, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class Lite0(nn.Module):
    """Float (N, 3, H, W), normalised -> (N, 1280), the means of the last maps; no gradients to
    parameters. `head` turns these into the logits of ImageNet's 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        self._blocks = nn.ModuleList()
        before = 32
        for expansion, after, repeats, stride, kernel in _STAGES:
            for k in range(repeats):
                first = stride if k == 0 else 1
                self._blocks.append(_Block(before, after, expansion, first, kernel))
                before = after
        self._conv_head = _SameConv(before, _HEAD, 1, 1)
        self._bn1 = nn.BatchNorm2d(_HEAD, eps=_EPSILON)
        self._fc = nn.Linear(_HEAD, _CLASSES)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)), inplace=True).mean((2, 3))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Float (N, 3, H, W) in [-1, 1], RGB -> the maps of 24, 40, 112 and 320 channels at 1/4,
        1/8, 1/16 and 1/32 of the sides (rounded up); the gradient passes through."""
        # (v - 127) / 128 of values in 0..255, as the weights were trained.
        x = F.relu6(self._bn0(self._conv_stem((x * 127.5 + 0.5) / 128)))
        found = []
        for place, block in enumerate(self._blocks):
            x = block(x)
            if place in _SHOWN:
                found.append(x)
        return found

    def fold_norms(self) -> None:
        """Multiply the norms, whose statistics are fixed, into the convolutions before them: the
        same maps up to rounding, without a second walk over each of them."""
        _fold(self, "_conv_stem", "_bn0")
        _fold(self, "_conv_head", "_bn1")
        for block in self._blocks:
            if block.expands:
                _fold(block, "_expand_conv", "_bn0")
            _fold(block, "_depthwise_conv", "_bn1")
            _fold(block, "_project_conv", "_bn2")

    def head(self, features: Tensor) -> Tensor:
        """Pooled features (N, 1280) -> logits (N, 1000)."""
        return self._fc(features)


def _fold(owner: nn.Module, conv: str, norm: str) -> None:
    c, n = owner.get_submodule(conv), owner.get_submodule(norm)
    if isinstance(c, nn.Conv2d) and isinstance(n, nn.BatchNorm2d):
        setattr(owner, conv, fuse_conv_bn_eval(c, n))
        setattr(owner, norm, nn.Identity())

"""Inception-v3 as the Frechet Inception distance uses it (Szegedy et al., arXiv 1512.00567; the
distance: Heusel et al., arXiv 1706.08500).

The published network of 2015 differs from the paper's in its pooling branches: the average pools
leave the padding out of the mean, and the last block takes the maximum instead. Its weights have
1008 classes. The names of the modules are those in the weight file, which are torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch import cat as joined
from torch.nn import functional as F

_WIDTH = 2048
_CLASSES = 1008

Kernel = int | tuple[int, int]


class _Conv(nn.Module):
    """Convolution, batch normalisation and ReLU."""

    def __init__(
        self, before: int, after: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0
    ):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _row(before: int, after: int, length: int) -> _Conv:
    return _Conv(before, after, (1, length), padding=(0, length // 2))


def _column(before: int, after: int, length: int) -> _Conv:
    return _Conv(before, after, (length, 1), padding=(length // 2, 0))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _Block35(nn.Module):
    """Mixed_5: maps of 35 x 35 (figure 5 of the paper)."""

    def __init__(self, before: int, pooled: int):
        super().__init__()
        self.branch1x1 = _Conv(before, 64, 1)
        self.branch5x5_1 = _Conv(before, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Conv(before, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)
        self.branch_pool = _Conv(before, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(double),
            self.branch_pool(_average(x)),
        ]
        return joined(parts, 1)


class _Halve35(nn.Module):
    """Mixed_6a: 35 x 35 to 17 x 17 (figure 10)."""

    def __init__(self, before: int):
        super().__init__()
        self.branch3x3 = _Conv(before, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(before, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return joined([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class _Block17(nn.Module):
    """Mixed_6: maps of 17 x 17, convolutions of 7 x 7 as rows and columns (figure 6)."""

    def __init__(self, before: int, inner: int):
        super().__init__()
        self.branch1x1 = _Conv(before, 192, 1)
        self.branch7x7_1 = _Conv(before, inner, 1)
        self.branch7x7_2 = _row(inner, inner, 7)
        self.branch7x7_3 = _column(inner, 192, 7)
        self.branch7x7dbl_1 = _Conv(before, inner, 1)
        self.branch7x7dbl_2 = _column(inner, inner, 7)
        self.branch7x7dbl_3 = _row(inner, inner, 7)
        self.branch7x7dbl_4 = _column(inner, inner, 7)
        self.branch7x7dbl_5 = _row(inner, 192, 7)
        self.branch_pool = _Conv(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        parts = [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(_average(x)),
        ]
        return joined(parts, 1)


class _Halve17(nn.Module):
    """Mixed_7a: 17 x 17 to 8 x 8."""

    def __init__(self, before: int):
        super().__init__()
        self.branch3x3_1 = _Conv(before, 192, 1)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(before, 192, 1)
        self.branch7x7x3_2 = _row(192, 192, 7)
        self.branch7x7x3_3 = _column(192, 192, 7)
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        long = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        parts = [
            self.branch3x3_2(self.branch3x3_1(x)),
            self.branch7x7x3_4(long),
            F.max_pool2d(x, 3, 2),
        ]
        return joined(parts, 1)


class _Block8(nn.Module):
    """Mixed_7: maps of 8 x 8 (figure 7). `maximum`: the pool of the last block in FID's network."""

    def __init__(self, before: int, maximum: bool):
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = _Conv(before, 320, 1)
        self.branch3x3_1 = _Conv(before, 384, 1)
        self.branch3x3_2a = _row(384, 384, 3)
        self.branch3x3_2b = _column(384, 384, 3)
        self.branch3x3dbl_1 = _Conv(before, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _row(384, 384, 3)
        self.branch3x3dbl_3b = _column(384, 384, 3)
        self.branch_pool = _Conv(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else _average(x)
        parts = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        ]
        return joined(parts, 1)


class InceptionV3(nn.Module):
    """Float (N, 3, 299, 299), normalised -> (N, 2048), the means of the last maps (`pool3`); no
    gradients to parameters. `head` turns these into logits of 1008 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b = _Block35(192, 32)
        self.Mixed_5c = _Block35(256, 64)
        self.Mixed_5d = _Block35(288, 64)
        self.Mixed_6a = _Halve35(288)
        self.Mixed_6b = _Block17(768, 128)
        self.Mixed_6c = _Block17(768, 160)
        self.Mixed_6d = _Block17(768, 160)
        self.Mixed_6e = _Block17(768, 192)
        self.Mixed_7a = _Halve17(768)
        self.Mixed_7b = _Block8(1280, maximum=False)
        self.Mixed_7c = _Block8(_WIDTH, maximum=True)
        self.fc = nn.Linear(_WIDTH, _CLASSES)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        return self.Mixed_7c(self.Mixed_7b(x)).mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Pooled features (N, 2048) -> logits (N, 1008) without the bias, as the Inception score is
        defined on them (Salimans et al., arXiv 1606.03498)."""
        return F.linear(features, self.fc.weight)

"""The generators of the reference implementations, rebuilt plainly from `PARITY.md`, sections 2.2 to
2.6 and 3: what the files in the wild are, made small."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.model_format.foreign import Foreign
from img2img.nets import Generator, build_generator

State = dict[str, Tensor]


def their_norm(norm: str, channels: int, tracked: bool = False) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "bare batch":  # as a fork has it: without weights of its own
        return nn.BatchNorm2d(channels, affine=False)
    return nn.InstanceNorm2d(channels, track_running_stats=tracked)


class TheirDown(nn.Module):
    """CUT's antialiased halving: a filter of 1 2 1 at every second place."""

    filt: Tensor

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = torch.outer(row, row)
        self.register_buffer("filt", (kernel / kernel.sum()).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        whole = F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.filt, groups=x.shape[1])
        return whole[:, :, ::2, ::2]


class TheirUp(nn.Module):
    """CUT's antialiased doubling: zeros between the places, a filter of 1 3 3 1 over all, the
    edges replicated before and cropped after."""

    filt: Tensor

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = torch.outer(row, row)
        self.register_buffer("filt", (4 * kernel / kernel.sum()).expand(channels, 1, 4, 4).clone())

    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, (1, 1, 1, 1), "replicate")
        apart = wide.new_zeros(*wide.shape[:2], 2 * wide.shape[2] - 1, 2 * wide.shape[3] - 1)
        apart[:, :, ::2, ::2] = wide
        whole = F.conv2d(F.pad(apart, (3, 3, 3, 3)), self.filt, groups=x.shape[1])
        return whole[:, :, 3:-3, 3:-3]


class TheirBlock(nn.Module):
    def __init__(self, channels: int, norm: str, dropout: bool, tracked: bool, padding: str):
        super().__init__()
        bias = norm in ("instance", "bare batch")
        zeros = padding == "zero"
        pad = nn.ReflectionPad2d if padding == "reflect" else nn.ReplicationPad2d
        layers: list[nn.Module] = []
        for second in (False, True):
            if not zeros:
                layers.append(pad(1))
            layers.append(nn.Conv2d(channels, channels, 3, padding=int(zeros), bias=bias))
            layers.append(their_norm(norm, channels, tracked))
            if not second:
                layers.append(nn.ReLU(True))
                if dropout:
                    layers.append(nn.Dropout(0.5))
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class TheirResNet(nn.Module):
    """PARITY 3.1; with `blurred` (down, up) 3.4."""

    def __init__(
        self,
        width: int = 4,
        blocks: int = 9,
        norm: str = "instance",
        dropout: bool = False,
        tracked: bool = False,
        padding: str = "reflect",
        channels: tuple[int, int] = (3, 3),
        downs: int = 2,
        blurred: tuple[bool, bool] = (False, False),
    ):
        super().__init__()
        bias = norm in ("instance", "bare batch")
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(channels[0], width, 7, bias=bias),
            their_norm(norm, width, tracked),
            nn.ReLU(True),
        ]
        for k in range(downs):
            cin = width * 2**k
            layers += [
                nn.Conv2d(cin, cin * 2, 3, stride=1 if blurred[0] else 2, padding=1, bias=bias),
                their_norm(norm, cin * 2, tracked),
                nn.ReLU(True),
                *([TheirDown(cin * 2)] if blurred[0] else []),
            ]
        for _ in range(blocks):
            layers.append(TheirBlock(width * 2**downs, norm, dropout, tracked, padding))
        for k in reversed(range(downs)):
            cout = width * 2**k
            if blurred[1]:
                layers += [TheirUp(cout * 2), nn.Conv2d(cout * 2, cout, 3, padding=1, bias=bias)]
            else:
                layers.append(
                    nn.ConvTranspose2d(
                        cout * 2, cout, 3, stride=2, padding=1, output_padding=1, bias=bias
                    )
                )
            layers += [
                their_norm(norm, cout, tracked),
                nn.ReLU(True),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels[1], 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class TheirLevel(nn.Module):
    """One level of the U-Net, its inner levels inside it (PARITY 3.2)."""

    def __init__(self, level: int, widths: list[int], cin: int, cout: int, norm: str, drop: bool):
        super().__init__()
        bias = norm == "instance"
        self.outermost, innermost = level == 0, level == len(widths) - 1
        inner = widths[level]
        down = nn.Conv2d(cin, inner, 4, stride=2, padding=1, bias=bias)
        between: list[nn.Module] = []
        if not innermost:
            between = [TheirLevel(level + 1, widths, inner, inner, norm, drop)]
        up = nn.ConvTranspose2d(
            inner if innermost else inner * 2,
            cout,
            4,
            stride=2,
            padding=1,
            bias=bias or self.outermost,
        )
        if self.outermost:
            layers: list[nn.Module] = [down, *between, nn.ReLU(True), up, nn.Tanh()]
        elif innermost:
            layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, their_norm(norm, cout)]
        else:
            layers = [nn.LeakyReLU(0.2, True), down, their_norm(norm, inner), *between]
            layers += [nn.ReLU(True), up, their_norm(norm, cout)]
            if drop and level >= 4:
                layers.append(nn.Dropout(0.5))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.outermost else torch.cat([x, y], 1)


class TheirUNet(nn.Module):
    def __init__(
        self,
        width: int = 4,
        depth: int = 8,
        norm: str = "batch",
        dropout: bool = True,
        channels: tuple[int, int] = (3, 3),
    ):
        super().__init__()
        widths = [width * min(2**k, 8) for k in range(depth)]
        self.model = TheirLevel(0, widths, *channels, norm, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class TheirStarBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True, track_running_stats=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True, track_running_stats=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class TheirStarGAN(nn.Module):
    """PARITY 2.4 and 3.5."""

    def __init__(self, width: int = 4, domains: int = 5, blocks: int = 6):
        super().__init__()

        def follow(channels: int) -> list[nn.Module]:
            norm = nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)
            return [norm, nn.ReLU(inplace=True)]

        w = width
        layers: list[nn.Module] = [nn.Conv2d(3 + domains, w, 7, padding=3, bias=False), *follow(w)]
        for cin in (w, w * 2):
            layers.append(nn.Conv2d(cin, cin * 2, 4, stride=2, padding=1, bias=False))
            layers += follow(cin * 2)
        layers += [TheirStarBlock(w * 4) for _ in range(blocks)]
        for cin in (w * 4, w * 2):
            layers.append(nn.ConvTranspose2d(cin, cin // 2, 4, stride=2, padding=1, bias=False))
            layers += follow(cin // 2)
        layers += [nn.Conv2d(w, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        planes = label[:, :, None, None].repeat(1, 1, x.shape[2], x.shape[3])
        return self.main(torch.cat([x, planes], 1))


def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """`net` with every parameter and running statistic random, so that none can be confused."""
    draw = torch.Generator().manual_seed(seed)

    def random_like(value: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(value.shape, generator=draw) * (high - low) + low

    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(random_like(value, 0.5, 2.0))
            elif name.endswith("filt"):
                continue  # a constant in each of them
            elif value.is_floating_point() and value.dim() == 1:
                low = 0.5 if name.endswith("weight") else -0.5
                value.copy_(random_like(value, low, low + 1.0))
            elif value.is_floating_point():
                bound = (1.5 / value[0].numel()) ** 0.5
                value.copy_(random_like(value, -bound, bound))
    return net


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def built(foreign: Foreign) -> Generator:
    generator = build_generator(foreign.generator, foreign.config)
    generator.load_state_dict(foreign.state, strict=True)
    return generator.eval()


def without_dropout(net: nn.Module) -> nn.Module:
    """Training mode (batch statistics), as the reference translates, but with dropout disabled."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return net


@torch.no_grad()
def same(ours: nn.Module, theirs: nn.Module, *inputs: Tensor) -> None:
    """Both give the same to 1e-6, computed in float64, where the order of sums does not show."""
    wide = [x.double() for x in inputs]
    a, b = (copy.deepcopy(net).double()(*wide) for net in (ours, theirs))
    assert a.shape == b.shape
    assert b.std() > 0.05 and b.abs().mean() < 0.95, "a constant picture proves nothing"
    assert (a - b).abs().max() < 1e-6

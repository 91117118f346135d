"""What the classifiers of an evaluation share: a small network, its batches, its steps.

Everything is drawn from generators of its own, so that the global random state stays as it is, and
computed with one thread: the order of sums depends on their number, and so would the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.images import to_network

LEAST_SIDE = 32  # pixels
_SHIFT = 4  # pixels
_TESTED = 64  # pictures at a time
BATCH = 32


class SmallNet(nn.Module):
    """Float (N, 3, H, W) in [-1, 1], sides of at least 32 -> (N, outputs): four strided 4x4
    convolutions, the mean over all places, a linear layer. 140,000 parameters.

    Args:
        outputs: numbers per picture.
        norm: GroupNorm after the inner convolutions. It couples no pictures; without it (for a
            critic) the network has no layer that would hide contrast or brightness.
    """

    def __init__(self, outputs: int, norm: bool = True):
        super().__init__()
        widths = (3, 16, 32, 64, 96)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers.append(nn.Conv2d(before, after, 4, 2, 1))
            if norm and layers[1:]:
                layers.append(nn.GroupNorm(8, after))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.layers(x).mean((2, 3)))
        return y


def new_net(outputs: int, seed: int, norm: bool = True) -> SmallNet:
    """A network whose weights depend on the seed alone; the global generators stay as they are."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return SmallNet(outputs, norm)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes with one thread, whatever the caller has set."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def moved(x: Tensor, draws: torch.Generator, flips: bool = True) -> Tensor:
    """Each picture of uint8 (N, 3, H, W) shifted by up to 4 pixels (the border is reflected) and,
    with `flips`, every second one mirrored; float (N, 3, H, W) in [-1, 1]."""
    n, _, height, width = x.shape
    wide: Tensor = F.pad(to_network(x.float()), [_SHIFT] * 4, mode="reflect")
    tops, lefts = torch.randint(0, 2 * _SHIFT + 1, (2, n), generator=draws).tolist()
    mirrored = (torch.rand(n, generator=draws) < 0.5).tolist()
    out = torch.empty(n, 3, height, width)
    for k in range(n):
        part = wide[k, :, tops[k] : tops[k] + height, lefts[k] : lefts[k] + width]
        out[k] = part.flip(2) if flips and mirrored[k] else part
    return out


def descend(
    net: nn.Module, loss: Callable[[int], Tensor], steps: int, rate: float, decay: float = 0.0
) -> None:
    """Adam on `loss(step)`; the rate rises over the first 5 % of the steps and then falls to 0 as
    half a cosine."""
    optimizer = torch.optim.AdamW(net.parameters(), rate, (0.5, 0.99), weight_decay=decay)
    rise = max(steps // 20, 1)
    for step in range(steps):
        now = min((step + 1) / rise, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * now
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()


def batches(n: int, size: int, draws: torch.Generator) -> Iterator[Tensor]:
    """Endlessly `size` of the places 0..n-1, each once before any comes again."""
    queue = torch.empty(0, dtype=torch.int64)
    while True:
        while len(queue) < size:
            queue = torch.cat([queue, torch.randperm(n, generator=draws)])
        yield queue[:size]
        queue = queue[size:]


@torch.no_grad()
def answers(net: nn.Module, pictures: Tensor, flips: bool = True) -> Tensor:
    """What `net` answers to uint8 (N, 3, H, W): (N, D). With `flips`, the mean over a picture and
    its mirror image."""
    found = []
    for part in pictures.split(_TESTED):
        x = to_network(part.float())
        found.append((net(x) + net(x.flip(3))) / 2 if flips else net(x))
    return torch.cat(found)

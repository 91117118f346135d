"""Feature networks for sets of pictures: one interface, each network with its own preparation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from img2img.features.found import find_features
from img2img.features.inception import InceptionV3
from img2img.features.lite0 import Lite0
from img2img.features.mobilenetv2 import MobileNetV2
from img2img.features.vgg19 import load_vgg19

Filter = Literal["bilinear", "bicubic"]
Channels = tuple[float, float, float]
Net = TypeVar("Net", bound=nn.Module)
Folding = TypeVar("Folding", Lite0, MobileNetV2)
_IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_LAST = "relu5_4"
_BATCH = 32


@dataclass(frozen=True)
class _Kind:
    """What is fixed for a network: lengths, preparation (mean and deviation in 0..255, RGB)."""

    load: Callable[[Path], nn.Module]
    width: int
    classes: int
    side: int
    filter: Filter
    mean: Channels
    deviation: Channels


class Features:
    """A frozen network as a function of pictures; `open_features` makes it.

    A picture's features depend on nothing but the picture: on the CPU they are the same, bit for
    bit, in every call of a process and beside whichever other pictures. On a GPU they agree to
    rounding.

    Attributes:
        name: of the network, in `FEATURES`.
        width: length of the features.
        classes: number of logits; 0 where the network has none.
        side: every picture is resized to side x side pixels.
    """

    def __init__(self, name: str, kind: _Kind, net: nn.Module, device: torch.device):
        self.name, self.width, self.classes = name, kind.width, kind.classes
        self.side, self._filter = kind.side, kind.filter
        self._net = net.to(device).eval().requires_grad_(False)
        self._device = device
        # On the CPU, convolutions sum in another order for another number of pictures.
        self._at_once = 1 if device.type == "cpu" else _BATCH
        self._mean, self._deviation = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (kind.mean, kind.deviation)
        )

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Pictures, uint8 (N, 3, H, W) RGB of any size -> float32 (N, width), on the CPU.

        Raises ValueError for another type or shape.
        """
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape[2:]:
            raise ValueError(f"uint8 (N, 3, H, W) is needed, not {x.dtype} {tuple(x.shape)}")
        parts = [self._of(part).cpu() for part in x.split(self._at_once) if len(part)]
        return torch.cat(parts) if parts else torch.empty(0, self.width)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Pictures as for `features` -> float32 (N, classes), on the CPU.

        Raises ValueError where the network has no classes.
        """
        return self.logits_of(self.features(x))

    @torch.no_grad()
    def logits_of(self, features: Tensor) -> Tensor:
        """The logits (N, classes) that belong to `features` (N, width), so that who needs both runs
        the network once. Raises ValueError where the network has no classes."""
        head = getattr(self._net, "head", None)
        if head is None:
            raise ValueError(f"{self.name} has no classes")
        rows = [head(part.to(self._device)).cpu() for part in features.split(self._at_once)]
        return torch.cat(rows)

    def _of(self, x: Tensor) -> Tensor:
        x = resize(x, self.side, self._filter).to(self._device)
        return self._net((x - self._mean) / self._deviation)


def resize(x: Tensor, side: int, filter: Filter) -> Tensor:
    """Values (N, C, H, W) in 0..255 -> float32 (N, C, side, side) in 0..255, not rounded.

    The filter is widened where the picture shrinks (antialias), so that nothing aliases; what
    `bicubic` overshoots is cut off. `bicubic` with 299 is the protocol of clean-fid (Parmar et al.,
    arXiv 2104.11222), which resizes each channel by Pillow in floating point: the values agree
    within 1e-4.
    """
    # In float32 the places of the filter are off so far that noise differs by 1e-2 from Pillow's.
    x = F.interpolate(x.double(), size=(side, side), mode=filter, antialias=True)
    return x.clamp(0, 255).float()


def open_features(
    name: str, path: Path | str | None = None, device: torch.device | str = "cpu"
) -> Features:
    """The feature network `name` of `FEATURES`, with the weights that `find_features` finds.

    | name | features | logits | resized to | values given to the network |
    |---|---|---|---|---|
    | `lite0` | 1280 | 1000, ImageNet | 224, bilinear | (x - 127) / 128 |
    | `mobilenetv2` | 1280 | none | 224, bilinear | by ImageNet's means and deviations |
    | `vgg19` | 1024, `relu5_4` | none | 224, bilinear | ImageNet's means subtracted |
    | `inception` | 2048, `pool3` | 1008, without bias | 299, bicubic | (x - 128) / 128 |

    Features are the means of the last maps over the picture; for `vgg19` their standard deviations
    follow.

    Pictures are resized without regard to their proportions, with antialias and without rounding
    (`resize`); `inception` takes them as FID's network does after clean-fid's resizing.

    Raises ConfigError where the weights are not found or not the known ones.
    """
    found = find_features(name, path)
    kind = _KINDS[name]
    return Features(name, kind, kind.load(found), torch.device(device))


class _PooledVGG19(nn.Module):
    """Means, then standard deviations, of VGG19's last maps over the picture, (N, 1024)."""

    def __init__(self, path: Path):
        super().__init__()
        self.net = load_vgg19(path, _LAST)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.net(x, [_LAST])[_LAST]
        return torch.cat([maps.mean((2, 3)), maps.std((2, 3), correction=0)], 1)


def _strict(build: Callable[[], Net]) -> Callable[[Path], Net]:
    """Loads a network whose weight file holds just its state."""

    def load(path: Path) -> Net:
        net = build()
        # Only tensors are read, never code.
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return net

    return load


def _folded(load: Callable[[Path], Folding]) -> Callable[[Path], Folding]:
    """Loads a network for use alone: a third to a half less work on a CPU than as it is stored."""

    def quick(path: Path) -> Folding:
        net = load(path).eval()
        net.fold_norms()
        convert_conv2d_weight_memory_format(net, torch.channels_last)
        return net

    return quick


def _grey(mean: float, deviation: float) -> tuple[Channels, Channels]:
    return (mean, mean, mean), (deviation, deviation, deviation)


load_lite0 = _strict(Lite0)
_KINDS = {
    "vgg19": _Kind(_PooledVGG19, 1024, 0, 224, "bilinear", *_grey(127.5, 127.5)),
    "lite0": _Kind(_folded(load_lite0), 1280, 1000, 224, "bilinear", *_grey(127, 128)),
    "mobilenetv2": _Kind(_folded(_strict(MobileNetV2)), 1280, 0, 224, "bilinear", *_IMAGENET),
    "inception": _Kind(_strict(InceptionV3), 2048, 1008, 299, "bicubic", *_grey(128, 128)),
}

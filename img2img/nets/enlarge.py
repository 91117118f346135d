"""Bicubic enlargement by a whole factor as one convolution, the same in torch, ONNX and tiles."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.receptive_field import Seen

_REACH = 2  # places on either side that the cubic kernel weighs


class Enlarge(nn.Module):
    """Float (N, channels, H, W) -> (N, channels, scale * H, scale * W), of any H and W >= 1.

    Cubic convolution (Keys, IEEE Trans. ASSP 29(6), 1981, eq. 4, a = -1/2), as Pillow's bicubic
    filter but at the border, where the outermost pixels are repeated. Computed in the precision of
    its input, mixed precision or not: eight bits of mantissa would be lost on a picture.
    """

    weight: Tensor

    def __init__(self, channels: int, scale: int):
        super().__init__()
        self.scale = scale
        phases = torch.stack([_taps((p + 0.5) / scale - 0.5) for p in range(scale)])
        kernels = torch.einsum("ay,bx->abyx", phases, phases).flatten(0, 1)
        weight = torch.zeros(channels, scale**2, channels, *kernels.shape[1:])
        for c in range(channels):
            weight[c, :, c] = kernels
        # Made from the scale, so not part of a model file.
        self.register_buffer("weight", weight.flatten(0, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._enlarged(x)
        return self._enlarged(x)

    def _enlarged(self, x: Tensor) -> Tensor:
        x = F.pad(x, (_REACH,) * 4, mode="replicate")
        return F.pixel_shuffle(F.conv2d(x, self.weight.to(x.dtype)), self.scale)

    def look(self, seen: Seen) -> Seen:
        """What a pixel of the result sees."""
        return seen.padded(_REACH).windowed(2 * _REACH + 1).enlarged(self.scale)


def _taps(offset: float) -> Tensor:
    """The weights of the places -2 to 2 for a point at `offset`, which is within half a place."""
    x = (torch.arange(-_REACH, _REACH + 1, dtype=torch.float64) - offset).abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0)).float()

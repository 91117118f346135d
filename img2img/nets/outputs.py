"""What a generator's last layer means: a picture, a residual, a mask with a colour, or chroma."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Output = Literal["direct", "residual", "mask", "chroma"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# A fresh mask lets 18 % of the new colour through, so that a network begins near the identity.
_MASK_START = -1.5
# Rows give R, G and B from Cb and Cr (ITU-R BT.601); no row changes the luminance.
_CHROMA = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))


def output_problem(output: Output, in_channels: int, out_channels: int) -> str:
    """Why `output` cannot be with these channels, with a proposal; or ""."""
    if output == "chroma" and (in_channels, out_channels) != (3, 3):
        return (
            "output=chroma adds colour to the luminance of an RGB picture and needs 3 channels in "
            "and out; grey pictures are read as RGB of equal channels"
        )
    if output in ("residual", "mask") and in_channels != out_channels:
        return (
            f"output={output} changes the input picture and needs as many channels out as in; "
            "use output=direct"
        )
    return ""


def layer_channels(output: Output, out_channels: int) -> int:
    """How many channels the last layer gives."""
    return {"mask": out_channels + 1, "chroma": 2}.get(output, out_channels)


class Head(nn.Module):
    """From the picture and what the layers give, both (N, C, H, W), to a picture in [-1, 1].

    - `direct`: the layers' tanh is the picture.
    - `residual`: x + r, clamped.
    - `mask`: m * tanh(c) + (1 - m) * x with m = sigmoid (GANimation, arXiv 1807.09251, eq. 1).
    - `chroma`: the luminance of x (BT.601) stays what it is, the layers give Cb and Cr. Where a
      colour does not exist at that luminance it is brought towards grey until it does.
    """

    luma: Tensor
    to_rgb: Tensor

    def __init__(self, output: Output):
        super().__init__()
        self.output = output
        if output == "chroma":
            self.register_buffer("to_rgb", torch.tensor(_CHROMA)[:, :, None, None], False)
            self.register_buffer("luma", torch.tensor(_LUMA)[None, :, None, None], False)

    def forward(self, picture: Tensor, made: Tensor) -> Tensor:
        if self.output == "direct":
            return made
        if self.output == "residual":
            return (picture + made).clamp(-1, 1)
        if self.output == "mask":
            return self.with_mask(picture, made)[0]
        return self._coloured(picture, made)

    def with_mask(self, picture: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """The picture and the mask m, (N, 1, H, W) in [0, 1], that made it."""
        colours = made.shape[1] - 1
        mask = torch.sigmoid(made[:, colours:])
        colour = torch.tanh(made[:, :colours])
        return mask * colour + (1 - mask) * picture, mask

    def _coloured(self, picture: Tensor, made: Tensor) -> Tensor:
        luma, to_rgb = self.luma.to(picture.dtype), self.to_rgb.to(picture.dtype)
        grey = F.conv2d(picture, luma)
        colour = F.conv2d(torch.tanh(made), to_rgb)
        # How much of each channel's colour fits between black and white at this luminance.
        room = (1 - grey * torch.sign(colour)) / colour.abs().clamp(min=1e-4)
        fits = torch.minimum(torch.minimum(room[:, :1], room[:, 1:2]), room[:, 2:])
        return (grey + colour * fits.clamp(0, 1)).clamp(-1, 1)

    def start(self, last: nn.Conv2d | nn.ConvTranspose2d) -> None:
        """Let the last layer begin near the identity, after its initialisation: residual and
        chroma at zero, the mask nearly closed."""
        with torch.no_grad():
            if self.output in ("residual", "chroma"):
                last.weight.zero_()
                if last.bias is not None:
                    last.bias.zero_()
            elif self.output == "mask" and last.bias is not None:
                last.bias[-1] = _MASK_START

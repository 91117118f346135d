"""Terms that compare spectra: pure functions, tensors in, scalar out, computed in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from img2img.losses.reconstruction import wide


def focal_frequency_loss(fake: Tensor, real: Tensor, alpha: float = 1.0) -> Tensor:
    """Mean over all frequencies of w |F(fake) - F(real)|^2 with F the orthonormal 2-D Fourier
    transform and w = |F(fake) - F(real)|^alpha, brought to [0, 1] by its maximum within a channel
    of a picture and detached (arXiv 2012.12821, sec. 3). Weight goes to the frequencies that
    are worst; `alpha` 0 is the mean squared difference of the pixels.

    Float (N, C, H, W) in [-1, 1]; `real` is detached. Autocast does not reach the transform.
    """
    with torch.autocast(fake.device.type, enabled=False):
        # The transform is linear: one of the difference instead of two.
        spectrum = torch.fft.fft2(wide(fake) - wide(real.detach()), norm="ortho")
    square = spectrum.real**2 + spectrum.imag**2
    with torch.no_grad():
        weight = square ** (alpha / 2)
        weight = weight / weight.amax((2, 3), keepdim=True).clamp(
            min=torch.finfo(weight.dtype).tiny
        )
    return (weight * square).mean()

"""How close a translated image is to the true one. `METRICS` is the table: the validation of a
training computes every entry, and the contract tests run over it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from img2img.metrics.paired import l1, psnr, ssim


@dataclass(frozen=True)
class Metric:
    """A figure for each pair of images.

    Attributes:
        of: takes the translated and the true images, both (N, C, H, W) in 0..255, and returns
            (N,); the figure of a pair does not depend on the others in the batch.
        unit: of the figure; empty for a plain number.
        higher_is_better: which way is closer.
        least_side: images with a shorter side, in pixels, are left out.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    unit: str
    higher_is_better: bool
    least_side: int = 1


METRICS: dict[str, Metric] = {
    "l1": Metric(l1, "8-bit levels", higher_is_better=False),
    "psnr": Metric(psnr, "dB", higher_is_better=True),
    "ssim": Metric(ssim, "", higher_is_better=True, least_side=11),
}

__all__ = ["METRICS", "Metric"]

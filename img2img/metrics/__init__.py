"""How close a translated image is to the true one, and how far sets of images are apart (`sets`).

`METRICS` is the table of the figures of a pair: `evaluate` and the validation of a training compute
its entries, and the contract tests run over it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from img2img.features import missing_features
from img2img.metrics.paired import l1, ms_ssim, psnr, ssim
from img2img.metrics.perceptual import lpips, vgg19_distance


@dataclass(frozen=True)
class Metric:
    """A figure for each pair of images.

    Attributes:
        of: takes the translated and the true images, both (N, C, H, W) in 0..255, and returns
            (N,); the figure of a pair does not depend on the others in the batch.
        unit: of the figure; empty for a plain number.
        higher_is_better: which way is closer.
        least_side: images with a shorter side, in pixels, are left out.
        networks: in FEATURES or PARTS, whose weights it needs.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    unit: str
    higher_is_better: bool
    least_side: int = 1
    networks: tuple[str, ...] = ()

    def available(self) -> bool:
        """Whether the weights that it needs are available. Raises ConfigError for a file that is
        given or found and cannot be read or is not the known one."""
        return not missing_features(*self.networks)


METRICS: dict[str, Metric] = {
    "l1": Metric(l1, "8-bit levels", higher_is_better=False),
    "psnr": Metric(psnr, "dB", higher_is_better=True),
    "ssim": Metric(ssim, "", higher_is_better=True, least_side=11),
    "ms_ssim": Metric(ms_ssim, "", higher_is_better=True, least_side=176),
    "vgg19_distance": Metric(
        vgg19_distance, "", higher_is_better=False, least_side=16, networks=("vgg19",)
    ),
    "lpips": Metric(
        lpips, "", higher_is_better=False, least_side=32, networks=("alexnet", "lpips")
    ),
}
# What a training computes of its held-out pictures by default: quick ones.
DEFAULT_METRICS = ("l1", "psnr", "ssim")

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric"]

"""Is a wide picture two pictures side by side, or one photograph? An ordinary photograph continues
across its middle column as across any other, and its halves do not show the same thing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.data.registration import LEAST, RELATED_SET, SIDE, register, small_grey
from img2img.errors import DataError, PictureError
from img2img.images import Pixels, read_picture

SEAM = 0.97  # a median `seam` above it shows a seam
_LOOKED_AT = 32  # files of a folder


@dataclass(frozen=True)
class Halves:
    """What the halves of some pictures have to do with each other.

    Attributes:
        seam: median `seam` of the pictures.
        peak: how clearly the halves of all of them lie on each other (`Registration.peak`); 0
            where they do not, or where there are too few to tell.
    """

    seam: float
    peak: float

    @property
    def photographs(self) -> bool:
        """True where nothing speaks for two pictures side by side."""
        return self.seam <= SEAM and self.peak <= RELATED_SET

    @property
    def reason(self) -> str:
        """What was measured, in words."""
        related = "are aligned" if self.peak > RELATED_SET else "are not aligned"
        return (
            f"the step across the middle is larger than {self.seam:.0%} of the steps between other "
            f"columns, and the halves {related}"
        )


def seam(pixels: Pixels) -> float:
    """Which share of the steps between neighbouring columns of a uint8 (H, W, 3) picture of even
    width is smaller than the step across the middle: about 0.5 for a photograph, 1 for a pair
    and for a blank picture."""
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.int16)
    steps = np.abs(grey[:, 1:] - grey[:, :-1]).mean(0)
    middle = pixels.shape[1] // 2 - 1
    here, others = steps[middle], np.delete(steps, middle)
    if not steps.any():  # nothing speaks for a photograph
        return 1.0
    return float(((others < here).mean() + (others <= here).mean()) / 2)


def compare_halves(seams: Sequence[float], a: Sequence[Pixels], b: Sequence[Pixels]) -> Halves:
    """Judge pictures by their `seam` and their left and right halves, as `small_grey` has them."""
    peak = 0.0
    if len(a) >= LEAST:
        found = register(a, b)
        if max(map(abs, found.common)) < 2 / SIDE:
            peak = found.peak
    return Halves(float(np.median(seams)), peak)


def refuse_photographs(root: Path, files: Sequence[Path]) -> None:
    """Look at some of the `files` of `root`, which are to be pairs side by side.

    Raises:
        DataError: they are ordinary photographs.
    """
    chosen = [files[k * len(files) // _LOOKED_AT] for k in range(_LOOKED_AT)]
    seams, a, b = [], [], []
    for path in dict.fromkeys(chosen):
        try:
            pixels = read_picture(path).pixels
        except PictureError:
            continue  # which is reported with all others
        width = pixels.shape[1]
        if width % 2 == 0 and width >= pixels.shape[0]:
            seams.append(seam(pixels))
            a.append(small_grey(pixels[:, : width // 2]))
            b.append(small_grey(pixels[:, width // 2 :]))
    if seams and (halves := compare_halves(seams, a, b)).photographs:
        raise DataError(f"{root}: {photographs_refused(len(files), halves, str(root))}")


def photographs_refused(count: int, halves: Halves, name: str) -> str:
    """What to say of `count` photographs of the folder `name` that would be cut into pairs."""
    return (
        f"{count} pictures look like ordinary photographs, not like pairs side by side "
        f"({halves.reason}). To train on photographs alone, use `pairs=degrade` or `pairs=edges` "
        "(pix2pix), or a style (method stylize); if they are pairs nevertheless, give "
        f"`side_by_side=true`. To see them cut: img2img data check {shlex.quote(name)} "
        "`method` pix2pix `sheet` look.png"
    )

"""What the generators of a run get to see, in statistics that their model files keep."""

from __future__ import annotations

from typing import Any

import torch

from img2img.images import Pixels, usual_traits
from img2img.training.setup import Setup
from img2img.training.validation import to_pixels

_MOST = 256  # pictures that the statistics are of


def usual_inputs(setup: Setup) -> dict[str, dict[str, Any]]:
    """`images.usual_traits` of what each generator gets, by its key, from at most 256 training
    pictures that are spread over the data, drawn, cropped and augmented as in a first step. The
    same for a new run and a resumed one."""
    data, method = setup.data, setup.method
    count = min(_MOST, len(data))
    method.number = 0
    found: dict[str, list[Pixels]] = {}
    with torch.no_grad():
        for place in range(count):
            index = place * len(data) // count
            method.augment.begin(0, [index])
            batch = data.batch([index], 0).on(setup.hardware.device)
            for key, x in method.inputs(batch).items():
                found.setdefault(key, []).append(to_pixels(x)[0])
    return {key: usual_traits(pictures) for key, pictures in found.items()}

"""What the networks will see, as a picture, before anything is trained."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor

from img2img.data import LabelledBatch, epoch_order
from img2img.images import Pixels, contact_sheet
from img2img.methods import Method, Pix2Pix
from img2img.training.config import TrainConfig
from img2img.training.events import Listener
from img2img.training.setup import check, choose_hardware, set_up
from img2img.training.validation import to_pixels

_COLUMNS, _ROWS = 8, 4


def preview_sheet(config: TrainConfig, listen: Listener = lambda event: None) -> Image.Image:
    """The first pictures that a training with `config` looks at, drawn, cropped and augmented as in
    its steps: 8 columns of at most 4 samples, each of them the input below what it should become
    (Pix2Pix), B below A, or one labelled picture. Writes nothing.

    Raises:
        ConfigError, DataError: as `train`.
    """
    plain = {"device": "cpu", "precision": "fp32", "compile": "off", "workers": 0}
    alone = config.model_copy(update=plain)
    kind, settings = check(alone, dry_run=True)
    setup = set_up(alone, kind, settings, choose_hardware(alone), listen, dry_run=True)
    data, method = setup.data, setup.method
    order = epoch_order(config.seed, 0, len(data))[: _COLUMNS * _ROWS]
    samples: list[list[Pixels]] = []
    for place, index in enumerate(order):
        method.number = place // config.per_step
        method.augment.begin(method.number, [index])
        batch = data.batch([index], 0).on(setup.hardware.device)
        samples.append([to_pixels(x)[0] for x in _seen(method, batch)])
    rows: list[list[Pixels]] = []
    for first in range(0, len(samples), _COLUMNS):
        rows += map(list, zip(*samples[first : first + _COLUMNS], strict=True))
    return Image.fromarray(contact_sheet(rows))


def _seen(method: Method, batch: Any) -> list[Tensor]:
    """The pictures of one sample, from top to bottom."""
    if isinstance(method, Pix2Pix):
        a, b = method.pairs(batch)
        return [b, a]
    augment = method.augment
    if isinstance(batch, LabelledBatch):
        return list(augment(batch.x))
    return [augment(x)[0] for x in (batch.a, batch.b)]

"""What the networks will see, as a picture, before anything is trained."""

from __future__ import annotations

from PIL import Image

from img2img.data import epoch_order
from img2img.images import Pixels, contact_sheet, in_columns
from img2img.training.config import TrainConfig
from img2img.training.data_check import all_at_once
from img2img.training.events import Listener
from img2img.training.remote import fetch_data
from img2img.training.setup import check, choose_hardware, set_up
from img2img.training.validation import to_pixels

_COLUMNS, _ROWS = 8, 4


def preview_sheet(config: TrainConfig, listen: Listener = lambda event: None) -> Image.Image:
    """The first pictures that a training with `config` looks at, drawn, cropped and augmented as in
    its steps: 8 columns of at most 4 samples, each of them the input below what it should become
    (Pix2Pix), B below A, or one labelled picture. With `diffaugment` the real pictures follow as
    the discriminators see them in one draw. Writes nothing.

    Raises:
        ConfigError, DataError: as `train`.
    """
    plain = {"device": "cpu", "precision": "fp32", "compile": "off", "workers": 0}
    # Which pictures stand on the sheet does not depend on how many are taken at once.
    plain |= {"batch_size": config.batch_size or 1}
    alone = config.model_copy(update=plain)
    kind, settings = check(alone, dry_run=True)
    fetch_data(config, listen)
    with all_at_once(alone):
        setup = set_up(alone, kind, settings, choose_hardware(alone), listen, dry_run=True)
    data, method = setup.data, setup.method
    order = epoch_order(config.seed, 0, len(data))[: _COLUMNS * _ROWS]
    samples: list[list[Pixels]] = []
    for place, index in enumerate(order):
        method.number = place // alone.per_step
        batch = data.batch([index], 0).on(setup.hardware.device)
        method.augment.begin(method.number, [index])
        pictures = method.seen(batch)
        if method.view.changes:
            method.view.begin(method.number, [index])
            pictures = [*pictures, *method.viewed(pictures)]
        samples.append([to_pixels(x)[0] for x in pictures])
    return Image.fromarray(contact_sheet(in_columns(samples, _COLUMNS)))

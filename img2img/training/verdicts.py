"""What the discriminators of a training say of pictures that they have learned from, of ones that
they have not, and of outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.data import Batch, Dataset
from img2img.methods import Method
from img2img.methods.base import evaluating
from img2img.nets.discriminator import Discriminator

PICTURES = 16  # of each kind in one validation, for each discriminator


@dataclasses.dataclass(frozen=True)
class Scores:
    """One number for each picture (N,), higher for real: `train` and `held_out` are real pictures,
    `fake` outputs made of held-out ones. `train` may be empty."""

    train: Tensor
    held_out: Tensor
    fake: Tensor


class Verdicts:
    """Collects the scores of one validation. Real pictures of both kinds are judged whole and at
    one size, without augmentation: a discriminator that tells them apart can only do so by
    having seen one kind. The discriminators are not changed by it."""

    def __init__(self, method: Method, data: Dataset | None, device: torch.device):
        """`data`: the training pictures; without them where they are prepared in another way than
        held-out ones, so that the two do not compare."""
        self._method, self._data, self._device = method, data, device
        self._held_out: dict[str, list[Tensor]] = {}
        self._fakes: dict[str, list[Tensor]] = {}
        self._sizes: tuple[int, int] = (0, 0)

    def add(self, batch: Batch, columns: Mapping[str, Tensor]) -> None:
        """Judge held-out pictures, a batch in [-1, 1] on the device, and what `Method.columns` made
        of them."""
        real, fake = self._method.judged_real(batch), self._method.judged_fake(columns)
        self._sizes = _sides(batch)
        self._judge(real, self._held_out)
        self._judge(fake, self._fakes)

    def scores(self) -> dict[str, Scores]:
        """Of each discriminator that has judged both kinds; also judges training pictures, evenly
        chosen."""
        names = self._held_out.keys() & self._fakes.keys()
        trained: dict[str, list[Tensor]] = {name: [torch.empty(0)] for name in names}
        if names and self._data is not None:
            count = min(PICTURES, len(self._data))
            for index in np.linspace(0, len(self._data) - 1, count).astype(int).tolist():
                batch = _resized(self._data.batch([index]).on(self._device), self._sizes)
                self._judge(self._method.judged_real(batch), trained)
        return {
            name: Scores(*(torch.cat(x[name]) for x in (trained, self._held_out, self._fakes)))
            for name in self._method.discriminators
            if name in names
        }

    def _judge(self, pictures: Mapping[str, Tensor], into: dict[str, list[Tensor]]) -> None:
        for name, x in pictures.items():
            left = PICTURES - sum(len(scores) for scores in into.get(name, ()))
            if left > 0:
                D = self._method.discriminators[name]
                into.setdefault(name, []).append(score(D, x[:left]))


def score(D: Discriminator, x: Tensor) -> Tensor:
    """What `D` says of whole pictures (N, C, H, W): the mean of its logits, of all scales alike."""
    with evaluating(D):
        means = [scale[-1].float().flatten(1).mean(1) for scale in D.features(x)]
    return torch.stack(means).mean(0).cpu()


def _sides(batch: Batch) -> tuple[int, int]:
    height, width = next(iter(_pictures(batch).values())).shape[2:]
    return int(height), int(width)


def _resized(batch: Batch, sides: tuple[int, int]) -> Batch:
    """Training pictures may be larger than the crops that are cut from them."""
    fitting = {
        name: F.interpolate(x, sides, mode="bilinear", antialias=True)
        for name, x in _pictures(batch).items()
        if tuple(x.shape[2:]) != sides
    }
    return dataclasses.replace(batch, **fitting) if fitting else batch


def _pictures(batch: Batch) -> dict[str, Tensor]:
    fields = ((f.name, getattr(batch, f.name)) for f in dataclasses.fields(batch))
    return {name: x for name, x in fields if isinstance(x, Tensor) and x.ndim == 4}

"""A discriminator that is too often right pauses, so that the generator can follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import Gan, Judgement

_KEPT = 0.9  # of the running accuracy, from one judgement to the next
_DECIDES = ("vanilla", "lsgan", "hinge", "minimax")


class Pause:
    """Whether one discriminator learns. Its accuracy is the share of its answers on the right side
    of `undecided`: real pictures above, made ones below, both and all scales counting alike; what
    is kept is a running mean. While that is above `above`, the discriminator judges without
    learning.

    Attributes:
        accuracy: the running mean, 0.5 before the first judgement.
        paused: decided by `begin` for a whole step, all its micro-batches.
    """

    def __init__(
        self,
        above: float,
        undecided: float,
        across: Callable[[Tensor], Tensor] = lambda mean: mean,
    ):
        """`across`: the mean over the processes that share a batch, so that all decide alike."""
        self.above, self.undecided, self.across = above, undecided, across
        self.accuracy, self.paused = 0.5, False

    def begin(self) -> None:
        """A step begins: decide whether the discriminator learns in it."""
        self.paused = self.accuracy > self.above

    def observe(self, real: Judgement, made: Judgement) -> None:
        """Count the answers to real and to made pictures."""
        right = [x > self.undecided for x in _scales(real)]
        right += [x < self.undecided for x in _scales(made)]
        share = self.across(torch.stack([x.detach().float().mean() for x in right]).mean())
        self.accuracy = _KEPT * self.accuracy + (1 - _KEPT) * float(share)

    @property
    def losses(self) -> dict[str, Tensor]:
        """For the log, beside the losses: the running accuracy, and 1 where this step is paused,
        whose mean over steps says how often."""
        values = {"D/accuracy": self.accuracy, "D/paused": float(self.paused)}
        return {name: torch.tensor(value) for name, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"accuracy": self.accuracy}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.accuracy = float(state["accuracy"])


def logged(pauses: Mapping[str, Pause]) -> dict[str, Tensor]:
    """`Pause.losses`, the mean over several discriminators; nothing without any."""
    rows = [pause.losses for pause in pauses.values()]
    return {n: torch.stack([row[n] for row in rows]).mean() for n in (rows[0] if rows else ())}


def check_pause(gan: str, pause_accuracy: float) -> None:
    """Raise ConfigError, with a proposal, where a critic has no accuracy."""
    if pause_accuracy and gan not in _DECIDES:
        raise ConfigError(
            "pause_accuracy needs a discriminator that tells real from generated pictures, but "
            f"with gan={gan} it is a critic, which only ranks them: give `gan=hinge`, "
            "`gan=lsgan` or `gan=vanilla`, "
            "or `pause_accuracy=0`"
        )


def undecided(gan: Gan) -> float:
    """A discriminator's answer where real and fake are equally likely: for least squares the
    middle between the targets 0 and 1, for all others 0."""
    return 0.5 if gan == "lsgan" else 0.0


def _scales(answer: Judgement) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else list(answer)

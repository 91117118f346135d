"""The figures of two sets of features as a table, from which `evaluate` and the validation of a
training take them: a further one is a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from img2img.metrics.sets import (
    DRAWN,
    Estimate,
    Manifolds,
    bootstrap,
    frechet_distance,
    kernel_distance,
    manifolds,
)

_NEIGHBOURHOOD = 6  # pictures that neighbourhoods of 5 need


@dataclass(frozen=True)
class Sets:
    """Features of real pictures (N, D) and of translated ones (M, D), and the seed of draws."""

    real: Tensor
    fake: Tensor
    seed: int = 0

    @cached_property
    def manifolds(self) -> Manifolds:
        """Computed once for the four figures in it."""
        return manifolds(self.real, self.fake)

    @property
    def fewer(self) -> int:
        """How many pictures the smaller set has."""
        return min(len(self.real), len(self.fake))


@dataclass(frozen=True)
class SetMetric:
    """A figure of two sets in the features of a network, whose name follows its own.

    Attributes:
        estimate: the figure with its interval; raises DataError for too few pictures.
        value: the figure alone, where that is less work.
        n: over how many pictures it is.
        about: in a few words what it tells.
        unit: empty for a plain number.
        higher_is_better: which way is closer to the real pictures.
        least: pictures of each set, under which it is left out.
        floor: whether the same between two halves of the real pictures stands beside it.
        established: its name with Inception's features, which no other network's figure may have.
    """

    estimate: Callable[[Sets], Estimate]
    value: Callable[[Sets], float]
    n: Callable[[Sets], int]
    about: str
    unit: str = ""
    higher_is_better: bool = False
    least: int = 2
    floor: bool = False
    established: str = ""


def _frechet(sets: Sets) -> Estimate:
    found = bootstrap(frechet_distance, sets.real, sets.fake, sets.seed)
    return Estimate(found.value, max(0.0, found.low), found.high)


def _kernel(sets: Sets) -> Estimate:
    return kernel_distance(sets.real, sets.fake, sets.seed)


def _share(
    of: Callable[[Manifolds], Estimate], n: Callable[[Sets], int], about: str, unit: str = "share"
) -> SetMetric:
    return SetMetric(
        lambda sets: of(sets.manifolds), lambda sets: of(sets.manifolds).value, n, about, unit,
        higher_is_better=True, least=_NEIGHBOURHOOD,
    )  # fmt: skip


SET_METRICS: dict[str, SetMetric] = {
    "fd": SetMetric(
        _frechet, lambda sets: frechet_distance(sets.real, sets.fake), lambda sets: sets.fewer,
        "Frechet distance of the features", floor=True, established="fid",
    ),
    "kd": SetMetric(
        _kernel, lambda sets: _kernel(sets).value, lambda sets: min(sets.fewer, DRAWN),
        "kernel distance of the features, unbiased", least=4, floor=True, established="kid",
    ),
    "precision": _share(
        lambda found: found.precision, lambda sets: len(sets.fake),
        "fakes that lie among the reals: quality",
    ),
    "density": _share(
        lambda found: found.density, lambda sets: len(sets.fake),
        "how densely the reals lie around the fakes: quality", "",
    ),
    "recall": _share(
        lambda found: found.recall, lambda sets: len(sets.real),
        "reals that lie among the fakes: diversity",
    ),
    "coverage": _share(
        lambda found: found.coverage, lambda sets: len(sets.real),
        "reals with a fake near by: diversity",
    ),
}  # fmt: skip


def name_of(short: str, network: str) -> str:
    """The name of a figure in SET_METRICS in the features of `network`; established names belong to
    Inception's features alone."""
    established = SET_METRICS[short].established
    return established if network == "inception" and established else f"{short}_{network}"

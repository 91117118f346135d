"""What a run shows of its held-out pictures: a sheet and figures, and the best of them so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from img2img.data import Batch, Dataset
from img2img.errors import ConfigError, DataError, proposal
from img2img.features import FEATURES, Features, find_features, open_features
from img2img.images import Picture, Pixels, contact_sheet, from_network, write_picture
from img2img.methods import Method
from img2img.metrics import METRICS
from img2img.metrics.sets import frechet_distance, kernel_distance
from img2img.training.processes import Processes

# Figures of sets: their short names, with Inception's established ones.
_DISTANCES = {"fd": "Frechet distance", "kd": "kernel distance"}
_ESTABLISHED = {"fid": ("fd", "inception"), "kid": ("kd", "inception")}


@dataclass(frozen=True)
class Validation:
    """What is computed of the held-out pictures.

    Attributes:
        metrics: of pairs, names in METRICS.
        distances: of sets, (`fd` or `kd`, network) by the figure's name.
        seconds: after which no further pictures are looked at; the sheet is always whole.
    """

    metrics: tuple[str, ...]
    distances: Mapping[str, tuple[str, str]]
    seconds: float

    @classmethod
    def of(cls, names: Sequence[str], seconds: float) -> Validation:
        """From the names in the configuration.

        Raises ConfigError for an unknown one, or one whose network's weights are missing.
        """
        known = {f"{kind}_{net}": (kind, net) for kind in _DISTANCES for net in FEATURES}
        known = {n: v for n, v in known.items() if v[1] != "inception"} | _ESTABLISHED
        for name in names:
            if name not in METRICS and name not in known:
                raise ConfigError(
                    f"metrics: unknown figure '{name}'.{proposal(name, [*METRICS, *known])}"
                )
            networks = METRICS[name].networks if name in METRICS else (known[name][1],)
            for network in filter(None, networks):
                find_features(network)
        pairs = tuple(n for n in names if n in METRICS)
        return cls(pairs, {n: known[n] for n in names if n in known}, seconds)


def is_better(name: str, new: float, old: float) -> bool:
    """Whether the figure `name` is better with `new` than with `old`."""
    short = name.rpartition(": ")[2]
    higher = short in METRICS and METRICS[short].higher_is_better
    return new > old if higher else new < old


def to_pixels(x: Tensor) -> list[Pixels]:
    """(N, C, H, W) in [-1, 1] -> N uint8 (H, W, 3) pictures; one channel is shown as grey."""
    values = x.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    pixels = from_network(values)
    return [np.repeat(p, 3, 2) if p.shape[2] == 1 else p for p in pixels]


def sheet_of(out: Path, step: int) -> Path:
    """Where the sample sheet of `step` lies in the run folder `out`."""
    return out / "samples" / f"step-{step:08d}.jpg"


@dataclass
class _Look:
    """What one held-out picture gave: its row of the sheet, if it is shown, by title; its figures,
    (1,) each; its features by (column, network)."""

    row: dict[str, Pixels]
    figures: dict[str, Tensor]
    features: dict[tuple[str, str], Tensor]


def validate(
    out: Path,
    method: Method,
    held_out: Dataset,
    step: int,
    device: torch.device,
    what: Validation,
    processes: Processes,
    most: int | None = None,
    see: Callable[[Batch, Mapping[str, Tensor]], None] = lambda batch, columns: None,
) -> tuple[dict[str, float], int]:
    """Write the sample sheet of up to 6 held-out pictures; return mean figures over all of them
    where a column has a `truth` beside it, and distances between the sets that the method names.
    Without any only the shown ones are run.

    The pictures are shared among the processes, and the first one writes the sheet and gets the
    figures; the others get none.

    Where `most` is None the time decides how many pictures are looked at, which is returned too:
    figures of another number of pictures do not compare, so later validations take as many. `see`
    gets each picture of this process as a batch, and its columns.
    """
    began = time.monotonic()
    sets = _Sets(method.compared if what.distances else {}, what.distances)
    shown = [int(i) for i in np.linspace(0, len(held_out) - 1, min(6, len(held_out)))]
    order = [*shown, *(i for i in range(len(held_out)) if i not in shown)]
    mine: list[_Look] = []
    for place in range(processes.rank, len(order), processes.count):
        late = time.monotonic() - began > what.seconds if most is None else place >= most
        if place >= len(shown) and late:
            break
        batch = held_out.batch([order[place]]).on(device)
        columns = method.columns(batch)
        see(batch, columns)
        compared = [n for n in columns if f"truth {n}" in columns and what.metrics]
        if place >= len(shown) and not compared and not sets:
            break
        pixels = {n: to_pixels(x)[0] for n, x in columns.items()} if place < len(shown) else {}
        mine.append(_Look(pixels, _figures(columns, compared, what.metrics), sets.of(columns)))
    looks = _in_order(processes.gather(mine))
    if processes.first:
        titles = list(looks[0].row)
        rows = [[look.row[title] for title in titles] for look in looks[: len(shown)]]
        sheet = Picture(contact_sheet(rows, titles), format="JPEG")
        write_picture(sheet_of(out, step), sheet, quality=92)
        return _means(looks) | sets.figures(looks), len(looks)
    return {}, len(looks)


def _in_order(parts: Sequence[Sequence[_Look]]) -> list[_Look]:
    """What the processes took in turns, up to the first picture that one of them did not reach."""
    looks: list[_Look] = []
    for turn in range(max(map(len, parts))):
        for part in parts:
            if turn >= len(part):
                return looks
            looks.append(part[turn])
    return looks


def _figures(
    columns: Mapping[str, Tensor], compared: Sequence[str], metrics: Sequence[str]
) -> dict[str, Tensor]:
    """Of the columns `compared` with their truths."""
    found = {}
    for name in compared:
        x, y = (_levels(columns[n]) for n in (name, f"truth {name}"))
        prefix = "" if name == "output" else f"{name}: "
        for short in metrics:
            if min(x.shape[2:]) >= METRICS[short].least_side:
                found[prefix + short] = METRICS[short].of(x, y).cpu()
    return found


def _means(looks: Sequence[_Look]) -> dict[str, float]:
    found: dict[str, list[Tensor]] = {}
    for look in looks:
        for name, value in look.figures.items():
            found.setdefault(name, []).append(value)
    return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def _levels(x: Tensor) -> Tensor:
    return ((x.detach().float() + 1) * 127.5).round().clamp(0, 255)


class _Sets:
    """Features of the columns that are compared as sets."""

    def __init__(self, compared: Mapping[str, str], distances: Mapping[str, tuple[str, str]]):
        self._compared, self._distances = compared, distances
        self._networks: dict[str, Features] = {}
        if compared:
            self._networks = {net: open_features(net) for _, net in distances.values()}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def of(self, columns: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """The features of a picture, (1, D) by (column, network)."""
        found = {}
        wanted = {*self._compared, *self._compared.values()} & columns.keys()
        for name in wanted:
            for net, network in self._networks.items():
                x = _levels(columns[name]).byte().cpu()
                x = x.repeat(1, 3, 1, 1) if x.shape[1] == 1 else x
                found[name, net] = network.features(x)
        return found

    def figures(self, looks: Sequence[_Look]) -> dict[str, float]:
        """Between the sets, without those that have too few pictures."""
        found = {}
        rows: dict[tuple[str, str], list[Tensor]] = {}
        for look in looks:
            for key, row in look.features.items():
                rows.setdefault(key, []).append(row)
        for fake, real in self._compared.items():
            prefix = "" if fake == "output" else f"{fake}: "
            for name, (kind, net) in self._distances.items():
                if (fake, net) not in rows or (real, net) not in rows:
                    continue
                a, b = torch.cat(rows[real, net]), torch.cat(rows[fake, net])
                try:
                    found[prefix + name] = (
                        frechet_distance(a, b) if kind == "fd" else kernel_distance(a, b).value
                    )
                except DataError:
                    continue  # too few held-out pictures
        return found


class Best:
    """The best validation of a run by one figure, and how many have passed since.

    Attributes:
        name: the figure; empty where none is followed.
        patience: validations without a better one after which a run ends; 0: never.
        pictures: how many held-out pictures a validation looks at; None before the first.
    """

    def __init__(self, name: str, patience: int):
        self.name, self.patience = name, patience
        self._value: float | None = None
        self._step = self._misses = 0
        self.pictures: int | None = None

    def missing(self, figures: Mapping[str, float]) -> str:
        """What to warn of where the figure is not among those of a validation, else ""."""
        if not self.name or any(n.rpartition(": ")[2] == self.name for n in figures):
            return ""
        return (
            f"'{self.name}' cannot be computed for these held-out pictures (no truths, too small "
            f"or "
            "too few), so no best model is kept"
        )

    def better(self, step: int, figures: Mapping[str, float]) -> bool:
        """Whether these figures of `step` are the best so far."""
        key = next((n for n in figures if n.rpartition(": ")[2] == self.name), None)
        if not self.name or key is None:
            return False
        if self._value is None or is_better(self.name, figures[key], self._value):
            self._value, self._step, self._misses = figures[key], step, 0
            return True
        self._misses += 1
        return False

    @property
    def spent(self) -> bool:
        """The patience is over."""
        return bool(self.patience) and self._misses >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {
            "name": self.name,
            "value": self._value,
            "step": self._step,
            "misses": self._misses,
            "pictures": self.pictures,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; one of another figure is left aside."""
        self.pictures = state.get("pictures")
        if state.get("name") == self.name:
            self._value, self._step = state["value"], state["step"]
            self._misses = state["misses"]

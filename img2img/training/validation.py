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
from img2img.errors import ConfigError, proposal
from img2img.features import FEATURES, Features, find_features, open_features
from img2img.images import Picture, Pixels, contact_sheet, from_network, write_picture
from img2img.methods import Method
from img2img.metrics import METRICS
from img2img.metrics.faithful import faithfulness
from img2img.metrics.set_figures import SET_METRICS, Sets, name_of
from img2img.training.health import made_from
from img2img.training.processes import Processes

# Figures of sets: (name in SET_METRICS, network) by the name that they have together.
SETS = {name_of(short, net): (short, net) for short in SET_METRICS for net in FEATURES}
# Figures of an output beside its input, and whether more is better.
FAITHFUL = {"structure": True, "unchanged": False}


@dataclass(frozen=True)
class Validation:
    """What is computed of the held-out pictures.

    Attributes:
        metrics: of pairs, names in METRICS.
        faithful: of an output and its input, names in FAITHFUL.
        sets: of sets, a part of SETS.
        seconds: after which no further pictures are looked at; the sheet is always whole.
    """

    metrics: tuple[str, ...]
    faithful: tuple[str, ...]
    sets: Mapping[str, tuple[str, str]]
    seconds: float

    @classmethod
    def of(cls, names: Sequence[str], seconds: float) -> Validation:
        """From the names in the configuration.

        Raises ConfigError for an unknown one, or one whose network's weights are missing.
        """
        for name in names:
            if name not in (known := [*METRICS, *FAITHFUL, *SETS]):
                raise ConfigError(f"metrics: unknown figure '{name}'.{proposal(name, known)}")
            networks = METRICS[name].networks if name in METRICS else ()
            for network in networks if name not in SETS else (SETS[name][1],):
                find_features(network)
        pairs, faithful = (tuple(n for n in names if n in table) for table in (METRICS, FAITHFUL))
        return cls(pairs, faithful, {n: SETS[n] for n in names if n in SETS}, seconds)


def is_better(name: str, new: float, old: float) -> bool:
    """Whether the figure `name` is better with `new` than with `old`."""
    short = name.rpartition(": ")[2]
    if short in FAITHFUL:
        higher = FAITHFUL[short]
    else:
        metric = METRICS[short] if short in METRICS else SET_METRICS[SETS[short][0]]
        higher = metric.higher_is_better
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
    where a column has a `truth` beside it, of outputs beside their inputs, and figures of the
    sets that the method names. Without any only the shown ones are run.

    The pictures are shared among the processes, and the first one writes the sheet and gets the
    figures; the others get none.

    Where `most` is None the time decides how many pictures are looked at, which is returned too:
    figures of another number of pictures do not compare, so later validations take as many. `see`
    gets each picture of this process as a batch, and its columns.
    """
    began = time.monotonic()
    sets = _Sets(method.compared if what.sets else {}, what.sets)
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
        if place >= len(shown) and not (compared or what.faithful or sets):
            break
        pixels = {n: to_pixels(x)[0] for n, x in columns.items()} if place < len(shown) else {}
        figures = _figures(columns, compared, what.metrics)
        figures |= _kept(columns, method.compared, method.made_of, what.faithful)
        reals = method.reals(held_out, order[place]) if sets else {}
        mine.append(_Look(pixels, figures, sets.of({**columns, **reals})))
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


def _kept(
    columns: Mapping[str, Tensor],
    compared: Mapping[str, str],
    made_of: Mapping[str, str],
    names: Sequence[str],
) -> dict[str, Tensor]:
    """Of each output beside its input, where they have one size. Several outputs of one input, such
    as edits, have one figure, their mean."""
    pairs = made_from(list(columns), compared, made_of) if names else []
    found: dict[str, list[Tensor]] = {}
    for name, source in pairs:
        x, y = _levels(columns[source]), _levels(columns[name])
        if x.shape[2:] != y.shape[2:]:
            continue
        several = sum(other == source for _, other in pairs) > 1
        prefix = "" if several or name == "output" else f"{name}: "
        for short, value in faithfulness(x, y).items():
            if short in names:
                found.setdefault(prefix + short, []).append(value.cpu())
    return {name: torch.stack(values).mean(0) for name, values in found.items()}


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

    def __init__(self, compared: Mapping[str, str], wanted: Mapping[str, tuple[str, str]]):
        self._compared, self._wanted = compared, wanted
        self._networks: dict[str, Features] = {}
        if compared:
            self._networks = {net: open_features(net) for _, net in wanted.values()}

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
            both = {
                net: Sets(torch.cat(rows[real, net]), torch.cat(rows[fake, net]))
                for net in self._networks
                if (fake, net) in rows and (real, net) in rows
            }
            for name, (short, net) in self._wanted.items():
                if net in both and both[net].fewer >= SET_METRICS[short].least:
                    found[prefix + name] = SET_METRICS[short].value(both[net])
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
            "or too few), so no best model is kept"
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

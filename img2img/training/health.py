"""Failures that the literature names, found by cheap figures of held-out pictures, of losses and
of what the discriminators say.

The figures are in `img2img.training.symptoms`. `Health` computes them at each validation and makes
a note of a failure that shows itself at several looks in a row and is not about to vanish, since
the first steps of a healthy training look like several of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from img2img.training.events import HealthFigures, HealthNote
from img2img.training.symptoms import (
    LOOKS,
    border_excess,
    change,
    checkerboard,
    colour_drift,
    discriminator_strength,
    diversity,
    fooled,
    luminance_correlation,
    memorised,
    saturated,
    swing,
    thumbnails,
)
from img2img.training.verdicts import Scores

_LARGEST = 512  # side of the pictures that are looked at, in pixels
_PICTURES = 32  # of one validation


@dataclass(frozen=True)
class Problem:
    """A failure: when a figure shows it, and what to say.

    Attributes:
        figure: which figure shows it.
        below, above: it is there where the figure is below or above this.
        looks: how many in a row must show it; the first ones of a healthy training may.
        ends: a training in which it stays learns no more, so `on_collapse=stop` ends it.
        text: what was seen and what to change.
    """

    figure: str
    text: str
    below: float = -math.inf
    above: float = math.inf
    looks: int = 2
    ends: bool = False

    def excess(self, figures: Mapping[str, float]) -> float:
        """By how much its figure is beyond the limit; 0 where it is not, is missing or NaN."""
        value = figures.get(self.figure, math.nan)
        beyond = max(self.below - value, value - self.above)
        return beyond if beyond > 0 else 0.0


PROBLEMS: dict[str, Problem] = {
    "discriminator-too-strong": Problem(
        "discriminator",
        "the discriminator is always right, so the generator learns nothing from it: lower its "
        "learning rate or its width, or give `diffaugment=color,translation`, `penalty=r1`, "
        "`gan=lsgan` or `pause_accuracy=0.85`",
        below=0.05,
        ends=True,
    ),
    "discriminator-too-weak": Problem(
        "fooled",
        "the generator is ahead of a discriminator that cannot keep up: outputs are judged more "
        "real than real pictures, so their errors are no longer corrected: raise the "
        "discriminator's learning rate or its width, give n_critic where the method has it, or "
        "lower lambda_penalty, the strength of diffaugment or the generator's lr",
        above=0.9,
    ),
    "discriminator-overfits": Problem(
        "memorised",
        "the discriminator has memorised its training pictures and takes unseen real pictures "
        "for outputs: give `diffaugment=color,translation` or `ada=true`, more "
        "training pictures, or a smaller discriminator.width, or stop here",
        above=0.6,
    ),
    "oscillation": Problem(
        "swing",
        "the outputs oscillate from one validation to the next and do not settle: lower lr, "
        "give `penalty=r1` or `ema=0.999`, give `beta1=0`, or raise the weight of the cycle or L1 "
        "loss",
        above=35.0,
    ),
    "mode-collapse": Problem(
        "diversity",
        "mode collapse: the outputs are nearly the same for different inputs: go back to an "
        "earlier state, lower lr, give `penalty=r1`, or raise the weight of the cycle or L1 loss",
        below=0.1,
        ends=True,
    ),
    "unchanged": Problem(
        "change",
        "the outputs equal the inputs: lower the weight of the identity, cycle or content loss, "
        "raise that of the adversarial or style loss, or check that the two sides of the data "
        "differ",
        below=0.5,
    ),
    "inverted": Problem(
        "luminance",
        "the outputs are negatives of the inputs, bright where those are dark: start again with "
        "another `seed`, or give or raise lambda_identity",
        below=-0.4,
    ),
    "checkerboard": Problem(
        "checkerboard",
        "the outputs show a checkerboard pattern: give `generator.tail=resize` or "
        "`generator.upsample=resize` where the generator has it, or raise a total variation loss",
        above=30.0,
    ),
    "colour-drift": Problem(
        "colour drift",
        "the overall colours of the outputs differ from those of the real pictures: train "
        "longer, give or raise lambda_identity or L1, or check that both sides show similar scenes",
        above=40.0,
        looks=3,  # they are among the first things to be learned, and may take two
    ),
    "border": Problem(
        "border",
        "patches along the border of the outputs: give `generator.padding=reflect` or larger "
        "crops, and cut frames off the training pictures",
        above=3.0,
    ),
    "saturated": Problem(
        "saturated",
        "the outputs are saturated (only black, white or pure colours) and pass no gradient "
        "back: the training has diverged; start again from an earlier state with a "
        "lower lr or `clip_grad=1`",
        above=0.6,
        ends=True,
    ),
    "not-finite": Problem(
        "not finite",
        "outputs contain NaN or Inf: lower lr, give `clip_grad=1`, or train in `precision=fp32`",
        above=0.0,
        looks=1,
    ),
}


def _showing(figures: Mapping[str, float]) -> dict[str, float]:
    """The problems that `figures` show, with their excess."""
    found = {name: problem.excess(figures) for name, problem in PROBLEMS.items()}
    return {name: excess for name, excess in found.items() if excess}


class Health:
    """What the detectors say of one run.

    Attributes:
        columns: titles of the columns that were seen last.
        word: the last problem, in a few words; empty where the last look found none.
        ended: what was found in which a training learns no more, else empty.
    """

    def __init__(
        self,
        compared: Mapping[str, str],
        gan: str,
        made_of: Mapping[str, str] = MappingProxyType({}),
    ):
        """`compared`, `made_of`: as `Method` has them; `gan`: the objective, or ""."""
        self._compared, self._gan, self._made_of = compared, gan, made_of
        self._seen: dict[str, list[Tensor]] = {}
        self._losses: dict[str, list[float]] = {}
        self._paused: list[float] = []
        self._looks: list[dict[str, Tensor]] = []  # thumbnails of the outputs, by their column
        self._scores: Mapping[str, Scores] = {}
        self._before: dict[str, float] = {}  # the excess of each problem at the last look
        self._in_a_row: dict[str, int] = {}  # looks that have shown it
        self._count = 0
        self.columns: list[str] = []
        self.word, self.ended = "", ""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs besides the log: tensors."""
        return {"looks": self._looks}

    def resume(self, rows: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Take what the log of the run says, and a `state_dict`, which states from before there was
        one lack, so that a resumed run judges as one in one piece."""
        self._looks = list(state.get("looks", ()))
        for row in rows:
            if row["event"] == "step":
                self.add_losses(row["losses"])
            elif row["event"] == "health-figures":
                self._paused = []
                self._follow(_showing(row))

    def see(self, columns: Mapping[str, Tensor]) -> None:
        """Take the columns of some held-out pictures, (N, C, H, W) in [-1, 1]."""
        self.columns = list(columns)
        if self._count >= _PICTURES:
            return
        self._count += len(next(iter(columns.values())))
        for name, x in columns.items():
            x = x.detach().float()
            if max(x.shape[2:]) > _LARGEST:  # cut, not scaled: patterns of single pixels count
                x = x[:, :, :_LARGEST, :_LARGEST]
            self._seen.setdefault(name, []).append(x.cpu())

    def take(self, scores: Mapping[str, Scores]) -> None:
        """Take what the discriminators say, by their name, at the validation that is judged
        next."""
        self._scores = scores

    def add_losses(self, losses: Mapping[str, float]) -> None:
        """Take the losses of a logged row."""
        for name, value in losses.items():
            if name in ("D", "D/gan", "D/a", "D/b"):
                self._losses.setdefault(name, []).append(value)
            if name == "D/paused":
                self._paused.append(value)

    def judge(self, step: int) -> tuple[HealthFigures, list[HealthNote]]:
        """The figures since the last call, and notes of what has shown itself at as many looks in a
        row as its problem asks for, unless its figure has come more than halfway back to the limit
        since the last look."""
        figures = self._figures()
        self._seen, self._count, self._scores, self._paused = {}, 0, {}, []
        showing = _showing(figures)
        notes = [
            HealthNote(step, name, PROBLEMS[name].text, figures[PROBLEMS[name].figure])
            for name, excess in showing.items()
            if self._in_a_row.get(name, 0) + 1 >= PROBLEMS[name].looks
            and excess >= 0.5 * self._before.get(name, 0.0)
        ]
        self._follow(showing)
        self.word = notes[0].problem.replace("-", " ") if notes else ""
        self.ended = next((n.text for n in notes if PROBLEMS[n.problem].ends), "")
        return HealthFigures(step, figures), notes

    def _follow(self, showing: Mapping[str, float]) -> None:
        self._in_a_row = {name: self._in_a_row.get(name, 0) + 1 for name in showing}
        self._before = dict(showing)

    def _figures(self) -> dict[str, float]:
        """Of all outputs, the worst where a method has several; of their change the largest, since
        one domain may well leave a picture as it is."""
        found: dict[str, list[float]] = {}

        def add(name: str, value: float) -> None:
            if math.isfinite(value):
                found.setdefault(name, []).append(value)

        for losses in self._losses.values():
            add("discriminator", discriminator_strength(losses, self._gan))
        if self._paused:  # the share of the steps since the last look
            add("paused", sum(self._paused) / len(self._paused))
        for said in self._scores.values():
            add("memorised", memorised(said.train, said.held_out, said.fake))
            # Pictures that it knows by heart would hide that it is behind.
            add("fooled", fooled(said.train if len(said.train) else said.held_out, said.fake))
        alike = {n for n, x in self._seen.items() if len({y.shape[2:] for y in x}) == 1}
        pictures = {name: torch.cat(self._seen[name]) for name in self.columns if name in alike}
        pairs = made_from(list(pictures), self._compared, self._made_of)
        self._looks = [*self._looks, {n: thumbnails(pictures[n]) for n, _ in pairs}][-LOOKS:]
        for name, given in pairs:
            x, a = pictures[name], pictures[given]
            if not bool(torch.isfinite(x).all()):
                add("not finite", float((~torch.isfinite(x)).float().mean()))
                continue
            real = pictures.get(f"truth {name}", pictures.get(self._compared.get(name, "")))
            if real is not None:
                add("colour drift", colour_drift(x, real))
            truth = pictures.get(f"truth {name}", a)
            if x.shape[2:] == truth.shape[2:]:
                add("border", border_excess(x, truth))
            if real is not None:
                add("saturated", saturated(x, real))
            looks = [look[name] for look in self._looks if name in look]
            if len({look.shape for look in looks}) == 1:
                add("swing", swing(looks))
            # Nights differ less from each other than the days that they are made of.
            than = [diversity(x, y) for y in (a, real) if y is not None]
            add("diversity", max(than) if all(map(math.isfinite, than)) else than[0])
            add("luminance", luminance_correlation(x, a))
            if x.shape[2:] == a.shape[2:]:
                add("change", change(x, a))
            # What stands out in the input too was not made by the network.
            own, given_one = checkerboard(x), checkerboard(a)
            if math.isfinite(own) and math.isfinite(given_one):
                add("checkerboard", own / max(1.0, given_one / 5))
        lowest = ("discriminator", "diversity", "luminance")
        return {n: (min if n in lowest else max)(v) for n, v in found.items()}


def made_from(
    columns: Sequence[str], compared: Mapping[str, str], made_of: Mapping[str, str]
) -> list[tuple[str, str]]:
    """(output, input) among the names of a method's `columns`: by its `made_of`, or, where that is
    empty, whatever is neither a truth nor a real picture of `compared`, from the first column."""
    if made_of:
        return [(name, made_of[name]) for name in columns if made_of.get(name) in columns]
    real = {*columns[:1], *compared.values(), *(f"truth {name}" for name in columns)}
    return [(name, columns[0]) for name in columns if name not in real]

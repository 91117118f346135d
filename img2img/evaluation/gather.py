"""One pass over the pictures: figures of each picture, features of the sets, small copies.

Of each picture its figures are kept, its row of features for each network, and, where a critic or
a classifier will learn from them, a copy of 64 pixels. So memory does not grow with the number of
pairs, and with that of sets by five kilobytes or so for each picture and network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import DataError, MemoryFault, PictureError
from img2img.evaluation.rows import edit, faithfulness, paired, plainly_enlarged, planes
from img2img.evaluation.sources import Item, Material
from img2img.images import Pixels
from img2img.system import cpu

SMALL = 64  # side of the copies for the critic and the classifier of edits
_READERS = 3
_AHEAD = 8
_NONE = torch.zeros(0, 3, SMALL, SMALL, dtype=torch.uint8)

Translate = Callable[[Pixels, Item], Pixels]


class Extractor(Protocol):
    """A frozen network: `features` of uint8 (N, 3, H, W) are float (N, width), `logits_of` them
    (N, classes)."""

    name: str
    classes: int

    def features(self, x: Tensor) -> Tensor: ...

    def logits_of(self, features: Tensor) -> Tensor: ...


@dataclass
class Collected:
    """What one set of pictures gave.

    Attributes:
        names: of the pictures that were read, in order.
        features: (N, D) by network.
        logits: (N, classes) by network that has classes.
        small: uint8 (N, 3, 64, 64); of no pictures unless they were asked for.
    """

    names: list[str] = field(default_factory=list)
    features: dict[str, Tensor] = field(default_factory=dict)
    logits: dict[str, Tensor] = field(default_factory=dict)
    small: Tensor = field(
        default_factory=lambda: torch.zeros(0, 3, SMALL, SMALL, dtype=torch.uint8)
    )


@dataclass
class Gathered:
    """All that the figures are computed from.

    Attributes:
        inputs, fakes, reals: each set; `inputs` is empty for two folders.
        rows: figures of each judged picture, by name of the figure.
        problems: pictures that could not be read or translated, with the reason.
    """

    inputs: Collected = field(default_factory=Collected)
    fakes: Collected = field(default_factory=Collected)
    reals: Collected = field(default_factory=Collected)
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What to compute for each picture.

    Attributes:
        side: long side in pixels to which pictures are reduced; 0: their own size.
        paired: names in METRICS, where there is a truth.
        networks: for the features of the sets.
        small: keep copies of 64 pixels.
    """

    side: int = 0
    paired: Sequence[str] = ()
    networks: Sequence[Extractor] = ()
    small: bool = False


def gather(
    material: Material,
    asked: Asked,
    translate: Translate | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Gathered:
    """Read, and with `translate` make, every picture once.

    Raises:
        DataError: not one picture could be judged.
    """
    found = Gathered()
    total = len(material.judged) + (0 if material.paired else len(material.reals))
    done = 0
    sets = {name: _Filling() for name in ("inputs", "fakes", "reals")}

    def take(looks: Iterable[_Look]) -> None:
        for look in looks:
            for name, seen in look.seen.items():
                sets[name].add(look.name, seen)
            if "fakes" in look.seen:
                found.rows[look.name] = look.row

    with _Lookers() as lookers:
        for item, source, fake, truth in _judged(material, asked.side, translate, found.problems):
            if fake is not None:
                edited = _truth_of(item, fake, asked.side, found.problems)
                take(lookers.look(item.name, source, fake, truth, asked, edited))
            done += 1
            progress(done, total)
        if not material.paired:
            for item, pixels in _read(material.reals, asked.side, found.problems, "real "):
                if pixels is not None:
                    take(lookers.look(item.name, None, None, pixels, asked))
                done += 1
                progress(done, total)
        take(lookers.rest())
    if not found.rows:
        first = next(iter(found.problems.items()), ("", "no pictures"))
        raise DataError(f"no picture could be judged; the first problem: {first[0]}: {first[1]}")
    found.inputs, found.fakes, found.reals = (each.end() for each in sets.values())
    return found


@dataclass(frozen=True)
class _Seen:
    """What is kept of a picture."""

    small: Tensor | None
    features: dict[str, Tensor]
    logits: dict[str, Tensor]


@dataclass(frozen=True)
class _Look:
    """What was found of an item: its figures, and its pictures by the name of their set."""

    name: str
    row: dict[str, float]
    seen: dict[str, _Seen]


class _Lookers:
    """Threads, one for each core, each of which looks at a picture with one thread of its own: so a
    figure does not depend on the number of cores. Results come in the order of the pictures."""

    def __init__(self) -> None:
        self._before = torch.get_num_threads()
        count = max(1, cpu.cores())
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self._waiting: deque[Future[_Look]] = deque()
        self._most = count + 1

    def look(
        self,
        name: str,
        source: Pixels | None,
        fake: Pixels | None,
        truth: Pixels | None,
        asked: Asked,
        edited: Pixels | None = None,
    ) -> Iterator[_Look]:
        """Give one item's pictures, of an edit also its truth; what has been found meanwhile."""
        pictures = {"inputs": source, "fakes": fake, "reals": truth}
        there = {name: pixels for name, pixels in pictures.items() if pixels is not None}
        self._waiting.append(self._pool.submit(_look_at, name, there, asked, edited))
        while len(self._waiting) > self._most:
            yield self._waiting.popleft().result()

    def rest(self) -> Iterator[_Look]:
        """What has not been given back yet."""
        while self._waiting:
            yield self._waiting.popleft().result()

    def __enter__(self) -> _Lookers:
        return self

    def __exit__(self, *details: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before)


def _look_at(
    name: str, pictures: Mapping[str, Pixels], asked: Asked, edited: Pixels | None
) -> _Look:
    row: dict[str, float] = {}
    source, fake, truth = (pictures.get(n) for n in ("inputs", "fakes", "reals"))
    if fake is not None and truth is not None:
        row |= paired(fake, truth, asked.paired)
        if source is not None and source.shape == truth.shape:
            row |= edit(source, fake, truth)
        elif source is not None:
            row |= plainly_enlarged(source, truth, asked.paired)
    elif fake is not None and source is not None:
        row |= faithfulness(source, fake)
        if edited is not None:
            row |= edit(source, fake, edited)
    return _Look(name, row, {n: _see(pixels, asked) for n, pixels in pictures.items()})


def _see(pixels: Pixels, asked: Asked) -> _Seen:
    x, small = planes(pixels), None
    if asked.small:
        small = F.interpolate(x.float(), (SMALL, SMALL), mode="bilinear", antialias=True)
        small = small.round().clamp(0, 255).byte()
    features = {network.name: network.features(x) for network in asked.networks}
    logits = {n.name: n.logits_of(features[n.name]) for n in asked.networks if n.classes}
    return _Seen(small, features, logits)


def collect(
    items: Sequence[Item], asked: Asked, problems: dict[str, str] | None = None
) -> tuple[Collected, list[int]]:
    """One set alone, and the places of the items that could be read; why the others could not goes
    into `problems`."""
    problems = {} if problems is None else problems
    filling, places = _Filling(), []

    def take(looks: Iterable[_Look]) -> None:
        for look in looks:
            filling.add(look.name, look.seen["reals"])

    with _Lookers() as lookers:
        for place, (item, pixels) in enumerate(
            _read(items, asked.side, problems, "training picture ")
        ):
            if pixels is not None:
                take(lookers.look(item.name, None, None, pixels, asked))
                places.append(place)
        take(lookers.rest())
    return filling.end(), places


def _judged(
    material: Material, side: int, translate: Translate | None, problems: dict[str, str]
) -> Iterator[tuple[Item, Pixels | None, Pixels | None, Pixels | None]]:
    """Each judged picture with its input and its truth, as far as there are any."""
    truths: Iterator[tuple[Item, Pixels | None]] | None = None
    if material.paired:
        truths = _read(material.reals, side, problems, "the truth ")
    for item, pixels in _read(material.judged, side, problems):
        truth = next(truths)[1] if truths is not None else None
        if pixels is None or (truths is not None and truth is None):
            yield item, None, None, None
            continue
        source, fake = None, pixels
        if translate is not None:
            try:
                source, fake = pixels, translate(pixels, item)
            except (PictureError, MemoryFault) as error:
                problems[item.name] = str(error)
                yield item, None, None, None
                continue
        if truth is not None and truth.shape != fake.shape:
            problems[item.name] = f"{_size(fake)} pixels, its truth has {_size(truth)}"
            fake = None  # type: ignore[assignment]
        yield item, source, fake, truth


def _truth_of(item: Item, fake: Pixels, side: int, problems: dict[str, str]) -> Pixels | None:
    """The truth of an edit, where it has one of the size of the answer; otherwise why not."""
    if item.truth is None:
        return None
    what = f"the truth {item.truth.name}"
    try:
        pixels = Item(item.truth.name, item.truth).read(side)
    except (PictureError, MemoryFault, OSError) as error:
        problems[what] = str(error)
        return None
    if pixels.shape != fake.shape:
        problems[what] = f"{_size(pixels)} pixels, the edited picture has {_size(fake)}"
        return None
    return pixels


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def coloured(pixels: Pixels) -> Pixels:
    """(H, W, 3) of a picture of one or three channels."""
    return np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels


def _read(
    items: Sequence[Item], side: int, problems: dict[str, str], what: str = ""
) -> Iterator[tuple[Item, Pixels | None]]:
    """In order, a few ahead; None for one that cannot be read, named with `what` it is."""

    def attempt(item: Item) -> Pixels | str:
        try:
            return item.read(side)
        except (PictureError, MemoryFault, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(_READERS) as pool:
        coming = iter(items)
        waiting = [(item, pool.submit(attempt, item)) for item in islice(coming, _AHEAD)]
        while waiting:
            item, future = waiting.pop(0)
            waiting += [(item, pool.submit(attempt, item)) for item in islice(coming, 1)]
            made = future.result()
            if isinstance(made, str):
                problems[what + item.name] = made
            yield item, None if isinstance(made, str) else made


class _Filling:
    """A set that grows picture by picture."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._features: dict[str, list[Tensor]] = {}
        self._logits: dict[str, list[Tensor]] = {}
        self._small: list[Tensor] = []

    def add(self, name: str, seen: _Seen) -> None:
        self._names.append(name)
        if seen.small is not None:
            self._small.append(seen.small)
        for kept, new in ((self._features, seen.features), (self._logits, seen.logits)):
            for network, rows in new.items():
                kept.setdefault(network, []).append(rows)

    def end(self) -> Collected:
        return Collected(
            self._names,
            {name: torch.cat(rows) for name, rows in self._features.items()},
            {name: torch.cat(rows) for name, rows in self._logits.items()},
            torch.cat(self._small) if self._small else _NONE,
        )

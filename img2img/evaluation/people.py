"""The page that asks people, for the pictures of an evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from img2img.errors import PictureError, UsageError
from img2img.evaluation.evaluate import Evaluated, subject
from img2img.evaluation.human import MAX_COUNT, write_human_page
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.sources import Item
from img2img.images import Picture, Pixels, write_picture


def write_human(request: EvaluateRequest, result: Evaluated, out: Path, count: int) -> Path:
    """Write human.html into `out`: `count` pictures, half of them real, the others translated.

    Drawn by the request's seed from the pictures that were judged; a model translates its share
    again.

    Raises:
        UsageError: `count` is odd, or there are fewer pictures than half of it on a side.
        EnvironmentFault: the page cannot be written.
    """
    used = [item for item in result.material.judged if item.name in result.found.rows]
    with subject(request) as (_, side, translate, _, _), tempfile.TemporaryDirectory() as folder:

        def made(item: Item) -> Pixels:
            pixels = item.read(side)
            return translate(pixels, item) if translate else pixels

        some = max(1, count // 2)
        reals, shown = _write(
            Path(folder) / "a", _drawn(result.material.reals, request.seed), side, some
        )
        if result.material.paired:  # a fake beside its own truth could be compared with it
            truths = {item.path for item in shown}
            beside = [
                item
                for item, real in zip(result.material.judged, result.material.reals, strict=True)
                if real.path not in truths and item.name in result.found.rows
            ]
            used = beside if len(beside) >= some else used
        fakes = Path(folder) / "b"
        fakes.mkdir()
        files = []
        for number, item in enumerate(_drawn(used, request.seed + 1)[:some]):
            files.append(fakes / f"{number}.png")
            write_picture(files[-1], Picture(made(item), format="PNG"))
        if min(len(reals), len(files)) < some:
            raise UsageError(
                f"`human` {count} needs {some} pictures of each kind; there are {len(reals)} real "
                f"and {len(files)} translated ones"
            )
        return write_human_page(
            reals, files, out / "human.html", count, request.seed, title=result.report.title
        )


def check_count(count: int) -> None:
    """Raise UsageError for a number of pictures that the page cannot have."""
    if count % 2 or not 2 <= count <= MAX_COUNT:
        raise UsageError(f"`human` {count}: give an even number from 2 to {MAX_COUNT}")


def _drawn(items: Iterable[Item], seed: int) -> list[Item]:
    given = list(items)
    return [given[k] for k in np.random.default_rng([seed, 31]).permutation(len(given))]


def _write(
    folder: Path, items: Iterable[Item], side: int, count: int
) -> tuple[list[Path], list[Item]]:
    """The first `count` that can be read, as PNG files."""
    folder.mkdir()
    files: list[Path] = []
    shown = []
    for item in items:
        if len(files) == count:
            break
        try:
            picture = Picture(item.read(side), format="PNG")
        except PictureError:
            continue
        files.append(folder / f"{len(files)}.png")
        write_picture(files[-1], picture)
        shown.append(item)
    return files, shown

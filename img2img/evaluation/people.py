"""The page that asks people, for the pictures of an evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from img2img.errors import PictureError, UsageError
from img2img.evaluation.evaluate import Evaluated, EvaluateRequest, subject
from img2img.evaluation.human import write_human_page
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
        reals = _write(Path(folder) / "a", _drawn(result.material.reals, some, request.seed), side)
        fakes = Path(folder) / "b"
        fakes.mkdir()
        files = []
        for number, item in enumerate(_drawn(used, some, request.seed + 1)):
            files.append(fakes / f"{number}.png")
            write_picture(files[-1], Picture(made(item), format="PNG"))
        if min(len(reals), len(files)) < some:
            raise UsageError(
                f"--human {count} needs {some} pictures of each kind; there are {len(reals)} real "
                f"and {len(files)} translated ones"
            )
        return write_human_page(
            reals, files, out / "human.html", count, request.seed, title=result.report.title
        )


def _drawn(items: Iterable[Item], count: int, seed: int) -> list[Item]:
    given = list(items)
    order = np.random.default_rng([seed, 31]).permutation(len(given))[:count]
    return [given[k] for k in order]


def _write(folder: Path, items: Iterable[Item], side: int) -> list[Path]:
    folder.mkdir()
    files = []
    for number, item in enumerate(items):
        try:
            picture = Picture(item.read(side), format="PNG")
        except PictureError:
            continue
        files.append(folder / f"{number}.png")
        write_picture(files[-1], picture)
    return files

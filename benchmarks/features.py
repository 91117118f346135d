"""Nearest neighbours in the features of each network: how well they tell contents and styles.

    python benchmarks/features.py DATA [NETWORK ...] [--count N] [--weights FILE] [--threads N]

DATA has train/STYLE/NAME and test/STYLE/NAME as in PACS; what a picture shows is its name up to the
first underscore. For each network it prints, in per cent, how often the majority of the 5 nearest
training pictures (cosine) shows what the test picture shows (content), how often it has its style,
and the first again for each style, among the pictures of that style; then the time per picture.
Reduced pixels (32 x 32) come first, for comparison.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import Img2ImgError
from img2img.features import open_features
from img2img.features.extract import resize
from img2img.images import find_pictures, read_picture

_NEIGHBOURS = 5
_SIDE = 32


def chosen(folder: Path, count: int | None) -> list[Path]:
    """All pictures below `folder`, or `count` of them, the same ones each time."""
    paths = sorted(find_pictures(folder))
    random.Random(0).shuffle(paths)
    return paths[:count]


def pixels(path: Path) -> Tensor:
    """One picture as uint8 (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(read_picture(path).pixels)).movedim(2, 0)[None]


def agreement(known: Tensor, seen: Tensor, labels: Sequence[str], truth: Sequence[str]) -> float:
    """Share of `seen` (M, width) whose nearest of `known` (N, width) have their label, in %."""
    if not labels:
        return math.nan
    cosine = F.normalize(seen) @ F.normalize(known).T
    near = cosine.topk(min(_NEIGHBOURS, len(labels))).indices.tolist()
    votes = [Counter(labels[i] for i in row).most_common(1)[0][0] for row in near]
    return 100 * sum(a == b for a, b in zip(votes, truth, strict=True)) / len(truth)


def reduced(x: Tensor) -> Tensor:
    """The picture itself, small."""
    return resize(x, _SIDE, "bilinear").flatten(1) - 127.5


def shows(path: Path) -> str:
    """The content of a picture, from its name."""
    return path.name.split("_")[0]


def style(path: Path) -> str:
    """The style of a picture, from its folder."""
    return path.parent.name


def row(of: Callable[[Tensor], Tensor], train: list[Path], test: list[Path]) -> list[float]:
    """The figures of one line: content and style, content within each style, milliseconds."""
    start = time.perf_counter()
    known, seen = (torch.cat([of(pixels(p)) for p in paths]) for paths in (train, test))
    taken = 1000 * (time.perf_counter() - start) / (len(train) + len(test))
    figures = [
        agreement(known, seen, list(map(label, train)), list(map(label, test)))
        for label in (shows, style)
    ]
    for kind in sorted({style(p) for p in test}):
        rows, columns = (
            [i for i, p in enumerate(part) if style(p) == kind] for part in (train, test)
        )
        labels, truth = [shows(train[i]) for i in rows], [shows(test[i]) for i in columns]
        figures.append(agreement(known[rows], seen[columns], labels, truth))
    return [*figures, taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", nargs="*", default=["lite0", "mobilenetv2", "vgg19"])
    parser.add_argument("--count", type=int, help="So many training and test pictures at most.")
    parser.add_argument("--weights", type=Path, help="Weight file, for one network.")
    parser.add_argument("--threads", type=int, default=1, help="Of torch; default: 1.")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    train, test = (chosen(given.data / part, given.count) for part in ("train", "test"))
    print(f"{len(train)} training and {len(test)} test pictures, {_NEIGHBOURS} neighbours")
    columns = ["content", "style", *sorted({style(p) for p in test}), "ms"]
    print(f"{'network':12} {'width':>6} " + " ".join(f"{c:>12}" for c in columns))
    for name in ["pixels", *given.networks]:
        of, width = reduced, 3 * _SIDE**2
        if name != "pixels":
            try:
                network = open_features(name, given.weights)
            except Img2ImgError as error:
                print(f"{name:12} {error}")
                continue
            of, width = network.features, network.width
        figures = row(of, train, test)
        print(f"{name:12} {width:6} " + " ".join(f"{x:12.1f}" for x in figures), flush=True)


if __name__ == "__main__":
    main()

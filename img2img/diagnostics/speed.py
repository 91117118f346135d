"""How fast a model translates here."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from img2img.inference.translator import Translator

_HEIGHT, _WIDTH = 768, 1024
_TURNS = 3


def seconds_per_megapixel(model: Path) -> float:
    """Seconds for a megapixel of a picture of 1024x768, by the default runner: the shortest of
    three turns after one that is not counted. Decoding and writing are not part of it."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    found = []
    with Translator(model) as translator:
        domains = translator.info.domains
        for _ in range(_TURNS + 1):
            begun = time.perf_counter()
            translator(picture, domains=domains[0] if domains else None)
            found.append(time.perf_counter() - begun)
    return min(found[1:]) / (_HEIGHT * _WIDTH / 1e6)

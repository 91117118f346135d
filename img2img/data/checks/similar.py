"""Which pictures are the same: by a perceptual hash, then by comparing the pictures themselves.

The hash is the sign of low DCT coefficients against their median (Zauner 2010, "Implementation and
benchmarking of perceptual image hash functions", section 3.2.1), computed on 32x32 grey values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2img.data.checks.seen import Seen
from img2img.images import LUMA, Pixels

THUMB = 32
_BITS = 8  # of a row and of a column of the hash
_DIFFERENT = 8  # bits in which the hashes of near-duplicates may differ
_MEAN, _LARGEST = 4.0, 20.0  # levels by which their thumbs may differ, of 4x4 blocks the largest
_BLOCK = 2000


def _dct() -> NDArray[np.float32]:
    """The first rows of the DCT-II matrix, without the constant one."""
    k, n = np.arange(1, _BITS + 1)[:, None], np.arange(THUMB)[None]
    return np.cos(math.pi * k * (2 * n + 1) / (2 * THUMB)).astype(np.float32)


_DCT = _dct()
_LUMA = np.array(LUMA, np.float32)


def perceptual_hash(thumb: Pixels) -> NDArray[np.int8]:
    """64 values of -1 and 1 of a uint8 (THUMB, THUMB, 3) picture; those of similar pictures differ
    in few places."""
    low = _DCT @ (thumb.astype(np.float32) @ _LUMA) @ _DCT.T
    return np.where(low > np.median(low), 1, -1).astype(np.int8).reshape(-1)


def same_pictures(seen: Sequence[Seen]) -> list[list[Path]]:
    """Groups of files with exactly equal pixels."""
    groups: dict[bytes, list[Path]] = defaultdict(list)
    for one in seen:
        if one.digest:
            groups[one.digest].append(one.path)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(seen: Sequence[Seen]) -> list[tuple[Path, Path]]:
    """Pairs of files whose pictures nearly are the same, such as one saved twice or scaled; equal
    ones and pictures of one colour are left out."""
    some = [one for one in seen if one.hash is not None and one.spread > 2]
    if len(some) < 2:
        return []
    hashes = np.stack([one.hash for one in some if one.hash is not None]).astype(np.float32)
    thumbs = np.stack([one.thumb for one in some if one.thumb is not None])
    agree = hashes.shape[1] - 2 * _DIFFERENT
    found = []
    for first in range(0, len(some), _BLOCK):
        for second in range(first, len(some), _BLOCK):
            product = hashes[first : first + _BLOCK] @ hashes[second : second + _BLOCK].T
            close = np.argwhere(product >= agree) + np.array((first, second))
            close = close[close[:, 0] < close[:, 1]]
            for start in range(0, len(close), _BLOCK):
                part = close[start : start + _BLOCK]
                for i, j in part[_alike(thumbs[part[:, 0]], thumbs[part[:, 1]])].tolist():
                    if some[i].digest != some[j].digest:
                        found.append((some[i].path, some[j].path))
    return found


def _alike(a: Pixels, b: Pixels) -> NDArray[np.bool_]:
    """Which thumbs (N, THUMB, THUMB, 3) of `a` and `b` show the same."""
    apart = a.astype(np.int16) - b
    blocks = apart.reshape(-1, THUMB // 4, 4, THUMB // 4, 4, 3).mean((2, 4))
    mean = np.abs(apart).mean((1, 2, 3))
    return (mean <= _MEAN) & (np.abs(blocks).max((1, 2, 3)) <= _LARGEST)


def groups_of(same: Sequence[Sequence[Path]], near: Sequence[tuple[Path, Path]]) -> list[set[Path]]:
    """Files that are linked by being the same or nearly so."""
    home: dict[Path, set[Path]] = {}
    for linked in (*same, *near):
        joined: set[Path] = set().union(*(home.get(path, {path}) for path in linked))
        for path in joined:
            home[path] = joined
    return list({id(group): group for group in home.values()}.values())

"""More rows than the memory holds, put in groups by a digest: on the disk, one group in memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from img2img.model_format.domains import name_key

MOST = 16384  # rows of a group, unless more have one key
_BUFFER = 2**22  # bytes of rows that wait for the disk
_DIGITS = 16
_NUMBER = re.compile(r"(?<=.)(-[2-9])+$")

Row = list[Any]


def key_of(name: str) -> str:
    """The digest, 16 hexadecimal digits, of a picture's name below its place: of its folders and of
    the part of its own name before the first dot, less a number that tells names apart, without
    regard to case and Unicode form. Names that may meet in one output (`a.png` and `A.jpg` in PNG,
    `a.jpg.png`, `a-2.png`) have the same."""
    folder, slash, base = name.rpartition("/")
    stem = _NUMBER.sub("", base[:1] + base[1:].partition(".")[0])
    text = name_key(folder + slash + stem)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


class Spill:
    """Rows on the disk, by key; `folder` must be empty, and its owner removes it.

    Rows of one key stay in the order in which they came.
    """

    def __init__(self, folder: Path, depth: int = 0):
        self._folder, self._depth = folder, depth
        folder.mkdir(parents=True, exist_ok=True)
        self._waiting: dict[str, list[str]] = {}
        self._size = 0
        self.count = 0

    def add(self, key: str, row: Row) -> None:
        """Add a row of plain JSON types. Raises OSError."""
        self._add(key, json.dumps([key, *row]) + "\n")

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield every row once: the first digits that the keys of a group share, and its rows, each
        with its key first. Raises OSError."""
        self._flush()
        for file in sorted(self._folder.glob("*.jsonl")):
            prefix = file.stem
            with open(file, encoding="utf-8") as lines:
                some = list(islice(lines, MOST))
                more = next(lines, None)
                if more is None or self._depth + 2 >= _DIGITS:
                    rest = [] if more is None else [more, *lines]
                    yield prefix, [json.loads(line) for line in (*some, *rest)]
                else:
                    inner = Spill(self._folder / prefix, self._depth + 2)
                    for line in (*some, more):
                        inner._add(json.loads(line)[0], line)
                    for line in lines:
                        inner._add(json.loads(line)[0], line)
                    some.clear()
                    yield from inner.groups()
            file.unlink()

    def _add(self, key: str, line: str) -> None:
        self._waiting.setdefault(key[: self._depth + 2], []).append(line)
        self._size += len(line)
        self.count += 1
        if self._size > _BUFFER:
            self._flush()

    def _flush(self) -> None:
        for prefix, lines in self._waiting.items():
            with open(self._folder / f"{prefix}.jsonl", "a", encoding="utf-8") as file:
                file.writelines(lines)
        self._waiting, self._size = {}, 0

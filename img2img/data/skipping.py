"""What a data set leaves out instead of refusing the folder (`skip_bad`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from img2img.errors import DataError

T = TypeVar("T")


class BadPictures(DataError):
    """Pictures that cannot be used; `files` of them and why."""

    def __init__(self, text: str, files: Mapping[Path, str]):
        super().__init__(text)
        self.files = dict(files)


class Skipped:
    """What is left out of a data set.

    Attributes:
        reasons: for each picture, pair or row, in words.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._files: set[Path] = set()

    def add(self, reasons: Iterable[str], files: Iterable[Path] = ()) -> None:
        """Leave out `files`, and note why."""
        self.reasons = list(dict.fromkeys([*self.reasons, *reasons]))
        self._files |= set(files)

    def without(
        self, samples: Iterable[T], files_of: Callable[[T], Iterable[Path | None]]
    ) -> list[T]:
        """Those of `samples` none of whose files is left out."""
        return [sample for sample in samples if self._files.isdisjoint(files_of(sample))]

    def reopen(self, open_data: Callable[[], T], wanted: bool = True) -> T:
        """What `open_data` gives, called again where it meets pictures that cannot be used, which
        are left out from then on. With `wanted` false it is called once."""
        while True:
            try:
                return open_data()
            except BadPictures as error:
                if not wanted or self._files.issuperset(error.files):
                    raise
                self.add(error.files.values(), error.files)

    def below(self, root: Path) -> list[str]:
        """The reasons, with paths below `root`."""
        return [reason.replace(f"{root}{os.sep}", "") for reason in self.reasons]

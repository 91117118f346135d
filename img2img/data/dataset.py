"""What the loop needs of training data; every layout has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch

from img2img.data.store import Store

Folder = Path  # of training data
DataKind = Literal["pairs", "sets", "labels", "style"]
"""What a training learns from: pairs of pictures, two sets without pairs, pictures with labels, or
pictures and another folder of a style."""


@dataclass(frozen=True)
class Wanted:
    """What a method needs of a folder, for a look at it.

    Attributes:
        method: its name.
        kind: of its data.
        presets: the names of its presets.
    """

    method: str
    kind: DataKind
    presets: frozenset[str]


class Batch(Protocol):
    """Pictures and labels of some samples: a dataclass, whose tensors are its fields."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def on(self, device: torch.device) -> Self:
        """The same on `device`, pictures as floats in [-1, 1]."""
        ...


class Dataset(Protocol):
    """Samples of one split of a folder.

    Attributes:
        kind: of data.
        stores: the decoded pictures.
        names: of the samples, for messages.
        domains: names of the domains, for labelled data, else empty.
    """

    kind: ClassVar[DataKind]
    stores: list[Store]
    names: list[str]
    domains: tuple[str, ...]

    def __len__(self) -> int:
        """How many samples an epoch has."""
        ...

    def fingerprint(self) -> str:
        """A hash that changes when the files do."""
        ...

    def files_of(self, indices: Sequence[int], epoch: int = 0) -> list[str]:
        """The names of the files that the samples `indices` of `epoch` are made of."""
        ...

    def batch(self, indices: Sequence[int], epoch: int = 0, share: slice = slice(None)) -> Batch:
        """The samples `indices` of `epoch`, of which this process takes `share`."""
        ...

"""What is to be done with one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to translate: where it is and where it will be.

    Attributes:
        source, target: files.
        domain: the domain vector, if the model has domains; `domain_name` says it in words.
        problem: known beforehand; the picture fails unread, with this reason.
        ignored: known beforehand; the file is left alone and listed as skipped, with this reason.
    """

    source: Path
    target: Path
    domain: tuple[float, ...] | None = None
    domain_name: str = ""
    problem: str | None = None
    ignored: str | None = None

"""What is to be done with one picture, and what became of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


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


@dataclass
class Summary:
    """What became of the jobs: counts, and (file, reason) for each that failed.

    `redone` are those among `done` whose older output was replaced, because the picture, the model
    or a setting had changed.
    """

    done: int = 0
    redone: int = 0
    skipped: int = 0
    ignored: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many jobs have an end."""
        return self.done + self.skipped + self.ignored + len(self.failed)

"""What `img2img translate` says while it works and at its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from img2img.cli.console import duration, escaped, note, say_json

_QUIET = ("hidden", "not a picture")


def in_words(row: dict[str, Any], out: Path) -> str:
    parts = [f"{row['done']} translated into {escaped(str(out))}"]
    if row["done"]:
        parts[0] += f" in {duration(row['seconds'])}"
    if row["redone"]:
        parts.append(f"{row['redone']} of them again, since something had changed")
    if row["skipped"]:
        parts.append(f"{row['skipped']} there already (--overwrite translates them again)")
    if row["ignored"]:
        parts.append(f"{row['ignored']} other files left alone")
    if row["failed"]:
        parts.append(f"{row['failed']} failed")
    if row["not_reached"]:
        parts.append(f"{row['not_reached']} not reached; the same command resumes")
    return ", ".join(parts)


class Listener:
    """Prints events as they come: JSON lines, a progress bar on a terminal, or plain lines."""

    def __init__(self, total: int, json: bool):
        self.total, self.json, self.seen = total, json, 0
        self.began = self.told = time.monotonic()
        self.bar: Any = None
        if not json and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self.bar = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> Listener:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the progress bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def __call__(self, event: dict[str, Any]) -> None:
        self.seen += 1
        if self.json:
            say_json(event)
            return
        if event["status"] == "failed":
            note(f"failed: {event['input']}: {event['reason']}")
        if event["status"] == "ignored" and event["reason"] not in _QUIET:
            note(f"left alone: {event['input']}: {event['reason']}")
        for text in event.get("notes", ()):
            note(f"note: {event['input']}: {text}")
        if self.bar:
            self.bar.update(self.task, completed=self.seen)
        elif self.total and time.monotonic() - self.told > 10:
            self.told = time.monotonic()
            rate = self.seen / (self.told - self.began)
            left = duration(max(0, self.total - self.seen) / rate)
            note(f"{self.seen}/{self.total}, {rate:.1f} pictures/s, {left} left")

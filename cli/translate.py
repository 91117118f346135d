"""`img2img translate`."""

from __future__ import annotations

import glob
import sys
import time
from pathlib import Path
from typing import Any

import typer

from img2img.cli.console import duration, note, say, say_json, stop_flag
from img2img.errors import UsageError


def run(
    inputs: list[str],
    out: Path,
    model: str | None,
    runner: str,
    device: str,
    format: str | None,
    quality: int,
    overwrite: bool,
    json: bool,
    strip_metadata: bool,
    strip_gps: bool,
    salvage: bool,
    max_megapixels: float,
    domains: list[str],
    labels: Path | None,
    direction: str | None,
) -> None:
    import img2img
    from img2img.domains import ALL, targets_of
    from img2img.images import Reading, encode_format
    from img2img.pretrained import default_name, find_model, taken_for_granted
    from img2img.runners import open_runner, suffixes_for
    from img2img.tables import Labels
    from img2img.translate import check_output, plan, plan_domains, translate

    if "" in (*inputs, model):
        raise UsageError("an empty name was given as an input or as -m")
    suffix = encode_format(format)[1] if format else None
    reading = Reading(
        deep=True,
        salvage=salvage,
        max_pixels=round(max_megapixels * 10**6),
        metadata="strip" if strip_metadata else "no-gps" if strip_gps else "keep",
    )
    paths = _expand(inputs)
    jobs = plan(paths, out, suffix)
    wish = model or default_name()
    path = find_model(wish, suffixes_for(runner), direction)
    granted = taken_for_granted(wish, direction)
    if granted:
        note(granted)
    translator = open_runner(path, device, runner)
    info = translator.info
    targets = targets_of(info, domains, labels is not None)
    if targets:
        apart = len(targets) > 1 or (ALL in domains and ALL not in info.domains)
        known = Labels(labels, info.domains) if labels else None
        jobs = plan_domains(paths, out, suffix, info, targets, known, apart)
    check_output(out)
    software = f"img2img {img2img.__version__}, model {info.name}"
    if json:
        say_json(
            {
                "event": "start",
                "model": translator.info.name,
                "runner": translator.description,
                "inputs": len(jobs),
            }
        )
    else:
        note(
            f"{len(jobs)} pictures, model {translator.info.name} ({translator.info.direction}), "
            f"{translator.description}"
        )
    began = time.monotonic()
    with stop_flag() as stop, _progress(len(jobs), json) as listen:
        try:
            summary = translate(
                jobs, translator, quality, overwrite, listen, stop, reading, software
            )
        finally:
            listen.close()
    seconds = time.monotonic() - began
    row = {
        "event": "summary",
        "done": summary.done,
        "skipped": summary.skipped,
        "failed": len(summary.failed),
        "not_reached": len(jobs) - summary.done - summary.skipped - len(summary.failed),
        "seconds": round(seconds, 3),
    }
    if json:
        say_json(row)
    else:
        say(_in_words(row, out))
    stop.leave()
    if summary.failed:
        raise typer.Exit(1)


def _in_words(row: dict[str, Any], out: Path) -> str:
    parts = [f"{row['done']} translated into {out}"]
    if row["done"]:
        parts[0] += f" in {duration(row['seconds'])}"
    if row["skipped"]:
        parts.append(f"{row['skipped']} there already (--overwrite translates them again)")
    if row["failed"]:
        parts.append(f"{row['failed']} failed")
    if row["not_reached"]:
        parts.append(f"{row['not_reached']} not reached; the same command goes on")
    return ", ".join(parts)


def _expand(inputs: list[str]) -> list[Path]:
    """Globs that the shell left alone (Windows, quotes) are expanded; names that exist win."""
    paths: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.exists() or not glob.has_magic(text):
            paths.append(path)
            continue
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise UsageError(f"{text}: nothing matches")
        paths += [Path(p) for p in found]
    return paths


class _Listener:
    """Prints events as they come: JSON lines, a progress bar on a terminal, or plain lines."""

    def __init__(self, total: int, json: bool):
        self.total, self.json, self.seen = total, json, 0
        self.began = self.told = time.monotonic()
        self.bar: Any = None
        if not json and sys.stderr.isatty():
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

    def __enter__(self) -> _Listener:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        self.seen += 1
        if self.json:
            say_json(event)
            return
        if event["status"] == "failed":
            note(f"failed: {event['input']}: {event['reason']}")
        for text in event.get("notes", ()):
            note(f"note: {event['input']}: {text}")
        if self.bar:
            self.bar.update(self.task, completed=self.seen)
        elif time.monotonic() - self.told > 10:
            self.told = time.monotonic()
            rate = self.seen / (self.told - self.began)
            left = duration((self.total - self.seen) / rate)
            note(f"{self.seen}/{self.total}, {rate:.1f} pictures/s, {left} left")


_progress = _Listener

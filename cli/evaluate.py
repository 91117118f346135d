"""`img2img evaluate`."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from img2img.cli import evaluate_options as options
from img2img.cli.console import escaped, is_quiet, note, say, say_json
from img2img.cli.options import (
    Debug,
    Device,
    Direction,
    Json,
    Quiet,
)
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.evaluation.evaluate import Evaluated
    from img2img.evaluation.request import EvaluateRequest

EXAMPLES = """
img2img evaluate runs/maps data/maps -o report
img2img evaluate --fake out --real photos -o report
img2img evaluate painting photos --compare drawing -o report
img2img evaluate --video clip-painted.mp4 --source clip.mp4
"""

_SECONDS = 5.0  # between two lines of progress


def evaluate_command(
    model: options.Model = None,
    data: options.Data = None,
    fake: options.Fake = None,
    real: options.Real = None,
    out: options.Out = None,
    compare: options.Compare = None,
    metric: options.Metric = None,
    features: options.Features = None,
    paired: options.Paired = None,
    size: options.Size = None,
    most: options.Most = 5000,
    critic: options.Critic = False,
    labels: options.Labels = False,
    training: options.Training = None,
    video: options.Video = None,
    source: options.Source = None,
    human: options.Human = 0,
    seed: options.Seed = 0,
    direction: Direction = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Evaluate a model on held-out data, or a folder of translated pictures against real ones.

    Prints each figure with its 95 % interval. docs/reference/metrics.md explains each of them.
    """
    if video is not None or source is not None:
        _video(video, source, (model, data, fake, real, out, compare), json)
        return
    from img2img.evaluation.people import check_count
    from img2img.evaluation.request import EvaluateRequest
    from img2img.evaluation.writing import check_place

    request = EvaluateRequest(
        model, data, fake, real, paired, tuple(metric or ()), tuple(features or ()), size, most,
        seed, direction, device=device, critic=critic, labels=labels, training=training,
    )  # fmt: skip
    request.check()
    if human:
        check_count(human)
        if out is None:
            raise UsageError("--human writes a page into the report folder; add -o DIR")
    if out is not None:
        check_place(out)
    if compare and model is None:
        raise UsageError("--compare needs MODEL and DATA")
    _run(request, compare or [], out, human, json)


def _video(video: Path | None, source: Path | None, others: tuple[object, ...], json: bool) -> None:
    from img2img.evaluation.flicker import evaluate_video

    if video is None or source is None:
        raise UsageError(
            "--video OUT and --source IN are needed together: a translated clip and its source"
        )
    if any(others):
        raise UsageError("--video and --source cannot be combined with a model or folders")
    report = evaluate_video(video, source, _Progress("frames"))
    if json:
        say_json(report.row)
        return
    say(f"{escaped(str(video))}: {report.frames} pairs of frames")
    if report.frames:
        say(f"  flicker  {report.flicker:.3f} levels, on {report.still:.0%} of the pixels")
    else:
        say("  flicker  unknown: no part of the source stays the same")
    for text in report.notes:
        note(text)


def _run(
    request: EvaluateRequest, others: list[str], out: Path | None, human: int, json: bool
) -> None:
    from img2img.evaluation.evaluate import evaluate
    from img2img.evaluation.report import comparison_lines
    from img2img.evaluation.request import requests_of
    from img2img.evaluation.writing import write_reports

    requests = requests_of(request, others)
    results: list[Evaluated] = []
    for each in requests:
        result = evaluate(each, _Progress())
        said = {warning for earlier in results for warning in earlier.report.warnings}
        results.append(result)
        if json:
            say(result.report.as_json())
        else:
            _print(result, said)
    if len(results) > 1 and not json:
        for line in comparison_lines([result.report for result in results]):
            say(escaped(line))
    if out is not None:
        for path in write_reports(out, results):
            note(f"wrote {escaped(str(path))}")
        if human:
            from img2img.evaluation.people import write_human

            note(f"wrote {escaped(str(write_human(request, results[0], out, human)))}")
    if any(result.report.problems for result in results):
        raise typer.Exit(1)


def _print(result: Evaluated, said: Collection[str]) -> None:
    """The figures, and the warnings that an earlier model has not had."""
    report = result.report
    say(f"{escaped(report.title)}: {report.protocol['judged']} pictures")
    for line in report.lines():
        say("  " + line)
    for warning in report.warnings:
        if warning not in said:
            note(escaped(warning))
    for name, reason in list(report.problems.items())[:20]:
        note(f"not used: {escaped(name)}: {escaped(reason)}")


class _Progress:
    def __init__(self, what: str = "pictures") -> None:
        self._what = what
        self._next = time.monotonic() + _SECONDS

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next and not is_quiet():
            self._next = time.monotonic() + _SECONDS
            print(f"{done} of {total} {self._what}", file=sys.stderr, flush=True)

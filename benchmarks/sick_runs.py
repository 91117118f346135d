"""One short real training for each sickness that the detectors of health name, and healthy ones.

    python -m benchmarks.sick_runs [PROBLEM or METHOD ...] [--sheets FOLDER] [--json]
    python -m benchmarks.sick_runs --cost [--size 128] [--batch 1]

Each training learns at 32 pixels from a set that is drawn for it, on one thread, and takes 4 to 20
seconds of CPU time; the line is what it printed of its sickness, of healthy ones nothing is
expected. `--sheets` writes for each a JPEG with two held-out pictures, what became of them at four
looks, and what was wanted. `--cost` measures what a look costs beside the steps, in CPU time, with
the presets `tiny`. To be run from the root of the project, whose tests keep the trainings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from img2img.images import Picture, Pixels, contact_sheet, write_picture
from img2img.methods import METHODS
from img2img.training import presets_of
from img2img.training.health import Health
from img2img.training.run import Run
from img2img.training.verdicts import Verdicts
from tests.sick import HEALTHY, SICK, Case, Said, run_case

_GAP, _HEAD = 4, 16  # of a sample sheet, in pixels
_SHOWN = 6  # pictures in a sample sheet
_LARGE = 96  # side at which they are shown at most, in whole times their own
_LOOKS, _ROWS = 4, 2


def line_of(case: Case, said: Said) -> str:
    """What the training said of the sickness that it has."""
    if said.diverged:
        return said.diverged
    notes = [note for note in said.notes if note.problem == case.problem]
    return f"step {notes[0].step}: {notes[0].text}" if notes else ""


def sheet_of(run: Path, method: str) -> Pixels:
    """Two held-out pictures at four looks, of one direction or domain."""
    paths = sorted((run / "samples").iterdir())
    chosen = [paths[k] for k in np.linspace(0, len(paths) - 1, _LOOKS).round().astype(int)]
    sheets = [np.asarray(Image.open(path).convert("RGB")) for path in chosen]
    wanted = {"pix2pix": 2, "cyclegan": 3, "cut": 2}.get(method)
    output = 2 if method == "stargan" else 1  # its first domain is that of the pictures shown
    rows = []
    for row in range(_ROWS):
        cells = [_cell(sheets[0], row, 0), *(_cell(sheet, row, output) for sheet in sheets)]
        rows.append(cells + ([_cell(sheets[0], row, wanted)] if wanted else []))
    titles = ["input", *(f"step {int(path.stem.rpartition('-')[2])}" for path in chosen)]
    return contact_sheet(rows, titles + (["wanted"] if wanted else []))


def _cell(sheet: Pixels, row: int, column: int) -> Pixels:
    side = (len(sheet) - _HEAD - _GAP) // _SHOWN - _GAP
    top, left = _HEAD + _GAP + row * (side + _GAP), _GAP + column * (side + _GAP)
    times = _LARGE // side
    return sheet[top : top + side, left : left + side].repeat(times, 0).repeat(times, 1)


def run(case: Case, name: str, sheets: Path | None) -> dict[str, Any]:
    """Train it and say what it said."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        said = run_case(case, Path(folder) / "case")
        if sheets and not said.diverged:
            picture = Picture(sheet_of(Path(folder) / "case" / "run", case.method), format="JPEG")
            sheets.mkdir(parents=True, exist_ok=True)
            write_picture(sheets / f"{name}.jpg", picture, quality=75)
    return {
        "problem": case.problem or "none",
        "method": case.method,
        "cause": case.cause,
        "cpu_seconds": round(time.process_time() - began, 1),
        "line": line_of(case, said),
        "others": sorted(said.problems - {case.problem}),
    }


def cost_of(method: str, size: int, batch: int) -> dict[str, Any]:
    """CPU time of a step and of a look with the preset `tiny`, and their ratio where a look follows
    after 250 steps, as in the presets for a laptop."""
    spent = {"step": 0.0, "look": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any) -> Any:
            began = time.process_time()
            result = function(*arguments)
            spent[name] += time.process_time() - began
            return result

        return inner

    steps = 10
    loop = {"load_size": size, "crop_size": size, "batch_size": batch, "sample_every": steps}
    settings = presets_of(METHODS[method])["tiny"].get("settings", {})
    with (
        mock.patch.object(Run, "learn", timed("step", Run.learn)),
        mock.patch.object(Health, "see", timed("look", Health.see)),
        mock.patch.object(Health, "judge", timed("look", Health.judge)),
        mock.patch.object(Verdicts, "add", timed("look", Verdicts.add)),
        mock.patch.object(Verdicts, "scores", timed("look", Verdicts.scores)),
        tempfile.TemporaryDirectory() as folder,
    ):
        run_case(Case(method, settings=settings, loop=loop, steps=steps), Path(folder) / "case")
    step = spent["step"] / steps
    return {
        "method": method,
        "ms_a_step": round(1000 * step, 1),
        "ms_a_look": round(1000 * spent["look"], 1),
        "percent_of_250_steps": round(100 * spent["look"] / (250 * step), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="problems, or methods for healthy trainings")
    parser.add_argument("--sheets", type=Path, help="folder for the pictures")
    parser.add_argument("--cost", action="store_true", help="measure what a look costs")
    parser.add_argument("--size", type=int, default=128, help="side of the crops for --cost")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once for --cost")
    parser.add_argument("--json", action="store_true", help="a JSON object for each training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.cost:
        for method in HEALTHY:
            print(json.dumps(cost_of(method, options.size, options.batch)), flush=True)
        return
    cases = {method: Case(method) for method in HEALTHY} | {case.problem: case for case in SICK}
    for name in options.names or cases:
        row = run(cases[name], name, options.sheets)
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        print(f"{name}: {row['cause'] or 'healthy'} ({row['method']}, {row['cpu_seconds']} s)")
        print(f"    {row['line'] or 'nothing'}", flush=True)
        if row["others"]:
            print(f"    also: {', '.join(row['others'])}", flush=True)


if __name__ == "__main__":
    main()

"""Quality after equal time: a reference implementation's training against a preset of ours.

    python benchmarks/time_to_quality.py ROW DATA OUT [--minutes 20] [--marks 4] [--preset NAME]
        [--set NAME=VALUE ...] [--most N]

ROW is `facades` (labels -> photograph), `maps` (aerial -> map), `paint` (photographs -> paintings)
or `edits` (attributes); ours is the preset `laptop` of its method, or --preset. Both train on the
same data with the same cores, in turns of a few minutes, so that whatever else the machine does
meets both alike. At each mark both are judged on the held-out pictures by `img2img evaluate` with
the judge's features. OUT receives table.md, curve.png and a page of the last pictures of both
beside each other.

The reference side is the published step restated plainly: the networks, losses, order and
optimisers of the papers' own projects with their defaults, fp32, their batch, one picture decoded,
scaled, cropped and mirrored at a time. The minutes of ours include saving, choosing the number of
threads after each turn and one validation at the end; those of the reference hold steps alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from reference_steps import CycleGAN, Pix2Pix, Reference, StarGAN

from img2img.data.labelled import rows_of
from img2img.data.paired import pairs_of
from img2img.data.unpaired import sets_of
from img2img.evaluation.evaluate import Evaluated, evaluate
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.sources import training_rows
from img2img.evaluation.writing import write_reports
from img2img.training import TrainConfig, train
from img2img.training.presets import resolve


@dataclasses.dataclass(frozen=True)
class RowOf:
    """One comparison: the reference, our method with its preset and settings, what is printed."""

    reference: type[Reference]
    method: str
    preset: str
    settings: dict[str, Any]
    figures: tuple[str, ...]
    backwards: bool = False
    size: int = 256  # both sides are judged at this long side


ROWS = {
    "facades": RowOf(
        Pix2Pix, "pix2pix", "laptop", {"direction": "BtoA"},
        ("vgg19_distance", "ssim", "fd_mobilenetv2", "kd_mobilenetv2"), backwards=True,
    ),
    "maps": RowOf(
        Pix2Pix, "pix2pix", "laptop", {},
        ("vgg19_distance", "ssim", "fd_mobilenetv2", "kd_mobilenetv2"),
    ),
    "paint": RowOf(
        CycleGAN, "stylize", "laptop", {},
        ("fd_mobilenetv2", "kd_mobilenetv2", "structure", "likeness_mobilenetv2", "unchanged"),
    ),
    "edits": RowOf(
        StarGAN, "stargan", "laptop", {},
        ("came_right", "spoiled", "fd_mobilenetv2", "structure", "unchanged"), size=128,
    ),
}  # fmt: skip


def main() -> None:
    """Train both in turns, judge both at the marks, write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--marks", type=int, default=4)
    parser.add_argument("--preset")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--most", type=int, default=100, help="held-out pictures judged at a mark")
    options = parser.parse_args()
    row = ROWS[options.row]
    options.out.mkdir(parents=True, exist_ok=True)
    config = ours(row, options)
    reference = row.reference(files_of(row, options.data), cores=torch.get_num_threads())
    found: list[dict[str, Any]] = []
    spent = {"reference": 0.0, "ours": 0.0}
    results: dict[str, Evaluated] = {}
    for mark in range(1, options.marks + 1):
        due = 60 * options.minutes * mark / options.marks
        spent["reference"] += reference.train(due - spent["reference"])
        model = reference.save(options.out / "reference.safetensors")
        results["reference"] = judge(row, options, model)
        spent["ours"] += for_a_while(config, due - spent["ours"])
        model = next(p for p in sorted(config.out.glob("*.safetensors")) if p.stem != "best")
        results["ours"] = judge(row, options, model)
        for side, result in results.items():
            figures = result.report.figures
            steps = reference.steps if side == "reference" else result.report.protocol["steps"]
            line = {"side": side, "minutes": spent[side] / 60, "steps": steps}
            line |= {n: figures[n].value for n in row.figures if n in figures}
            found.append(line)
            print(json.dumps(line), flush=True)
        write(options.out, row, found)
        write_reports(options.out / "last", list(results.values()))


def ours(row: RowOf, options: argparse.Namespace) -> TrainConfig:
    """The preset on this data; where its schedule follows the clock it ends with the benchmark."""
    more = {}
    for text in options.set:
        name, _, value = text.partition("=")
        try:
            more[name] = json.loads(value)
        except ValueError:
            more[name] = value
    loop = {name: more.pop(name) for name in list(more) if name in TrainConfig.model_fields}
    values = {
        "method": row.method, "data": options.data, "out": options.out / "ours",
        "settings": row.settings | more, "device": "cpu", "sample_every": 10**6, **loop,
    }  # fmt: skip
    preset = options.preset or row.preset
    by_time = resolve(values | {"max_minutes": options.minutes}, preset).schedule == "time"
    return resolve(values | ({"max_minutes": options.minutes} if by_time else {}), preset)


def for_a_while(config: TrainConfig, seconds: float) -> float:
    """Train, or go on training, for so long; the seconds it took from its first step on."""
    began: list[float] = []

    def should_stop() -> bool:
        began.append(time.monotonic()) if not began else None
        return time.monotonic() - began[0] > seconds

    train(config, should_stop=should_stop)
    return time.monotonic() - began[0] if began else seconds


def files_of(row: RowOf, data: Path) -> Any:
    """What the reference trains on: pairs of files, two lists of files, or labelled files."""
    if row.reference is Pix2Pix:
        pairs = pairs_of(data, "train")
        return [(p.b, p.a, row.backwards) if row.backwards else (p.a, p.b, False) for p in pairs]
    if row.reference is CycleGAN:
        return sets_of(data, "train")
    domains, _, one_hot = rows_of(data, "train")
    return domains, one_hot, training_rows(data, domains)


def judge(row: RowOf, options: argparse.Namespace, model: Path) -> Evaluated:
    """The figures of one model on the held-out pictures."""
    request = EvaluateRequest(
        model=model, data=options.data, most=options.most, networks=("mobilenetv2",),
        backwards=row.backwards, runner="torch", device="cpu", size=row.size,
    )  # fmt: skip
    return evaluate(request)


def write(out: Path, row: RowOf, found: list[dict[str, Any]]) -> None:
    """table.md and curve.png."""
    names = [name for name in row.figures if any(name in line for line in found)]
    head = ["minutes", "side", "steps", *names]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for line in found:
        cells = [f"{line['minutes']:.1f}", line["side"], str(line["steps"])]
        cells += [f"{line.get(name, math.nan):.4g}" for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    curves(out / "curve.png", names, found)


def curves(path: Path, names: list[str], found: list[dict[str, Any]]) -> None:
    """A small plot of each figure over the minutes: reference grey, ours blue."""
    from PIL import Image, ImageDraw

    wide, tall, edge = 320, 220, 34
    sheet = Image.new("RGB", (wide * len(names), tall), "white")
    draw = ImageDraw.Draw(sheet)
    last = max(line["minutes"] for line in found)
    for place, name in enumerate(names):
        values = [line[name] for line in found if name in line]
        low, high = min(values), max(values)
        left = place * wide
        draw.text((left + edge, 6), f"{name}  {low:.3g} to {high:.3g}", fill="black")
        for side, colour in (("reference", "gray"), ("ours", "#0b62c4")):
            points = [
                (
                    left + edge + line["minutes"] / last * (wide - 2 * edge),
                    tall - edge - (line[name] - low) / ((high - low) or 1) * (tall - 2 * edge),
                )
                for line in found
                if line["side"] == side and name in line
            ]
            draw.line(points, fill=colour, width=2)
            for x, y in points:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
            if points:
                draw.text((points[-1][0] - 40, points[-1][1] - 14), side, fill=colour)
    sheet.save(path)


if __name__ == "__main__":
    main()

"""What each part of a laptop preset gives: trainings with one part left out, or one added.

    python benchmarks/ablation.py monet LANDSCAPES OUT --style MONET [--minutes 20] [--turns 4]
    python benchmarks/ablation.py facades FACADES OUT [--rows whole,features] [--threads 1]

`monet` is the preset `laptop` of `stylize` on a folder of photographs with `train/` and `test/`;
judged are the translated photographs of `test/` against the paintings. `facades` is that of
`pix2pix`, from label maps (right) to photographs (left), judged on the pairs held out. `whole` is
the preset as it is; a name alone leaves that part out, one with + adds it. The rows train in turns,
so that whatever else the machine does meets all alike, each for so many minutes of its own, with
the learning rate falling to zero by then. The judge is `img2img evaluate` with MobileNetV2, which
no training looks through.

The same command resumes: rows that are done are kept in OUT/results.json. OUT/table.md has the
table, with the difference to `whole`: above zero, the part left out had helped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from img2img import TranslateRequest, translate_folder
from img2img.evaluation.evaluate import evaluate
from img2img.evaluation.request import EvaluateRequest
from img2img.system.atomic import write_atomic
from img2img.training import TrainConfig, train
from img2img.training.presets import resolve
from img2img.training.runs import RECORD

Change = dict[str, Any]  # settings; those of the loop are recognised by name

ROWS: dict[str, dict[str, Change]] = {
    "monet": {
        "whole": {},
        "content": {"lambda_content": 0.0},
        "adversary": {"lambda_adversarial": 0.0},
        "tv": {"lambda_tv": 0.0},
        "average": {"ema": 0.0},
        "decay": {"schedule": "constant"},
        "running norm": {"generator_options": {"norm": "instance"}},
        "+statistics": {"lambda_statistics": 1.0},
        "+sliced": {"lambda_sliced": 1.0},
        "+colour": {"lambda_colour": 2.0},
        "+frequency": {"lambda_frequency": 1.0},
        "+pause": {"pause_accuracy": 0.85},
    },
    "facades": {
        "whole": {},
        "features": {"lambda_features": 0.0},
        "projected": {
            "discriminator": "patch",
            "discriminator_options": {"width": 32, "norm": "none", "spectral": True},
        },
        "adversary": {"lambda_gan": 0.0, "lambda_features": 0.0},
        "L1": {"lambda_l1": 0.0},
        "average": {"ema": 0.0},
        "decay": {"schedule": "constant"},
        "+perceptual": {"lambda_perceptual": 5.0},
        "+frequency": {"lambda_frequency": 10.0},
        "+tv": {"lambda_tv": 0.1},
        "+pause": {"pause_accuracy": 0.85},
    },
}
METHODS = {"monet": "stylize", "facades": "pix2pix"}
FIGURES = ("fd_mobilenetv2", "kd_mobilenetv2", "vgg19_distance", "ssim")


def main() -> None:
    """Train the rows in turns, judge each when it is done, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=ROWS)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--style", type=Path, help="folder of paintings, for monet")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each row")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--rows", help="names, separated by commas; by default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--most", type=int, default=300, help="pictures judged of each set")
    options = parser.parse_args()
    if options.task == "monet" and options.style is None:
        parser.error("monet needs --style")
    known = ROWS[options.task]
    names = options.rows.split(",") if options.rows else [*known]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown row {unknown[0]}; known: {', '.join(known)}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = read(options.out / "results.json")
    configs = {name: config_of(options, known[name], name) for name in names}
    for turn in range(1, options.turns + 1):
        for name, config in configs.items():
            if name not in results:
                take_turn(config, options.minutes * turn / options.turns)
    for name, config in configs.items():
        if name not in results:
            results[name] = judge(options, config)
            write_atomic(options.out / "results.json", json.dumps(results, indent=1).encode())
            table = table_of(results)
            write_atomic(options.out / "table.md", table.encode())
    print(table_of(results), end="")


def config_of(options: argparse.Namespace, change: Change, name: str) -> TrainConfig:
    """The preset with one change, for so many minutes in all."""
    loop = {n: v for n, v in change.items() if n in TrainConfig.model_fields}
    settings = {n: v for n, v in change.items() if n not in loop}
    if options.task == "monet":
        settings["style"] = str(options.style)
    else:
        settings["direction"] = "BtoA"
    values = {
        "method": METHODS[options.task], "data": options.data, "settings": settings,
        "out": options.out / name.replace("+", "with-").replace(" ", "-"),
        "max_minutes": options.minutes, "threads": options.threads, "device": "cpu",
        "sample_every": 10**6, **loop,
    }  # fmt: skip
    return resolve(values, "laptop")


def minutes_of(config: TrainConfig) -> float:
    """How long a run has trained so far."""
    return float(read(config.out / RECORD).get("minutes", 0.0))


def take_turn(config: TrainConfig, due: float) -> None:
    """Train, or go on training, until the run has had `due` minutes; the last turn of a run that
    follows the clock ends by itself."""
    left = due - minutes_of(config)
    if left <= 0:
        return
    print(f"{config.out.name}: {left:.1f} minutes", flush=True)
    began = time.monotonic()
    last = config.schedule == "time" and due >= (config.max_minutes or 0)
    train(config, should_stop=lambda: not last and time.monotonic() - began > 60 * left)


def judge(options: argparse.Namespace, config: TrainConfig) -> dict[str, float]:
    """The figures of a trained row, with its steps and minutes."""
    if options.task == "monet":
        painted = options.out / "painted" / config.out.name
        request = TranslateRequest(
            inputs=(options.data / "test",), out=painted, model=config.out, runner="torch",
            device="cpu", overwrite=True,
        )  # fmt: skip
        for _ in translate_folder(request):
            pass
        what = EvaluateRequest(
            fake=painted, real=options.style, paired=False, networks=("mobilenetv2",),
            most=options.most, device="cpu",
        )  # fmt: skip
    else:
        what = EvaluateRequest(
            model=config.out, data=options.data, networks=("mobilenetv2",), backwards=True,
            most=options.most, runner="torch", device="cpu",
        )  # fmt: skip
    found = evaluate(what).report.figures
    record = read(config.out / RECORD)
    row = {"steps": float(record["step"]), "minutes": float(record["minutes"])}
    return row | {name: found[name].value for name in FIGURES if name in found}


def table_of(results: dict[str, dict[str, float]]) -> str:
    """A Markdown table, with how far each row is from `whole` in the first figure."""
    names = [name for name in FIGURES if any(name in row for row in results.values())]
    whole = results.get("whole", {})
    head = ["row", "steps", "minutes", *names, f"{names[0]} - whole"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in results.items():
        apart = row[names[0]] - whole[names[0]] if names[0] in whole else float("nan")
        cells = [name, f"{row['steps']:.0f}", f"{row['minutes']:.1f}"]
        cells += [f"{row[n]:.4g}" if n in row else "" for n in names]
        lines.append("| " + " | ".join([*cells, f"{apart:+.3g}"]) + " |")
    return "\n".join(lines) + "\n"


def read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    main()

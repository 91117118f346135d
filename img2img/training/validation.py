"""What a run shows of its held-out pictures: a sheet and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from img2img.data import Dataset
from img2img.images import Picture, Pixels, contact_sheet, from_network, write_picture
from img2img.methods import Method
from img2img.metrics import DEFAULT_METRICS, METRICS


def to_pixels(x: Tensor) -> list[Pixels]:
    """(N, C, H, W) in [-1, 1] -> N uint8 (H, W, 3) pictures; one channel is shown as grey."""
    values = x.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    pixels = from_network(values)
    return [np.repeat(p, 3, 2) if p.shape[2] == 1 else p for p in pixels]


def sheet_of(out: Path, step: int) -> Path:
    """Where the sample sheet of `step` lies in the run folder `out`."""
    return out / "samples" / f"step-{step:08d}.jpg"


def validate(
    out: Path, method: Method, held_out: Dataset, step: int, device: torch.device
) -> dict[str, float]:
    """Write the sample sheet of up to 6 held-out pictures; return mean figures over all of them
    where a column has a `truth` beside it. Without any truth only the shown ones are run."""
    figures: dict[str, list[Tensor]] = {}
    shown = [int(i) for i in np.linspace(0, len(held_out) - 1, min(6, len(held_out)))]
    rows: list[list[Pixels]] = []
    titles: list[str] = []
    rest = [i for i in range(len(held_out)) if i not in shown]
    for index in [*shown, *rest]:
        columns = method.columns(held_out.batch([index]).on(device))
        compared = [n for n in columns if f"truth {n}" in columns]
        if index in shown:
            titles = list(columns)
            rows.append([to_pixels(column)[0] for column in columns.values()])
        elif not compared:
            break
        for name in compared:
            x, y = ((columns[n].float() + 1) * 127.5 for n in (name, f"truth {name}"))
            x = x.round().clamp(0, 255)
            prefix = "" if name == "output" else f"{name}: "
            for short, metric in ((n, METRICS[n]) for n in DEFAULT_METRICS):
                if min(x.shape[2:]) >= metric.least_side:
                    figures.setdefault(prefix + short, []).append(metric.of(x, y))
    sheet = Picture(contact_sheet(rows, titles), format="JPEG")
    write_picture(sheet_of(out, step), sheet, quality=92)
    return {n: float(torch.cat(v).mean()) for n, v in figures.items()}

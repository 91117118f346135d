"""TensorBoard: the rows of metrics.jsonl and the sample sheets, beside them in RUN/tensorboard."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from img2img.errors import EnvironmentFault, MissingExtra, describe_os_error
from img2img.images import read_picture
from img2img.training.run_folder import Row


def require_tensorboard() -> None:
    """Raise MissingExtra, before anything is read, when `tensorboard` is not installed."""
    try:
        importlib.import_module("tensorboard")
        importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        raise MissingExtra("the setting tensorboard", "tensorboard") from None


@contextlib.contextmanager
def board(folder: Path | None, step: int) -> Iterator[Callable[[Row, Path | None], None]]:
    """Give a function `(row, sheet)` that writes a row of the log, and the picture `sheet`, into an
    event file in `folder`; for None it does nothing.

    What earlier files say of steps after `step` is withdrawn, since those steps are done again.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    if folder is None:
        yield lambda row, sheet: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with _named(folder):
        writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(row: Row, sheet: Path | None) -> None:
        with _named(folder):
            for name, value in scalars(row).items():
                writer.add_scalar(name, value, row["step"])
            if sheet is not None:
                pixels = read_picture(sheet).pixels
                writer.add_image("held-out", pixels, row["step"], dataformats="HWC")
            writer.flush()

    try:
        yield write
    finally:
        with _named(folder):
            writer.close()


def scalars(row: Row) -> dict[str, float]:
    """The curves that a row adds a point to: `loss/...`, `held-out/...`, `run/...`,
    `health/...`."""
    if row["event"] == "step":
        curves = {f"loss/{name}": value for name, value in row["losses"].items()}
        return curves | {f"run/{name}": row[name] for name in ("lr_factor", "steps_per_second")}
    if row["event"] == "health":  # words, whose figure has a curve
        return {}
    figures: dict[str, Any] = {k: v for k, v in row.items() if k not in ("event", "step")}
    group = "health" if row["event"] == "health-figures" else "held-out"
    return {f"{group}/{name}": value for name, value in figures.items()}


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"{folder}: {describe_os_error(error)}") from None

"""What the processes of one training must agree in before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from img2img.data import Dataset
from img2img.errors import ConfigError, DataError, Img2ImgError
from img2img.settings import Settings
from img2img.training.config import TrainConfig
from img2img.training.processes import Processes

# What may differ from node to node: places, and how the same numbers are computed or kept.
_OWN = {
    "data", "out", "init", "albumentations", "settings", "preset", "name", "licence", "device",
    "precision", "threads", "cache_mb", "on_device", "workers", "jpeg_decoder", "tensorboard",
    "checkpointing", "memory_format", "compile", "cuda_graphs", "process_timeout",
}  # fmt: skip


def check_same(
    processes: Processes, config: TrainConfig, settings: Settings, data: Dataset, held_out: Dataset
) -> None:
    """Compare settings and pictures of all processes with those of the first.

    Raises, in all of them:
        ConfigError: one was started with other settings.
        DataError: one reads other pictures: different names, file sizes or labels.
    """
    if processes.count == 1:
        return
    own = {n: repr(v) for n, v in config if n not in _OWN}
    own |= {n: repr(v) for n, v in settings if not isinstance(v, Path)}
    every = processes.gather(own)
    for rank, other in enumerate(every):
        differing = [f"{n} {v}, there {every[0][n]}" for n, v in other.items() if v != every[0][n]]
        if differing:
            raise _everywhere(
                ConfigError(
                    f"process {rank} of {processes.count} has different settings from the first: "
                    f"{'; '.join(differing)}; start the same command on every node"
                )
            )
    for dataset, what in ((data, "training"), (held_out, "held-out")):
        prints = processes.gather(dataset.fingerprint())
        if len(set(prints)) > 1:
            rank = next(k for k, found in enumerate(prints) if found != prints[0])
            every_name = processes.gather(dataset.names)
            difference = _difference(every_name[rank], every_name[0])
            raise _everywhere(
                DataError(
                    f"process {rank} of {processes.count} reads different {what} pictures from "
                    f"the first: {difference}; copy the same folder to every node"
                )
            )


def _difference(names: Sequence[str], first: Sequence[str]) -> str:
    surplus, missing = sorted(set(names) - set(first)), sorted(set(first) - set(names))
    if surplus or missing:
        example = f"{surplus[0]} only there" if surplus else f"{missing[0]} is missing there"
        return f"{len(names)} instead of {len(first)}, {example}"
    return "different names, file sizes or labels"


def _everywhere(error: Img2ImgError) -> Img2ImgError:
    error.everywhere = True
    return error

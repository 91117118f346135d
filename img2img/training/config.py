"""`TrainConfig`: the settings of a run that are the same for every method."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from img2img.data import OnDevice
from img2img.data.jpeg import JpegDecoder
from img2img.data.mirror import copy_of
from img2img.features import JUDGE
from img2img.metrics import DEFAULT_METRICS, METRICS
from img2img.metrics.set_figures import SET_METRICS
from img2img.settings import Settings
from img2img.system.places import is_address
from img2img.training.devices import Compile, CudaGraphs, MemoryFormat, Precision
from img2img.training.processes import TIMEOUT

Schedule = Literal["linear", "cosine", "step", "constant", "time"]


class TrainConfig(Settings):
    """All settings of a run. A step is one batch of `batch_size * accumulate` pictures, an
    epoch one pass over the data.

    `epochs` at full learning rate and `epochs_decay` of decay (the reference's 100 + 100); or
    `steps`, of which the second half decays; or, with schedule `time`, `max_minutes`, of which the
    second half decays. `warm_up` steps rise linearly to the full rate before any of these.

    `batch_size` 0 or "auto" is measured before the first step (`training.batches`).

    `data` and `out` may be addresses that fsspec knows. Each is replaced by its local copy
    (`data.mirror.copy_of`), and `remote_data` and `remote_out` keep the address.
    """

    method: str = Field(description="name of the method")
    data: Path = Field(description="folder of training data, or an address such as s3://...")
    out: Path = Field(description="run folder, or an address such as s3://...")
    remote_data: str = Field("", description="address of the training pictures, if DATA is one")
    remote_out: str = Field("", description="address of the run folder, if it is one")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    preset: str = Field(
        "", description="preset that the settings started from, for the record only"
    )
    name: str = Field("", description="name in the model file; by default that of the run folder")
    licence: str = Field("unknown", description="licence of the model, written into its file")
    epochs: int = Field(100, ge=0, description="passes over the data at the full learning rate")
    epochs_decay: int = Field(100, ge=0, description="passes in which the learning rate decays")
    steps: int | None = Field(None, ge=1, description="length of the run; overrides epochs")
    schedule: Schedule = Field("linear", description="how the learning rate falls")
    warm_up: int = Field(0, ge=0, description="steps in which the learning rate rises linearly")
    batch_size: int = Field(
        1,
        ge=0,
        description="pictures (of two sides: as many of each) per batch, over all processes; auto "
        "or 0: the fastest size that fits in memory",
    )
    accumulate: int = Field(
        1, ge=1, description="batches whose gradients are accumulated for one step"
    )
    load_size: int = Field(286, ge=8, description="side in pixels to which pictures are scaled")
    crop_size: int = Field(256, ge=8, description="side in pixels of the random crops")
    centre_crop: int = Field(0, ge=0, description="central square cut out before scaling; 0: none")
    working_size: int | None = Field(
        None,
        ge=0,
        le=65536,
        description="long side in pixels at which the model works, written into its file; "
        "0: each picture's own size; by default the method's, usually the crop size",
    )
    held_out: int | None = Field(
        None,
        ge=0,
        description="pictures held out if the folder has no held-out part; by default 5 %",
    )
    side_by_side: bool = Field(
        False, description="treat wide pictures as pairs even if they look like photographs"
    )
    skip_bad: bool = Field(
        False,
        description="leave out pictures that cannot be read, files without a partner and wrong "
        "rows of a table, and record them, instead of refusing the folder",
    )
    flip: bool = Field(True, description="mirror pictures at random")
    augment: dict[str, Any] = Field(default_factory=dict, description="augmentation, by name")
    diffaugment: str = Field("", description="DiffAugment policies, e.g. color,translation,cutout")
    ada: bool = Field(False, description="adaptive discriminator augmentation")
    init: Path | None = Field(None, description="weights to start from: model file or run folder")
    clip_grad: float = Field(0.0, ge=0, description="largest norm of a gradient; 0: no limit")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0: none")
    seed: int = Field(0, ge=0, description="random seed")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Precision = Field("auto", description="number format of the networks")
    threads: int | None = Field(None, ge=1, description="CPU threads; by default measured")
    cache_folder: Path | None = Field(
        None,
        description="where copies of remote data and runs are kept; by default img2img's folder "
        "in the system's cache folder",
    )
    cache_mb: int = Field(4096, ge=0, description="memory for decoded pictures, in MB")
    on_device: OnDevice = Field("auto", description="keep all pictures on the device")
    process_timeout: float = Field(
        TIMEOUT, gt=0, description="seconds that each of several processes waits for the others"
    )
    workers: int = Field(0, ge=0, le=64, description="processes that prepare batches")
    albumentations: Path | None = Field(None, description="file of an Albumentations pipeline")
    jpeg_decoder: JpegDecoder = Field("pillow", description="decoder of JPEG files")
    tensorboard: bool = Field(False, description="also write TensorBoard files")
    checkpointing: bool = Field(False, description="compute activations twice to save memory")
    memory_format: MemoryFormat = Field("auto", description="layout of tensors in memory")
    compile: Compile = Field("auto", description="compile the generators with torch.compile")
    cuda_graphs: CudaGraphs = Field("auto", description="record steps as CUDA graphs")
    max_minutes: float | None = Field(None, gt=0, description="end after this many minutes")
    metrics: tuple[str, ...] = Field(
        DEFAULT_METRICS,
        description=f"figures of the held-out pictures: {', '.join(METRICS)}; of an output and its "
        f"input structure and unchanged; of sets {', '.join(SET_METRICS)}, each followed by "
        "_NETWORK (lite0, mobilenetv2, vgg19), fid and kid",
    )
    best: str = Field("", description="figure by which the best model is kept as best.safetensors")
    patience: int = Field(
        0,
        ge=0,
        description="end the run after this many validations without a better `best`; 0: never",
    )
    validate_seconds: float = Field(60.0, gt=0, description="time limit of one validation")
    on_collapse: Literal["warn", "stop"] = Field(
        "warn",
        description="whether mode collapse or a discriminator that always wins ends the run",
    )
    log_every: int = Field(50, ge=1, description="steps between two log rows")
    sample_every: int = Field(1000, ge=1, description="steps between two sample sheets")
    save_every: int = Field(1000, ge=1, description="steps between two saved states")

    @property
    def per_step(self) -> int:
        """Pictures that make one step."""
        return self.batch_size * self.accumulate

    def address_of(self, name: str) -> str:
        """Where a file of the run folder is found, as a path or an address."""
        return f"{self.remote_out}/{name}" if self.remote_out else str(self.out / name)

    @model_validator(mode="before")
    @classmethod
    def _copies(cls, values: object) -> object:
        if not isinstance(values, Mapping):
            return values
        cache = values.get("cache_folder")
        for name, kind in (("data", "data"), ("out", "run")):
            given = values.get(name)
            if isinstance(given, str) and is_address(given):
                copy = copy_of(given, kind, Path(cache) if cache else None)
                values = {**values, name: copy, f"remote_{name}": given.rstrip("/")}
        return values

    @field_validator("batch_size", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return 0 if value == "auto" else value

    @model_validator(mode="after")
    def _kept(self) -> Self:
        if self.best and self.best not in self.metrics:
            raise ValueError(
                f"best '{self.best}' is not computed; give "
                f"`metrics={json.dumps([*self.metrics, self.best])}`"
            )
        if self.best.endswith(f"_{JUDGE}"):
            other = self.best.replace(JUDGE, "lite0")
            raise ValueError(
                f"best '{self.best}': {JUDGE} is reserved for judging models, so no model is "
                f"chosen by it; give `best={other}`, and add it to the metrics too"
            )
        if self.patience and not self.best:
            raise ValueError("patience needs a figure to follow, e.g. `best=ssim`")
        return self

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.schedule == "time" and self.max_minutes is None:
            raise ValueError("schedule 'time' needs an end: give `max_minutes`, e.g. 60")
        return self

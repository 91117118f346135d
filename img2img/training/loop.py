"""`TrainConfig` and the training loop, the same for every method. The same call resumes.

All randomness is a function of (seed, step) or (seed, epoch), so a resumed run repeats the
uninterrupted one to the bit on the same machine with the same number of threads, which
`img2img.training.pace` chooses and records. What a run leaves in its folder stands in
`img2img.training.run_folder`.
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import tomli_w
import torch
from pydantic import Field, model_validator
from torch import Tensor

from img2img._version import __version__
from img2img.augment import AdaptiveAugment, Augment, AugmentConfig, DiffAugment, JudgedView
from img2img.data import Albument, Feed, Loading, OnDevice, Request, epoch_order, settle
from img2img.data.jpeg import JpegDecoder, check_decoder
from img2img.errors import (
    ConfigError,
    Diverged,
    EnvironmentFault,
    proposal,
)
from img2img.methods import METHODS, Method
from img2img.model_format.checkpoint import save_model
from img2img.model_format.info import ModelInfo
from img2img.nets import Generator
from img2img.settings import Settings
from img2img.system.atomic import write_atomic
from img2img.training import run_folder as runs
from img2img.training.compiling import compile_generators, uncompiled
from img2img.training.devices import (
    FORMATS,
    TYPES,
    Compilation,
    Compile,
    CudaGraphs,
    MemoryFormat,
    Precision,
    choose_compilation,
    choose_device,
    choose_memory_format,
    choose_precision,
    peak_memory,
    settle_device,
)
from img2img.training.ema import Average, averaged
from img2img.training.pace import Pace, probe
from img2img.training.processes import Processes
from img2img.training.run_folder import Event, Listener
from img2img.training.tensorboard import board, require_tensorboard
from img2img.training.validation import sheet_of, validate
from img2img.training.warm_start import warm_start

_ENDLESS = 10**9  # steps of a run that ends by the clock
Schedule = Literal["linear", "cosine", "step", "constant", "time"]


class TrainConfig(Settings):
    """Everything a run is made of. A step is one batch of `batch_size * accumulate` pictures, an
    epoch one pass over the data.

    `working_size` is written into the model file: the long side in pixels to which larger pictures
    are reduced for the network, 0 for each picture's own size; by default the method's, which is
    mostly the size of the training crops.

    `epochs` at full learning rate and `epochs_decay` of decay (the reference's 100 + 100); or
    `steps`, of which the second half decays; or, with schedule `time`, `max_minutes`, of which the
    second half decays. `warm_up` steps rise linearly to the full rate before any of these.
    """

    method: str
    data: Path
    out: Path
    settings: dict[str, Any] = Field(default_factory=dict)
    name: str = ""
    licence: str = "unknown"
    epochs: int = Field(100, ge=0)
    epochs_decay: int = Field(100, ge=0)
    steps: int | None = Field(None, ge=1)
    schedule: Schedule = "linear"
    warm_up: int = Field(0, ge=0)
    batch_size: int = Field(1, ge=1)
    accumulate: int = Field(1, ge=1)
    load_size: int = Field(286, ge=8)
    crop_size: int = Field(256, ge=8)
    centre_crop: int = Field(0, ge=0)
    working_size: int | None = Field(None, ge=0, le=65536)
    held_out: int | None = Field(None, ge=0)
    flip: bool = True
    augment: dict[str, Any] = Field(default_factory=dict)
    diffaugment: str = ""
    ada: bool = False
    init: Path | None = None
    clip_grad: float = Field(0.0, ge=0)
    ema: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = Field(None, ge=1)
    cache_mb: int = Field(4096, ge=0)
    on_device: OnDevice = "auto"
    workers: int = Field(0, ge=0, le=64)
    albumentations: Path | None = None
    jpeg_decoder: JpegDecoder = "pillow"
    tensorboard: bool = False
    checkpointing: bool = False
    memory_format: MemoryFormat = "auto"
    compile: Compile = "auto"
    cuda_graphs: CudaGraphs = "auto"
    max_minutes: float | None = Field(None, gt=0)
    log_every: int = Field(50, ge=1)
    sample_every: int = Field(1000, ge=1)
    save_every: int = Field(1000, ge=1)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.schedule == "time" and self.max_minutes is None:
            raise ValueError("schedule 'time' needs an end: give --max-time, e.g. --max-time 60m")
        return self


_TINY: dict[str, dict[str, Any]] = {
    "pix2pix": {
        "generator_options": {"width": 16, "depth": 5, "norm": "instance"},
        "discriminator_options": {"width": 16, "norm": "instance"},
    },
    "cyclegan": {
        "generator_options": {"width": 12, "blocks": 3},
        "discriminator_options": {"width": 16},
    },
    "stargan": {
        "generator_options": {"width": 12, "blocks": 3},
        "discriminator_options": {"width": 16, "layers": 5},
    },
    "stylize": {
        "generator_options": {"width": 8, "blocks": 2},
        "discriminator_options": {"width": 8},
    },
}
_TINY_LOOP = {"steps": 300, "load_size": 72, "crop_size": 64, "sample_every": 100, "log_every": 25}

# What a preset sets; flags and settings given beside it win.
PRESETS: dict[str, dict[str, Any]] = {
    "pix2pix-256": {"method": "pix2pix", "load_size": 286, "crop_size": 256},
    "cyclegan-256": {"method": "cyclegan", "load_size": 286, "crop_size": 256},
    "stargan-128": {"method": "stargan", "load_size": 128, "crop_size": 128, "batch_size": 16},
    "laptop": {
        "method": "stylize",
        "schedule": "time",
        "max_minutes": 60.0,
        "memory_format": "channels_last",
        "sample_every": 250,
        "save_every": 250,
        "log_every": 10,
    },
    "tiny": _TINY_LOOP,
}


def resolve(values: Mapping[str, Any], preset: str | None = None) -> TrainConfig:
    """The method's defaults, then the preset, then `values`, as a validated TrainConfig.

    Raises ConfigError for an unknown method, preset or setting, listing the known ones.
    """
    name = str(values.get("method", ""))
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'.{proposal(name, METHODS)}")
    chosen: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"unknown preset '{preset}'.{proposal(preset, PRESETS)}")
        chosen = dict(PRESETS[preset])
        if chosen.get("method", name) != name:
            raise ConfigError(f"preset '{preset}' is for {chosen['method']}, not for {name}")
        if preset == "tiny":
            chosen["settings"] = _TINY[name]
    merged = {**METHODS[name].defaults, **chosen, **values}
    if values.get("epochs") is not None and values.get("steps") is None:
        merged["steps"] = None
    merged["settings"] = _merge(chosen.get("settings", {}), values.get("settings", {}))
    return TrainConfig.parse(merged)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def lr_factor(config: TrainConfig, step: int, steps_per_epoch: int, minutes: float = 0.0) -> float:
    """The factor on the learning rate in `step` (from 0), after `minutes` of training in all: a
    linear rise over `warm_up` steps, times the schedule.

    `linear` by epochs (the reference's rule, stepped at the end of an epoch): 1 for `epochs`
    epochs, then 1 - k / (epochs_decay + 1) in the k-th epoch of decay; by `steps`: 1 for the first
    half, then linearly to 0. `cosine`: half a period from 1 to 0 over the whole run. `step`: a
    tenth after each quarter of the run. `constant`: 1. `time`: 1 for the first half of
    `max_minutes`, then linearly to 0.
    """
    rise = min(1.0, (step + 1) / (config.warm_up + 1))
    return rise * _scheduled(config, step, steps_per_epoch, minutes)


def _scheduled(config: TrainConfig, step: int, steps_per_epoch: int, minutes: float) -> float:
    if config.schedule == "time":
        return max(0.0, min(1.0, 2 - 2 * minutes / (config.max_minutes or math.inf)))
    total = config.steps or (config.epochs + config.epochs_decay) * steps_per_epoch
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / total))
    if config.schedule == "step":
        return 0.1 ** (4 * step // total)
    if config.steps is not None:
        half = config.steps / 2
        return 1.0 - max(0.0, step - half) / half
    epoch = step // steps_per_epoch
    return 1.0 - max(0, epoch + 1 - config.epochs) / (config.epochs_decay + 1)


def train(
    config: TrainConfig,
    listen: Listener = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    dry_run: bool = False,
) -> Path:
    """Train, or go on training, until the configured end; return the path of the (first) model.

    `listen` receives events: dictionaries with an `event` of data, start, warning, step,
    validation, saved, stopped, done or dry-run. `should_stop` is asked between steps; when it says
    yes the state is saved and the models written. `dry_run` takes a few steps to measure time and
    memory, and writes nothing.

    Raises:
        ConfigError, DataError: before anything is written, but for decoded pictures in out/cache.
        ModelError: the run folder holds another run.
        EnvironmentFault: the run folder cannot be written, or data workers die (saved before).
        Diverged: NaN or Inf; the last saved state is finite.
    """
    # --- settings
    if config.tensorboard and not dry_run:
        require_tensorboard()
    if config.method not in METHODS:
        raise ConfigError(f"unknown method '{config.method}'.{proposal(config.method, METHODS)}")
    method = METHODS[config.method]
    settings = method.Config.parse(config.settings)
    method.check(settings)
    if config.crop_size > config.load_size:
        raise ConfigError(
            f"crop_size {config.crop_size} is larger than load_size {config.load_size}; "
            f"give --set load_size={config.crop_size} or more"
        )
    processes = Processes.join()
    device = processes.device(choose_device(config.device))
    precision, reason = choose_precision(config.precision, device)
    layout, layout_reason = choose_memory_format(config.memory_format, device, precision)
    compilation = choose_compilation(
        config.compile, config.cuda_graphs, device, processes.count, config.checkpointing
    )
    pace = Pace(config.threads, device.type == "cpu" and processes.count == 1)
    listen = listen if processes.first else lambda event: None
    per_step = config.batch_size * config.accumulate
    processes.check_batch(config.batch_size)

    # --- data
    def told(done: int, total: int) -> None:
        listen({"event": "data", "done": done, "total": total})

    def warned(text: str) -> None:
        listen({"event": "warning", "text": text})

    check_decoder(config.jpeg_decoder)
    albument = Albument(config.albumentations) if config.albumentations else None
    if albument:
        albument.check(config.load_size, _channels(settings))

    def loading(size: int, albument: Albument | None = None) -> Loading:
        return Loading(
            size,
            centre_crop=config.centre_crop,
            swap=getattr(settings, "direction", "AtoB") == "BtoA",
            channels=_channels(settings),
            cache_bytes=config.cache_mb * 2**20,
            cache=None if dry_run else config.out / "cache",
            shared=config.workers > 0,
            albument=albument,
            jpeg=str(device) if config.jpeg_decoder == "torchvision" else "",
            held_out=config.held_out,
            seed=config.seed,
        )

    data = method.open(settings, config.data, "train", loading(config.load_size, albument), told)
    workers = 0 if settle(data.stores, config.on_device, device) else config.workers
    feed = Feed(data, workers, device.type == "cuda" and data.stores[0].kind != "device", warned)

    # --- networks
    torch.manual_seed(config.seed)
    trainer = method.build(settings, data, config.crop_size)
    for generator in trainer.generators.values():
        working_size(config, generator)  # refused before the first step
    for net in (*trainer.nets.values(), *trainer.frozen_nets.values()):
        net.to(device).to(memory_format=FORMATS[layout])  # type: ignore[call-overload]
    processes.synchronise(trainer.nets.values())
    for generator in trainer.generators.values():
        generator.checkpointing = config.checkpointing
    apiece, nets = config.batch_size // processes.count, trainer.generators.values()
    fallen = compile_generators(
        nets, compilation, apiece, config.crop_size, precision, processes.agree
    )
    if fallen:
        warned(fallen)
        compilation = Compilation(False, "the check against the plain networks failed")
    changes = AugmentConfig.parse(config.augment, "augment.")
    trainer.augment = Augment(config.crop_size, config.flip, config.seed, changes)
    view = _view(config, getattr(settings, "gan", "vanilla"))
    trainer.view = view
    if isinstance(view, AdaptiveAugment):
        trainer.heard = _listener(view)
        view.total = processes.total
    trainer.descent.clip = config.clip_grad
    trainer.descent.average = processes.average
    if processes.count > 1:
        trainer.across = processes.mean_through
    if precision == "fp16":
        trainer.descent.scaler = torch.amp.GradScaler(device.type)
    average = Average(trainer, config.ema) if config.ema else None

    held_out = method.open(settings, config.data, "held-out", loading(config.crop_size), told)
    per_epoch = max(1, len(data) // per_step if processes.count > 1 else -(-len(data) // per_step))
    by_time = config.schedule == "time"
    epochs = config.epochs + config.epochs_decay
    total = config.steps or (_ENDLESS if by_time else epochs * per_epoch)
    facts = {
        **config.model_dump(mode="json"),
        "settings": _resolved(trainer, settings),
        "precision": precision,
        "memory_format": layout,
        "compiled": str(compilation),
        "domains": list(data.domains),
        "data_fingerprint": data.fingerprint(),
        "albumentations_digest": albument.digest if albument else None,
        **pace.facts,
        "processes": processes.count,
    }
    claim = processes.first and not dry_run
    with contextlib.ExitStack() as kept:
        if claim:
            kept.enter_context(runs.claimed(config.out))
        kept.enter_context(feed)
        # --- resume
        step, minutes_before = 0, 0.0
        compared = pace.compared(facts)
        state = None if dry_run else runs.newest_state(config.out, compared, listen)
        if state is not None:
            step = _restore(state, trainer, average, view, processes.rank)
            minutes_before = float(state.get("minutes", 0.0))
        else:
            if config.init is not None:
                for text in warm_start(trainer, config.init):
                    warned(text)
                if average:
                    average = Average(trainer, config.ema)
            trainer.prepare(data)
        one_pass = probe(next(iter(nets)), config.batch_size, config.crop_size, precision)
        kept.callback(pace.end)
        changed = pace.begin(state and state["facts"] | {"step": step}, one_pass, total - step)
        if changed:
            warned(changed)
        facts |= pace.facts
        listen(
            {
                "event": "start",
                "step": step,
                "steps": None if by_time else total,
                "minutes": config.max_minutes,
                "pictures": len(data),
                "held_out": len(held_out),
                "domains": list(data.domains),
                "device": str(device),
                "processes": processes.count,
                "precision": precision,
                "reason": reason,
                "memory_format": layout,
                "memory_format_reason": layout_reason,
                "compile": str(compilation),
                "compile_reason": compilation.reason,
                "threads": pace.count,
                "threads_reason": pace.reason,
                "pictures_from": data.stores[0].kind,
                "workers": workers,
                "parameters": {n: _count(net) for n, net in trainer.nets.items()},
            }
        )
        warm_up = 0
        if by_time and not dry_run and minutes_before >= (config.max_minutes or 0.0):
            total = step  # it had come to its end
        if dry_run:
            warm_up, total = _dry_steps(total, trainer.period)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
        elif processes.first:
            write_atomic(config.out / "config.toml", _toml(config, facts["settings"]))
            log = runs.Log(config.out / "metrics.jsonl", step)
        shown = config.tensorboard and claim
        curves = kept.enter_context(board(config.out / "tensorboard" if shown else None, step))
        quality: dict[str, float] = {}
        began, first = time.monotonic(), step
        tally = Tally()

        def tell(row: Event, sheet: Path | None = None) -> None:
            if processes.first and not dry_run:
                log.write(row)
                curves(row, sheet)
                listen(row)

        def minutes() -> float:
            """Of training in all, also before a resume."""
            return minutes_before + (time.monotonic() - began) / 60

        def save() -> None:
            parts = processes.gather(trainer.state_dict())
            seen = view.state_dict() if isinstance(view, AdaptiveAugment) else None
            if processes.first:
                state = _state(trainer, average, seen, step, facts, parts)
                state["minutes"] = minutes()
                runs.store_state(config.out, step, state)
                if step:  # an untrained network is no model
                    with averaged(average):
                        _publish(config, trainer, facts, step, data, quality, device)
                listen({"event": "saved", "step": step})
            processes.wait()

        def requests(step: int) -> list[Request]:
            """What a step is made of: one request for each micro-batch."""
            epoch, first = step // per_epoch, (step % per_epoch) * per_step
            chosen = epoch_order(config.seed, epoch, len(data))[first : first + per_step]
            chunks = (
                chosen[k : k + config.batch_size] for k in range(0, len(chosen), config.batch_size)
            )
            return [Request(c, epoch, processes.share(len(c))) for c in chunks]

        # --- the loop
        feed.begin(r for ahead in range(step, total) for r in requests(ahead))
        while step < total:
            late = (
                not by_time
                and config.max_minutes is not None
                and time.monotonic() - began > config.max_minutes * 60
            )
            if processes.agree(should_stop() or late):
                if not dry_run:
                    save()
                steps = None if by_time else total
                listen({"event": "stopped", "step": step, "steps": steps, "time_is_up": late})
                break
            pace.watch.begin()
            epoch = step // per_epoch
            spent = minutes()
            if by_time:  # all processes follow one clock
                spent = float(processes.mean(torch.tensor(spent, dtype=torch.float64)))
            factor = lr_factor(config, step, per_epoch, spent)
            for optimizer in trainer.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            trainer.number = step
            if compilation.graphs:
                torch.compiler.cudagraph_mark_step_begin()
            parts = requests(step)
            for part, request in enumerate(parts):
                indices, _, share = request
                try:
                    batch = feed.take(request).on(device)
                except EnvironmentFault:
                    # In the middle of a step, or for the other processes, there is no whole state.
                    if part == 0 and processes.count == 1 and not dry_run:
                        save()
                    raise
                torch.manual_seed(_mix(config.seed, step, part, processes.rank))
                trainer.augment.begin(step, indices[share])
                view.begin(step, indices[share])
                trainer.descent.part, trainer.descent.parts = part, len(parts)
                try:
                    with torch.autocast(device.type, TYPES[precision], precision != "fp32"):
                        tally.add(trainer.step(batch))
                except Diverged as error:
                    names = ", ".join(data.names[i % len(data.names)] for i in indices)
                    raise Diverged(f"step {step}: {error}; pictures: {names}") from None
            step += 1
            if average:
                average.update()
            changed = pace.step_taken(step, one_pass, total - step)
            if changed:
                warned(changed)
                facts |= pace.facts

            # --- telling
            if dry_run:
                if step == warm_up:
                    settle_device(device)
                    began = time.monotonic()
                continue
            if by_time and processes.agree(minutes() >= (config.max_minutes or 0.0)):
                total = step  # the schedule has come to its end
            if step % config.log_every == 0 or step == total:
                rate = (step - first) / (time.monotonic() - began)
                left = (total - step) / rate
                if by_time:
                    left = max(0.0, 60 * ((config.max_minutes or 0.0) - minutes()))
                tell(
                    {
                        "event": "step",
                        "step": step,
                        "steps": step + round(left * rate),
                        "epoch": epoch,
                        "lr_factor": factor,
                        "steps_per_second": rate,
                        "eta_seconds": left,
                        "losses": tally.means(processes.mean),
                    }
                )
            if (step % config.sample_every == 0 or step == total) and len(held_out):
                if processes.first:
                    with averaged(average), uncompiled(compilation):
                        quality = validate(config.out, trainer, held_out, step, device)
                    row = {"event": "validation", "step": step, **quality}
                    tell(row, sheet_of(config.out, step))
                processes.wait()
            if step % config.save_every == 0 or step == total:
                save()
        else:
            settle_device(device)
            seconds = time.monotonic() - began
            if dry_run:
                each = seconds / (step - warm_up)
                listen(_estimate(config, facts, per_epoch, each, trainer, device))
            else:
                listen({"event": "done", "step": step, "seconds": seconds, **quality})
    # Where no step was left to do, nothing else keeps the processes together until here.
    processes.wait()
    return config.out / f"{next(iter(trainer.generators))}.safetensors"


def _dry_steps(total: int, period: int) -> tuple[int, int]:
    """How many steps warm up, and how many are taken in all: a period and at least five more, in
    whole periods, for what a step costs differs within one; fewer in shorter runs."""
    steps = min(period + -(-5 // period) * period, total // period * period) or total
    return (period if steps > period else 0), steps


def _view(config: TrainConfig, gan: str) -> JudgedView:
    if config.ada and config.diffaugment:
        raise ConfigError("diffaugment and ada both change what D sees; choose one")
    if config.ada:
        # For least squares, undecided lies in the middle between the targets 0 and 1.
        return AdaptiveAugment(config.seed, midpoint=0.5 if gan == "lsgan" else 0.0)
    if config.diffaugment:
        return DiffAugment(config.diffaugment, config.seed)
    return JudgedView(config.seed)


def _listener(view: AdaptiveAugment) -> Callable[[Any, int], None]:
    def heard(answer: Any, count: int) -> None:
        maps = [answer] if isinstance(answer, Tensor) else answer
        view.update(torch.cat([m.detach().flatten() for m in maps]), count)

    return heard


class Tally:
    """Means of the losses since they were last asked for; a loss counts where it appears."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count one step's losses."""
        for name, value in losses.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self, across: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means, averaged over the processes by `across`; starts anew."""
        means = {n: float(across(v / self.counts[n])) for n, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def _mix(seed: int, step: int, part: int = 0, rank: int = 0) -> int:
    parts = [seed, step, *([part, rank] if part or rank else [])]
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _channels(settings: Any) -> tuple[int, int]:
    options = getattr(settings, "generator_options", {})
    return options.get("in_channels", 3), options.get("out_channels", 3)


def _resolved(trainer: Method, settings: Settings) -> dict[str, Any]:
    """The method's settings with every network option written out."""
    resolved = _plain(settings)
    G = next(iter(trainer.generators.values()))
    D = next((net for name, net in trainer.nets.items() if name.startswith("D")), None)
    # What the data decide is not the user's to repeat.
    own = ("domains", "size", "condition_channels")
    for key, net in (("generator_options", G), ("discriminator_options", D)):
        if net is None:
            continue
        resolved[key] = {k: v for k, v in _plain(net.config).items() if k not in own}
    return resolved


def _shareable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the folders of the machine that a model was trained on."""
    paths = ("style", "vgg19")
    return {k: Path(v).name if k in paths and v else v for k, v in settings.items()}


def _plain(settings: Any) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_none=True)


def _toml(config: TrainConfig, settings: dict[str, Any]) -> bytes:
    table = config.model_dump(mode="json", exclude_none=True) | {"settings": settings}
    return tomli_w.dumps(table).encode()


# --- what a resume needs


def _state(
    trainer: Method,
    average: Average | None,
    seen: dict[str, Any] | None,
    step: int,
    facts: Event,
    parts: list[Any],
) -> dict[str, Any]:
    return {
        "view": seen,
        "step": step,
        "nets": {n: net.state_dict() for n, net in trainer.nets.items()},
        "optimizers": {n: o.state_dict() for n, o in trainer.optimizers.items()},
        "trainer": parts,
        "ema": average.state_dict() if average else None,
        "scaler": trainer.descent.scaler.state_dict() if trainer.descent.scaler else None,
        "facts": facts,
    }


def _restore(
    state: Mapping[str, Any],
    trainer: Method,
    average: Average | None,
    view: JudgedView,
    rank: int,
) -> int:
    if isinstance(view, AdaptiveAugment) and state["view"]:
        view.load_state_dict(state["view"], first=rank == 0)
    for name, net in trainer.nets.items():
        net.load_state_dict(state["nets"][name])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
        _lay_out(optimizer)
    parts = state["trainer"]
    trainer.load_state_dict(parts[rank % len(parts)])
    if average:
        if state["ema"]:
            average.load_state_dict(state["ema"])
        else:
            average.__init__(trainer, average.decay)  # type: ignore[misc]
    if trainer.descent.scaler and state["scaler"]:
        trainer.descent.scaler.load_state_dict(state["scaler"])
    return int(state["step"])


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    # The fused kernel walks weights and averages side by side, whatever their strides say.
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter).copy_(value)


# --- what a run shows


def _estimate(
    config: TrainConfig,
    facts: Event,
    per_epoch: int,
    seconds: float,
    trainer: Method,
    device: torch.device,
) -> Event:
    steps = config.steps or (config.epochs + config.epochs_decay) * per_epoch
    if config.schedule == "time":
        steps = round(60 * (config.max_minutes or 0.0) / seconds)
    return {
        "event": "dry-run",
        "steps": steps,
        "seconds_per_step": seconds,
        "seconds": steps * seconds,
        "memory_bytes": peak_memory(device),
        "parameters": {n: _count(net) for n, net in trainer.nets.items()},
        "config": facts,
    }


def working_size(config: TrainConfig, generator: Generator) -> int | None:
    """What the model file of `generator` states as its working size, in pixels on the long side:
    the setting's, else the method's, else the size of the training crops; None where those are
    below the network's minimum, up to which it extends pictures itself.

    Raises ConfigError for a size below the minimum that was set.
    """
    least = generator.minimum
    if config.working_size is None:
        side = METHODS[config.method].working_size
        side = config.crop_size if side is None else side
        return side if side == 0 or side >= least else None
    if 0 < config.working_size < least:
        raise ConfigError(
            f"working_size {config.working_size}: the generator needs {least} pixels or more; give "
            f"--set working_size={least}, or 0 for each picture's own size"
        )
    return config.working_size


def _publish(
    config: TrainConfig,
    trainer: Method,
    facts: Event,
    step: int,
    data: Any,
    quality: dict[str, float],
    device: torch.device,
) -> None:
    name = config.name or config.out.name
    for key, generator in trainer.generators.items():
        info = ModelInfo(
            name=name if len(trainer.generators) == 1 else f"{name}-{key}",
            method=config.method,
            generator=generator.name,
            generator_config=_plain(generator.config),
            in_channels=generator.in_channels,
            out_channels=generator.out_channels,
            multiple_of=generator.multiple_of,
            minimum=generator.minimum,
            norm_statistics=generator.norm_statistics,
            tiling=generator.tiling,
            size=config.crop_size,
            working_size=working_size(config, generator),
            upsampling=trainer.upsampling,
            domains=tuple(data.domains),
            one_hot=trainer.one_hot,
            exclusive=trainer.exclusive,
            direction=trainer.directions[key],
            licence=config.licence,
            quality={n: round(v, 4) for n, v in quality.items() if math.isfinite(v)},
            training={
                "data": config.data.resolve().name,
                "data_fingerprint": facts["data_fingerprint"],
                "pictures": len(data),
                "step": step,
                "batch_size": config.batch_size * config.accumulate,
                "load_size": config.load_size,
                "seed": config.seed,
                "precision": facts["precision"],
                "ema": config.ema,
                "device": device.type,
                "settings": _shareable(facts["settings"]),
                "img2img": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        save_model(config.out / f"{key}.safetensors", generator, info)

"""What a run is made of, set up before its folder is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from img2img.augment import AdaptiveAugment, Augment, AugmentConfig, JudgedView
from img2img.data import Albument, Dataset, Feed, Loading, PhotographData, settle
from img2img.data.jpeg import check_decoder
from img2img.data.skipping import Skipped
from img2img.data.store import Split, listing
from img2img.errors import ConfigError
from img2img.features import find_features, load_lite0
from img2img.losses import Judgement
from img2img.methods import Method, method_named
from img2img.methods.base import GeneratorSettings
from img2img.nets import ProjectedDiscriminator, build_generator
from img2img.settings import Settings
from img2img.training.agreement import check_same
from img2img.training.batches import Trial, fitting_batch, recorded, release
from img2img.training.compiling import compile_generators
from img2img.training.config import TrainConfig
from img2img.training.devices import (
    FORMATS,
    Compilation,
    choose_compilation,
    choose_device,
    choose_memory_format,
    choose_precision,
)
from img2img.training.ema import Average
from img2img.training.events import DataRead, Listener, Started, Warned
from img2img.training.outline import check_outline, view_of
from img2img.training.pace import Pace
from img2img.training.processes import Processes
from img2img.training.publish import resolved_settings, working_size
from img2img.training.scale import check_scale
from img2img.training.tensorboard import require_tensorboard
from img2img.training.validation import Validation

ENDLESS = 10**9  # steps of a run that ends by the clock


@dataclass
class Hardware:
    """Where and how the networks run, and why so, for the start event."""

    processes: Processes
    device: torch.device
    precision: str
    precision_reason: str
    layout: str
    layout_reason: str
    compilation: Compilation
    pace: Pace


@dataclass
class Setup:
    """A run before its first step.

    Attributes:
        per_epoch: steps of an epoch.
        total: steps of the run; `ENDLESS` where it ends by the clock.
        facts: what the state records of the run, to compare a resume with.
        batch_reason: why so many pictures at once, where that was measured.
    """

    config: TrainConfig
    hardware: Hardware
    data: Dataset
    held_out: Dataset
    feed: Feed
    workers: int
    method: Method
    view: JudgedView
    average: Average | None
    per_epoch: int
    total: int
    facts: dict[str, Any]
    batch_reason: str = ""

    @property
    def by_time(self) -> bool:
        """The schedule follows the clock, not the steps."""
        return self.config.schedule == "time"

    @property
    def comparable(self) -> Dataset | None:
        """The training pictures, where they are prepared as the held-out ones are; None where they
        are crops at scales of their own, or changed by Albumentations."""
        apart = self.config.albumentations or isinstance(self.data, PhotographData)
        return None if apart else self.data

    def started(self, step: int) -> Started:
        """The start event of a run that begins or resumes at `step`."""
        h, config = self.hardware, self.config
        return Started(
            step=step,
            steps=None if self.by_time else self.total,
            minutes=config.max_minutes,
            pictures=len(self.data),
            held_out=len(self.held_out),
            domains=list(self.data.domains),
            device=str(h.device),
            processes=h.processes.count,
            precision=h.precision,
            reason=h.precision_reason,
            memory_format=h.layout,
            memory_format_reason=h.layout_reason,
            compile=str(h.compilation),
            compile_reason=h.compilation.reason,
            threads=h.pace.count,
            threads_reason=h.pace.reason,
            pictures_from=self.data.stores[0].kind,
            workers=self.workers,
            parameters=parameter_counts(self.method),
            batch_size=config.batch_size,
            batch_reason=self.batch_reason,
        )


def check(config: TrainConfig, dry_run: bool) -> tuple[type[Method], Settings]:
    """The method and its settings, validated; what is wrong is found before anything is read.

    Raises:
        ConfigError: an unknown method or an impossible combination of settings.
        ModelError: the weights to start from are refused, or do not fit.
        MissingExtra: a package that the settings need is not installed.
        EnvironmentFault: the device is absent.
    """
    if config.tensorboard and not dry_run:
        require_tensorboard()
    kind = method_named(config.method)
    settings = kind.Config.parse(config.settings)
    kind.check(settings)
    if isinstance(settings, GeneratorSettings):
        with torch.device("meta"):  # an output that the channels do not allow, a misspelt option
            build_generator(settings.generator, settings.generator_options)
    for name in kind.required_features(settings):
        find_features(name)  # missing weights are reported before any picture is read
    if config.crop_size > config.load_size:
        raise ConfigError(
            f"crop_size {config.crop_size} is larger than load_size {config.load_size}; "
            f"give `load_size={config.crop_size}` or more"
        )
    check_scale(config, kind, settings)
    check_decoder(config.jpeg_decoder)
    what = Validation.of(config.metrics, config.validate_seconds)
    if what.sets and not kind.compared:
        raise ConfigError(
            f"metrics: {', '.join(what.sets)} compare sets, and {config.method} has no set of "
            "real pictures beside its held-out ones; judge the model with img2img evaluate"
        )
    check_outline(config, kind, settings)
    return kind, settings


def choose_hardware(config: TrainConfig) -> Hardware:
    """The device, and how to use it.

    Raises:
        ConfigError: the batch cannot be shared by the processes.
        EnvironmentFault: the device is absent, or the other processes do not come.
    """
    processes = Processes.join(config.process_timeout)
    device = processes.device(choose_device(config.device))
    precision, precision_reason = choose_precision(config.precision, device)
    layout, layout_reason = choose_memory_format(config.memory_format, device, precision)
    compilation = choose_compilation(
        config.compile, config.cuda_graphs, device, processes.count, config.checkpointing
    )
    pace = Pace(config.threads, device.type == "cpu" and processes.count == 1)
    if not config.batch_size and processes.count > 1:
        raise ConfigError(
            "`batch_size=auto` is measured by one process, and "
            f"{processes.count} share the work: give, for example, "
            f"`batch_size={4 * processes.count}`"
        )
    processes.check_batch(config.batch_size)
    return Hardware(
        processes, device, precision, precision_reason, layout, layout_reason, compilation, pace
    )


def set_up(
    config: TrainConfig,
    kind: type[Method],
    settings: Settings,
    hardware: Hardware,
    listen: Listener,
    dry_run: bool,
) -> Setup:
    """Open the data and build the networks of a run.

    Raises:
        ConfigError, DataError: before anything is written, but for decoded pictures in out/cache.
    """

    def progress(done: int, total: int) -> None:
        listen(DataRead(done, total))

    h = hardware
    albument = Albument(config.albumentations) if config.albumentations else None
    if albument:
        albument.check(config.load_size, kind.channels(settings))
    skipped = Skipped()
    loading = _loading(config, kind, settings, h.device, dry_run, skipped)

    def opened(split: Split, load: Loading) -> Dataset:
        return skipped.reopen(
            lambda: kind.open(settings, config.data, split, load, progress), config.skip_bad
        )

    data: Dataset = h.processes.together(
        lambda: opened("train", loading(config.load_size, albument))
    )
    workers = 0 if settle(data.stores, config.on_device, h.device) else config.workers
    pin = h.device.type == "cuda" and data.stores[0].kind != "device"
    config, batch_reason = _settle_batch(config, kind, settings, data, h, listen)
    feed = Feed(data, workers, pin, lambda text: listen(Warned(text)))

    method = _build(config, kind, settings, data, h, listen)
    view = _connect(config, method, h)
    average = Average(method, config.ema) if config.ema else None

    held_out: Dataset = h.processes.together(lambda: opened("held-out", loading(config.crop_size)))
    if skipped.reasons:
        head = f"`skip_bad=true` leaves out {len(skipped.reasons)}"
        listen(Warned(listing(head, skipped.below(config.data))))
    check_same(h.processes, config, settings, data, held_out)
    per_step = config.per_step
    whole = len(data) // per_step if h.processes.count > 1 else -(-len(data) // per_step)
    per_epoch = max(1, whole)
    epochs = config.epochs + config.epochs_decay
    total = config.steps or (ENDLESS if config.schedule == "time" else epochs * per_epoch)
    facts = {
        **config.model_dump(mode="json"),
        "settings": resolved_settings(method, settings),
        "precision": h.precision,
        "memory_format": h.layout,
        "compiled": str(h.compilation),
        "domains": list(data.domains),
        "data_fingerprint": data.fingerprint(),
        "skipped": skipped.below(config.data),
        "albumentations_digest": albument.digest if albument else None,
        **h.pace.facts,
        "processes": h.processes.count,
    }
    return Setup(
        config, h, data, held_out, feed, workers, method, view, average, per_epoch, total, facts,
        batch_reason,
    )  # fmt: skip


def parameter_counts(method: Method) -> dict[str, int]:
    """How many parameters each network has."""
    return {n: sum(p.numel() for p in net.parameters()) for n, net in method.nets.items()}


def _loading(
    config: TrainConfig,
    kind: type[Method],
    settings: Settings,
    device: torch.device,
    dry_run: bool,
    skipped: Skipped,
) -> Callable[..., Loading]:
    """A function (size, albument) -> Loading."""

    def loading(size: int, albument: Albument | None = None) -> Loading:
        return Loading(
            size,
            centre_crop=config.centre_crop,
            swap=kind.swaps_sides(settings),
            channels=kind.channels(settings),
            cache_bytes=config.cache_mb * 2**20,
            cache=None if dry_run else config.out / "cache",
            shared=config.workers > 0,
            albument=albument,
            jpeg=str(device) if config.jpeg_decoder == "torchvision" else "",
            held_out=config.held_out,
            seed=config.seed,
            side_by_side=config.side_by_side,
            skipped=skipped if config.skip_bad else None,
        )

    return loading


def _build(
    config: TrainConfig,
    kind: type[Method],
    settings: Settings,
    data: Dataset,
    h: Hardware,
    listen: Listener,
) -> Method:
    """The method with its networks on the device, laid out and compiled. Where compiling fails,
    `h.compilation` says so afterwards."""
    torch.manual_seed(config.seed)
    method = kind.build(settings, data, config.crop_size)
    _give_features(method)
    generators = method.generators.values()
    for generator in generators:
        working_size(config, generator)  # refused before the first step
    for net in (*method.nets.values(), *method.frozen_nets.values()):
        net.to(h.device).to(memory_format=FORMATS[h.layout])  # type: ignore[call-overload]
    h.processes.synchronise(method.nets.values())
    for generator in generators:
        generator.checkpointing = config.checkpointing
    failure = compile_generators(
        generators,
        h.compilation,
        config.batch_size // h.processes.count,
        config.crop_size,
        h.precision,
        h.processes.agree,
    )
    if failure:
        listen(Warned(failure))
        h.compilation = Compilation(False, "the check against the plain networks failed")
    return method


def _settle_batch(
    config: TrainConfig,
    kind: type[Method],
    settings: Settings,
    data: Dataset,
    h: Hardware,
    listen: Listener,
) -> tuple[TrainConfig, str]:
    """The configuration with the number of pictures at once, measured where it is left open by
    steps of a method that is thrown away, and why so many."""
    if config.batch_size:
        return config, ""
    before = recorded(config.out)
    if before:
        return config.model_copy(update={"batch_size": before}), "as before"
    plain = replace(h, compilation=Compilation(False, "a trial"))
    method = _build(config, kind, settings, data, plain, listen)
    _connect(config, method, plain)
    method.prepare(data)
    first = kind.warm_up_steps(settings)
    size, reason = fitting_batch(Trial(method, data, h.device, h.precision, first))
    del method
    release(h.device)
    return config.model_copy(update={"batch_size": size}), reason


def _give_features(method: Method) -> None:
    """Let the discriminators that look through a feature network do so: one for all, which becomes
    one of the method's `frozen_nets`. Raises ConfigError where its weights are missing."""
    lookers = [D for D in method.discriminators.values() if isinstance(D, ProjectedDiscriminator)]
    if lookers:
        net = method.frozen_nets["lite0"] = load_lite0(find_features("lite0"))
        net.fold_norms()
        for D in lookers:
            D.look_through(net)


def _connect(config: TrainConfig, method: Method, h: Hardware) -> JudgedView:
    """Give the method what the loop provides: augmentation, the view of the discriminators, and
    how gradients are followed and averaged."""
    changes = AugmentConfig.parse(config.augment, "augment.")
    method.augment = Augment(config.crop_size, config.flip, config.seed, changes)
    view = view_of(config, method.undecided)
    method.view = view
    if isinstance(view, AdaptiveAugment):
        method.observe_real = _observer(view)
        view.total = h.processes.total
    method.descent.clip = config.clip_grad
    method.descent.average = h.processes.average
    if h.processes.count > 1:
        method.across = h.processes.mean_through
    if h.precision == "fp16":
        method.descent.scaler = torch.amp.GradScaler(h.device.type)
    return view


def _observer(view: AdaptiveAugment) -> Callable[[Judgement, int], None]:
    def observe(answer: Judgement, count: int) -> None:
        maps = [answer] if isinstance(answer, Tensor) else answer
        view.update(torch.cat([m.detach().flatten() for m in maps]), count)

    return observe

"""The training loop, the same for every method. The same call resumes.

All randomness is a function of (seed, step) or (seed, epoch), so a resumed run repeats the
uninterrupted one bit for bit on the same machine with the same number of threads, which
`img2img.training.pace` chooses and records. What a run leaves in its folder stands in
`img2img.training.run_folder`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from img2img.errors import Img2ImgError, MemoryFault
from img2img.methods import Method
from img2img.settings import Settings
from img2img.system.out_of_memory import is_memory_error
from img2img.training import run_folder
from img2img.training.config import TrainConfig
from img2img.training.data_check import all_at_once, data_warnings, look_at_data
from img2img.training.devices import settle_device
from img2img.training.events import DataExamined, Listener, Warned
from img2img.training.remote import at_hand
from img2img.training.run import Run
from img2img.training.setup import check, choose_hardware, set_up
from img2img.training.warm_start import warm_start


def train(
    config: TrainConfig,
    listen: Listener = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    dry_run: bool = False,
    examine: bool = False,
) -> Path:
    """Train, or resume a training, until the configured end; return the path of the (first) model.

    `listen` receives the events of `img2img.training.events`. `should_stop` is asked between
    steps; when it says yes the state is saved and the models written. `dry_run` takes a few steps
    to measure time and memory, and writes nothing but copies of remote data. `examine` looks at the
    data first, warns of what may spoil the training, and names all faults at once where they are
    refused (`training.data_check`).

    Remote data are fetched and verified first. A remote run is taken over from where it was left,
    on whichever machine, and published after each save (`training.remote`).

    Raises:
        ConfigError, DataError: before anything is written, but for decoded pictures in out/cache.
        ModelError: the run folder holds another run.
        EnvironmentFault: the run folder cannot be written, or data workers die (saved before); or
            a remote place refuses, or not everything could be published by the end.
        MemoryFault: not enough memory on the device or the machine.
        Diverged: NaN or Inf; the last saved state is finite. Or a collapse, with on_collapse=stop.
    """
    with _memory_named(config):
        kind, settings = check(config, dry_run)  # refused before any picture is read
        if not dry_run and _first():
            run_folder.refuse_second(config.out)
        with (
            at_hand(config, listen, should_stop, dry_run) as notify,
            _examined(config, notify, examine),
        ):
            return _train(config, kind, settings, notify, should_stop, dry_run)


def _train(
    config: TrainConfig,
    kind: type[Method],
    settings: Settings,
    listen: Listener,
    should_stop: Callable[[], bool],
    dry_run: bool,
) -> Path:
    # --- the machine
    hardware = choose_hardware(config)
    processes = hardware.processes
    if not processes.first:
        listen = _ignore

    # --- data and networks
    with run_folder.left_as_found(config.out) if processes.first else contextlib.nullcontext():
        setup = set_up(config, kind, settings, hardware, listen, dry_run)
        if config.init is not None and not run_folder.states_of(config.out):
            warm_start(setup.method, config.init)  # of the domains that the data have

    with contextlib.ExitStack() as kept:
        kept.enter_context(_memory_named(setup.config))  # which says how many pictures `auto` took
        if processes.first and not dry_run:
            kept.enter_context(run_folder.claimed(config.out))
        kept.enter_context(setup.feed)

        # --- resume
        run = Run(setup, listen, dry_run)
        run.start_or_resume(kept)
        listen(setup.started(run.step))
        run.open_logs(kept)

        # --- the steps
        setup.feed.begin(run.plan())
        while run.step < run.total:
            late = run.out_of_time()
            if processes.agree(should_stop() or late):
                run.stop(late)
                break
            hardware.pace.watch.begin()
            run.set_learning_rate()
            run.learn()
            if dry_run:
                if run.step == run.warm_up:
                    settle_device(hardware.device)
                    run.start_clock()
                continue
            if run.by_time and processes.agree(run.minutes_left() <= 0):
                run.total = run.step  # the schedule has come to its end
            last = run.step == run.total
            run.report_progress(last)
            if run.step % config.log_every == 0 or last:
                run.report_step()
            if (run.step % config.sample_every == 0 or last) and len(setup.held_out):
                run.validate()
                last = run.step == run.total  # the patience may be over
            if run.step % config.save_every == 0 or last:
                run.save()
        else:
            run.finish()

    # Where no step was left to do, nothing else keeps the processes together until here.
    processes.wait()
    return config.out / f"{next(iter(setup.method.generators))}.safetensors"


@contextlib.contextmanager
def _examined(config: TrainConfig, listen: Listener, examine: bool) -> Iterator[None]:
    """Look at the data of a new run and warn of what may spoil it; where they are refused inside,
    say everything that stops the training. One process of several looks."""
    if not examine or not _first():
        yield
        return

    def progress(done: int, total: int) -> None:
        listen(DataExamined(done, total))

    report = None
    if not run_folder.states_of(config.out):
        report = look_at_data(config, on_progress=progress)
    if report is not None:
        for text in data_warnings(config, report):
            listen(Warned(text))
    with all_at_once(config, report):
        yield


@contextlib.contextmanager
def _memory_named(config: TrainConfig) -> Iterator[None]:
    """Say of a memory error what it is and what to lower."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Img2ImgError) or not is_memory_error(error):
            raise
        side, batch = config.crop_size, config.batch_size
        if not batch:  # not yet measured
            raise MemoryFault(
                f"not enough memory to read the pictures and build the networks for "
                f"crops of {side}x{side}: give a smaller crop_size, smaller networks or a lower "
                "cache_mb; the last saved state is intact"
            ) from None
        smaller = f"`batch_size={batch // 2}` and `accumulate={2 * config.accumulate}`, "
        raise MemoryFault(
            f"not enough memory for a step of {batch} crops of {side}x{side}: give "
            f"{smaller if batch > 1 else ''}a smaller crop_size, smaller networks or "
            "`checkpointing=true`; the last saved state is intact"
        ) from None


def _first() -> bool:
    """Before the processes have met: whether this one is the first."""
    return os.environ.get("RANK", "0") == "0"


def _ignore(event: object) -> None:
    return None

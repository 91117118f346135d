"""A run in progress: its step, its clock, what it writes and what it reports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from img2img.augment import AdaptiveAugment
from img2img.data import Batch, Request, epoch_order
from img2img.errors import Diverged, EnvironmentFault
from img2img.system.atomic import write_atomic
from img2img.training import run_folder
from img2img.training.compiling import uncompiled
from img2img.training.devices import TYPES, peak_memory, settle_device
from img2img.training.ema import Average, averaged
from img2img.training.events import (
    DryRun,
    Finished,
    Listener,
    Saved,
    StepDone,
    Stopped,
    TrainingEvent,
    Validated,
    Warned,
)
from img2img.training.inputs import usual_inputs
from img2img.training.pace import probe
from img2img.training.progress import Meter
from img2img.training.publish import as_toml, publish
from img2img.training.record import Record
from img2img.training.runs import State
from img2img.training.schedule import dry_steps, lr_factor
from img2img.training.setup import Setup, parameter_counts
from img2img.training.state import restore, state_of
from img2img.training.tally import Tally
from img2img.training.tensorboard import board
from img2img.training.validation import Best, Validation, sheet_of, validate
from img2img.training.verdicts import Verdicts
from img2img.training.warm_start import warm_start


class Run:
    """The state of a run between its steps.

    Attributes:
        step: how many are done.
        total: how many there will be.
        warm_up: in a dry run, the steps that are not timed.
    """

    def __init__(self, setup: Setup, listen: Listener, dry_run: bool):
        self.setup, self.config, self.listen, self.dry_run = setup, setup.config, listen, dry_run
        self.method, self.average = setup.method, setup.average
        self.hardware = setup.hardware
        self.processes, self.device = setup.hardware.processes, setup.hardware.device
        self.facts = setup.facts
        self.step, self.total, self.warm_up = 0, setup.total, 0
        self.figures: dict[str, float] = {}
        self.best = Best(self.config.best, self.config.patience)
        self._what = Validation.of(self.config.metrics, self.config.validate_seconds)
        self._minutes_before = 0.0
        self._tally = Tally()
        self._factor, self._epoch = 1.0, 0
        self._inputs: dict[str, dict[str, Any]] = {}
        self._recorded: Record | None = None  # of the first process, outside dry runs
        self._health: dict[str, Any] = {}  # the state of its detectors before a resume
        self._meter = Meter(self.config.per_step, self.device)

    # --- the start

    def start_or_resume(self, kept: contextlib.ExitStack) -> None:
        """Restore the newest state of the run folder, or prepare a new run; then settle the number
        of threads. What must be undone at the end goes into `kept`.

        Raises:
            ModelError: the run folder holds another run.
        """
        config, method, pace = self.config, self.method, self.hardware.pace
        state = None
        if not self.dry_run:  # of the first process alone: others may have a disk of their own
            now = pace.compared(self.facts)
            state = self.processes.from_first(
                lambda: run_folder.newest_state(config.out, now, self.listen)
            )
        if state is not None:
            self.step = restore(state, method, self.average, self.setup.view, self.processes.rank)
            self._minutes_before = float(state.get("minutes", 0.0))
            self.best.load_state_dict(state.get("best", {}))
            self._health = state.get("health", {})
            if self.best.spent:
                self.total = self.step  # it had come to its end
        else:
            if config.init is not None:
                for text in warm_start(method, config.init):
                    self.listen(Warned(text))
            self.processes.equalise(method.nets.values())
            if self.average:
                self.average = Average(method, config.ema)
            method.prepare(self.setup.data)
        generator = next(iter(method.generators.values()))
        self._one_pass = probe(
            generator, config.batch_size, config.crop_size, self.hardware.precision
        )
        kept.callback(pace.end)
        then = state and state["facts"] | {"step": self.step}
        self._threads_changed(pace.begin(then, self._one_pass, self.total - self.step))
        self.facts |= pace.facts

    def open_logs(self, kept: contextlib.ExitStack) -> None:
        """Open what the run writes into; a dry run writes nothing and takes a few steps only."""
        config = self.config
        spent = self._minutes_before >= (config.max_minutes or 0.0)
        if self.by_time and not self.dry_run and spent:
            self.total = self.step  # it had come to its end
        if self.dry_run:
            self.warm_up, self.total = dry_steps(self.total, self.method.period)
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
        elif self.processes.first:
            self._inputs = usual_inputs(self.setup)
            toml = as_toml(config, self.facts["settings"])
            write_atomic(config.out / "config.toml", toml)
            self._log = run_folder.Log(config.out / "metrics.jsonl", self.step)
            started = self.setup.started(self.step)
            self._recorded = Record(
                config, started, self.facts, self.device, type(self.method), self._health
            )
        shown = config.tensorboard and self.processes.first and not self.dry_run
        folder = config.out / "tensorboard" if shown else None
        self._curves = kept.enter_context(board(folder, self.step))
        self.start_clock()
        self._first = self.step
        self._meter.start(self.step)
        self._write_record("running", where_due=True)

    # --- time

    @property
    def by_time(self) -> bool:
        """The schedule follows the clock, not the steps."""
        return self.setup.by_time

    def start_clock(self) -> None:
        """Count the time from here."""
        self._began = time.monotonic()

    def minutes(self) -> float:
        """Of training in all, also before a resume."""
        return self._minutes_before + (time.monotonic() - self._began) / 60

    def minutes_left(self) -> float:
        """Until the end of a run that ends by the clock."""
        return (self.config.max_minutes or 0.0) - self.minutes()

    def out_of_time(self) -> bool:
        """`max_minutes` of this call are over; a schedule by time counts all calls instead."""
        most = self.config.max_minutes
        return not self.by_time and most is not None and time.monotonic() - self._began > most * 60

    # --- a step

    def requests(self, step: int) -> list[Request]:
        """What a step is made of: one request for each micro-batch."""
        config, data = self.config, self.setup.data
        per_step, size = config.per_step, config.batch_size
        epoch = step // self.setup.per_epoch
        first = (step % self.setup.per_epoch) * per_step
        chosen = epoch_order(config.seed, epoch, len(data))[first : first + per_step]
        chunks = (chosen[k : k + size] for k in range(0, len(chosen), size))
        return [Request(c, epoch, self.processes.share(len(c))) for c in chunks]

    def plan(self) -> Iterator[Request]:
        """The requests of all steps to come, in order."""
        return (r for ahead in range(self.step, self.total) for r in self.requests(ahead))

    def set_learning_rate(self) -> None:
        """Set the learning rates of the step to come."""
        spent = self.minutes()
        if self.by_time:  # all processes follow one clock
            spent = float(self.processes.mean(torch.tensor(spent, dtype=torch.float64)))
        self._epoch = self.step // self.setup.per_epoch
        self._factor = lr_factor(self.config, self.step, self.setup.per_epoch, spent)
        for optimizer in self.method.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * self._factor

    def learn(self) -> None:
        """Take one step, the number `self.step`.

        Raises:
            Diverged: a loss or gradient is not finite; the pictures of the batch are named.
            EnvironmentFault: data workers died; saved before, where the state is whole.
        """
        self.method.number = self.step
        for pause in self.method.pauses.values():
            pause.begin()
        if self.hardware.compilation.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        parts = self.requests(self.step)
        for part, request in enumerate(parts):
            self._learn_part(request, part, len(parts))
        self.step += 1
        if self.average:
            self.average.update()
        left = self.total - self.step
        changed = self.hardware.pace.step_taken(self.step, self._one_pass, left)
        if self._threads_changed(changed):
            self.facts |= self.hardware.pace.facts

    def _learn_part(self, request: Request, part: int, parts: int) -> None:
        indices, epoch, share = request
        method, precision = self.method, self.hardware.precision
        try:
            batch = self.setup.feed.take(request).on(self.device)
        except EnvironmentFault:
            # In the middle of a step, or for the other processes, there is no whole state.
            if part == 0 and self.processes.count == 1 and not self.dry_run:
                self.save()
            raise
        torch.manual_seed(mix(self.config.seed, self.step, part, self.processes.rank))
        method.augment.begin(self.step, indices[share])
        self.setup.view.begin(self.step, indices[share])
        method.descent.part, method.descent.parts = part, parts
        try:
            with torch.autocast(self.device.type, TYPES[precision], precision != "fp32"):
                self._tally.add(method.step(batch))
        except Diverged as error:
            pictures = ", ".join(self.setup.data.files_of(indices, epoch))
            raise Diverged(f"step {self.step}: {error}; pictures: {pictures}") from None

    def _threads_changed(self, text: str) -> bool:
        if text:
            self.listen(Warned(text))
            if self._recorded:
                self._recorded.add(self.step, "threads", text)
        return bool(text)

    # --- what it writes and reports

    def _record(self, event: TrainingEvent, sheet: Path | None = None) -> None:
        if self.processes.first and not self.dry_run:
            row = event.as_row()
            self._log.write(row)
            self._curves(row, sheet)
            self.listen(event)

    def report_progress(self, last: bool) -> None:
        """Say how far the run is, where that is due, or at its end. Other processes are not asked:
        each has its own clock."""
        if self._recorded and (last or self._meter.due()):
            self.listen(
                self._meter.event(
                    self.step,
                    self.total,
                    self._tally.so_far(),
                    60 * self.minutes_left() if self.by_time else None,
                    self._recorded.best,
                    self._recorded.health.word,
                )
            )
            self._write_record("running", where_due=True)

    def report_step(self) -> None:
        """Log the losses and the rate."""
        rate = (self.step - self._first) / (time.monotonic() - self._began)
        left = (self.total - self.step) / rate
        if self.by_time:
            left = max(0.0, 60 * self.minutes_left())
        losses = self._tally.means(self.processes.mean)
        steps = self.step + round(left * rate)
        self._record(StepDone(self.step, steps, self._epoch, self._factor, rate, left, losses))
        if self._recorded:
            self._recorded.health.add_losses(losses)

    def validate(self) -> None:
        """Write the sample sheet and log the figures of the held-out pictures and of the health;
        keep the model where they are the best so far; end the run where the patience is over.

        The processes share the pictures; the health is that of the first one's.

        Raises Diverged for a collapse, with `on_collapse=stop`.
        """
        record = self._recorded
        verdicts = Verdicts(self.method, self.setup.comparable, self.device)

        def see(batch: Batch, columns: Mapping[str, Tensor]) -> None:
            if record:
                record.health.see(columns)
                verdicts.add(batch, columns)

        with averaged(self.average), uncompiled(self.hardware.compilation):
            self.figures, self.best.pictures = validate(
                self.config.out, self.method, self.setup.held_out, self.step, self.device,
                self._what, self.processes, self.best.pictures, see,
            )  # fmt: skip
            if record:
                record.health.take(verdicts.scores())
                if text := self.best.missing(self.figures):
                    self.listen(Warned(text))
                if self.best.better(self.step, self.figures):
                    self._publish("best")
        if record:
            self._record(Validated(self.step, self.figures), sheet_of(self.config.out, self.step))
            self._judge_health(record)
        if self.config.on_collapse == "stop":
            self._end_where_collapsed()
        if self.processes.agree(self.best.spent):
            self.total = self.step

    def _judge_health(self, record: Record) -> None:
        figures, notes = record.health.judge(self.step)
        for event in (figures, *notes) if figures.figures else ():
            self._record(event)
        self._write_record("running")

    def _end_where_collapsed(self) -> None:
        found = self._recorded.health.ended if self._recorded else ""
        if self.processes.agree(bool(found)):
            self._write_record("stopped")
            raise Diverged(f"step {self.step}: {found}; ended by `on_collapse=stop`")

    def save(self) -> None:
        """Write the state and the models."""
        view = self.setup.view
        # Both ask all processes.
        parts = self.processes.gather(self.method.state_dict())
        seen = view.state_dict() if isinstance(view, AdaptiveAugment) else None
        if self.processes.first:
            config, step = self.config, self.step
            health = self._recorded.health.state_dict() if self._recorded else {}
            state = state_of(
                self.method, self.average, seen, step, self.facts, parts, self.minutes(),
                self.best.state_dict(), health,
            )  # fmt: skip
            run_folder.store_state(config.out, step, state)
            if step:  # an untrained network is no model
                with averaged(self.average):
                    self._publish("")
            self._write_record("running")
            self.listen(Saved(step))
        self.processes.wait()

    def _write_record(self, state: State, where_due: bool = False) -> None:
        if record := self._recorded:
            write = record.keep_up if where_due else record.write
            if text := write(self.step, self.minutes(), state):
                self.listen(Warned(text))

    def _publish(self, kind: str) -> None:
        publish(
            self.config, self.method, self.facts, self.step, self.setup.data, self.figures,
            self.device, self._inputs, kind,
        )  # fmt: skip

    def stop(self, time_is_up: bool) -> None:
        """Save and report a run that ends before its last step."""
        if not self.dry_run:
            self.save()
            if self._recorded:
                self._recorded.add(self.step, "stop", "time is up" if time_is_up else "stopped")
            self._write_record("stopped")
        self.listen(Stopped(self.step, None if self.by_time else self.total, time_is_up))

    def finish(self) -> None:
        """Report the end, or what a whole run would take."""
        settle_device(self.device)
        seconds = time.monotonic() - self._began
        if not self.dry_run:
            self._write_record("finished")
            self.listen(Finished(self.step, seconds, self.figures))
            return
        config = self.config
        each = seconds / (self.step - self.warm_up)
        steps = config.steps or (config.epochs + config.epochs_decay) * self.setup.per_epoch
        if self.by_time:
            steps = round(60 * (config.max_minutes or 0.0) / each)
        self.listen(
            DryRun(
                steps=steps,
                seconds_per_step=each,
                seconds=steps * each,
                memory_bytes=peak_memory(self.device),
                parameters=parameter_counts(self.method),
                config=self.facts,
            )
        )


def mix(seed: int, step: int, part: int = 0, rank: int = 0) -> int:
    """The seed of the random numbers of one micro-batch in one process."""
    parts = [seed, step, *([part, rank] if part or rank else [])]
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))

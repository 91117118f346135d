"""`TrainConfig` and the training loop, the same for every method. The same call resumes.

A run is a folder:

    config.toml            every setting, resolved
    metrics.jsonl          one object for each logged step and validation
    samples/step-N.jpg     fixed held-out pictures
    state-N.i2i            what a resume needs; the newest two are kept
    model.safetensors      the generator, to share
    run.lock               held while a process trains here

All randomness is a function of (seed, step) or (seed, epoch), so a resumed run repeats the
uninterrupted one to the bit on the same machine with the same number of threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomli_w
import torch
from pydantic import Field
from torch import Tensor

import img2img
from img2img import metrics
from img2img.atomic import sweep_stale, write_atomic
from img2img.augment import Augment
from img2img.checkpoint import load_state, save_model, save_state
from img2img.errors import (
    ConfigError,
    Diverged,
    EnvironmentFault,
    ModelError,
    UsageError,
    describe_os_error,
    proposal,
)
from img2img.images import Picture, Pixels, contact_sheet, from_network, write_picture
from img2img.modelinfo import ModelInfo
from img2img.settings import Settings
from img2img.trainers import TRAINERS, Trainer

Event = dict[str, Any]
Listener = Callable[[Event], None]
_KEPT_STATES = 2
# A resumed run must agree with its state in these, or it would learn something else.
_BINDING = ("method", "settings", "crop_size")


class TrainConfig(Settings):
    """Everything a run is made of. Steps count batches; an epoch is one pass over the pairs.

    `epochs` at full learning rate and `epochs_decay` of linear decay (the reference's 100 + 100);
    or `steps`, of which the second half decays linearly to zero.
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
    batch_size: int = Field(1, ge=1)
    load_size: int = Field(286, ge=8)
    crop_size: int = Field(256, ge=8)
    flip: bool = True
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = Field(None, ge=1)
    cache_mb: int = Field(4096, ge=0)
    log_every: int = Field(50, ge=1)
    sample_every: int = Field(1000, ge=1)
    save_every: int = Field(1000, ge=1)


def lr_factor(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The factor on the learning rate in `step` (from 0).

    By epochs (the reference's rule, stepped at the end of an epoch): 1 for `epochs` epochs, then
    1 - k / (epochs_decay + 1) in the k-th epoch of decay. By `steps`: 1 for the first half, then
    linearly to 0.
    """
    if config.steps is not None:
        half = config.steps / 2
        return 1.0 - max(0.0, step - half) / half
    epoch = step // steps_per_epoch
    return 1.0 - max(0, epoch + 1 - config.epochs) / (config.epochs_decay + 1)


def train(
    config: TrainConfig,
    listen: Listener = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train, or go on training, until the configured end; return the path of the model file.

    `listen` receives events: dictionaries with an `event` of data, start, warning, step, sample,
    validation, saved, stopped or done. `should_stop` is asked between steps; when it says yes the
    state is saved and a model written.

    Raises:
        ConfigError, DataError: before anything is written.
        ModelError: the run folder holds another run.
        EnvironmentFault: the run folder cannot be written.
        Diverged: NaN or Inf; the last saved state is finite.
    """
    # --- settings
    if config.method not in TRAINERS:
        raise ConfigError(f"unknown method '{config.method}'.{proposal(config.method, TRAINERS)}")
    method = TRAINERS[config.method]
    settings = method.Config.parse(config.settings)
    if config.crop_size > config.load_size:
        raise ConfigError(
            f"crop_size {config.crop_size} is larger than load_size {config.load_size}; "
            f"give --set load_size={config.crop_size} or more"
        )
    device = choose_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)

    # --- networks
    torch.manual_seed(config.seed)
    trainer = method(settings)
    for net in trainer.nets.values():
        net.to(device)
    trainer.augment = Augment(config.crop_size, config.flip, config.seed)

    # --- data
    def told(done: int, total: int) -> None:
        listen({"event": "data", "done": done, "total": total})

    swap = getattr(settings, "direction", "AtoB") == "BtoA"
    cache = config.cache_mb * 2**20
    G = next(iter(trainer.generators.values()))
    options = (swap, cache, told, (G.in_channels, G.out_channels))
    data = method.Data(config.data, "train", config.load_size, *options)
    held_out = method.Data(config.data, "held-out", config.crop_size, *options)
    per_epoch = -(-len(data) // config.batch_size)
    total = config.steps or (config.epochs + config.epochs_decay) * per_epoch

    with _claimed(config.out):
        # --- resume
        step = _resume(config, trainer, settings, data.fingerprint(), listen)
        _write_config(config, trainer, settings)
        listen(
            {
                "event": "start",
                "step": step,
                "steps": total,
                "pairs": len(data),
                "held_out": len(held_out),
                "device": str(device),
                "precision": config.precision,
                "threads": torch.get_num_threads(),
                "parameters": {n: _count(net) for n, net in trainer.nets.items()},
            }
        )
        log = _Log(config.out / "metrics.jsonl", step)
        quality: dict[str, float] = {}
        began, first = time.monotonic(), step
        sums: dict[str, Tensor] = {}
        counted = 0

        def save() -> None:
            _save_state(config, trainer, settings, step, data.fingerprint())
            _publish(config, trainer, settings, step, data, quality, device)
            listen({"event": "saved", "step": step})

        # --- the loop
        while step < total:
            if should_stop():
                save()
                listen({"event": "stopped", "step": step, "steps": total})
                return config.out / f"{next(iter(trainer.generators))}.safetensors"
            epoch = step // per_epoch
            indices = _order(config.seed, epoch, len(data))[
                (step % per_epoch) * config.batch_size :
            ][: config.batch_size]
            batch = data.batch(indices).on(device)
            factor = lr_factor(config, step, per_epoch)
            for optimizer in trainer.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            torch.manual_seed(_mix(config.seed, step))
            trainer.augment.begin(step, indices)
            try:
                with torch.autocast(device.type, torch.bfloat16, config.precision == "bf16"):
                    losses = trainer.step(batch)
            except Diverged as error:
                names = ", ".join(data.pairs[i].name for i in indices)
                raise Diverged(f"step {step}: {error}; pictures: {names}") from None
            step += 1
            counted += 1
            for name, value in losses.items():
                sums[name] = sums[name] + value if name in sums else value

            # --- telling
            if step % config.log_every == 0 or step == total:
                rate = (step - first) / (time.monotonic() - began)
                row = {
                    "event": "step",
                    "step": step,
                    "steps": total,
                    "epoch": epoch,
                    "lr_factor": factor,
                    "steps_per_second": rate,
                    "eta_seconds": (total - step) / rate,
                    "losses": {n: float(v) / counted for n, v in sums.items()},
                }
                sums, counted = {}, 0
                log.write(row)
                listen(row)
            if (step % config.sample_every == 0 or step == total) and len(held_out):
                quality = _validate(config, trainer, held_out, step, device)
                row = {"event": "validation", "step": step, **quality}
                log.write(row)
                listen(row)
            if step % config.save_every == 0 or step == total:
                save()
        listen({"event": "done", "step": step, "seconds": time.monotonic() - began, **quality})
        return config.out / f"{next(iter(trainer.generators))}.safetensors"


def choose_device(wish: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises EnvironmentFault for an absent device."""
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise UsageError(f"unknown device '{wish}'; known: auto, cpu, cuda, cuda:N, mps") from None
    absent = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise EnvironmentFault(f"device '{wish}' is not here; see img2img doctor")
    return device


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _order(seed: int, epoch: int, count: int) -> list[int]:
    return np.random.default_rng([seed, 1, epoch]).permutation(count).tolist()


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# --- the run folder


@contextlib.contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Hold `out` for this process; refuse when another process trains there."""
    try:
        (out / "samples").mkdir(parents=True, exist_ok=True)
        lock = open(out / "run.lock", "a+")  # noqa: SIM115 - held for the whole run
    except OSError as error:
        raise EnvironmentFault(f"{out}: {describe_os_error(error)}") from None
    with lock:
        try:
            _lock(lock.fileno())
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise EnvironmentFault(f"{out}: process {owner} is training here already") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        sweep_stale(out)
        yield


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        # One byte far behind the text, so that the refused process can still read who holds it.
        os.lseek(descriptor, 2**20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class _Log:
    """metrics.jsonl; on a resume, rows of steps that will be done again are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
        self._guard(lambda: write_atomic(path, "".join(kept).encode()))

    def write(self, row: Event) -> None:
        def append() -> None:
            with open(self.path, "a") as file:
                file.write(json.dumps({k: v for k, v in row.items() if k != "eta_seconds"}) + "\n")

        self._guard(append)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            raise EnvironmentFault(f"{self.path}: {describe_os_error(error)}") from None


def _write_config(config: TrainConfig, trainer: Trainer, settings: Settings) -> None:
    table = config.model_dump(mode="json", exclude_none=True) | {
        "settings": _resolved(trainer, settings)
    }
    write_atomic(config.out / "config.toml", tomli_w.dumps(table).encode())


def _resolved(trainer: Trainer, settings: Settings) -> dict[str, Any]:
    """The method's settings with every network option written out."""
    resolved = settings.model_dump(mode="json")
    for key, net in (("generator_options", "G"), ("discriminator_options", "D")):
        resolved[key] = _plain(trainer.nets[net].config)
    return resolved


def _plain(settings: Any) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_none=True)


def states_of(out: Path) -> list[Path]:
    """The training states in a run folder, newest step first."""
    found = [p for p in out.glob("state-*.i2i") if p.stem[6:].isdigit()]
    return sorted(found, key=lambda p: int(p.stem[6:]), reverse=True)


def _save_state(
    config: TrainConfig, trainer: Trainer, settings: Settings, step: int, data: str
) -> None:
    save_state(
        config.out / f"state-{step:08d}.i2i",
        {
            "step": step,
            "nets": {n: net.state_dict() for n, net in trainer.nets.items()},
            "optimizers": {n: o.state_dict() for n, o in trainer.optimizers.items()},
            "trainer": trainer.state_dict(),
            "config": config.model_dump(mode="json") | {"settings": _resolved(trainer, settings)},
            "data": data,
            "threads": torch.get_num_threads(),
        },
    )
    for old in states_of(config.out)[_KEPT_STATES:]:
        with contextlib.suppress(OSError):
            old.unlink()


def _resume(
    config: TrainConfig, trainer: Trainer, settings: Settings, data: str, listen: Listener
) -> int:
    found = states_of(config.out)
    for k, path in enumerate(found):
        try:
            state = load_state(path)
        except ModelError as error:
            if k == len(found) - 1:
                raise
            listen({"event": "warning", "text": f"{error}; going back to the state before it"})
            continue
        _compare(config, trainer, settings, state, path, data, listen)
        for name, net in trainer.nets.items():
            net.load_state_dict(state["nets"][name])
        for name, optimizer in trainer.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        trainer.load_state_dict(state["trainer"])
        return int(state["step"])
    return 0


def _compare(
    config: TrainConfig,
    trainer: Trainer,
    settings: Settings,
    state: Mapping[str, Any],
    path: Path,
    data: str,
    listen: Listener,
) -> None:
    now = config.model_dump(mode="json") | {"settings": _resolved(trainer, settings)}
    then = state["config"]
    binding = [d for name in _BINDING for d in _differences(name, then.get(name), now[name])]
    if binding:
        raise ModelError(
            f"{path}: this run was started with other settings ({'; '.join(binding)}); "
            "use another -o, or the settings of config.toml"
        )
    loose = [
        d
        for name in ("batch_size", "load_size", "flip", "seed", "precision")
        for d in _differences(name, then.get(name), now[name])
    ]
    if state["data"] != data:
        loose.append("the training pictures changed")
    if state["threads"] != torch.get_num_threads():
        loose.append(f"threads {state['threads']} -> {torch.get_num_threads()}")
    if loose:
        listen({"event": "warning", "text": f"the resume is not bit-exact: {'; '.join(loose)}"})


def _differences(name: str, then: Any, now: Any) -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted(then.keys() | now.keys())
        return [d for k in keys for d in _differences(f"{name}.{k}", then.get(k), now.get(k))]
    return [] if then == now else [f"{name} was {then!r}, now {now!r}"]


# --- what a run shows


def to_pixels(x: Tensor) -> list[Pixels]:
    """(N, C, H, W) in [-1, 1] -> N uint8 (H, W, 3) pictures; one channel is shown as grey."""
    values = x.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    pixels = from_network(values)
    return [np.repeat(p, 3, 2) if p.shape[2] == 1 else p for p in pixels]


def _validate(
    config: TrainConfig, trainer: Trainer, held_out: Any, step: int, device: torch.device
) -> dict[str, float]:
    """Write the sample sheet of up to 6 held-out pictures; return mean figures over all."""
    figures: dict[str, list[Tensor]] = {"l1": [], "psnr": [], "ssim": []}
    shown = {int(i) for i in np.linspace(0, len(held_out) - 1, min(6, len(held_out)))}
    rows: list[list[Pixels]] = []
    titles: list[str] = []
    for index in range(len(held_out)):
        columns = trainer.columns(held_out.batch([index]).on(device))
        if index in shown:
            titles = list(columns)
            rows.append([to_pixels(column)[0] for column in columns.values()])
        if "output" in columns and "truth" in columns:
            x, y = ((columns[n].float() + 1) * 127.5 for n in ("output", "truth"))
            x = x.round().clamp(0, 255)
            for name, metric in (
                ("l1", metrics.l1),
                ("psnr", metrics.psnr),
                ("ssim", metrics.ssim),
            ):
                figures[name].append(metric(x, y))
    sheet = Picture(contact_sheet(rows, titles), format="JPEG")
    write_picture(config.out / "samples" / f"step-{step:08d}.jpg", sheet, quality=92)
    return {n: float(torch.cat(v).mean()) for n, v in figures.items() if v}


def _publish(
    config: TrainConfig,
    trainer: Trainer,
    settings: Settings,
    step: int,
    data: Any,
    quality: dict[str, float],
    device: torch.device,
) -> None:
    for name, generator in trainer.generators.items():
        direction = str(getattr(settings, "direction", "A -> B")).replace("to", " -> ")
        info = ModelInfo(
            name=config.name or config.out.name,
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
            direction=direction,
            licence=config.licence,
            quality={n: round(v, 4) for n, v in quality.items()},
            training={
                "data": config.data.resolve().name,
                "data_fingerprint": data.fingerprint(),
                "pictures": len(data),
                "step": step,
                "batch_size": config.batch_size,
                "load_size": config.load_size,
                "seed": config.seed,
                "precision": config.precision,
                "device": device.type,
                "settings": _resolved(trainer, settings),
                "img2img": img2img.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        save_model(config.out / f"{name}.safetensors", generator, info)

"""`img2img train`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import typer

from img2img.cli.console import duration, note, say, say_json, stop_flag
from img2img.errors import ConfigError, MissingExtra, UsageError, describe_os_error


def run(
    method: str,
    data: Path,
    out: Path,
    preset: str | None,
    config: Path | None,
    sets: list[str],
    flags: dict[str, Any],
    json: bool,
    dry_run: bool,
) -> None:
    try:
        from img2img.training import TrainConfig, resolve, train
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "img2img":
            raise
        raise MissingExtra("train", "train") from None

    values = _from_file(config) if config else {}
    values |= {name: value for name, value in flags.items() if value is not None}
    values |= {"method": method, "data": data, "out": out}
    settings = dict(values.get("settings", {}))
    for text in sets:
        _assign(text, values, settings, TrainConfig.model_fields.keys() - {"settings"})
    values["settings"] = settings
    with stop_flag() as stop:
        model = train(resolve(values, preset), _Teller(json), stop, dry_run)
    if not json and not dry_run and os.environ.get("RANK", "0") == "0":
        say(str(model))
    stop.leave()


def minutes(text: str | None) -> float | None:
    """`90m`, `2h`, `45s` or plain minutes."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in "smh" else (text, "m")
    try:
        value = float(number) * {"s": 1 / 60, "m": 1, "h": 60}[unit]
    except (ValueError, KeyError):
        raise UsageError(f"--max-time {text}: needs a number with s, m or h, e.g. 90m") from None
    if value <= 0:
        raise UsageError(f"--max-time {text}: must be more than nothing")
    return value


def spawn(count: int) -> None:
    """Run this very command in `count` processes; returns only in those."""
    if "WORLD_SIZE" in os.environ:
        return
    rest = sys.argv[1:]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", "-m", "img2img.cli", *rest]
    raise typer.Exit(subprocess.call(command))


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {describe_os_error(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _assign(text: str, values: dict[str, Any], settings: dict[str, Any], own: set[str]) -> None:
    """`NAME=VALUE` with a TOML value or a bare word; `generator.width=32` reaches an option of
    the generator."""
    name, equals, written = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(f"--set {text}: needs NAME=VALUE")
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written.strip()
    if name in own:
        values[name] = value
        return
    part, dot, option = name.partition(".")
    if dot and part == "augment":
        values["augment"] = values.get("augment", {}) | {option: value}
    elif dot:
        settings[f"{part}_options"] = settings.get(f"{part}_options", {}) | {option: value}
    else:
        settings[name] = value


_SOURCES = {
    "memory": "from memory",
    "mapped": "from a file in cache/",
    "decoded": "decoded each time",
    "device": "on the device",
}
_NAMES = {"l1": "L1 (levels)", "psnr": "PSNR (dB)", "ssim": "SSIM"}


def _as_toml(table: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps({k: v for k, v in table.items() if v is not None})


def _sizes(parameters: dict[str, int]) -> str:
    return ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in parameters.items())


def _length(start: dict[str, Any]) -> str:
    """How long a run will be."""
    if start["steps"] is None:
        return f"{start['minutes']:g} minutes"
    return f"{start['steps']} steps"


class _Teller:
    """Prints the loop's events."""

    def __init__(self, json: bool):
        self.json = json
        self.told = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "data" and event["done"] < event["total"]:
            if time.monotonic() - self.told < 5:
                return
            self.told = time.monotonic()
        if self.json:
            say_json(event)
            return
        text = getattr(self, f"_{kind.replace('-', '_')}")(event)
        if text:
            note(text)

    def _data(self, e: dict[str, Any]) -> str:
        return f"read {e['done']} of {e['total']} pictures"

    def _start(self, e: dict[str, Any]) -> str:
        how = f"resumed at step {e['step']}" if e["step"] else "new run"
        domains = f" of {len(e['domains'])} domains" if e["domains"] else ""
        helped = f" by {e['workers']} workers" if e["workers"] else ""
        many = f"{e['processes']} processes, " if e["processes"] > 1 else ""
        chosen = f" ({e['threads_reason']})" if e["threads_reason"] else ""
        return (
            f"{how}: {e['pictures']} pictures or pairs{domains}, {e['held_out']} held out, "
            f"{_length(e)}, {e['device']}, {many}{e['precision']} ({e['reason']}), "
            f"{e['memory_format']} ({e['memory_format_reason']}), "
            f"{e['compile']} ({e['compile_reason']}), "
            f"{e['threads']} thread{'s' if e['threads'] > 1 else ''}{chosen}, "
            f"pictures {_SOURCES[e['pictures_from']]}{helped}, "
            f"parameters: {_sizes(e['parameters'])}"
        )

    def _warning(self, e: dict[str, Any]) -> str:
        return f"warning: {e['text']}"

    def _step(self, e: dict[str, Any]) -> str:
        losses = "  ".join(f"{n} {v:.4f}" for n, v in e["losses"].items())
        return (
            f"step {e['step']}/{e['steps']}  epoch {e['epoch'] + 1}  {losses}  "
            f"{e['steps_per_second']:.2f} steps/s  {duration(e['eta_seconds'])} left"
        )

    def _validation(self, e: dict[str, Any]) -> str:
        figures = [k for k in e if k not in ("event", "step")]
        if not figures:
            return f"samples of step {e['step']} written"
        return "held-out pictures: " + ", ".join(f"{_NAMES.get(k, k)} {e[k]:.4g}" for k in figures)

    def _saved(self, e: dict[str, Any]) -> str:
        return ""

    def _stopped(self, e: dict[str, Any]) -> str:
        why = "time is up" if e["time_is_up"] else "stopped"
        of = f" of {e['steps']}" if e["steps"] else ""
        return f"{why} at step {e['step']}{of}; the same command resumes"

    def _dry_run(self, e: dict[str, Any]) -> str:
        memory = (
            f", about {e['memory_bytes'] / 2**30:.1f} GiB of memory" if e["memory_bytes"] else ""
        )
        say(_as_toml(e["config"]))
        return (
            f"dry run: {e['steps']} steps of {e['seconds_per_step']:.3g} s, in all about "
            f"{duration(e['seconds'])}{memory}, parameters: {_sizes(e['parameters'])}; "
            "nothing was written"
        )

    def _done(self, e: dict[str, Any]) -> str:
        return f"done after {duration(e['seconds'])}"

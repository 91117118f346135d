"""`img2img train`."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

from img2img.cli.console import duration, note, say, say_json, stop_flag
from img2img.errors import ConfigError, MissingExtra, UsageError, describe_os_error


def run(
    method: str,
    data: Path,
    out: Path,
    config: Path | None,
    sets: list[str],
    flags: dict[str, Any],
    json: bool,
) -> None:
    try:
        from img2img.training import TrainConfig, train
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
        model = train(TrainConfig.parse(values), _Teller(json), stop)
    if not json:
        say(str(model))
    stop.leave()


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
    if dot:
        settings[f"{part}_options"] = settings.get(f"{part}_options", {}) | {option: value}
    else:
        settings[name] = value


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
        text = getattr(self, f"_{kind}")(event)
        if text:
            note(text)

    def _data(self, e: dict[str, Any]) -> str:
        return f"read {e['done']} of {e['total']} pictures"

    def _start(self, e: dict[str, Any]) -> str:
        networks = ", ".join(f"{n} {count / 1e6:.2f} M" for n, count in e["parameters"].items())
        how = f"resumed at step {e['step']}" if e["step"] else "new run"
        return (
            f"{how}: {e['pairs']} pairs, {e['held_out']} held out, {e['steps']} steps, "
            f"{e['device']} {e['precision']}, {e['threads']} threads, parameters: {networks}"
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
        if "l1" not in e:
            return f"samples of step {e['step']} written"
        return (
            f"held-out pictures: L1 {e['l1']:.2f} levels, PSNR {e['psnr']:.2f} dB, "
            f"SSIM {e['ssim']:.4f}"
        )

    def _saved(self, e: dict[str, Any]) -> str:
        return ""

    def _stopped(self, e: dict[str, Any]) -> str:
        return f"stopped at step {e['step']} of {e['steps']}; the same command goes on"

    def _done(self, e: dict[str, Any]) -> str:
        return f"done after {duration(e['seconds'])}"

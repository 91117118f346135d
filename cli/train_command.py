"""`img2img train`."""

from __future__ import annotations

from img2img.cli import train_options as options
from img2img.cli.options import (
    Debug,
    Json,
    Quiet,
)
from img2img.errors import UsageError

EXAMPLES = """
img2img train pix2pix pairs -o runs/maps --dry-run
img2img train cyclegan horses-zebras -o runs/zebra --preset cyclegan-256
img2img train stylize photos --set style=paintings -o runs/mine \\
    --preset laptop --max-time 30m
"""


def train_command(
    method: options.Method,
    data: options.Data,
    out: options.Out,
    preset: options.Preset = None,
    config: options.Config = None,
    skip_bad: options.SkipBad = None,
    init: options.Init = None,
    set_: options.Set = None,
    epochs: options.Epochs = None,
    epochs_decay: options.EpochsDecay = None,
    steps: options.Steps = None,
    max_time: options.MaxTime = None,
    on_collapse: options.OnCollapse = None,
    dry_run: options.DryRun = False,
    preview: options.Preview = None,
    batch_size: options.BatchSize = None,
    devices: options.Devices = 1,
    device: options.Device = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    seed: options.Seed = None,
    name: options.Name = None,
    licence: options.Licence = None,
    help_settings: options.HelpSettings = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model on a folder of pictures.

    Repeat the same command to resume an interrupted training.
    """
    from img2img.cli import train

    flags = {
        "epochs": epochs,
        "epochs_decay": epochs_decay,
        "steps": steps,
        "init": init,
        "skip_bad": skip_bad,
        "batch_size": train.batch(batch_size),
        "max_minutes": train.minutes(max_time),
        "on_collapse": on_collapse,
        "device": device,
        "precision": precision,
        "threads": threads,
        "seed": seed,
        "name": name,
        "licence": licence,
    }
    if devices > 1:
        if preview is not None:
            raise UsageError("--preview runs in one process; leave --devices out")
        train.spawn(devices)
    train.run(method, data, out, preset, config, set_ or [], flags, json, dry_run, preview)

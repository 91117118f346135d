"""Folder in, folder out: every picture translated, none lost, every failure named."""

from img2img.inference.jobs import Event, Job, Summary
from img2img.inference.manifest import Manifest, settings_hash
from img2img.inference.naming import (
    Naming,
    check_beside,
    check_output,
    plan,
    plan_domains,
    plan_file,
)
from img2img.inference.network import Network
from img2img.inference.pipeline import Extras, Options, translate
from img2img.inference.watching import watch

__all__ = [
    "Event",
    "Extras",
    "Job",
    "Manifest",
    "Naming",
    "Network",
    "Options",
    "Summary",
    "check_beside",
    "check_output",
    "plan",
    "plan_domains",
    "plan_file",
    "settings_hash",
    "translate",
    "watch",
]

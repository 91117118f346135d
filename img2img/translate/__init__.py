"""Folder in, folder out: every picture translated, none lost, every failure named."""

from img2img.translate.jobs import Event, Job, Summary
from img2img.translate.manifest import Manifest, settings_hash
from img2img.translate.naming import (
    Naming,
    check_beside,
    check_output,
    plan,
    plan_domains,
    plan_file,
)
from img2img.translate.network import Network
from img2img.translate.pipeline import Extras, Options, translate
from img2img.translate.watching import watch

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

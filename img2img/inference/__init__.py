"""Pictures in, pictures out: one model in memory (`Translator`), and whole folders
(`translate_folder`), where none is lost and every failure is named."""

from img2img.inference.events import (
    Event,
    JobEvent,
    Note,
    PictureEvent,
    Started,
    Summary,
    TileProgress,
    Watching,
)
from img2img.inference.folder import translate_folder
from img2img.inference.jobs import Job
from img2img.inference.manifest import Manifest, settings_hash
from img2img.inference.naming import (
    Naming,
    check_beside,
    check_output,
    plan,
    plan_domains,
    plan_file,
)
from img2img.inference.network import Network, Report
from img2img.inference.output import Extras, Options
from img2img.inference.pipeline import run_jobs, translate_jobs
from img2img.inference.request import TranslateRequest
from img2img.inference.translator import Translator, load
from img2img.inference.watching import watch

__all__ = [
    "Event",
    "Extras",
    "Job",
    "JobEvent",
    "Manifest",
    "Naming",
    "Network",
    "Note",
    "Options",
    "PictureEvent",
    "Report",
    "Started",
    "Summary",
    "TileProgress",
    "TranslateRequest",
    "Translator",
    "Watching",
    "check_beside",
    "check_output",
    "load",
    "plan",
    "plan_domains",
    "plan_file",
    "run_jobs",
    "settings_hash",
    "translate_folder",
    "translate_jobs",
    "watch",
]

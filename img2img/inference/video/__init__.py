"""Video clips through the pipeline of pictures: `translate_clips`."""

from img2img.inference.video.clips import translate_clips
from img2img.inference.video.events import (
    ClipEvent,
    ClipProgress,
    ClipsEvent,
    ClipsStarted,
    ClipSummary,
    VideoOptions,
)
from img2img.inference.video.planning import are_clips
from img2img.inference.video.reading import is_clip_name

__all__ = [
    "ClipEvent",
    "ClipProgress",
    "ClipSummary",
    "ClipsEvent",
    "ClipsStarted",
    "VideoOptions",
    "are_clips",
    "is_clip_name",
    "translate_clips",
]

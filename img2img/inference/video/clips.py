"""`translate_clips`: video clips in, video clips out, events on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from img2img.errors import MemoryFault, PictureError, describe_os_error
from img2img.images import working_shape
from img2img.inference.events import Note, Status
from img2img.inference.folder import settings_of, translator_of
from img2img.inference.jobs import Job
from img2img.inference.manifest import Manifest, Unrecorded, fingerprint, settings_hash
from img2img.inference.naming import check_output
from img2img.inference.network import Network
from img2img.inference.request import TranslateRequest
from img2img.inference.translator import Translator, model_path
from img2img.inference.video.encoding import CONTAINERS, Coding, check_codec, coding_for
from img2img.inference.video.events import (
    ClipEvent,
    ClipsEvent,
    ClipsStarted,
    ClipSummary,
    VideoOptions,
)
from img2img.inference.video.joining import Mismatch, join
from img2img.inference.video.planning import ClipPlanner
from img2img.inference.video.reading import Clip, Reader, pyav
from img2img.inference.video.state import InUse, State
from img2img.inference.video.work import ClipWork
from img2img.model_format.find import default_name, taken_for_granted
from img2img.system.atomic import atomic_path, sweep_stale

_LOOKED_AT = 20  # clips that are opened to see how much there is to do
_PLAIN = VideoOptions()
_Steps = Generator[ClipsEvent, None, ClipEvent | None]


def translate_clips(
    request: TranslateRequest,
    options: VideoOptions = _PLAIN,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[ClipsEvent]:
    """Translate video clips: frames as `translate_folder` translates pictures; time stamps, sound,
    size and colours as they are in the source. Needs PyAV (the extra `video`).

    `request` says which clips, model and output, as for pictures; options that concern pictures
    alone are refused. `format` is mp4, m4v, mov, mkv or webm, and `quality` the encoder's.

    Yields ClipsStarted; for each clip ClipProgress, Note, and a ClipEvent at its end; ClipSummary.

    An output appears whole or not at all. Its finished segments stand in `.img2img` beside it until
    then; the same request resumes from them, after a kill too. Stop by closing the iterator, or by
    a `should_stop` that becomes true, which is asked about five times a second. Of a damaged clip
    what can be decoded is translated, and its event says from which second on it is lost.

    Raises, at the call or at the first step:
        UsageError: inputs, output, model or options do not go together.
        ModelError: the model file is refused.
        EnvironmentFault: the device is absent, nothing can be written (at any step), or
            (MissingExtra) a package is not installed.
    """
    request.check()
    options.check()
    return _translate(request, options, should_stop)


def _translate(
    request: TranslateRequest, options: VideoOptions, should_stop: Callable[[], bool]
) -> Iterator[ClipsEvent]:
    planner = ClipPlanner(request)
    pyav()
    jobs = planner.jobs_of(None)
    for job in jobs:
        check_codec(options.codec, CONTAINERS[job.target.suffix.lower()])
    path = model_path(request.model, request.runner, request.direction)
    if granted := taken_for_granted(str(request.model or default_name()), request.direction):
        yield Note(granted)
    with ExitStack() as stack:
        translator = stack.enter_context(_translator(request, path, planner.paths))
        jobs = planner.jobs_of(translator.info)
        check_output(planner.place)
        settings = settings_of(request, path, translator.size) | {
            "codec": options.codec,
            "temporal_blend": options.temporal_blend,
            "hold": options.hold,
        }
        manifest: Unrecorded = Unrecorded(request.overwrite)
        if not planner.single:
            manifest = Manifest(
                planner.out, settings, request.overwrite, request.retry_failed,
                translator.info.name, jobs,
            )  # fmt: skip
            stack.callback(manifest.close)
        yield ClipsStarted(
            translator.info, translator.description, translator.reason, translator.size, len(jobs)
        )
        summary, began = ClipSummary(), time.monotonic()
        for place, job in enumerate(jobs):
            one = _Clip(job, request, options, settings, translator.network(), should_stop)
            ended = yield from _one(one, manifest)
            if ended is None:
                summary.not_reached = len(jobs) - place
                break
            summary.count(ended)
            yield ended
        summary.seconds = time.monotonic() - began
        yield summary


def _translator(request: TranslateRequest, path: Path, clips: list[Path]) -> Translator:
    def pixels(working: int) -> int | None:
        size = working if request.size is None else request.size
        found = 0
        for clip in clips[:_LOOKED_AT]:
            with suppress(PictureError), Reader(clip) as reader:
                height, width = working_shape(reader.clip.height, reader.clip.width, size)
                found += reader.clip.expected * height * width
        return found * len(clips) // min(len(clips), _LOOKED_AT)

    return translator_of(request, path, pixels)


@dataclass(frozen=True)
class _Clip:
    """One clip, and all that is needed to translate it."""

    job: Job
    request: TranslateRequest
    options: VideoOptions
    settings: dict[str, object]
    network: Network
    should_stop: Callable[[], bool]

    @property
    def container(self) -> str:
        return CONTAINERS[self.job.target.suffix.lower()]

    def key(self, digest: str, coding: Coding) -> str:
        """Names all that decides how the segments look."""
        return settings_hash(
            self.settings
            | {
                "clip": digest,
                "domain": self.job.domain,
                "coding": (coding.codec.encoder, coding.pixels, coding.width, coding.height),
                "library": str(pyav().library_versions),
            }
        )

    def ended(self, status: Status, reason: str = "") -> ClipEvent:
        """Its event."""
        return ClipEvent(self.job.source, self.job.target, status, self.job.domain_name, reason)


def _one(one: _Clip, manifest: Unrecorded) -> _Steps:
    """The steps of one clip; returns its event, None where a stop left it unfinished."""
    job = one.job
    verdict = manifest.verdict(job)
    if verdict.what == "skip":
        return one.ended("skipped", verdict.reason)
    if verdict.what == "failed":
        return one.ended("failed", verdict.reason)
    try:
        return (yield from _steps(one, manifest, verdict.replaces))
    except (PictureError, MemoryFault) as error:
        if not isinstance(error, InUse):  # which says nothing about the clip
            manifest.failed(job, str(error))
        return one.ended("failed", str(error))


def _steps(one: _Clip, manifest: Unrecorded, replaces: bool) -> _Steps:
    job, options = one.job, one.options
    digest = _digest(job.source)
    clip = _described(one)
    coding = coding_for(clip, one.container, options.codec, one.request.quality, one.network.scale)
    check_output(job.target.parent)
    sweep_stale(job.target.parent)
    state = State(job.target, one.key(digest, coding))
    try:
        before = state.done
        work = ClipWork(job, one.network, coding, options, state, one.should_stop)
        yield from work.steps()
        if work.stopped:
            return None
        found = state.survey
        assert found is not None
        with atomic_path(job.target, durable=True) as temporary:
            joined = join(
                [state.segment(*each) for each in state.segments], clip, temporary, one.container,
                found.times, found.end, one.request.metadata, one.should_stop,
            )  # fmt: skip
            if joined is None:
                raise _Left
            manifest.done(job, digest, temporary)
        state.remove()
    except _Left:
        return None
    except Mismatch:
        state.remove()
        raise
    finally:
        state.close()
    return replace(
        one.ended("done"),
        frames=len(found.times),
        width=coding.width,
        height=coding.height,
        seconds=float((found.end - found.times[0]) * clip.time_base),
        resumed=before,
        shots=len(found.shots),
        lost_from=found.lost_from,
        gap=found.resumed,
        notes=(*clip.notes, *coding.notes, *joined.notes),
        redone=replaces,
    )


class _Left(Exception):
    """A stop came while the parts were joined."""


def _digest(path: Path) -> str:
    try:
        return fingerprint(path)
    except OSError as error:
        raise PictureError(describe_os_error(error)) from None


def _described(one: _Clip) -> Clip:
    with Reader(one.job.source) as reader:
        clip = reader.clip
    most = one.request.max_megapixels
    if most is not None and clip.width * clip.height > most * 10**6:
        raise PictureError(
            f"frames of {clip.width}x{clip.height} are larger than {most:g} megapixels"
        )
    return clip

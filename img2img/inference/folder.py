"""`translate_folder`: pictures, folders and patterns in, files out, events on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from img2img._version import __version__
from img2img.images import Reading
from img2img.inference.events import Event, Note, Started, Summary, Watching
from img2img.inference.gallery import Gallery
from img2img.inference.jobs import Job
from img2img.inference.manifest import Manifest, Unrecorded
from img2img.inference.naming import check_beside, check_output
from img2img.inference.output import Extras, Options
from img2img.inference.pipeline import translate_jobs
from img2img.inference.planning import Planner
from img2img.inference.request import TranslateRequest
from img2img.inference.translator import Translator, model_path
from img2img.inference.watching import watch
from img2img.inference.workload import pixels_to_come
from img2img.model_format.find import default_name, taken_for_granted
from img2img.model_format.info import ModelInfo
from img2img.runners import Workload
from img2img.system.digest import file_sha256


def translate_folder(
    request: TranslateRequest, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Do what `request` asks; outputs appear complete or not at all, and a bad picture fails alone.

    Yields, in this order: Started; a PictureEvent for each file as it ends, between them Note and
    TileProgress; Summary. With `request.watch`, Watching follows the end of the list, and the
    Summary comes when `should_stop` returns True.

    Stop by closing the iterator, or by a `should_stop` that returns True: it is called at least
    five times a second while the iterator is advanced. Either way the existing outputs are
    complete, and the same request resumes.

    Raises, at the call or at the first step:
        UsageError: inputs, output, model or options cannot be combined; or `out` holds what
            another model or other settings made, and `overwrite` is not given.
        ModelError: the model file is refused.
        EnvironmentFault: the device is absent, nothing can be written (at any step), or
            (MissingExtra) a package is not installed.
    """
    request.check()
    return _translate(request, should_stop)


def _translate(request: TranslateRequest, should_stop: Callable[[], bool]) -> Iterator[Event]:
    planner = Planner(request)
    jobs = planner.before_the_model()
    path = model_path(request.model, request.runner, request.direction)
    yield from map(Note, planner.notes)
    if granted := taken_for_granted(str(request.model or default_name()), request.direction):
        yield Note(granted)
    with ExitStack() as stack:
        translator = stack.enter_context(_translator(request, path, jobs))
        jobs = planner.with_model(translator.info)
        place = planner.place
        check_output(place)
        if request.compare is not None:
            check_beside(request.compare, planner.paths, jobs, place)
            check_output(request.compare)
        manifest = _manifest(request, planner, path, translator, jobs)
        if isinstance(manifest, Manifest):
            stack.callback(manifest.close)
        count = sum(job.ignored is None for job in jobs)
        yield Started(
            translator.info, translator.description, translator.reason, translator.size,
            len(jobs), count,
        )  # fmt: skip
        gallery = _gallery(request, translator, count)
        if gallery is not None:
            stack.enter_context(gallery)
        options = replace(
            options_of(request, translator.info), extras=Extras(place, request.compare, gallery)
        )
        work = _Work(translator, options, manifest, should_stop)
        began = time.monotonic()
        if request.watch:
            yield Watching(tuple(map(str, request.inputs)))
            for some in watch(lambda: planner.again(translator.info), should_stop):
                yield from work(some)
        else:
            yield from work(jobs)
        work.total.seconds = time.monotonic() - began
        if gallery is not None and work.total.not_reached and not request.watch:
            gallery.discard()  # half a page would take the place of a whole one
        yield work.total


class _Work:
    """Translates jobs and adds up what became of them."""

    def __init__(
        self,
        translator: Translator,
        options: Options,
        manifest: Unrecorded,
        should_stop: Callable[[], bool],
    ):
        self.total = Summary()
        self._network, self._options = translator.network(), options
        self._manifest, self._should_stop = manifest, should_stop

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Event]:
        part = yield from translate_jobs(
            jobs, self._network, self._options, self._manifest, self._should_stop
        )
        self.total.add(part)


def _translator(request: TranslateRequest, path: Path, jobs: Sequence[Job]) -> Translator:
    def pixels(working: int) -> int | None:
        if request.watch:
            return None
        return pixels_to_come(jobs, working if request.size is None else request.size)

    return translator_of(request, path, pixels)


def translator_of(
    request: TranslateRequest, path: Path, expected_pixels: Workload = None
) -> Translator:
    """The model `path`, opened as `request` wants it; see `Translator`."""
    return Translator(
        path,
        runner=request.runner,
        device=request.device,
        precision=request.precision,
        size=request.size,
        strength=request.strength,
        tile=request.tile,
        batch=request.batch,
        layout=request.layout,
        value_range=request.value_range,
        expected_pixels=expected_pixels,
    )


def options_of(request: TranslateRequest, info: ModelInfo) -> Options:
    """How `request` wants pictures read and written."""
    most = request.max_megapixels
    reading = Reading(
        deep=True,
        salvage=request.salvage,
        max_pixels=None if most is None else round(most * 10**6),
        metadata=request.metadata,
    )
    return Options(
        request.quality,
        reading,
        f"img2img {__version__}, model {info.name}",
        request.timeout,
        usual=info.inputs,
    )


def _manifest(
    request: TranslateRequest,
    planner: Planner,
    path: Path,
    translator: Translator,
    jobs: Sequence[Job],
) -> Unrecorded:
    if planner.single:
        return Unrecorded(request.overwrite)
    return Manifest(
        planner.out,
        settings_of(request, path, translator.size),
        request.overwrite,
        request.retry_failed,
        translator.info.name,
        jobs,
        request.labels is not None,
    )


def settings_of(request: TranslateRequest, model: Path, size: int) -> dict[str, object]:
    """What decides how outputs look; where and how fast they are made is not among it. `size` is
    the working size in force."""
    foreign = {"layout": request.layout, "range": request.value_range}
    return {
        "model": file_sha256(model),
        "quality": request.quality,
        "working_size": size,
        "strength": request.strength,
        "precision": request.precision,
        "metadata": request.metadata,
        "salvage": request.salvage,
        **({} if request.layout is None else foreign),
    }


def _gallery(request: TranslateRequest, translator: Translator, count: int) -> Gallery | None:
    if request.gallery is None:
        return None
    info, size = translator.info, translator.size
    about = {
        "Model": f"{info.name} ({info.direction})",
        "Licence": info.licence,
        "Run by": translator.description,
        "Made": time.strftime("%Y-%m-%d %H:%M"),
        "Working size": f"{size} px on the long side" if size else "each picture's own size",
    }
    if request.strength != 1:
        about["Strength"] = str(request.strength)
    return Gallery(request.gallery, about, count, title=f"{info.name}: before and after")

"""`translate_remote`: the request of `translate_folder`, for places of every kind and more pictures
than one machine translates."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.images import encode_format
from img2img.inference.events import Event, Note, PictureEvent, Started, Summary
from img2img.inference.folder import options_of, settings_of, translator_of
from img2img.inference.manifest import FOLDER
from img2img.inference.naming import Naming
from img2img.inference.output import Options
from img2img.inference.request import TranslateRequest
from img2img.inference.scale.plan import Plan, Task
from img2img.inference.scale.records import Records
from img2img.inference.scale.sources import Inputs
from img2img.inference.scale.stages import Work
from img2img.inference.translator import Translator, model_path
from img2img.model_format.find import default_name, taken_for_granted
from img2img.system.digest import file_sha256
from img2img.system.places import Draft, Place, same_stamp

WAVE = 50_000  # tasks that are given out at a time
Ends = Iterator[dict[str, Any]]
Execute = Callable[[list[Task], Work, Callable[[], bool]], Ends]


@dataclass
class ScaleSummary(Summary):
    """A Summary, with what each actor did: name, pictures, and seconds in which it translated.

    `planned` are the seconds until the first task.
    """

    actors: dict[str, tuple[int, float]] = field(default_factory=dict)
    planned: float = 0.0

    @property
    def row(self) -> dict[str, object]:
        """The event as plain JSON types."""
        rates = [
            {"actor": name, "pictures": count, "busy_seconds": round(seconds, 3),
             "pictures_per_second": round(count / max(self.seconds - self.planned, 1e-3), 3)}
            for name, (count, seconds) in sorted(self.actors.items())
        ]  # fmt: skip
        return {**super().row, "planned_seconds": round(self.planned, 3), "actors": rates}


def check_remote(request: TranslateRequest) -> None:
    """Raise UsageError for what a cluster does not do."""
    request.check(remote=True)
    for option, value in (
        ("watch", request.watch), ("compare", request.compare), ("gallery", request.gallery),
    ):  # fmt: skip
        if value:
            raise UsageError(
                f"`{option}` works on one machine only and cannot be combined with `ray`"
            )
    if "-" in map(str, (*request.inputs, request.out)):
        raise UsageError(
            "- (a standard stream) works on one machine only and cannot be combined with `ray`"
        )


def translate_remote(
    request: TranslateRequest,
    execute: Execute,
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    wave: int = WAVE,
) -> Iterator[Event]:
    """Do what `request` asks, `execute` the tasks; outputs appear whole or not at all, and the same
    request does exactly the rest. Inputs and output are places of any kind (`Place`).

    Yields as `translate_folder`; the end is a ScaleSummary. `threads`: of the processor, for each
    model. `wave`: tasks that are given to `execute` at a time, and recorded when they have an end.

    Raises as `translate_folder`; EnvironmentFault also where a place refuses or does not answer.
    """
    check_remote(request)
    return _translate(request, execute, threads, should_stop, wave)


def _translate(
    request: TranslateRequest,
    execute: Execute,
    threads: int,
    should_stop: Callable[[], bool],
    wave: int,
) -> Iterator[Event]:
    began = time.monotonic()
    path = model_path(request.model, request.runner, request.direction)
    out = _output(request)
    inputs = Inputs(request.inputs, out, request.follow_links)
    suffix = encode_format(request.format)[1] if request.format else None
    if granted := taken_for_granted(str(request.model or default_name()), request.direction):
        yield Note(granted)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_temporary()))
        translator = stack.enter_context(_looked_at(request, path))
        info, size = translator.info, translator.size
        records = Records(out)
        settings = records.settings(settings_of(request, path, size), info.name)
        naming = Naming(suffix, request.name, info.name)
        plan = Plan(request, inputs, out, records, settings, info, naming, folder)
        yield Started(
            info, translator.description, "on this machine; each actor makes its own choice",
            size, plan.inputs, plan.todo + plan.ended - plan.ignored,
        )  # fmt: skip
        translator.close()
        total = ScaleSummary(planned=time.monotonic() - began)
        for row in plan.ends():
            yield _counted(row, total)
        if plan.todo:
            work = _work(request, inputs, out, path, options_of(request, info), threads)
            yield from _waves(plan, work, records, execute, should_stop, wave, total)
        total.not_reached = plan.todo + plan.ended - total.seen
        total.failed.sort()
        total.seconds = time.monotonic() - began
        yield total


def _waves(
    plan: Plan,
    work: Work,
    records: Records,
    execute: Execute,
    should_stop: Callable[[], bool],
    wave: int,
    total: ScaleSummary,
) -> Iterator[Event]:
    rest = plan.tasks()
    while not should_stop():
        tasks = list(islice(rest, wave))
        if not tasks:
            return
        for row in execute(tasks, work, should_stop):
            if "fault" in row:
                raise EnvironmentFault(str(row["fault"]))
            yield _counted(row, total)
        records.compact(plan.todo + plan.ended)


def _counted(row: dict[str, Any], total: ScaleSummary) -> PictureEvent:
    event = PictureEvent(
        row["source"], row["output"], row["status"], row["domain"], row["reason"],
        row.get("width", 0), row.get("height", 0), tuple(row.get("notes", ())),
        row.get("salvaged", False), row.get("redone", False),
    )  # fmt: skip
    total.count(event)
    if actor := row.get("actor"):
        count, seconds = total.actors.get(actor, (0, 0.0))
        total.actors[actor] = count + 1, seconds + row["seconds"]
    return event


def _output(request: TranslateRequest) -> Place:
    place = Place(str(request.out))
    if place.read_only:
        raise UsageError(f"{place.address}: is read-only; `out` needs a folder or a bucket")
    if place.local and Path(place.root).exists() and not Path(place.root).is_dir():
        raise UsageError(f"{place.address}: is a file; `out` needs a folder")
    # Before a picture is read, and with what the tasks will need too: read, write, list, remove.
    probe = f"{FOLDER}/probe-{time.time_ns()}"
    try:
        data = b"img2img"
        place.write(probe, data)
        if not place.local:
            place.tells_md5 = same_stamp(Draft(place, probe, data).stamp, place.entry(probe).stamp)
        place.remove(probe)
        next(place.entries(FOLDER), None)
    except EnvironmentFault as error:
        words = str(error).removeprefix(f"{place.full(probe)}: ")
        raise EnvironmentFault(f"{place.address}: cannot be written: {words}") from None
    return place


def _temporary() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="img2img-")
    except OSError as error:
        words = describe_os_error(error)
        raise EnvironmentFault(f"no temporary folder can be made: {words}; set TMPDIR") from None


def _looked_at(request: TranslateRequest, path: Path) -> Translator:
    """The model, opened where the command is given, which may have no GPU: options that it does not
    know are refused before anything is listed."""
    if request.device == "cuda":
        request = replace(request, device="auto", precision="auto")
    return translator_of(request, path)


def _work(
    request: TranslateRequest,
    inputs: Inputs,
    out: Place,
    path: Path,
    options: Options,
    threads: int,
) -> Work:
    digest = file_sha256(path)
    stored = f"{FOLDER}/models/{digest}/{path.name}"
    if not any(True for _ in out.entries(f"{FOLDER}/models/{digest}")):
        out.write(stored, path.read_bytes())
    plain = replace(request, inputs=("-",), labels=None)
    return Work(plain, options, tuple(inputs.places), out, str(path.resolve()), digest, stored,
                threads)  # fmt: skip

"""`img2img translate`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import typer

from img2img.cli.console import (
    StopFlag,
    note,
    say,
    say_json,
    stop_flag,
)
from img2img.cli.planning import Planner, expand, is_single
from img2img.cli.progress import Listener, in_words
from img2img.cli.streams import standard_streams
from img2img.cli.wishes import Wishes
from img2img.errors import UsageError


def run(wishes: Wishes) -> None:
    """Run the command."""
    if "" in (*wishes.inputs, wishes.model, wishes.out):
        raise UsageError("an empty name was given as an input, as -o or as -m")
    if wishes.strip_metadata and wishes.strip_gps:
        raise UsageError("--strip-metadata strips the place too; leave --strip-gps out")
    for option, value in (
        ("--timeout", wishes.timeout),
        ("--max-megapixels", wishes.max_megapixels),
    ):
        if value is not None and not value <= 10**6:  # nor nan
            raise UsageError(f"{option} {value:g}: at most a million")
    if wishes.out == "-" and wishes.json:
        raise UsageError("--json writes to the standard output; it does not go with -o -")
    with standard_streams(wishes) as (inputs, out, publish):
        failed = _translate(wishes, inputs, out)
        if not failed:
            publish()
    if failed:
        raise typer.Exit(1)


def _translate(w: Wishes, inputs: list[str], out: Path) -> bool:
    from img2img._version import __version__
    from img2img.inference import (
        Extras,
        Manifest,
        Network,
        Options,
        check_beside,
        check_output,
    )
    from img2img.inference.manifest import Unrecorded
    from img2img.model_format.find import default_name, find_model, taken_for_granted
    from img2img.runners import open_runner, suffixes_for

    single = is_single(inputs, out)
    _check_combinations(w, single)
    paths = expand(inputs)
    planner = Planner(w, paths, out, single)
    jobs = planner.before_the_model()
    wish = w.model or default_name()
    path = find_model(wish, suffixes_for(w.runner), w.direction)
    granted = taken_for_granted(wish, w.direction)
    if granted:
        note(granted)
    tile, size = _tile(w.tile), _size(w.size)
    with stop_flag() as stop:

        def pixels(working: int) -> int | None:
            return _pixels_to_come(w, jobs, working if size is None else size)

        runner = open_runner(path, w.device, w.runner, w.precision, pixels, w.layout, w.range)
        network = Network(runner, size, w.strength, tile, w.batch, note, stop)
        jobs = planner.with_model(runner.info)
        place = out.parent if single else out
        check_output(place)
        if w.compare is not None:
            check_beside(w.compare, paths, jobs, place)
            check_output(w.compare)
        manifest = Unrecorded(w.overwrite)
        if not single:
            manifest = Manifest(out, _settings(w, path, network.size), w.overwrite, w.retry_failed)
        count = _say_start(w, runner, jobs, network.size)
        with _gallery(w, runner, count, network.size) as gallery:
            options = Options(
                w.quality,
                _reading(w),
                f"img2img {__version__}, model {runner.info.name}",
                w.timeout,
                extras=Extras(place, w.compare, gallery),
            )
            return _work(w, jobs, network, options, manifest, planner, out, stop)


def _reading(w: Wishes) -> Any:
    from img2img.images import Reading

    return Reading(
        deep=True,
        salvage=w.salvage,
        max_pixels=None if w.max_megapixels is None else round(w.max_megapixels * 10**6),
        metadata=_metadata(w),
    )


def _metadata(w: Wishes) -> Any:
    return "strip" if w.strip_metadata else "no-gps" if w.strip_gps else "keep"


def _say_start(w: Wishes, runner: Any, jobs: Sequence[Any], size: int) -> int:
    """Say what is going to be done; returns the number of pictures."""
    info = runner.info
    count = sum(job.ignored is None for job in jobs)
    if w.json:
        model = {"model": info.name, "runner": runner.description, "reason": runner.reason}
        trained = None if info.method == "foreign" else info.size
        scale = {"trained_size": trained, "working_size": size, "upsampling": info.upsampling}
        say_json({"event": "start", **model, **scale, "inputs": len(jobs)})
    else:
        why = f" ({runner.reason})" if runner.reason else ""
        many = f"{count} picture{'s' * (count != 1)}"
        note(f"{many}, model {info.name} ({info.direction}), {runner.description}{why}")
        trained = "" if info.method == "foreign" else f"trained at {info.size} px, "
        note(f"{trained}working at {_in_pixels(size)}; --size changes it")
    if info.method == "foreign":
        note(f"note: model {info.name} was made elsewhere; its licence and training are unknown")
    return count


def _in_pixels(size: int) -> str:
    return f"{size}" if size else "each picture's own size"


def _size(text: str | None) -> int | None:
    """Of --size: a long side in pixels, 0 for the picture's own, None for the model's."""
    if text is None or text == "full":
        return None if text is None else 0
    if not text.isascii() or not text.isdigit() or int(text) > 65536:
        raise UsageError(f"--size {text}: give a long side in pixels up to 65536, or full")
    return int(text)


def _tile(text: str) -> Any:
    if text in ("auto", "off"):
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"--tile {text}: give auto, off, or a side in pixels")
    return int(text)


_PIXELS_PER_BYTE = {".jpg": 3.0, ".jpeg": 3.0, ".webp": 5.0, ".avif": 8.0, ".heic": 6.0}


_LOOKED_AT = 1000


def _pixels_to_come(w: Wishes, jobs: Sequence[Any], size: int) -> int | None:
    """About how many pixels the network will see at the working size `size` (0: each picture's
    own), by the sizes of the files; None where that is not known. It decides only whether a faster
    runner is worth opening."""
    sources = list({job.source: None for job in jobs if job.ignored is None})
    if w.watch or not sources:
        return None
    some = sources[:: max(1, len(sources) // _LOOKED_AT)]
    most = 0.75 * size**2 if size else float("inf")  # of a picture of 4:3
    found = 0.0
    for source in some:
        with suppress(OSError):
            own = source.stat().st_size * _PIXELS_PER_BYTE.get(source.suffix.lower(), 0.5)
            found += min(own, most)
    return round(found * len(sources) / len(some))


def _gallery(w: Wishes, runner: Any, count: int, size: int) -> Any:
    """The gallery that was asked for, or nothing, as a context manager."""
    if w.gallery is None:
        return nullcontext()
    from img2img.inference.gallery import Gallery

    about = {
        "Model": f"{runner.info.name} ({runner.info.direction})",
        "Licence": runner.info.licence,
        "Run by": runner.description,
        "Made": time.strftime("%Y-%m-%d %H:%M"),
    }
    about["Working size"] = f"{size} px on the long side" if size else _in_pixels(0)
    if w.strength != 1:
        about["Strength"] = str(w.strength)
    return Gallery(w.gallery, about, count, title=f"{runner.info.name}: before and after")


def _work(
    w: Wishes,
    jobs: Sequence[Any],
    network: Any,
    options: Any,
    manifest: Any,
    planner: Planner,
    out: Path,
    stop: StopFlag,
) -> bool:
    from img2img.inference import Summary, translate, watch

    total = Summary()
    count = len(jobs)
    began = time.monotonic()
    with Listener(len(jobs), w.json) as listen:

        def work(some: Sequence[Any]) -> None:
            part = translate(some, network, options, manifest, listen, stop)
            total.done += part.done
            total.redone += part.redone
            total.skipped += part.skipped
            total.ignored += part.ignored
            total.failed += part.failed

        if w.watch:
            listen.close()
            note(f"watching {', '.join(w.inputs)}; Ctrl-C ends")
            watch(planner.again, work, stop)
            count = total.seen
        else:
            work(jobs)
    row = {
        "event": "summary",
        "done": total.done,
        "redone": total.redone,
        "skipped": total.skipped,
        "ignored": total.ignored,
        "failed": len(total.failed),
        "not_reached": count - total.seen,
        "seconds": round(time.monotonic() - began, 3),
    }
    if w.json:
        say_json(row)
    elif w.out != "-":
        say(in_words(row, out))
    stop.leave()
    return bool(total.failed)


def _check_combinations(w: Wishes, single: bool) -> None:
    if single and (w.watch or w.name != "{stem}"):
        option = "--watch" if w.watch else "--name"
        raise UsageError(f"{option} needs a folder as -o, not the file {w.out}")


def _settings(w: Wishes, model: Path, size: int) -> dict[str, Any]:
    """What decides how outputs look; where and how fast they are made is not among it."""
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": digest,
        "quality": w.quality,
        "working_size": size,
        "strength": w.strength,
        "precision": w.precision,
        "metadata": _metadata(w),
        "salvage": w.salvage,
        **({} if w.layout is None else {"layout": w.layout, "range": w.range}),
    }

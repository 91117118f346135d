"""`img2img translate`."""

from __future__ import annotations

import glob
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from img2img.cli.console import (
    PipeClosed,
    StopFlag,
    duration,
    escaped,
    note,
    say,
    say_json,
    stop_flag,
)
from img2img.errors import EnvironmentFault, PictureError, UsageError, describe_os_error

_STDIN_LIMIT = 2**31


@dataclass(frozen=True)
class Wishes:
    """The options of the command, as given."""

    inputs: list[str]
    out: str
    model: str | None
    direction: str | None
    domains: list[str]
    labels: Path | None
    runner: str
    device: str
    precision: str
    tile: str
    format: str | None
    quality: int
    name: str
    size: int | None
    strength: float
    batch: int | None
    overwrite: bool
    retry_failed: bool
    watch: bool
    follow_links: bool
    compare: Path | None
    gallery: Path | None
    strip_metadata: bool
    strip_gps: bool
    salvage: bool
    max_megapixels: float
    timeout: float
    layout: str | None
    range: str | None
    json: bool


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
        if not value <= 10**6:  # nor nan
            raise UsageError(f"{option} {value:g}: at most a million")
    if wishes.out == "-" and wishes.json:
        raise UsageError("--json writes to the standard output; it does not go with -o -")
    with _standard_streams(wishes) as (inputs, out, publish):
        failed = _translate(wishes, inputs, out)
        if not failed:
            publish()
    if failed:
        raise typer.Exit(1)


def _translate(w: Wishes, inputs: list[str], out: Path) -> bool:
    import img2img
    from img2img.pretrained import default_name, find_model, taken_for_granted
    from img2img.runners import open_runner, suffixes_for
    from img2img.translate import (
        Extras,
        Manifest,
        Network,
        Options,
        check_beside,
        check_output,
    )
    from img2img.translate.manifest import Unrecorded

    single = _is_single(inputs, out)
    _check_combinations(w, single)
    paths = _expand(inputs)
    planner = _Planner(w, paths, out, single)
    jobs = planner.before_the_model()
    wish = w.model or default_name()
    path = find_model(wish, suffixes_for(w.runner), w.direction)
    granted = taken_for_granted(wish, w.direction)
    if granted:
        note(granted)
    tile = _tile(w.tile)
    with stop_flag() as stop:
        pixels = _pixels_to_come(w, jobs)
        runner = open_runner(path, w.device, w.runner, w.precision, pixels, w.layout, w.range)
        network = Network(runner, w.size, w.strength, tile, w.batch, note, stop)
        jobs = planner.with_model(runner.info)
        place = out.parent if single else out
        check_output(place)
        if w.compare is not None:
            check_beside(w.compare, paths, jobs, place)
            check_output(w.compare)
        manifest = Unrecorded(w.overwrite)
        if not single:
            manifest = Manifest(out, _settings(w, path), w.overwrite, w.retry_failed)
        count = _say_start(w, runner, jobs)
        with _gallery(w, runner, count) as gallery:
            options = Options(
                w.quality,
                _reading(w),
                f"img2img {img2img.__version__}, model {runner.info.name}",
                w.timeout,
                extras=Extras(place, w.compare, gallery),
            )
            return _work(w, jobs, network, options, manifest, planner, out, stop)


def _reading(w: Wishes) -> Any:
    from img2img.images import Reading

    return Reading(
        deep=True,
        salvage=w.salvage,
        max_pixels=round(w.max_megapixels * 10**6),
        metadata=_metadata(w),
    )


def _metadata(w: Wishes) -> Any:
    return "strip" if w.strip_metadata else "no-gps" if w.strip_gps else "keep"


def _say_start(w: Wishes, runner: Any, jobs: Sequence[Any]) -> int:
    """Say what is going to be done; returns the number of pictures."""
    info = runner.info
    count = sum(job.ignored is None for job in jobs)
    if w.json:
        model = {"model": info.name, "runner": runner.description, "reason": runner.reason}
        say_json({"event": "start", **model, "inputs": len(jobs)})
    else:
        why = f" ({runner.reason})" if runner.reason else ""
        many = f"{count} picture{'s' * (count != 1)}"
        note(f"{many}, model {info.name} ({info.direction}), {runner.description}{why}")
    if info.method == "foreign":
        note(f"note: model {info.name} was made elsewhere; its licence and training are unknown")
    return count


def _tile(text: str) -> Any:
    if text in ("auto", "off"):
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"--tile {text}: give auto, off, or a side in pixels")
    return int(text)


_PIXELS_PER_BYTE = {".jpg": 3.0, ".jpeg": 3.0, ".webp": 5.0, ".avif": 8.0, ".heic": 6.0}
_LOOKED_AT = 1000


def _pixels_to_come(w: Wishes, jobs: Sequence[Any]) -> int | None:
    """About how many pixels the network will see, by the sizes of the files; None where that is
    not known. It decides only whether a faster runner is worth opening."""
    sources = list({job.source: None for job in jobs if job.ignored is None})
    if w.watch or not sources:
        return None
    some = sources[:: max(1, len(sources) // _LOOKED_AT)]
    if w.size is not None:
        return round(1.4 * w.size**2 * len(sources))
    found = 0.0
    for source in some:
        with suppress(OSError):
            found += source.stat().st_size * _PIXELS_PER_BYTE.get(source.suffix.lower(), 0.5)
    return round(found * len(sources) / len(some))


def _gallery(w: Wishes, runner: Any, count: int) -> Any:
    """The gallery that was asked for, or nothing, as a context manager."""
    if w.gallery is None:
        return nullcontext()
    from img2img.gallery import Gallery

    about = {
        "Model": f"{runner.info.name} ({runner.info.direction})",
        "Licence": runner.info.licence,
        "Run by": runner.description,
        "Made": time.strftime("%Y-%m-%d %H:%M"),
    }
    wishes = {"Scale": w.size, "Strength": None if w.strength == 1 else w.strength}
    about |= {label: str(value) for label, value in wishes.items() if value is not None}
    return Gallery(w.gallery, about, count, title=f"{runner.info.name}: before and after")


def _work(
    w: Wishes,
    jobs: Sequence[Any],
    network: Any,
    options: Any,
    manifest: Any,
    planner: _Planner,
    out: Path,
    stop: StopFlag,
) -> bool:
    from img2img.translate import Summary, translate, watch

    total = Summary()
    count = len(jobs)
    began = time.monotonic()
    with _Listener(len(jobs), w.json) as listen:

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
        say(_in_words(row, out))
    stop.leave()
    return bool(total.failed)


def _check_combinations(w: Wishes, single: bool) -> None:
    if single and (w.watch or w.name != "{stem}"):
        option = "--watch" if w.watch else "--name"
        raise UsageError(f"{option} needs a folder as -o, not the file {w.out}")


class _Planner:
    """Plans the jobs: first without the model, so that wrong inputs are found at once."""

    def __init__(self, w: Wishes, paths: list[Path], out: Path, single: bool):
        from img2img.images import encode_format

        self._w, self._paths, self._out, self._single = w, paths, out, single
        self._suffix = encode_format(w.format)[1] if w.format else None
        self._info: Any = None

    def before_the_model(self) -> list[Any]:
        """The jobs of a model without domains."""
        from img2img.translate import Naming, plan, plan_file

        if self._single:
            return plan_file(self._paths[0], self._out)
        naming = Naming(self._suffix, self._w.name)
        if self._w.watch and not self._filled():
            return []
        return plan(self._paths, self._out, naming, self._w.follow_links)

    def with_model(self, info: Any) -> list[Any]:
        """The jobs of the model `info`."""
        self._info = info
        from img2img.domains import targets_of

        targets = targets_of(info, self._w.domains, self._w.labels is not None)
        if self._single and len(targets) > 1:
            raise UsageError("several domains need a folder as -o")
        return self.again()

    def again(self) -> list[Any]:
        """The same, of the files that are there now."""
        from dataclasses import replace

        from img2img.domains import ALL, targets_of, vector_of
        from img2img.tables import Labels
        from img2img.translate import Naming, plan, plan_domains, plan_file

        w, info = self._w, self._info
        if w.watch and not self._filled():
            return []
        targets = targets_of(info, w.domains, w.labels is not None)
        known = Labels(w.labels, info.domains) if w.labels else None
        naming = Naming(self._suffix, w.name, info.name)
        if self._single:
            jobs = plan_file(self._paths[0], self._out)
            if not targets:
                return jobs
            own = known.of(self._paths[0]) if known else None
            if known and own is None:
                raise UsageError(f"{self._paths[0]}: no label in {w.labels}")
            vector = vector_of(info, targets[0], own)
            return [replace(job, domain=vector, domain_name=targets[0].name) for job in jobs]
        if not targets:
            return plan(self._paths, self._out, naming, w.follow_links)
        apart = len(targets) > 1 or (ALL in w.domains and ALL not in info.domains)
        return plan_domains(
            self._paths, self._out, naming, info, targets, known, apart, w.follow_links
        )

    def _filled(self) -> bool:
        """False for a watched folder without a picture, which is no fault."""
        from img2img.images import survey

        return any(
            not path.is_dir() or any(f.ignored is None for f in survey(path, self._w.follow_links))
            for path in self._paths
        )


def _is_single(inputs: list[str], out: Path) -> bool:
    """True for one file and an output that names a file."""
    from img2img.images import written_format

    if len(inputs) != 1 or out.is_dir() or written_format(out) is None:
        return False
    return not Path(inputs[0]).is_dir() and not glob.has_magic(inputs[0])


def _settings(w: Wishes, model: Path) -> dict[str, Any]:
    """What decides how outputs look; where and how fast they are made is not among it."""
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": digest,
        "quality": w.quality,
        "size": w.size,
        "strength": w.strength,
        "precision": w.precision,
        "metadata": _metadata(w),
        "salvage": w.salvage,
        **({} if w.layout is None else {"layout": w.layout, "range": w.range}),
    }


@contextmanager
def _standard_streams(w: Wishes) -> Iterator[tuple[list[str], Path, Callable[[], None]]]:
    """The inputs and the output as files, where `-` stands for a standard stream; and what sends
    the result on its way."""
    if "-" not in w.inputs and w.out != "-":
        yield w.inputs, Path(w.out), lambda: None
        return
    if "-" in w.inputs and (len(w.inputs) > 1 or w.watch):
        raise UsageError("- (the standard input) must be the only input, without --watch")
    if w.out == "-" and len(w.inputs) > 1:
        raise UsageError("-o - takes one picture")
    with _temporary_folder() as folder:
        inputs, out = w.inputs, Path(w.out)
        if inputs == ["-"]:
            inputs = [str(_from_stdin(Path(folder)))]
        if w.out == "-":
            if Path(inputs[0]).is_dir() or glob.has_magic(inputs[0]):
                raise UsageError("-o - takes one picture, not a folder")
            out = Path(folder) / f"out{_suffix_for(w, Path(inputs[0]))}"
        yield inputs, out, lambda: _to_stdout(out) if w.out == "-" else None


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="img2img-")
    except OSError as error:
        words = describe_os_error(error)
        raise EnvironmentFault(f"no temporary folder can be made: {words}; set TMPDIR") from None


def _from_stdin(folder: Path) -> Path:
    from img2img.images import FORMATS, sniff

    data = sys.stdin.buffer.read(_STDIN_LIMIT + 1) if sys.stdin else b""
    if not data:
        raise UsageError("nothing came from the standard input")
    if len(data) > _STDIN_LIMIT:
        raise UsageError("more than 2 GiB came from the standard input")
    format = sniff(data[:64])
    if format is None:
        raise PictureError("standard input: not a picture, or damaged")
    suffixes = [suffix for name, suffix in FORMATS.values() if name == format]
    path = folder / f"stdin{suffixes[0] if suffixes else '.' + format.lower()}"
    try:
        path.write_bytes(data)
    except OSError as error:
        raise EnvironmentFault(f"{path}: not written: {describe_os_error(error)}") from None
    return path


def _suffix_for(w: Wishes, source: Path) -> str:
    from img2img.images import encode_format, written_format

    if w.format:
        return encode_format(w.format)[1]
    return source.suffix if written_format(source) else ".png"


def _to_stdout(path: Path) -> None:
    if sys.stdout is None:
        raise EnvironmentFault("standard output: is closed")
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise PipeClosed from None
    except OSError as error:
        raise EnvironmentFault(f"standard output: {describe_os_error(error)}") from None


def _in_words(row: dict[str, Any], out: Path) -> str:
    parts = [f"{row['done']} translated into {escaped(str(out))}"]
    if row["done"]:
        parts[0] += f" in {duration(row['seconds'])}"
    if row["redone"]:
        parts.append(f"{row['redone']} of them again, since something had changed")
    if row["skipped"]:
        parts.append(f"{row['skipped']} there already (--overwrite translates them again)")
    if row["ignored"]:
        parts.append(f"{row['ignored']} other files left alone")
    if row["failed"]:
        parts.append(f"{row['failed']} failed")
    if row["not_reached"]:
        parts.append(f"{row['not_reached']} not reached; the same command goes on")
    return ", ".join(parts)


def _expand(inputs: list[str]) -> list[Path]:
    """Globs that the shell left alone (Windows, quotes) are expanded; names that exist win."""
    paths: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.exists() or not glob.has_magic(text):
            paths.append(path)
            continue
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise UsageError(f"{text}: nothing matches")
        paths += [Path(p) for p in found]
    return paths


_QUIET = ("hidden", "not a picture")


class _Listener:
    """Prints events as they come: JSON lines, a progress bar on a terminal, or plain lines."""

    def __init__(self, total: int, json: bool):
        self.total, self.json, self.seen = total, json, 0
        self.began = self.told = time.monotonic()
        self.bar: Any = None
        if not json and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self.bar = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> _Listener:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the progress bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def __call__(self, event: dict[str, Any]) -> None:
        self.seen += 1
        if self.json:
            say_json(event)
            return
        if event["status"] == "failed":
            note(f"failed: {event['input']}: {event['reason']}")
        if event["status"] == "ignored" and event["reason"] not in _QUIET:
            note(f"left alone: {event['input']}: {event['reason']}")
        for text in event.get("notes", ()):
            note(f"note: {event['input']}: {text}")
        if self.bar:
            self.bar.update(self.task, completed=self.seen)
        elif self.total and time.monotonic() - self.told > 10:
            self.told = time.monotonic()
            rate = self.seen / (self.told - self.began)
            left = duration(max(0, self.total - self.seen) / rate)
            note(f"{self.seen}/{self.total}, {rate:.1f} pictures/s, {left} left")

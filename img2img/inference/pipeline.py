"""Decoding, network and encoding beside each other, with bounded queues between them."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from img2img.errors import (
    EnvironmentFault,
    MemoryFault,
    PictureError,
    UsageError,
    describe_os_error,
    is_environment_fault,
)
from img2img.images import (
    HOLDS_16_BITS,
    Picture,
    Pixels,
    Reading,
    write_picture,
    written_format,
)
from img2img.inference.budget import Budget, Hold
from img2img.inference.decoders import Decoded, Decoder, Ended, Watch
from img2img.inference.gallery import compare_sheet
from img2img.inference.jobs import Event, Job, Summary
from img2img.inference.manifest import Unrecorded, Verdict
from img2img.inference.network import Domain, Stopped
from img2img.system.atomic import sweep_stale
from img2img.system.cpu import cores

_DEEP = Reading(deep=True)
WRITERS = 2  # threads that encode
_SLOTS = 24  # pictures between the decoders and the network
_BYTES = 192 * 2**20  # of pictures between decoding and the disk, unless one alone has more
_LOOK = 0.2  # seconds between two looks at the stop flag


class Pictures(Protocol):
    """What the pipeline wants of a network; `Network` is one."""

    def limit(self, pixels: Pixels) -> int:
        """How many pictures of this size at once."""
        ...

    def run(self, pictures: Sequence[Pixels], domains: Sequence[Domain] | None) -> list[Pixels]:
        """Pictures of one size and type -> the answers, of that size and type."""
        ...


class Gallery(Protocol):
    """Where pictures are shown beside their sources; safe to call from several threads."""

    def add(self, name: str, before: Pixels, after: Pixels, notes: Sequence[str] = (), /) -> None:
        """One translated picture."""
        ...

    def add_files(self, source: Path, output: Path, name: str, /) -> None:
        """One that was translated before."""
        ...

    def fail(self, name: str, reason: str, /) -> None:
        """One that could not be translated."""
        ...


@dataclass(frozen=True)
class Extras:
    """What is made beside the outputs, named as they are below `out`: side-by-side sheets in the
    folder `compare`, and a gallery."""

    out: Path = Path()
    compare: Path | None = None
    gallery: Gallery | None = None

    def name(self, job: Job) -> Path:
        """The output's path below `out`."""
        return job.target.relative_to(self.out)


@dataclass(frozen=True)
class Options:
    """How a job is done.

    Attributes:
        quality: 1..100, for JPEG, WebP and AVIF.
        reading: how pictures are read.
        software: named in the outputs' metadata, unless `reading` strips it.
        seconds: how long one picture may take to decode.
        decoders: most decoding processes; None takes as many as there are cores, up to four.
        extras: what is made beside the outputs.
    """

    quality: int = 95
    reading: Reading = _DEEP
    software: str = ""
    seconds: float = 60.0
    decoders: int | None = None
    extras: Extras = field(default_factory=Extras)


_PLAIN = Options()


def translate(
    jobs: Sequence[Job],
    network: Pictures,
    options: Options = _PLAIN,
    manifest: Unrecorded | None = None,
    listen: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Translate `jobs`; outputs appear whole or not at all, and one bad picture costs itself only.

    Pictures are decoded in processes of their own, which are killed when one takes too long.
    `manifest` says what is to be done (default: what has no output yet) and is told what was.
    `listen` is called from this thread with one event for each job, in the order in which they
    end: `{"event": "picture", "input", "output", "status": done|skipped|ignored|failed, ...}`.

    Raises:
        EnvironmentFault: nothing can be written any more (disk full, read-only), or no process
            started; what was finished stays.
    """
    for folder in {job.target.parent for job in jobs}:
        if folder.is_dir():
            sweep_stale(folder)
    return _Pipeline(jobs, network, options, manifest or Unrecorded(), listen, should_stop).run()


def reader_count(jobs: int, most: int | None = None) -> int:
    """How many decoding processes so many jobs get: at `most`, or one for each core up to four."""
    return max(1, min(most or min(cores(), 4), -(-jobs // 4)))


@dataclass
class _Item:
    """A decoded picture on its way to one output."""

    job: Job
    decoded: Decoded
    hold: Hold
    replaces: bool

    @property
    def kind(self) -> tuple[Any, ...]:
        pixels = self.decoded.picture.pixels
        return pixels.shape, pixels.dtype.str, self.job.domain is None


class _Pipeline:
    def __init__(
        self,
        jobs: Sequence[Job],
        network: Pictures,
        options: Options,
        manifest: Unrecorded,
        listen: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ):
        self._jobs, self._network, self._options = jobs, network, options
        self._manifest, self._listen, self._should_stop = manifest, listen, should_stop
        self._summary = Summary()
        self._tasks = self._grouped()
        self._tasks_lock = threading.Lock()
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._budget = Budget(_BYTES, _SLOTS)
        # Events of jobs that are not decoded wait here for their turn, too.
        self._events = threading.BoundedSemaphore(4 * _SLOTS)
        self._pending: list[_Item] = []
        self._readers = self._writing = 0
        self._writers = ThreadPoolExecutor(WRITERS)
        self._stopping = False
        self._fault: BaseException | None = None

    def run(self) -> Summary:
        self._readers = reader_count(len(self._jobs), self._options.decoders)
        decoders = [Decoder(self._options.seconds) for _ in range(self._readers)]
        threads = [threading.Thread(target=self._read, args=(d,), daemon=True) for d in decoders]
        watch = Watch(decoders)
        with self._writers:
            try:
                for thread in threads:
                    thread.start()
                while self._readers or self._pending or self._writing:
                    self._take_messages()
                    if self._fault is not None:
                        raise self._fault
                    if self._stopping and not self._writing:
                        break
                    if self._pending and not self._stopping:
                        self._infer(self._next_batch())
            finally:
                self._stopping = True
                self._budget.close()
                for decoder in decoders:
                    decoder.end()
                for thread in threads:
                    thread.join()
                for decoder in decoders:
                    decoder.close()
                watch.close()
        return self._summary

    def _grouped(self) -> Iterator[list[Job]]:
        for _, group in groupby(self._jobs, key=lambda job: job.source):
            yield list(group)

    def _next_task(self) -> list[Job] | None:
        with self._tasks_lock:
            return None if self._stopping else next(self._tasks, None)

    # In the readers' threads.

    def _read(self, decoder: Decoder) -> None:
        try:
            while (task := self._next_task()) is not None:
                self._read_task(task, decoder)
        except Ended:
            pass
        except BaseException as error:
            fault = error
            self._inbox.put(lambda: self._fail_all(fault))
        finally:
            self._inbox.put(self._reader_ended)

    def _read_task(self, task: list[Job], decoder: Decoder) -> None:
        wanted: list[tuple[Job, Verdict]] = []
        for job in task:
            if job.ignored is not None:
                self._post(job, "ignored", job.ignored)
            elif job.problem is not None:
                self._post(job, "failed", job.problem)
            else:
                verdict = self._manifest.verdict(job)
                if verdict.what == "do":
                    wanted.append((job, verdict))
                else:
                    status = "skipped" if verdict.what == "skip" else "failed"
                    self._post(job, status, verdict.reason)
        if not wanted:
            return
        if not self._budget.wait():
            return
        # Read in the depth that will be written, so that values are rounded once.
        deep = any(_format_of(job.target) in HOLDS_16_BITS for job, _ in wanted)
        reading = replace(self._options.reading, deep=self._options.reading.deep and deep)
        try:
            decoded = decoder.read(wanted[0][0].source, reading)
        except PictureError as error:
            for job, _ in wanted:
                self._manifest.failed(job, str(error))
                self._post(job, "failed", str(error))
            return
        pixels = decoded.picture.pixels
        size = pixels.nbytes * (1 + len(wanted))
        if not self._budget.take(size):
            return
        hold = Hold(self._budget, size, len(wanted))
        items = [_Item(job, decoded, hold, verdict.replaces) for job, verdict in wanted]
        self._inbox.put(lambda: self._pending.extend(items))

    def _post(self, job: Job, status: str, reason: str) -> None:
        while not self._events.acquire(timeout=_LOOK):
            if self._stopping:
                return
        self._inbox.put(lambda: self._tell_waiting(job, status, reason))

    # In the caller's thread.

    def _take_messages(self) -> None:
        if not self._stopping and self._should_stop():
            self._stopping = True
        wait = not self._pending or self._stopping
        while True:
            try:
                self._inbox.get(block=wait, timeout=_LOOK)()
            except queue.Empty:
                return
            wait = False

    def _reader_ended(self) -> None:
        self._readers -= 1

    def _fail_all(self, error: BaseException) -> None:
        self._fault = self._fault or error

    def _tell_waiting(self, job: Job, status: str, reason: str) -> None:
        if status == "skipped" and self._options.extras.gallery is not None:
            self._writing += 1
            self._writers.submit(self._show, job)  # keeps the event's place until it is shown
        else:
            self._events.release()
        if status == "failed":
            self._fail(job, reason)
            return
        if status == "ignored":
            self._summary.ignored += 1
        else:
            self._summary.skipped += 1
        self._tell(job, status, reason=reason)

    def _fail(self, job: Job, reason: str) -> None:
        self._summary.failed.append((job.source, reason))
        extras = self._options.extras
        if extras.gallery is not None:
            extras.gallery.fail(str(extras.name(job)), reason)
        self._tell(job, "failed", reason=reason)

    def _tell(self, job: Job, status: str, **more: Any) -> None:
        row: Event = {"event": "picture", "input": str(job.source), "output": str(job.target)}
        if job.domain_name:
            row["domain"] = job.domain_name
        self._listen(row | {"status": status} | more)

    def _next_batch(self) -> list[_Item]:
        """The first that waits, and those of its kind, as many as go at once."""
        first = self._pending[0]
        most = self._network.limit(first.decoded.picture.pixels)
        kind = first.kind
        batch = [item for item in self._pending if item.kind == kind][:most]
        chosen = set(map(id, batch))
        self._pending = [item for item in self._pending if id(item) not in chosen]
        return batch

    def _infer(self, batch: list[_Item]) -> None:
        pictures = [item.decoded.picture.pixels for item in batch]
        given = [item.job.domain for item in batch]
        domains = None if given[0] is None else [d for d in given if d is not None]
        try:
            answers = self._network.run(pictures, domains)
        except Stopped:
            self._stopping = True
            return
        except (MemoryFault, MemoryError, UsageError) as error:  # of one size, say
            if len(batch) > 1:
                for item in batch:
                    self._infer([item])
                return
            reason = str(error) or "does not fit the memory"
            self._manifest.failed(batch[0].job, reason)
            batch[0].hold.drop()
            self._fail(batch[0].job, reason)
            return
        for item, answer in zip(batch, answers, strict=True):
            self._writing += 1
            self._writers.submit(self._write, item, answer)

    # In the writers' threads.

    def _write(self, item: _Item, answer: Pixels) -> None:
        job, source = item.job, item.decoded.picture
        stripped = self._options.reading.metadata == "strip"
        try:
            picture = replace(
                source,
                pixels=answer,
                format=_format_of(job.target),
                software="" if stripped else self._options.software,
                notes=list(source.notes),
            )
            _make_folder(job.target.parent)
            write_picture(
                job.target,
                picture,
                self._options.quality,
                lambda temporary: self._manifest.done(job, item.decoded.digest, temporary),
            )
            self._write_extras(job, source.pixels, answer, picture)
        except PictureError as error:
            reason = str(error).removeprefix(f"{job.target}: ")
            self._inbox.put(lambda: self._not_written(item, reason))
        except BaseException as error:
            fault = error
            self._inbox.put(lambda: self._fail_all(fault))
        else:
            self._inbox.put(lambda: self._written(item, picture))

    def _write_extras(self, job: Job, before: Pixels, after: Pixels, picture: Picture) -> None:
        extras = self._options.extras
        if extras.compare is not None:
            sheet = extras.compare / extras.name(job)
            _make_folder(sheet.parent)
            both = Picture(compare_sheet(before, after), format=picture.format)
            write_picture(sheet, both, self._options.quality)
        if extras.gallery is not None:
            extras.gallery.add(str(extras.name(job)), before, after, picture.notes)

    def _show(self, job: Job) -> None:
        extras = self._options.extras
        assert extras.gallery is not None
        try:
            extras.gallery.add_files(job.source, job.target, str(extras.name(job)))
        except BaseException as error:
            fault = error
            self._inbox.put(lambda: self._fail_all(fault))
        else:
            self._inbox.put(self._shown)

    # In the caller's thread again.

    def _written(self, item: _Item, picture: Picture) -> None:
        self._writing -= 1
        item.hold.drop()
        self._summary.done += 1
        self._summary.redone += item.replaces
        height, width = picture.pixels.shape[:2]
        more: dict[str, Any] = {"salvaged": True} if picture.salvaged else {}
        more |= {"redone": True} if item.replaces else {}
        self._tell(item.job, "done", width=width, height=height, notes=picture.notes, **more)

    def _shown(self) -> None:
        self._writing -= 1
        self._events.release()

    def _not_written(self, item: _Item, reason: str) -> None:
        self._writing -= 1
        item.hold.drop()
        self._manifest.failed(item.job, reason)
        self._fail(item.job, reason)


_folder_lock = threading.Lock()


def _make_folder(folder: Path) -> None:
    try:
        with _folder_lock:
            os.makedirs(folder, exist_ok=True)
    except OSError as error:
        words = f"{folder}: {describe_os_error(error)}"
        if is_environment_fault(error):
            raise EnvironmentFault(words) from None
        raise PictureError(words) from None


def _format_of(target: Path) -> str:
    format = written_format(target)
    if format is None:
        raise UsageError(f"{target}: no format that is written has this suffix")
    return format

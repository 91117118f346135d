"""Decoding, network and encoding beside each other, with bounded queues between them."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from img2img.errors import MemoryFault, PictureError, UsageError
from img2img.images import HOLDS_16_BITS, Picture, Pixels
from img2img.inference.budget import Budget, Hold
from img2img.inference.decoders import Decoded, Decoder, Ended, Watch
from img2img.inference.events import JobEvent, Note, PictureEvent, Status, Summary, TileProgress
from img2img.inference.jobs import Job
from img2img.inference.manifest import Unrecorded, Verdict
from img2img.inference.network import Pictures, Report, Stopped
from img2img.inference.output import Options, format_of, write_output
from img2img.system.atomic import sweep_stale
from img2img.system.cpu import cores

WRITERS = 2  # threads that encode
_SLOTS = 24  # pictures between the decoders and the network
_BYTES = 192 * 2**20  # of pictures between decoding and the disk, unless one alone has more
_LOOK = 0.2  # seconds between two looks at the stop flag


_PLAIN = Options()


def translate_jobs(
    jobs: Sequence[Job],
    network: Pictures,
    options: Options = _PLAIN,
    manifest: Unrecorded | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[JobEvent, None, Summary]:
    """Translate `jobs`; outputs appear complete or not at all, and a bad picture fails alone.

    Pictures are decoded in processes of their own, which are killed when one takes too long.
    `manifest` says what is to be done (default: what has no output yet) and records what was.
    Yields a PictureEvent for each job, in the order in which they end, between them notes and how
    far a large picture is; returns the Summary. `should_stop` is asked while pictures are
    translated, at least five times a second; closing the iterator stops too. Both leave whole
    pictures only.

    Raises:
        EnvironmentFault: nothing can be written any more (disk full, read-only), or no process
            started; what was finished stays.
    """
    for folder in {job.target.parent for job in jobs}:
        if folder.is_dir():
            sweep_stale(folder)
    pipeline = _Pipeline(jobs, network, options, manifest or Unrecorded(), should_stop)
    yield from pipeline.run()
    order: dict[Path | str, int] = {
        job.source: place for place, job in reversed([*enumerate(jobs)])
    }
    pipeline.summary.failed.sort(key=lambda row: order[row[0]])
    pipeline.summary.not_reached = len(jobs) - pipeline.summary.seen
    return pipeline.summary


def run_jobs(
    jobs: Sequence[Job],
    network: Pictures,
    options: Options = _PLAIN,
    manifest: Unrecorded | None = None,
    listen: Callable[[JobEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """`translate_jobs` to its end: `listen` receives the events."""
    steps = translate_jobs(jobs, network, options, manifest, should_stop)
    while True:
        try:
            listen(next(steps))
        except StopIteration as end:
            summary: Summary = end.value
            return summary


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
    def kind(self) -> tuple[object, ...]:
        pixels = self.decoded.picture.pixels
        return pixels.shape, pixels.dtype.str, self.job.domain is None


class _Pipeline:
    def __init__(
        self,
        jobs: Sequence[Job],
        network: Pictures,
        options: Options,
        manifest: Unrecorded,
        should_stop: Callable[[], bool],
    ):
        self._jobs, self._network, self._options = jobs, network, options
        self._manifest, self._should_stop = manifest, should_stop
        self.summary = Summary()
        self._tasks = self._grouped()
        self._tasks_lock = threading.Lock()
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._budget = Budget(_BYTES, _SLOTS)
        # Events of jobs that are not decoded wait here for their turn, too.
        self._events = threading.BoundedSemaphore(4 * _SLOTS)
        self._pending: list[_Item] = []
        self._alone: deque[_Item] = deque()  # for which a batch had no memory
        self._outbox: deque[JobEvent] = deque()
        self._readers = self._writing = 0
        self._busy = False  # the network is
        self._writers = ThreadPoolExecutor(WRITERS)
        self._networks_thread = ThreadPoolExecutor(1)
        self._stopping = False
        self._fault: BaseException | None = None
        self._report = Report(self._note, self._progress, lambda: self._stopping)

    def run(self) -> Iterator[JobEvent]:
        """Do everything; events are yielded in the caller's thread."""
        self._readers = reader_count(len(self._jobs), self._options.decoders)
        decoders = [Decoder(self._options.seconds) for _ in range(self._readers)]
        threads = [threading.Thread(target=self._read, args=(d,), daemon=True) for d in decoders]
        watch = Watch(decoders)
        with self._writers, self._networks_thread:
            try:
                for thread in threads:
                    thread.start()
                yield from self._steps()
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

    def _steps(self) -> Iterator[JobEvent]:
        while self._readers or self._waiting or self._writing or self._busy:
            self._take_messages()
            while self._outbox:
                yield self._outbox.popleft()
            if self._fault is not None:
                raise self._fault
            if self._stopping and not self._writing and not self._busy:
                break
            if self._waiting and not self._stopping and not self._busy:
                self._busy = True
                self._networks_thread.submit(self._infer, self._next_batch())

    @property
    def _waiting(self) -> bool:
        return bool(self._pending or self._alone)

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
                    status: Status = "skipped" if verdict.what == "skip" else "failed"
                    self._post(job, status, verdict.reason)
        if not wanted:
            return
        if not self._budget.wait():
            return
        # Read in the depth that will be written, so that values are rounded once.
        deep = any(format_of(job.target) in HOLDS_16_BITS for job, _ in wanted)
        reading = replace(self._options.reading, deep=self._options.reading.deep and deep)
        try:
            decoded = decoder.read(wanted[0][0].source, reading)
        except PictureError as error:
            for job, _ in wanted:
                self._manifest.failed(job, str(error))
                self._post(job, "failed", str(error))
            return
        pixels = decoded.picture.pixels
        size = pixels.nbytes * (1 + len(wanted) * self._network.scale**2)
        if not self._budget.take(size):
            return
        hold = Hold(self._budget, size, len(wanted))
        items = [_Item(job, decoded, hold, verdict.replaces) for job, verdict in wanted]
        self._inbox.put(lambda: self._pending.extend(items))

    def _post(self, job: Job, status: Status, reason: str) -> None:
        while not self._events.acquire(timeout=_LOOK):
            if self._stopping:
                return
        self._inbox.put(lambda: self._tell_waiting(job, status, reason))

    # In the caller's thread.

    def _take_messages(self) -> None:
        if not self._stopping and self._should_stop():
            self._stopping = True
        wait = not self._waiting or self._stopping or self._busy
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

    def _tell_waiting(self, job: Job, status: Status, reason: str) -> None:
        if status == "skipped" and self._options.extras.gallery is not None:
            self._writing += 1
            self._writers.submit(self._show, job)  # keeps the event's place until it is shown
        else:
            self._events.release()
        if status == "failed":
            self._fail(job, reason)
        else:
            self._tell(PictureEvent(job.source, job.target, status, job.domain_name, reason))

    def _fail(self, job: Job, reason: str) -> None:
        extras = self._options.extras
        if extras.gallery is not None:
            extras.gallery.fail(str(extras.name(job)), reason)
        self._tell(PictureEvent(job.source, job.target, "failed", job.domain_name, reason))

    def _tell(self, event: PictureEvent) -> None:
        self.summary.count(event)
        self._outbox.append(event)

    def _next_batch(self) -> list[_Item]:
        """The first that waits, and those of its kind, as many as go at once."""
        if self._alone:
            return [self._alone.popleft()]
        first = self._pending[0]
        most = self._network.limit(first.decoded.picture.pixels)
        kind = first.kind
        batch = [item for item in self._pending if item.kind == kind][:most]
        chosen = set(map(id, batch))
        self._pending = [item for item in self._pending if id(item) not in chosen]
        return batch

    # In the network's thread.

    def _infer(self, batch: list[_Item]) -> None:
        pictures = [item.decoded.picture.pixels for item in batch]
        given = [item.job.domain for item in batch]
        domains = None if given[0] is None else [d for d in given if d is not None]
        try:
            answers = self._network.run(pictures, domains, self._report)
        except Stopped:
            self._inbox.put(self._left)
        except (MemoryFault, MemoryError, UsageError) as error:  # of one size, say
            reason = str(error) or "does not fit in memory"
            self._inbox.put(lambda: self._not_translated(batch, reason))
        except BaseException as error:
            fault = error
            self._inbox.put(lambda: self._fail_all(fault))
        else:
            self._inbox.put(lambda: self._translated(batch, answers))

    def _note(self, text: str) -> None:
        self._inbox.put(lambda: self._outbox.append(Note(text)))

    def _progress(self, done: int, total: int) -> None:
        self._inbox.put(lambda: self._outbox.append(TileProgress(done, total)))

    # In the caller's thread again.

    def _left(self) -> None:
        self._busy, self._stopping = False, True

    def _not_translated(self, batch: list[_Item], reason: str) -> None:
        self._busy = False
        if len(batch) > 1:
            self._alone.extend(batch)
            return
        (item,) = batch
        self._manifest.failed(item.job, reason)
        item.hold.drop()
        self._fail(item.job, reason)

    def _translated(self, batch: list[_Item], answers: list[Pixels]) -> None:
        self._busy = False
        for item, answer in zip(batch, answers, strict=True):
            self._writing += 1
            self._writers.submit(self._write, item, answer)

    # In the writers' threads.

    def _write(self, item: _Item, answer: Pixels) -> None:
        job, decoded = item.job, item.decoded

        def before(temporary: Path) -> None:
            self._manifest.done(job, decoded.digest, temporary)

        try:
            picture = write_output(job, decoded.picture, answer, self._options, before)
        except PictureError as error:
            reason = str(error).removeprefix(f"{job.target}: ")
            self._inbox.put(lambda: self._not_written(item, reason))
        except BaseException as error:
            fault = error
            self._inbox.put(lambda: self._fail_all(fault))
        else:
            self._inbox.put(lambda: self._written(item, picture))

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
        job = item.job
        height, width = picture.pixels.shape[:2]
        self._tell(
            PictureEvent(
                job.source, job.target, "done", job.domain_name, "", width, height,
                tuple(picture.notes), picture.salvaged, item.replaces,
            )
        )  # fmt: skip

    def _shown(self) -> None:
        self._writing -= 1
        self._events.release()

    def _not_written(self, item: _Item, reason: str) -> None:
        self._writing -= 1
        item.hold.drop()
        self._manifest.failed(item.job, reason)
        self._fail(item.job, reason)

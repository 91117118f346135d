"""Batches made ahead by worker processes, the same to the bit as made here.

A batch is a function of (indices, epoch, share) and of nothing else, so it does not matter which
process makes it: number k of the plan goes to worker k mod N, and the answers are taken in order.
Each worker has at most `_AHEAD` requests, which bounds the memory. Workers are spawned, never
forked, on every system: a fork of a process with running threads or CUDA may hang.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

import torch
from torch import Tensor

from img2img.data.dataset import Batch, Dataset
from img2img.errors import EnvironmentFault, Img2ImgError

_AHEAD = 2
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 120.0  # seconds until a silent worker counts as hung; the first batch includes its start


class Request(NamedTuple):
    """What `data.batch` is asked for."""

    indices: tuple[int, ...]
    epoch: int = 0
    share: slice = slice(None)


class Feed:
    """Gives the batches of a plan in order, made by `workers` processes, or here with 0.

    Use as a context: the processes end with it. `pin` puts the tensors into page-locked memory,
    from which a copy to CUDA does not wait. `warn` hears of a worker that was replaced.
    """

    def __init__(
        self,
        data: Dataset,
        workers: int = 0,
        pin: bool = False,
        warn: Callable[[str], None] = lambda text: None,
        patience: float = PATIENCE,
    ):
        self._data, self._count, self._pin = data, workers, pin
        self._warn, self._patience = warn, patience
        self._plan: Iterator[Request] = iter(())
        self._workers: list[_Worker] = []
        self._waiting: deque[tuple[int, Request]] = deque()
        self._asked = self._failures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, plan: Iterable[Request]) -> None:
        """Start the workers on `plan`, which may be endless."""
        self._plan = iter(plan)
        self._workers = [_Worker(self._data, self._pin) for _ in range(self._count)]
        self._fill()

    def take(self, request: Request) -> Batch:
        """The next batch of the plan, which must be that of `request`.

        Raises:
            EnvironmentFault: a worker died or hung for the second time in this run.
            Img2ImgError: what making the batch raised.
        """
        if not self._count:
            batch = self._data.batch(*request)
            return _pinned(batch) if self._pin else batch
        place, planned = self._waiting[0]
        if planned != request:
            raise ValueError(f"{request} is not the next of the plan, {planned}")
        batch = self._answer(place)
        self._waiting.popleft()
        self._fill()
        return batch

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _fill(self) -> None:
        while len(self._waiting) < _AHEAD * self._count:
            request = next(self._plan, None)
            if request is None:
                return
            place = self._asked % self._count
            self._asked += 1
            self._waiting.append((place, request))
            self._workers[place].ask(request)

    def _answer(self, place: int) -> Batch:
        while True:
            answer = self._workers[place].answer(self._patience)
            if isinstance(answer, _Failed):
                answer.throw()
            if not isinstance(answer, _Silent):
                return answer
            self._replace(place, answer.why)

    def _replace(self, place: int, why: str) -> None:
        self._failures += 1
        if self._failures > 1:
            raise EnvironmentFault(
                f"a data worker {why}, the second one in this run; check whether memory ran out; "
                f"the "
                f"same command resumes, and `workers={self._count - 1}` asks for fewer"
            )
        self._warn(f"a data worker {why}; restarted at the same batch")
        self._workers[place].stop()
        self._workers[place] = _Worker(self._data, self._pin)
        for where, request in self._waiting:
            if where == place:
                self._workers[place].ask(request)


class _Silent(NamedTuple):
    """Instead of a batch: the worker gave none."""

    why: str


class _Failed(NamedTuple):
    """Instead of a batch: making it raised this."""

    kind: type[Img2ImgError] | None
    text: str

    def throw(self) -> NoReturn:
        if self.kind is None:
            raise RuntimeError(f"in a data worker: {self.text}")
        error = self.kind.__new__(self.kind)
        error.args = (self.text,)
        raise error


class _Worker:
    """One process and the thread that reads its answers: a pipe that stops in the middle of an
    answer would hold up the reader for ever, and that must not be the training."""

    def __init__(self, data: Dataset, pin: bool):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, data), daemon=True)
        with _signals_held():
            self.process.start()
        theirs.close()
        self.answers: queue.SimpleQueue[Batch | _Failed | _Silent] = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, args=(pin,), daemon=True)
        self.reader.start()

    def ask(self, request: Request) -> None:
        with contextlib.suppress(OSError):  # it is dead, which its missing answer will tell
            self.pipe.send_bytes(pickle.dumps(request))

    def answer(self, patience: float) -> Batch | _Failed | _Silent:
        try:
            return self.answers.get(timeout=patience)
        except queue.Empty:
            return _Silent(f"did not answer for {patience:.0f} s")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.reader.join(10)
        self.pipe.close()

    def _read(self, pin: bool) -> None:
        try:
            while True:
                answer = pickle.loads(self.pipe.recv_bytes())
                if pin and not isinstance(answer, _Failed):
                    answer = _pinned(answer)
                self.answers.put(answer)
        except (EOFError, OSError):
            self.answers.put(_Silent("died"))


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and a scheduler's SIGTERM reach the whole group, and the training ends its workers
    itself; a process inherits what is held back when it starts, so not even its imports break."""
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    # Where it starts only with the first process, it lets the signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, data: Dataset) -> None:
    for number in _GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    while True:
        try:
            request = Request(*pickle.loads(pipe.recv_bytes()))
        except (EOFError, OSError):
            return  # the training is gone
        answer: Batch | _Failed
        try:
            answer = data.batch(*request)
        except Img2ImgError as error:
            answer = _Failed(type(error), str(error))
        except Exception:
            answer = _Failed(None, traceback.format_exc())
        try:
            # Plain pickle: torch's own way through shared memory leaves blocks behind when a
            # process is killed, and needs more of /dev/shm than containers have.
            pipe.send_bytes(pickle.dumps(answer, protocol=5))
        except OSError:
            return


def _pinned(batch: Batch) -> Batch:
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{n: v.pin_memory() for n, v in values.items() if isinstance(v, Tensor)})

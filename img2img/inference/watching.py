"""A folder that fills: pictures are translated as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from img2img.inference.jobs import Job

State = tuple[int, int]


def watch(
    look: Callable[[], Sequence[Job]], should_stop: Callable[[], bool], seconds: float = 1.0
) -> Iterator[list[Job]]:
    """Call `look` every so many `seconds` and yield the jobs whose sources are new or have changed,
    until `should_stop`.

    A file counts when its size and time are the same at two looks, so that one which is still being
    copied is left in peace.
    """
    seen: dict[Path, State] = {}
    # By target, too: a picture that comes later may change the name of one that was there before.
    handled: dict[tuple[Path, Path], State] = {}
    while not should_stop():
        ready = []
        now: dict[Path, State] = {}
        for job in look():
            if job.ignored is not None:
                continue
            if job.source not in now:
                state = _state(job.source)
                if state is None:
                    continue
                now[job.source] = state
            state = now[job.source]
            if handled.get((job.source, job.target)) != state and seen.get(job.source) == state:
                ready.append(job)
        seen = now
        if ready:
            yield ready
            handled |= {(job.source, job.target): now[job.source] for job in ready}
        _rest(seconds, should_stop)


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _rest(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not should_stop():
        time.sleep(min(0.1, seconds))

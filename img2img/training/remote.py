"""Data and run folders that are addresses: local copies before the first step, published after."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from img2img.data.mirror import mirror
from img2img.errors import EnvironmentFault
from img2img.system.places import is_address
from img2img.training.config import TrainConfig
from img2img.training.events import (
    Fetched,
    Fetching,
    Finished,
    Listener,
    Saved,
    Stopped,
    TrainingEvent,
    Validated,
    Warned,
)
from img2img.training.remote_run import Publisher, RemoteRun


def fetch_data(
    config: TrainConfig,
    listen: Listener = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Bring the copy of remote training data up to date; nothing for data of this machine.

    Raises:
        UsageError, DataError, MissingExtra, EnvironmentFault, FetchStopped: as `data.mirror`.
    """
    address = config.remote_data
    if not address:
        return

    def progress(done: int, files: int, came: int, amount: int) -> None:
        listen(Fetching(address, done, files, came, amount))

    def note(text: str) -> None:
        listen(Warned(text))

    done = mirror(address, config.cache_folder, progress, note, should_stop, _session())
    listen(Fetched(address, done.files, done.fetched, done.removed, done.bytes))


def folder_of(data: str, cache: Path | None, note: Callable[[str], None]) -> Path:
    """The folder DATA itself, or the copy of an address, brought up to date; `note` gets what is
    worth saying of it.

    Raises:
        UsageError, DataError, MissingExtra, EnvironmentFault, FetchStopped: as `data.mirror`.
    """
    return mirror(data, cache, note=note).folder if is_address(data) else Path(data)


@contextlib.contextmanager
def at_hand(
    config: TrainConfig,
    listen: Listener,
    should_stop: Callable[[], bool] = lambda: False,
    dry_run: bool = False,
) -> Iterator[Listener]:
    """Copies of remote data and of a remote run are there inside, and what the run writes is
    published; yields the listener to train with. A dry run neither fetches nor publishes a run.

    Raises:
        UsageError, DataError, MissingExtra, EnvironmentFault: a place refuses, another machine
            trains into it, or not everything could be published at the end.
    """
    run = RemoteRun(config.remote_out, config.out) if config.remote_out else None

    def fetch() -> None:
        fetch_data(config, listen, should_stop)

    if run is None or dry_run:
        fetch()
        yield listen
    elif os.environ.get("RANK", "0") == "0":
        with run.held():
            yield from _published(run, listen, fetch)
    else:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of a machine without the first process
            run.fetch()
        fetch()
        yield listen


def _published(run: RemoteRun, listen: Listener, fetch: Callable[[], None]) -> Iterator[Listener]:
    run.claim()
    publisher, warned = Publisher(run), ""

    def notify(event: TrainingEvent) -> None:
        nonlocal warned
        listen(event)
        if isinstance(event, (Saved, Validated, Stopped, Finished)):
            publisher.ask()
        if publisher.trouble != warned:
            warned = publisher.trouble
            if warned:
                listen(Warned(f"not published: {warned}; the training continues in {run.folder}"))

    try:
        if count := run.fetch():
            listen(Fetched(run.place.address, count, count, 0, 0))
    except BaseException:
        publisher.leave()
        raise
    try:
        fetch()
        yield notify
    except Exception:
        if trouble := publisher.close():
            listen(Warned(f"not published: {trouble}; the run is complete in {run.folder}"))
        raise
    except BaseException:
        publisher.leave()
        raise
    if trouble := publisher.close():
        raise EnvironmentFault(
            f"{trouble}; the run is complete in {run.folder}, and the same command publishes it"
        )


def _session() -> str:
    """What the processes of one training on this machine have in common; empty for one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ""
    names = ("MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    return ":".join([str(os.getppid()), *(os.environ.get(name, "") for name in names)])

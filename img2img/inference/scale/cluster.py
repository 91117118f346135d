"""Ray: a connection to a cluster, and the stages as one streaming Ray Data pipeline."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from img2img.errors import EnvironmentFault, MissingExtra, UsageError, first_line
from img2img.inference.scale.plan import Task
from img2img.inference.scale.rows import tasks_table
from img2img.inference.scale.stages import Translate, Work, decode, write
from img2img.system import cpu

_ANSWER = 5.0  # seconds within which a cluster's port must answer
_STORE = 2**31  # most bytes of shared memory that a Ray of our own takes
_BLOCK = 32  # most sources of a block
_TASK_CPU = 0.5  # of a decoding or writing task: it waits for the storage half of its time


@dataclass(frozen=True)
class Cluster:
    """Where and how a job runs.

    Attributes:
        address: `host:port` of a Ray cluster's head, `auto` for the one of this machine, or
            `local`: a Ray of this command's own, which ends with it.
        actors: least and most models that are open at a time; None: one and as many as the
            cluster has room for.
        gpus: of each model, also a part such as 0.25; 0: models run on the processor.
        cpus: cores of each model.

    Raises UsageError for what cannot be.
    """

    address: str
    actors: tuple[int, int] | None = None
    gpus: float = 0.0
    cpus: float = 1.0

    def __post_init__(self) -> None:
        if self.address not in ("auto", "local") and _host_port(self.address) is None:
            raise UsageError(
                f"`ray` {self.address}: give host:port of the head node, auto for the cluster of "
                "this machine, or local to start one for this command"
            )
        if self.actors is not None and not 1 <= self.actors[0] <= self.actors[1]:
            raise UsageError(f"`actors` {self.actors[0]}-{self.actors[1]}: give MIN-MAX, from 1")
        if not 0 <= self.gpus <= 64 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise UsageError(f"`gpus` {self.gpus:g}: give a fraction of one GPU, or a whole number")

    @property
    def threads(self) -> int:
        """Threads of one model on the processor."""
        return max(1, int(self.cpus))


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """A connection to the cluster inside the block. Messages of Ray go to its log files only, and
    no statistics are sent.

    Raises MissingExtra without Ray; EnvironmentFault where the cluster does not answer.
    """
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra("`ray`", "scale")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if cluster.address == "local":
        # Everything then listens on the loopback only (read when Ray is imported).
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif cluster.address != "auto":
        _check_port(cluster.address)
    import ray

    handlers = _handlers()
    try:
        with _without_stderr():
            ray.init(**_options(cluster))
        _silence()
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        words = first_line(error)
        if cluster.address == "auto" and "any running Ray instance" in str(error):
            words = "no Ray cluster runs on this machine; start one, or give local"
        elif "Failed to connect" in words and os.environ.get("RAY_AUTH_MODE") != "token":
            words += "; does it ask for a token (RAY_AUTH_MODE=token)?"
        raise EnvironmentFault(f"`ray` {cluster.address}: {words}") from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def execute(
    tasks: list[Task], work: Work, cluster: Cluster, should_stop: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Do `tasks` on the connected cluster; yield their ends as they come, in any order. A task
    whose worker or node dies is done elsewhere.

    Raises EnvironmentFault where nothing more can be done.
    """
    import ray
    from ray.data import ActorPoolStrategy

    size = _block_size(len(tasks))
    blocks = [tasks_table(tasks[at : at + size]) for at in range(0, len(tasks), size)]
    most = cluster.actors or (1, _room(cluster))
    pool = ActorPoolStrategy(min_size=most[0], max_size=most[1])
    whole: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}
    if not cluster.gpus and work.request.device == "auto":  # Ray hides no GPU from the others
        work = replace(work, request=replace(work.request, device="cpu"))
    pictures = (
        ray.data.from_arrow(blocks)
        .map_batches(partial(decode, work=work), num_cpus=_TASK_CPU, **whole)
        .map_batches(
            Translate, fn_constructor_args=(work,), compute=pool,
            num_cpus=cluster.cpus, num_gpus=cluster.gpus or None, **whole,
        )
        .map_batches(partial(write, work=work), num_cpus=_TASK_CPU, **whole)
    )  # fmt: skip
    try:
        for given in pictures.iter_batches(**whole, prefetch_batches=0):
            table: Any = given
            for text in table["end"].to_pylist():
                yield _loads(text)
            if should_stop():
                return
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise EnvironmentFault(f"`ray` {cluster.address}: {_cause(error)}") from None


def room() -> dict[str, float]:
    """What the connected cluster has: `CPU`, `GPU`, `nodes`."""
    import ray

    there = ray.cluster_resources()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return {"CPU": there.get("CPU", 0), "GPU": there.get("GPU", 0), "nodes": nodes}


def check_room(cluster: Cluster) -> None:
    """Raise EnvironmentFault when the connected cluster has no place for the least number of models
    beside a task that reads."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if cluster.gpus and all(node.get("GPU", 0) < cluster.gpus for node in nodes):
        raise EnvironmentFault(
            f"`ray` {cluster.address}: no node has {cluster.gpus:g} of a GPU; leave `gpus` out"
        )
    least, cores = (cluster.actors or (1, 1))[0], sum(node.get("CPU", 0) for node in nodes)
    needed = least * cluster.cpus + _TASK_CPU
    if cores < needed:
        raise EnvironmentFault(
            f"`ray` {cluster.address}: {cores:g} cores; at least {needed:g} are needed"
            + (f" for {least} models; give fewer `actors`" if least > 1 else "")
        )


def _room(cluster: Cluster) -> int:
    there = room()
    if cluster.gpus:
        return max(1, int(there["GPU"] / cluster.gpus))
    # A core in four is left to decoding and writing.
    return max(1, int(0.75 * there["CPU"] / cluster.cpus))


def _options(cluster: Cluster) -> dict[str, Any]:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if cluster.address == "local":
        return options | {
            "address": "local", "include_dashboard": False, "num_cpus": max(2, cpu.cores()),
            "object_store_memory": int(os.environ.get("RAY_OBJECT_STORE_BYTES", _STORE)),
        }  # fmt: skip
    host = _host_port(cluster.address)
    if host is not None and host[0].startswith("127."):
        options["_node_ip_address"] = host[0]
    return options | {"address": cluster.address}


def _check_port(address: str) -> None:
    host_port = _host_port(address)
    assert host_port is not None
    try:
        with socket.create_connection(host_port, _ANSWER) as connection:
            if not os.environ.get("RAY_USE_TLS") and not _speaks_grpc(connection):
                raise EnvironmentFault(
                    f"`ray` {address}: what answers is not the head of a Ray cluster; its port is "
                    "6379 unless `ray start` was given another"
                )
    except OSError as error:
        words = getattr(error, "strerror", None) or first_line(error)
        raise EnvironmentFault(f"`ray` {address}: does not answer: {words}") from None


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether HTTP/2 is answered by its settings (RFC 9113, sec. 3.4): `ray.init` waits for minutes
    where a web page answers."""
    connection.settimeout(_ANSWER)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    try:
        answer = connection.recv(9)
    except TimeoutError:
        return False
    return len(answer) > 3 and answer[3] == 4


def _host_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        return None
    return host.strip("[]"), int(port)


def _handlers() -> dict[int, Any]:
    """Ray takes the signals of the process that connects; they are given back."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [signal.SIGINT, signal.SIGTERM]
    return {number: signal.getsignal(number) for number in numbers}


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's core prints past Python that it prints less."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _silence() -> None:
    from ray._private import worker
    from ray.data import DataContext

    # Of workers and nodes that died, Ray prints to the standard output, where our results go.
    worker.print_to_stdstream = lambda *data, **more: None
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False


def _block_size(count: int) -> int:
    """Few enough that each core has several, also of a small job."""
    cores = max(1, int(room()["CPU"]))
    return max(1, min(_BLOCK, -(-count // (4 * cores))))


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None)
    inner = cause if isinstance(cause, BaseException) else error
    return first_line(inner)


def _loads(text: str) -> dict[str, Any]:
    import json

    row: dict[str, Any] = json.loads(text)
    return row


def installed() -> bool:
    """True where Ray can run: it has no wheels for every Python and system."""
    return importlib.util.find_spec("ray") is not None and sys.platform != "win32"

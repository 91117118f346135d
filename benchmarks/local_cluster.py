"""A Ray cluster of two nodes and an S3 server on this machine, for tests and measurements.

Both are processes of their own that listen on the loopback only: the nodes of `ray.cluster_utils`
(two raylets under one head), the server of moto. On Linux, where 127.0.0.2 is a loopback address
that Ray does not replace by that of the network.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.2"
STORE = 200 * 2**20  # bytes of shared memory of a node
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def s3_server(bucket: str = "museum", free_requests: int | None = None) -> Iterator[dict[str, str]]:
    """An S3 server with one bucket; yields the environment in which it is found. After
    `free_requests` it asks for rights (IAM)."""
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    more = {} if free_requests is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(free_requests)}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | environment | more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        _wait_for(environment["AWS_ENDPOINT_URL"], process)
        client("s3", environment).create_bucket(Bucket=bucket)
        yield environment
    finally:
        process.terminate()
        process.wait()


def client(service: str, environment: dict[str, str]) -> Any:
    """A client of boto3 for the server."""
    import boto3

    return boto3.client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError("the S3 server did not start")


class Nodes:
    """A running cluster: a head and a second node.

    Attributes:
        address: for `--ray`.
    """

    def __init__(self, cluster: Any, cpus: int):
        self._cluster, self._cpus = cluster, cpus
        self.address: str = cluster.address
        self._second = self._add()

    def _add(self) -> Any:
        return self._cluster.add_node(
            num_cpus=self._cpus, object_store_memory=STORE, node_ip_address=LOOPBACK
        )

    def workers(self, kind: str) -> list[int]:
        """Processes of the actors (`actor`) or of other tasks (`task`) of both nodes."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if not title.startswith("ray::") or title.startswith(_AGENTS):
                continue
            actor = title.startswith("ray::MapWorker")
            if parent in self.raylets() and actor == (kind == "actor"):
                found.append(int(folder.name))
        return found

    def raylets(self) -> list[int]:
        """Process numbers of the raylets: of the head, and of the second node."""
        nodes = self._cluster.list_all_nodes()
        return [node.all_processes["raylet"][0].process.pid for node in nodes]

    def kill_worker(self, kind: str, choose: random.Random) -> bool:
        """Kill a process of this kind; False if none is running."""
        there = self.workers(kind)
        if there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(choose.choice(sorted(there)), signal.SIGKILL)
        return bool(there)

    def kill_node(self) -> None:
        """SIGKILL to the raylet of the second node, with all that it holds."""
        self._cluster.remove_node(self._second, allow_graceful=False)

    def add_node(self) -> None:
        """A second node again, in place of one that was killed."""
        self._second = self._add()


@contextlib.contextmanager
def two_nodes(cpus: int = 2) -> Iterator[Nodes]:
    """A cluster of two nodes with so many cores each; its processes are gone afterwards."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": cpus, "object_store_memory": STORE, "node_ip_address": LOOPBACK,
        "include_dashboard": False,
    }  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield Nodes(cluster, cpus)
    finally:
        cluster.shutdown()

"""`img2img serve` under more load than it can take.

    python benchmarks/serve.py [--model painting] [--times 3] [--seconds 30] [--side 256] [--json]

Starts the server in a process of its own on a free port, with a queue of `--queue` pictures, and
measures its capacity: pictures per second with as many clients as the queue has places, for a third
of the time. Then `--times` as many requests per second are sent, at fixed moments, whether earlier
ones are answered or not (an open loop). Prints how many were answered with 200 and with 503, how
many were lost (no answer, or another one), the 50th and 99th percentile of the seconds to an answer
of 200, and the memory of the server and its decoders before and after, in MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

_MIB = 2**20
_LOST = 0


def photograph(side: int) -> bytes:
    """A smooth JPEG of side x side."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def memory(pid: int) -> float:
    """Resident memory of a process and its children, in MiB (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
    return own / _MIB + sum(map(memory, children_of(pid)))


def children_of(pid: int) -> list[int]:
    """The processes that a process has started (Linux); none once it has ended."""
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


async def ask(client: httpx.AsyncClient, data: bytes) -> tuple[int, float]:
    """Status, or `_LOST`, and seconds of one request."""
    began = time.perf_counter()
    try:
        answer = await client.post("/v1/translate", content=data)
        status = answer.status_code
    except httpx.HTTPError:
        status = _LOST
    return status, time.perf_counter() - began


async def capacity(client: httpx.AsyncClient, data: bytes, clients: int, seconds: float) -> float:
    """Pictures per second with so many clients, each of which waits for its answer."""
    end = time.perf_counter() + seconds
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            status, _ = await ask(client, data)
            done += status == 200 and time.perf_counter() < end

    await asyncio.gather(*(work() for _ in range(clients)))
    return done / seconds


async def flood(
    client: httpx.AsyncClient, data: bytes, rate: float, seconds: float
) -> list[tuple[int, float]]:
    """`rate` requests a second for so long; what became of them."""
    began = time.perf_counter()
    tasks = []
    for k in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + k / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(client, data)))
    return list(await asyncio.gather(*tasks))


async def measure(address: str, pid: int, options: argparse.Namespace) -> dict[str, object]:
    """Both measurements."""
    data = photograph(options.side)
    limits = httpx.Limits(max_connections=400)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        await ask(client, data)
        most = await capacity(client, data, options.queue, options.seconds / 3)
        before = memory(pid)
        found = await flood(client, data, max(1.0, options.times * most), options.seconds * 2 / 3)
        after = memory(pid)
    counts = Counter(status for status, _ in found)
    taken = sorted(seconds for status, seconds in found if status == 200) or [float("nan")]
    return {
        "capacity": round(most, 2),
        "sent": len(found),
        "200": counts[200],
        "503": counts[503],
        "lost": len(found) - counts[200] - counts[503],
        "p50": round(taken[len(taken) // 2], 2),
        "p99": round(taken[min(len(taken) - 1, len(taken) * 99 // 100)], 2),
        "memory_before": round(before),
        "memory_after": round(after),
    }


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="painting")
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--queue", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    command = [
        sys.executable, "-m", "img2img.cli", "serve", options.model, "--port", "0",
        "--runner", "onnxruntime", "--queue", str(options.queue),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        found = asyncio.run(measure(address, process.pid, options))
    finally:
        process.terminate()
        code = process.wait()
    found["exit"] = code
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:14} {value}")


if __name__ == "__main__":
    main()

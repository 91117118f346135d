"""What translating on a Ray cluster costs and survives, measured on this machine (Linux).

    python benchmarks/ray_scale.py identity [--count 2000]
    python benchmarks/ray_scale.py overhead [--count 200] [--side 512] [--rounds 2]
    python benchmarks/ray_scale.py kills [--count 20] [--pictures 60]
    python benchmarks/ray_scale.py names [--count 1000000]

`identity`: outputs of a cluster of two nodes, from an S3 server and into it, against those of one
machine, byte by byte. `overhead`: pictures per second, and processor seconds of all processes for
each picture, without what is spent once: a Ray of this machine's cores with one actor against
`translate_folder`, both with one core for the network and one decoder; ratios, measured in turns.
On a machine with other work only the processor seconds mean something. `kills`: jobs amid
which an actor, a worker of a task and a node are killed at random moments; pictures that are lost
or have two ends are counted. `names`: so many synthetic names are planned, recorded and planned
again, without pictures and without Ray; seconds, and the memory at every tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from local_cluster import STORE, Nodes, client, s3_server, two_nodes
from PIL import Image
from watched import statuses

from img2img.inference import Started, Summary, TranslateRequest, translate_folder
from img2img.inference.naming import Naming
from img2img.inference.scale import Cluster, Place, Record, Records, translate_on_ray
from img2img.inference.scale.plan import Plan
from img2img.inference.scale.sources import Inputs, Source
from img2img.inference.translator import Translator
from img2img.model_format.info import ModelInfo
from img2img.system import cpu
from img2img.system.places import Entry

_RECORDED = 1000  # rows of a part in `names`


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Smooth pictures, JPEG and PNG, a hundred in each folder."""
    choose = np.random.default_rng(0)
    for number in range(count):
        below = folder / f"{number // 100:04}"
        below.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(choose.integers(0, 256, (6, 6, 3), np.uint8))
        picture = coarse.resize((side + number % 5, side), Image.Resampling.BICUBIC)
        picture.save(below / f"{number:06}.{('jpg', 'png')[number % 2]}")


def files(folder: Path) -> dict[str, bytes]:
    """The outputs of a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*.*")
        if p.is_file() and ".img2img" not in p.parts
    }


def upload(environment: dict[str, str], folder: Path, prefix: str) -> None:
    """Put the pictures of a folder into the bucket."""
    there = client("s3", environment)
    for name, data in files(folder).items():
        there.put_object(Bucket="museum", Key=f"{prefix}/{name}", Body=data)


def objects(environment: dict[str, str], prefix: str) -> dict[str, bytes]:
    """The outputs below a prefix of the bucket."""
    there = client("s3", environment)
    pages = there.get_paginator("list_objects_v2").paginate(Bucket="museum", Prefix=f"{prefix}/")
    keys = [row["Key"] for page in pages for row in page.get("Contents", ())]
    return {
        key[len(prefix) + 1 :]: there.get_object(Bucket="museum", Key=key)["Body"].read()
        for key in keys
        if "/.img2img/" not in key
    }


def command(model: str, address: str, source: str, out: str) -> list[str]:
    """The command that is measured."""
    program = [sys.executable, "-m", "img2img.cli", "translate", source, "-o", out, "-m", model]
    return [*program, "--runner", "onnxruntime", "--ray", address, "--json"]


def one_machine(model: str, photos: Path, out: Path) -> TranslateRequest:
    """The same for one machine."""
    return TranslateRequest(inputs=(photos,), out=out, model=model, runner="onnxruntime")


def identity(model: str, count: int) -> None:
    """Print how many outputs differ."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_pictures(folder / "in", count, 64)
        list(translate_folder(one_machine(model, folder / "in", folder / "one")))
        wanted = files(folder / "one")
        environment = stack.enter_context(s3_server())
        os.environ.update(environment)
        upload(environment, folder / "in", "scans")
        nodes = stack.enter_context(two_nodes())
        began = time.monotonic()
        line = command(model, nodes.address, "s3://museum/scans", "s3://museum/out")
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - began
        found = objects(environment, "out")
    summary = json.loads(done.stdout.splitlines()[-1])
    differ = sum(found.get(name) != data for name, data in wanted.items())
    print(f"{len(wanted)} outputs, {len(found)} by Ray, {differ} differ; {seconds:.0f} s")
    print(json.dumps(summary))


def processor_seconds() -> float:
    """Of this process, those that it started, and those that these started."""
    rows = dict(statuses())
    ours = {os.getpid()}
    new = set(ours)
    while new:
        new = {pid for pid, fields in rows.items() if int(fields[1]) in ours} - ours
        ours |= new
    ticks = sum(int(value) for pid in ours if pid in rows for value in rows[pid][11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def spent(events: Iterator[Any]) -> tuple[float, float]:
    """Seconds and processor seconds between the start and the end of a job."""
    began = time.monotonic(), processor_seconds()
    for event in events:
        if isinstance(event, Started):
            began = time.monotonic(), processor_seconds()
        elif isinstance(event, Summary):
            return time.monotonic() - began[0], processor_seconds() - began[1]
    raise RuntimeError("a job without an end")


def each(job: Callable[[Path], Iterator[Any]], few: Path, many: Path) -> tuple[float, float]:
    """Seconds and processor seconds for each picture that `many` has more than `few`, so that what
    is spent once (workers that start, a model that is opened) is not counted."""
    small, large = spent(job(few)), spent(job(many))
    more = len(files(many)) - len(files(few))
    return (large[0] - small[0]) / more, (large[1] - small[1]) / more


def overhead(model: str, count: int, side: int, rounds: int) -> None:
    """Print what a picture costs on one machine and by Ray, and the ratios, of rounds in turns."""
    os.environ["RAY_OBJECT_STORE_BYTES"] = str(STORE)
    cpu.share(1)  # as an actor: one core for the network, and a decoder beside it
    ratios, cluster = [], Cluster("local", (1, 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = folder / "few", folder / "many"
        write_pictures(few, count // 4, side)
        write_pictures(many, count, side)
        for number in range(rounds):

            def request(photos: Path, what: str, turn: int = number) -> TranslateRequest:
                return one_machine(model, photos, folder / f"{what}-{photos.name}-{turn}")

            one = each(lambda p: translate_folder(request(p, "one")), few, many)
            ray = each(lambda p: translate_on_ray(request(p, "ray"), cluster), few, many)
            ratios.append((one[0] / ray[0], one[1] / ray[1]))
            for what, (seconds, processor) in (("one machine", one), ("Ray", ray)):
                print(f"{what}: {1 / seconds:.2f} pictures/s, {processor:.3f} processor s each")
    for place, what in enumerate(("pictures/s", "processor seconds")):
        values = sorted(ratio[place] for ratio in ratios)
        print(f"{what}: median ratio {values[rounds // 2]:.2f} (1: Ray costs nothing)")


def killed_job(
    nodes: Nodes, line: list[str], choose: random.Random, pictures: int
) -> tuple[list[Any], list[str]]:
    """The rows of a command, and what was killed: from three random pictures of it on an actor, a
    worker of a task and a node, each as soon as there is one."""
    rows: list[Any] = []
    moments = sorted(choose.sample(range(1, pictures // 2), 3))
    kinds, hits = ["actor", "task", "node"], list[str]()
    choose.shuffle(kinds)
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for text in process.stdout:
        rows.append(json.loads(text))
        if not kinds or len(rows) <= moments[-len(kinds)] or rows[-1]["event"] == "summary":
            continue
        for kind in kinds:
            if kind == "node" or nodes.kill_worker(kind, choose):
                if kind == "node":
                    nodes.kill_node()
                hits.append(kind)
                kinds.remove(kind)
                break
    process.wait()
    if "node" in hits:
        nodes.add_node()
    return rows, hits


def kills(model: str, count: int, pictures: int) -> None:
    """Print how many of `count` jobs completed, and pictures lost and doubled in all."""
    complete = lost = doubled = hit = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_pictures(folder / "in", pictures, 64)
        list(translate_folder(one_machine(model, folder / "in", folder / "one")))
        wanted = files(folder / "one")
        environment = stack.enter_context(s3_server())
        os.environ.update(environment)
        upload(environment, folder / "in", "scans")
        nodes = stack.enter_context(two_nodes())
        for number in range(count):
            out = f"out{number}"
            line = command(model, nodes.address, "s3://museum/scans", f"s3://museum/{out}")
            rows, hits = killed_job(nodes, line, random.Random(number), pictures)
            ends = [row["input"] for row in rows if row["event"] == "picture"]
            found = objects(environment, out)
            hit += len(hits)
            complete += bool(rows) and rows[-1].get("done") == pictures
            lost += sum(found.get(name) != data for name, data in wanted.items())
            doubled += len(ends) - len(set(ends)) + len(set(found) - set(wanted))
            print(f"job {number}: killed {', '.join(hits)}; {rows[-1]}", flush=True)
    print(
        f"{complete}/{count} jobs complete, {hit}/{3 * count} kills hit, {lost} pictures lost, "
        f"{doubled} doubled"
    )


class Synthetic(Inputs):
    """Names that nobody has written anywhere."""

    def __init__(self, count: int, out: Place, listen: Callable[[int], None]):
        super().__init__((), out)
        self.places = [Place("memory://scans")]
        self._count, self._listen = count, listen

    def __iter__(self) -> Iterator[Source]:
        for number in range(self._count):
            if number % (self._count // 10) == 0:
                self._listen(number)
            yield Source(0, f"{number // 1000:07}/scan-{number:09}.jpg", f"1000:{number:032x}")


class Written(Place):
    """An output folder whose listing has all the outputs, when `filled`."""

    filled = False
    count = 0

    def entries(self, below: str = "") -> Iterator[Entry]:
        """As if the outputs were there."""
        if below or not self.filled:
            yield from super().entries(below)
            return
        for number in range(self.count):
            name = f"{number // 1000:07}/scan-{number:09}.jpg"
            yield Entry(name, 7, f"7:{number:032x}")


def names(model: str, count: int) -> None:
    """Print seconds and memory of planning, recording and planning again."""
    with Translator(model, runner="onnxruntime") as translator:
        info = translator.info
    with tempfile.TemporaryDirectory() as name:
        out = Written(Path(name) / "out")
        out.count = count
        records = Records(out)
        for what in ("planned", "planned again"):
            seen: list[float] = []
            began = time.monotonic()
            plan = planned(count, out, records, info, Path(name) / what, seen)
            seconds = time.monotonic() - began
            shown = " ".join(f"{size:.0f}" for size in seen)
            print(f"{what}: {seconds:.0f} s, {plan.todo} to do, {plan.ended} ended; MB: {shown}")
            if what == "planned":
                began = time.monotonic()
                recorded(plan, records)
                print(f"recorded: {time.monotonic() - began:.0f} s; {memory():.0f} MB", flush=True)
                out.filled = True


def planned(
    count: int, out: Place, records: Records, info: ModelInfo, folder: Path, seen: list[float]
) -> Plan:
    """The plan of `count` synthetic names."""
    folder.mkdir()
    inputs = Synthetic(count, out, lambda number: seen.append(memory()))
    request = TranslateRequest(inputs=("memory://scans",), out="out")
    plan = Plan(request, inputs, out, records, "settings", info, Naming(), folder)
    seen.append(memory())
    return plan


def recorded(plan: Plan, records: Records) -> None:
    """Record every task as done, in parts, and compact them every 200 000."""
    some: list[Record] = []
    for number, task in enumerate(plan.tasks(), 1):
        mark = int(task["name"].rpartition("-")[2].removesuffix(".jpg"))
        some.append(
            Record(task["key"], task["output"], task["name"], task["stamp"], True, "settings",
                   "digest", "", f"7:{mark:032x}")
        )  # fmt: skip
        if len(some) == _RECORDED or number == plan.todo:
            records.append(some)
            some = []
        if number % 200_000 == 0 or number == plan.todo:
            records.compact(plan.todo)


def memory() -> float:
    """Resident megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("identity", "overhead", "kills", "names"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--model", default="painting")
    given = parser.parse_args()
    if given.what == "identity":
        identity(given.model, given.count or 2000)
    elif given.what == "overhead":
        overhead(given.model, given.count or 200, given.side, given.rounds)
    elif given.what == "kills":
        kills(given.model, given.count or 20, given.pictures)
    else:
        names(given.model, given.count or 1_000_000)


if __name__ == "__main__":
    main()

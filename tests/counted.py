"""What a folder job holds on to, counted exactly while it runs, at picture k and at picture 2k.

A slope of memory over a few hundred pictures is noise: an allocator grows in steps. Counts are not:
what is in work at one moment is bounded by the pipeline's queues, and what leaks is there once a
picture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# Runs the real command in this process and looks at two pictures of it.
_PROGRAM = """
import collections, gc, json, os, sys, threading, tracemalloc
from pathlib import Path
import numpy as np
from img2img.cli import main, progress

at, report, said = [int(n) for n in sys.argv[1].split(",")], sys.argv[2], progress.say_json
del sys.argv[1:3]
seen, rows = 0, []

def look():
    gc.collect()
    types = collections.Counter(type(o).__module__ + "." + type(o).__name__ for o in gc.get_objects())
    live = 0  # arrays that are alive and were made since the first look
    if tracemalloc.is_tracing():
        only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        live = len(tracemalloc.take_snapshot().filter_traces([only]).traces)
    tracemalloc.start()
    return {"types": types, "arrays": live, "threads": threading.active_count(),
            "handles": len(os.listdir("/proc/self/fd")),
            "children": sum(len(path.read_text().split())
                            for path in Path("/proc/self/task").glob("*/children"))}

def say(event):
    global seen
    said(event)
    if event["event"] == "picture":
        seen += 1
        MORE
        if seen in at:
            rows.append(look())
            open(report, "w").write(json.dumps(rows))

progress.say_json = say
main()
"""
IN_WORK = 128  # more than the queues of a job of tiny pictures hold at any moment
# The manifest keeps one record of each output; nothing else may grow with the pictures.
KEPT = {"img2img.inference.manifest._Entry": 1}


def growth(
    arguments: Sequence[object], first: int, second: int, folder: Path, more: str = "pass"
) -> list[str]:
    """Run `img2img translate` and list what grew from picture `first` to picture `second` by more
    than can be in work at a moment. `more` is Python that runs for each picture."""
    report = folder / "counts.json"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.replace("MORE", more),
         f"{first},{second}", str(report), "translate", *map(str, arguments), "--json"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode or not report.exists():
        return [f"exit {done.returncode}: {done.stderr[-500:]}"]
    before, after = json.loads(report.read_text())
    grown = {name: after[name] - before[name] for name in before if name != "types"}
    wrong = [f"{name}: {n} more" for name, n in grown.items() if n > IN_WORK]
    for name, count in after["types"].items():
        n = count - before["types"].get(name, 0)
        if n > KEPT.get(name, 0) * (second - first) + IN_WORK:
            wrong.append(f"{name}: {n} more")
    return wrong


def calls(function: Callable[[], object]) -> int:
    """How many functions, Python's and C's, `function` calls in this thread: a measure of work that
    is the same on every machine, however busy."""
    count = 0

    def look(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count

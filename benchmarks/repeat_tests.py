"""Runs the tests many times, some of them with a load on every core, and prints a table.

    python benchmarks/repeat_tests.py [--times 20] [--loaded 10] [--clock 1] [-- PYTEST ARGUMENTS]

Runs the test part of the README's second command with the interpreter that runs this script. The
output of each run is kept in the folder `--logs`; the exit status is 1 if any run failed.

With `--clock 10` the clocks by which programs measure time run ten times as fast, in pytest and in
every Python that it starts: whatever is judged by the clock sees a machine a tenth as fast, and a
test that would fail now and then on a busy machine fails every time.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CLOCK = """
import time


def _faster(clock):
    began = clock()
    return lambda: began + (clock() - began) * {factor}


time.monotonic, time.perf_counter = _faster(time.monotonic), _faster(time.perf_counter)
"""
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the tests, print one line for each run, then the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--loaded", type=int, default=10, help="how many of them with load")
    parser.add_argument("--clock", type=float, default=1, help="how fast it runs; default: 1")
    parser.add_argument("--logs", type=Path, default=Path("repeated"))
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the load ends too
    options.logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.clock != 1:
            (Path(folder) / "sitecustomize.py").write_text(_CLOCK.format(factor=options.clock))
            os.environ["PYTHONPATH"] = os.pathsep.join(
                filter(None, (folder, os.environ.get("PYTHONPATH")))
            )
        repeat(options)


def repeat(options: argparse.Namespace) -> None:
    """The runs, one after another; exits with 1 if any failed."""
    failed = {False: 0, True: 0}
    print("| run | load | exit | minutes | result |\n|---|---|---|---|---|", flush=True)
    for number in range(options.times):
        loaded = number >= options.times - options.loaded
        code, minutes, last = once(options.pytest, loaded, options.logs / f"{number:03}.txt")
        failed[loaded] += code != 0
        words = "every core" if loaded else "none"
        print(f"| {number} | {words} | {code} | {minutes:.1f} | {last} |", flush=True)
    plain = options.times - options.loaded
    print(f"\nfailed: {failed[False]} of {plain} alone, {failed[True]} of {options.loaded} loaded")
    sys.exit(1 if any(failed.values()) else 0)


def once(arguments: list[str], loaded: bool, log: Path) -> tuple[int, float, str]:
    """One run of the tests: exit status, minutes, and the last line of what pytest printed."""
    spin = [sys.executable, "-c", "while True: pass"]
    load = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)] if loaded else []
    began = time.monotonic()
    try:
        with open(log, "wb") as file:
            command = [sys.executable, "-m", "pytest", "-n", "auto", *arguments]
            code = subprocess.call(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    finally:
        for process in load:
            process.kill()
            process.wait()
    lines = log.read_text(errors="replace").splitlines() or [""]
    return code, (time.monotonic() - began) / 60, lines[-1].strip("= ")


if __name__ == "__main__":
    main()

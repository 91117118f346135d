"""Seconds that `img2img evaluate` takes: pairs, sets, and the critic.

    python benchmarks/evaluate_speed.py [--pairs 1000] [--sets 2000] [--critic 5000] [--side 256]

Made pictures (noise of several scales, as JPEG). Each command is a process of its own and is judged
with its start; the table has its seconds, its seconds of processor time and its most memory.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from evaluate_memory import PAIRS, measured, write


def main() -> None:
    """Make the pictures, run the commands, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--critic", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        fake, real = Path(name) / "fake", Path(name) / "real"
        most = max(options.pairs, options.sets)
        for seed, folder in enumerate((fake, real)):
            write(folder, most, options.side, seed)
        small = [Path(name) / word for word in ("fake small", "real small")]
        for seed, folder in enumerate(small):
            write(folder, options.critic, 64, seed)
        print("| figures | pictures | seconds | CPU seconds | MB |\n|---|---|---|---|---|")
        plain = [word for name in PAIRS for word in ("--metric", name)]
        pairs = ["--fake", fake, "--real", real, "--paired"]
        sets = ["--fake", fake, "--real", real, "--unpaired"]
        apart = ["--fake", small[0], "--real", small[1], "--unpaired", "--critic"]
        alone = ["--features", "none"]  # no figures of sets
        for words, count, command in (
            ("pairs, no networks", options.pairs, [*pairs, *alone, *plain]),
            ("pairs, also VGG19's distance", options.pairs, [*pairs, *alone]),
            ("pairs, default: also as two sets", options.pairs, pairs),
            ("two sets, default", options.sets, sets),
            ("critic", options.critic, [*apart, *alone]),
        ):
            row = measured(*command, "--most", count)
            values = " | ".join(f"{value:.0f}" for value in row)
            print(f"| {words} | {count} | {values} |", flush=True)


if __name__ == "__main__":
    main()

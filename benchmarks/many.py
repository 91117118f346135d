"""Checks that memory and open files do not grow over very many pictures.

    python benchmarks/many.py [--count 10000] [--side 8] [--model MODEL]

Writes `--count` small PNGs into a temporary folder, translates them with the real command, and fits
a line to the memory and the handles of its processes over the number of finished pictures (Linux).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from watched import slope, write_pictures


def main() -> None:
    """Print the slopes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--model", default="sketch2avatar")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "in", arguments.count, arguments.side)
        command = [folder / "in", "-o", folder / "out", "-m", arguments.model]
        rise = slope(command, max(1, arguments.count // 200))
    print(f"{rise.pictures} pictures, {rise.pictures / rise.seconds:.0f} per second")
    print(f"memory: {rise.bytes:+.0f} bytes per picture, at most {rise.memory / 1e6:.0f} MB")
    print(f"handles: {rise.handles:+.5f} per picture")


if __name__ == "__main__":
    main()

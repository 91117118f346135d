"""The cost of enlarging a result: milliseconds per megapixel, `plain` against `guided`, and the
peak memory in addition to the picture and its result.

    python -m benchmarks.enlarge [--width 4000] [--height 3000] [--size 640] [--rounds 3]

CPU time of one thread; the picture is generated (`img2img.runners.trial`), the result is its
negative.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from img2img.images import Pixels, enlarge_guided, scale_pixels, working_shape
from img2img.runners.trial import made_pictures
from img2img.system.memory import process_peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    small = made_pictures(given.height // 4, given.width // 4, 1)[0]
    eight = scale_pixels(small, given.width, given.height)
    for picture in (eight, eight.astype(np.uint16) * np.uint16(257)):
        measure(picture, given.size, given.rounds)


def measure(picture: Pixels, size: int, rounds: int) -> None:
    """Print a line for each of them."""
    height, width = picture.shape[:2]
    seen_height, seen_width = working_shape(height, width, size)
    seen = scale_pixels(picture, seen_width, seen_height)
    answer = np.iinfo(picture.dtype).max - seen
    ways: dict[str, Callable[[], Pixels]] = {
        "reduced": lambda: scale_pixels(picture, seen_width, seen_height),
        "plain": lambda: scale_pixels(answer, width, height),
        "guided": lambda: enlarge_guided(answer, picture, seen),
    }
    for name, way in ways.items():
        before, times = process_peak(), []
        for _ in range(rounds):
            began = time.thread_time()
            made = way()
            times.append(time.thread_time() - began)
        each = 1000 * float(np.median(times))
        more = max(0, process_peak() - before - made.nbytes) / 2**20
        print(
            f"{picture.dtype} {width}x{height} at {size}: {name:8} {each:7.1f} ms, "
            f"{each / (width * height / 1e6):5.1f} ms a megapixel, peak {more:.0f} MB more"
        )


if __name__ == "__main__":
    main()

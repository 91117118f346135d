"""Tiles compared with the whole picture: difference, seconds and peak memory.

    python benchmarks/tiles.py MODEL PICTURES... [--tile N] [--megapixels 100] [--out FOLDER]

Each picture is translated by the model (.onnx or .safetensors) on the CPU, as a whole in one
process and in tiles in another. Prints PSNR of the tiled result against the whole one (dB), the
greatest difference (levels), wall-clock and CPU seconds of the network, and the peak memory of the
process, which holds Python, the model and the picture. Without --tile, tiles have the size that
`--tile auto` uses for a picture that does not fit in memory.

With --megapixels, a JPEG of that size is assembled from the pictures, mirrored side by side, and
translated in one process (decoding, tiles and encoding), whose peak memory is printed. --out keeps
the results.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from img2img.images import Picture, Pixels, read_picture, write_picture
from img2img.runners import open_runner
from img2img.tiling.tiles import tile_for, translate_tiled

_LIMIT = 640 * 2**20  # bytes of memory for one pass, so that the pictures are tiled here


def peak() -> float:
    """The peak memory of this process, in MB."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def one(pipe: Connection, model: Path, source: Path, target: Path, tile: int | None) -> None:
    """Translate one file and send (seconds, CPU seconds, peak MB, tile)."""
    runner = open_runner(model, "cpu")
    picture = read_picture(source)
    domain = [1.0] + [0.0] * (len(runner.info.domains) - 1) if runner.info.domains else None
    start, busy = time.perf_counter(), time.process_time()
    if tile is None:
        made = runner(picture.pixels, domain)
    else:
        height, width = picture.pixels.shape[:2]
        small = tile_for(runner, height, width, "auto", min(_LIMIT, height * width * 100))
        tile = tile or small or max(height, width)
        tiled = translate_tiled(runner, picture.pixels, domain, tile)
        assert tiled is not None
        made = tiled
    spent = time.perf_counter() - start, time.process_time() - busy
    picture.pixels, picture.format = made, "PNG"
    write_picture(target, picture)
    pipe.send((*spent, peak(), tile))


def measured(model: Path, source: Path, target: Path, tile: int | None) -> tuple[float, ...]:
    """Run `one` in a separate process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=one, args=(theirs, model, source, target, tile)
    )
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise SystemExit(f"{source}: the process ended without a result") from None
    finally:
        process.join()


def large(pictures: list[Path], megapixels: float) -> Pixels:
    """Pictures side by side, every second one mirrored, cropped to a square."""
    side = round((megapixels * 10**6) ** 0.5)
    out = np.empty((side, side, 3), np.uint8)
    top, k = 0, 0
    while top < side:
        left, tallest = 0, side
        while left < side:
            pixels = read_picture(pictures[k % len(pictures)]).pixels[:, :: 1 - 2 * (k % 2)]
            part = out[top : top + pixels.shape[0], left : left + pixels.shape[1]]
            part[:] = pixels[: part.shape[0], : part.shape[1]]
            left, tallest, k = left + pixels.shape[1], min(tallest, part.shape[0]), k + 1
        top += tallest
    return out


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--megapixels", type=float, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for source in args.pictures:
            whole, tiled = (out / f"{source.stem}-{how}.png" for how in ("whole", "tiled"))
            a = measured(args.model, source, whole, None)
            b = measured(args.model, source, tiled, args.tile)
            x, y = (read_picture(p).pixels.astype(int) for p in (whole, tiled))
            error = np.abs(x - y)
            mean = float((error**2).mean())
            db = 10 * np.log10(255**2 / mean) if mean else np.inf
            print(
                f"{source.name} {x.shape[1]}x{x.shape[0]} tile {b[3]:.0f}: {db:.1f} dB, "
                f"at most {error.max()} levels; whole {a[0]:.1f} s ({a[1]:.1f} CPU) {a[2]:.0f} MB, "
                f"tiles {b[0]:.1f} s ({b[1]:.1f} CPU) {b[2]:.0f} MB",
                flush=True,
            )
        if args.megapixels:
            source = Path(folder) / "large.jpg"
            write_picture(source, Picture(large(args.pictures, args.megapixels), format="JPEG"))
            b = measured(args.model, source, out / "large-tiled.png", args.tile)
            print(
                f"{args.megapixels:g} megapixels, tile {b[3]:.0f}, JPEG to PNG: network "
                f"{b[0]:.0f} s ({b[1]:.0f} CPU), peak {b[2]:.0f} MB"
            )


if __name__ == "__main__":
    main()

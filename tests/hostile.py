"""Hostile pictures in numbers. `python -m tests.hostile --count N [--seed S]` tries N of them.

Every trial writes one file and reads it in a process that is killed after a time-out: a good file
must be decoded, a bad one must be a PictureError of one line, a doubtful one either; a truncated
file that is decoded all the same must be the whole picture; nothing else may be raised, crash or
hang.
"""

from __future__ import annotations

import argparse
import collections
import io
import multiprocessing
import os
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.errors import PictureError
from img2img.images import Reading, read_picture
from img2img.images.formats import has_avif

Rng = np.random.Generator
TIMEOUT = 20.0
LIMIT = Reading(max_pixels=2_000_000)


@dataclass(frozen=True)
class Trial:
    """One file: `verdict` is `good`, `bad`, or `either`; `whole` is the file it was cut from."""

    kind: str
    name: str
    data: bytes
    verdict: str
    whole: bytes = b""


def _formats() -> list[tuple[str, str, dict[str, object]]]:
    rows: list[tuple[str, str, dict[str, object]]] = [
        ("JPEG", ".jpg", {"quality": 90}),
        ("JPEG", ".jpeg", {"progressive": True}),
        ("PNG", ".png", {}),
        ("WEBP", ".webp", {}),
        ("WEBP", ".WEBP", {"lossless": True}),
        ("TIFF", ".tif", {}),
        ("TIFF", ".tiff", {"compression": "tiff_lzw"}),
        ("TIFF", ".tif", {"compression": "jpeg"}),
        ("BMP", ".bmp", {}),
        ("GIF", ".gif", {}),
    ]
    return [*rows, *([("AVIF", ".avif", {"speed": 10})] if has_avif() else [])]


def good(rng: Rng) -> Trial:
    """A whole picture of a random format, size and mode, at times with EXIF."""
    format, suffix, options = _formats()[rng.integers(len(_formats()))]
    width, height = (int(v) for v in rng.integers(1, 90, 2))
    if rng.random() < 0.1:
        width, height = (1, 3000) if rng.random() < 0.5 else (3000, 1)
    coarse = rng.integers(0, 256, (5, 5, 4), np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize((width, height))
    fine = "RGB" if format == "JPEG" or options.get("compression") == "jpeg" else "RGBA"
    modes = {"BMP": ["RGB", "L", "1", "P"], "GIF": ["RGB", "P", "L"], "AVIF": ["RGB", "RGBA"]}
    mode = str(rng.choice(modes.get(format, ["RGB", "L", fine])))
    options = dict(options)
    if rng.random() < 0.3 and format in ("JPEG", "PNG", "WEBP"):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = int(rng.integers(1, 9)), "Maker"
        options["exif"] = exif
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, format=format, **options)
    return Trial(f"good {format}", f"x{suffix}", buffer.getvalue(), "good")


def truncated(rng: Rng) -> Trial:
    """Cut anywhere: in the header, in the pixels, in the last bytes."""
    whole = good(rng)
    size = len(whole.data)
    where = [rng.integers(0, min(64, size)), rng.integers(0, size), size - rng.integers(1, 16)]
    cut = max(0, int(where[rng.integers(3)]))
    kind = whole.kind.replace("good", "truncated")
    return Trial(kind, whole.name, whole.data[:cut], "either", whole.data)


def flipped(rng: Rng) -> Trial:
    """One to twenty bits changed, anywhere or in the first 200 bytes."""
    whole = good(rng)
    data = bytearray(whole.data)
    reach = len(data) if rng.random() < 0.5 else min(200, len(data))
    for _ in range(rng.integers(1, 21)):
        data[rng.integers(reach)] ^= 1 << int(rng.integers(8))
    return Trial(whole.kind.replace("good", "flipped"), whole.name, bytes(data), "either")


def zeroed(rng: Rng) -> Trial:
    """A run of zero bytes, or of noise, over a part of the file; at times over all of it."""
    whole = good(rng)
    data = bytearray(whole.data)
    start = int(rng.integers(0, len(data))) if rng.random() < 0.8 else 0
    length = int(rng.integers(1, len(data) - start + 1)) if start else len(data)
    noise = rng.integers(0, 256, length, np.uint8).tobytes()
    data[start : start + length] = bytes(length) if rng.random() < 0.5 else noise
    verdict = "either" if start else "bad"
    return Trial(whole.kind.replace("good", "zeroed"), whole.name, bytes(data), verdict)


def wrong_suffix(rng: Rng) -> Trial:
    """A good picture under the name of another format."""
    whole = good(rng)
    suffixes = [".jpg", ".PNG", ".webp", ".tif", ".bmp", ".gif", ".avif", ".heic"]
    return Trial("wrong suffix", f"x{rng.choice(suffixes)}", whole.data, "good")


def no_picture(rng: Rng) -> Trial:
    """Text, another kind of file, nothing at all, or a magic number and noise."""
    noise = rng.integers(0, 256, int(rng.integers(1, 4000)), np.uint8).tobytes()
    heads = [
        b"", b"hello\n", b"%PDF-1.7\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x10\0\0\0WEBPVP8 ", b"II*\0",
        b"MM\0*", b"II+\0", b"\0\0\0\x20ftypavif", b"\0\0\0\x20ftypheic", b"PK\3\4", b"<svg/>",
    ]  # fmt: skip
    head = heads[rng.integers(len(heads))]
    return Trial("no picture", "x.png", head if not head else head + noise, "bad")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge(rng: Rng) -> Trial:
    """Bombs: few bytes that announce, or truly hold, more pixels than allowed."""
    side = int(rng.integers(1500, 60000))
    kind = int(rng.integers(5))
    if kind == 0:  # real, and compressed a thousand times
        row = (
            zlib.compress(bytes((side * 3 + 1) * 1500), 9) if side < 4000 else zlib.compress(b"\0")
        )
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", row) + _chunk(b"IEND", b"")
        return Trial("huge PNG", "x.png", b"\x89PNG\r\n\x1a\n" + chunks, "bad")
    if kind == 1:
        data = b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0)
        data += b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\2\2\x4c\1\0;"
        return Trial("huge GIF", "x.gif", data, "bad")
    if kind == 2:
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        return Trial("huge BMP", "x.bmp", b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + head, "bad")
    if kind == 3:
        frame = struct.pack(">BHHBBBB", 8, side, side, 1, 1, 17, 0)
        data = b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
        return Trial("huge JPEG", "x.jpg", data + b"\xff\xda\0\x08\1\1\0\0\x3f\0\xff\xd9", "bad")
    entries = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 4, side), (279, 4, side * side % 2**32)]
    table = b"".join(struct.pack("<HHII", tag, type, 1, value) for tag, type, value in entries)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4)
    return Trial("huge TIFF", "x.tif", data, "bad")


def scan_bomb(rng: Rng, scans: int | None = None) -> Trial:
    """A progressive JPEG whose last scan is repeated: legal, and slow to decode (ITU-T T.81 sets
    no limit)."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)).save(
        buffer, format="JPEG", progressive=True
    )
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    scans = int(rng.integers(101, 2000)) if scans is None else scans
    known = data.count(b"\xff\xda")
    more = data[last:-2] * (scans - known)
    verdict = "good" if scans <= 100 else "bad"
    return Trial("scan bomb", "x.jpg", data[:-2] + more + b"\xff\xd9", verdict)


def text_bomb(rng: Rng) -> Trial:
    """A PNG with compressed text of many megabytes, or an ICC profile or EXIF of noise."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, format="PNG")
    data = buffer.getvalue()
    extra = (
        _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30_000_000), 9)),
        _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(30_000_000), 9)),
        _chunk(b"eXIf", b"MM\0*" + rng.integers(0, 256, 300, np.uint8).tobytes()),
    )[rng.integers(3)]
    return Trial("chunk bomb", "x.png", data[:33] + extra + data[33:], "either")


KINDS: tuple[tuple[Callable[[Rng], Trial], int], ...] = (
    (good, 3), (truncated, 6), (flipped, 8), (zeroed, 4), (wrong_suffix, 1), (no_picture, 2),
    (huge, 2), (scan_bomb, 1), (text_bomb, 1),
)  # fmt: skip


def trials(count: int, seed: int) -> list[Trial]:
    """`count` trials drawn from `seed`, each from (seed, number)."""
    wheel = [make for make, weight in KINDS for _ in range(weight)]
    return [wheel[k % len(wheel)](np.random.default_rng([seed, k])) for k in range(count)]


def attempt(trial: Trial, folder: Path, salvage: bool = False) -> str:
    """Read the trial's file; returns what is wrong with the outcome, or ""."""
    path = folder / trial.name
    path.write_bytes(trial.data)
    reading = Reading(max_pixels=LIMIT.max_pixels, salvage=salvage, deep=True)
    try:
        picture = read_picture(path, reading)
    except PictureError as error:
        text = str(error)
        if "\n" in text or str(path) not in text or text.endswith(": "):
            return f"a message not of one line that names the file: {text!r}"
        return "a good picture was refused: " + text if trial.verdict == "good" else ""
    height, width = picture.pixels.shape[:2]
    if picture.pixels.shape[2] != 3 or width * height > reading.max_pixels:
        return f"pixels of shape {picture.pixels.shape}"
    if trial.verdict == "bad":
        return "a bad picture was accepted"
    if trial.whole and not picture.salvaged:
        path.write_bytes(trial.whole)
        if not np.array_equal(read_picture(path, reading).pixels, picture.pixels):
            return "a truncated picture was decoded in part and not marked"
    return ""


def _work(tasks: multiprocessing.Queue, answers: multiprocessing.Queue, folder: str) -> None:
    warnings.simplefilter("ignore")
    while (task := tasks.get()) is not None:
        number, trial, salvage = task
        began = time.perf_counter()
        try:
            said = attempt(trial, Path(folder), salvage)
        except BaseException as error:
            said = f"raised {type(error).__name__}: {error}"
        answers.put((number, said, time.perf_counter() - began))


def run(count: int, seed: int, salvage: bool = False) -> int:
    """Try `count` pictures; prints a table and every wrong outcome; returns how many were wrong."""
    context = multiprocessing.get_context("spawn")
    table: collections.Counter[str] = collections.Counter()
    wrong, slowest = 0, (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        worker = None
        for number, trial in enumerate(trials(count, seed)):
            if worker is None or not worker.is_alive():
                tasks, answers = context.Queue(), context.Queue()
                worker = context.Process(target=_work, args=(tasks, answers, folder), daemon=True)
                worker.start()
            tasks.put((number, trial, salvage))
            said, seconds, began = "", 0.0, time.monotonic()
            while True:
                try:
                    _, said, seconds = answers.get(timeout=0.5)
                    break
                except Exception:  # queue.Empty of another context
                    if not worker.is_alive():
                        said = f"crashed the process ({worker.exitcode})"
                        break
                    if time.monotonic() - began > TIMEOUT + 10 * (number == 0):
                        worker.kill()
                        worker.join()
                        said = f"hung for {TIMEOUT:.0f} s"
                        break
            table[trial.kind] += 1
            slowest = max(slowest, (seconds, trial.kind))
            if said:
                wrong += 1
                print(f"WRONG {trial.kind} (seed {seed}, number {number}): {said}", flush=True)
        if worker is not None and worker.is_alive():
            tasks.put(None)
            worker.join(10)
    for kind, many in sorted(table.items()):
        print(f"{many:6} {kind}")
    print(f"{count} pictures, {wrong} wrong, slowest {slowest[0]:.2f} s ({slowest[1]})")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--salvage", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(1 if run(options.count, options.seed, options.salvage) else 0)


if __name__ == "__main__":
    main()

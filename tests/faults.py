"""What is promised under fault, counted. `python -m tests.faults [ROW...] [--count N]`.

`translating` stands for the rows of this module, which is the default; `training` for those of
`tests.trainingfaults`, `serving` for those of `tests.servingfaults`.

Each row injects real faults into the real command and prints how many trials there were, what is
required and what was seen. CI runs a few trials of each (`tests/test_faults.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.watched import slope, write_pictures
from img2img.images import read_picture
from img2img.model_format.find import find_model, shipped
from img2img.runners import open_runner
from tests import hostile
from tests.commands import (
    LINUX,
    Ended,
    decoders_of,
    left_over,
    translate,
    without_override,
)
from tests.counted import growth

MEMORY = 1_200_000_000  # bytes of all processes of a job of small pictures


@dataclass
class Place:
    """Where a row works, with what model, and how much of it there is to be."""

    folder: Path
    model: Path
    count: int
    seed: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def inside(self, name: str) -> Path:
        """A new empty folder."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path


@dataclass
class Seen:
    """What a row saw: `good` of `trials` went as required, the others are in `wrong`; `not_tried`
    says why it could not be tried on this machine."""

    trials: int = 0
    wrong: list[str] = field(default_factory=list)
    figure: str = ""
    not_tried: str = ""

    def judge(self, what: str, *complaints: str | None) -> None:
        """Count one trial; a complaint makes it a wrong one."""
        self.trials += 1
        said = [text for text in complaints if text]
        if said:
            self.wrong.append(f"{what}: {'; '.join(said)}")

    @property
    def words(self) -> str:
        """For the table."""
        if self.not_tried:
            return f"not tried: {self.not_tried}"
        good = f"{self.trials - len(self.wrong)}/{self.trials}"
        return f"{good}{', ' + self.figure if self.figure else ''}"


def photo(path: Path, width: int, height: int, seed: int) -> None:
    """Write a smooth picture in the format of its suffix."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)


def _unless(condition: bool, complaint: str) -> str | None:
    return None if condition else complaint


def _within(place: Place, seconds: float) -> float:
    """Seconds that are allowed: those of the table in a full count, which is run on purpose; in CI,
    where other work may hold the processor, only what never ends is wrong."""
    return seconds if place.count > 20 else 120.0


def _whole(ended: Ended, out: Path) -> list[str]:
    """What is wrong with the outputs of a job that ran to its end."""
    wrong = [*ended.wrong, *left_over(out)]
    for row in ended.pictures:
        if row["status"] == "done":
            height, width = read_picture(row["output"]).pixels.shape[:2]
            if (width, height) != (row["width"], row["height"]):
                wrong.append(f"{row['output']} is {width}x{height}")
    return wrong


def hostile_corpus(place: Place) -> Seen:
    """Damaged, hostile and odd files among good ones: every good one translated, every bad one
    listed with a reason, no truncated one taken silently."""
    seen = Seen()
    source, out = place.inside("in"), place.folder / "out"
    trials = {}
    for number, trial in enumerate(hostile.trials(place.count, place.seed)):
        path = source / str(number % 10) / f"{number:06}{trial.name}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(trial.data)
        trials[str(path)] = trial
    ended = translate(source, "-o", out, "-m", place.model, "--max-megapixels", 2, look=True)
    reported = {row["input"]: row for row in ended.pictures}
    for name, trial in trials.items():
        row = reported.get(name, {"status": "missing"})
        status, reason = row["status"], str(row.get("reason", ""))
        right = {"good": ["done"], "bad": ["failed"], "either": ["done", "failed"]}[trial.verdict]
        silent = None
        if status == "done" and trial.whole:
            silent = _cut_silently(Path(name), trial.whole, bool(row.get("salvaged")))
        seen.judge(
            f"{trial.kind} {name}",
            _unless(status in right, f"{status} {reason}"),
            _unless(status != "failed" or (len(reason.splitlines()) == 1), f"reason {reason!r}"),
            silent,
        )
    seen.judge("the job", *_whole(ended, out), _unless(ended.code == 1, f"exit {ended.code}"))
    seen.judge(
        "lines", _unless(len(ended.pictures) == len(trials) == len(reported), "not one each")
    )
    seen.judge("memory", _unless(ended.peak < MEMORY, f"{ended.peak / 1e6:.0f} MB"))
    done, failed = ended.count("done"), ended.count("failed")
    seen.figure = f"{done} done, {failed} failed, {ended.peak / 1e6:.0f} MB, {ended.seconds:.0f} s"
    return seen


def _cut_silently(path: Path, whole: bytes, salvaged: bool) -> str | None:
    if salvaged:
        return None
    taken = read_picture(path).pixels
    path.with_name("whole" + path.name).write_bytes(whole)
    same = np.array_equal(read_picture(path.with_name("whole" + path.name)).pixels, taken)
    return _unless(same, "a part was taken for the whole")


def bombs(place: Place) -> Seen:
    """Files that announce or hold too much are refused within a second, or ended by the time-out,
    while the good ones go on."""
    from img2img.errors import PictureError
    from img2img.images import Reading
    from img2img.inference.decoders import Decoder, Watch

    seen = Seen()
    source, out = place.inside("in"), place.folder / "out"
    made = [hostile.huge, hostile.scan_bomb, hostile.text_bomb]
    files = []
    for number in range(place.count):
        trial = made[number % 3](np.random.default_rng([place.seed, number]))
        files.append(source / f"{number:04}{trial.name}")
        files[-1].write_bytes(trial.data)
    decoder = Decoder(60)
    watch = Watch([decoder])
    slowest = 0.0
    photo(place.folder / "warm.png", 8, 8, 0)
    decoder.read(place.folder / "warm.png", Reading())
    for path in files:
        began = time.monotonic()
        with contextlib.suppress(PictureError):
            decoder.read(path, Reading(max_pixels=hostile.LIMIT.max_pixels))
        seconds = time.monotonic() - began
        slowest = max(slowest, seconds)
        seen.judge(f"{path.name}", _unless(seconds <= _within(place, 1.0), f"{seconds:.1f} s"))
    watch.close()
    decoder.close()
    slow = source / "slow.jpg"
    slow.write_bytes(_slow_jpeg(place.seed))
    for number in range(20):
        photo(source / f"good{number}.jpg", 60, 40, number)
    more = ["--max-megapixels", 30, "--timeout", 2]
    ended = translate(source, "-o", out, "-m", place.model, *more)
    reported = {Path(row["input"]).name: row for row in ended.pictures}
    late = reported["slow.jpg"]
    seen.judge(
        "the slow one",
        *_whole(ended, out),
        _unless("took more than 2 s" in str(late.get("reason")), f"{late}"),
    )
    for number in range(20):
        seen.judge(
            f"good{number}", _unless(reported[f"good{number}.jpg"]["status"] == "done", "lost")
        )
    seen.figure = f"slowest refusal {slowest:.2f} s"
    return seen


def _slow_jpeg(seed: int) -> bytes:
    """100 scans, which are allowed, of 25 megapixels: many seconds of decoding."""
    import io

    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (250, 250, 3), np.uint8)
    image = Image.fromarray(noise).resize((5000, 5000), Image.Resampling.NEAREST)
    image.save(buffer, format="JPEG", progressive=True, quality=50)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (100 - data.count(b"\xff\xda")) + b"\xff\xd9"


def decoders_killed(place: Place) -> Seen:
    """Decoding processes killed or stopped at random: no picture but, at worst, the one that was
    in work twice is lost, and that one is named."""
    seen = Seen()
    source = place.inside("in")
    for number in range(40):
        photo(source / f"{number}.png", 500, 400, number)
    shots = 0
    for trial in range(place.count):
        sign = signal.SIGSTOP if trial % 4 == 3 else signal.SIGKILL

        def shoot(process: subprocess.Popen[bytes], sign: int = sign) -> None:
            nonlocal shots
            left = 1 if sign == signal.SIGSTOP else 4
            while left and process.poll() is None:
                time.sleep(float(place.rng.uniform(0.05, 0.4)))
                for pid in place.rng.permutation(decoders_of(process.pid))[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), sign)
                        shots, left = shots + 1, left - 1

        out = place.folder / f"out{trial}"
        ended = translate(
            source, "-o", out, "-m", place.model, "--timeout", _within(place, 5), during=shoot
        )
        lost = [row for row in ended.pictures if row["status"] != "done"]
        named = all("its decoder died" in str(row.get("reason")) for row in lost)
        seen.judge(
            f"trial {trial}",
            *_whole(ended, out),
            _unless(len(ended.pictures) == 40 and len(lost) <= 1 and named, f"lost {lost}"),
            _unless(ended.code == (1 if lost else 0), f"exit {ended.code}"),
        )
        shutil.rmtree(out)
    seen.figure = f"{shots} shots"
    return seen


def killed(place: Place) -> Seen:
    """SIGKILL of the whole command at a random moment, then the same command: every output is
    absent or whole, exactly the rest is done, nothing is left over."""
    seen = Seen()
    source = place.inside("in")
    for number in range(30):
        photo(source / f"{number}.jpg", 120, 90, number)
    amid = 0
    for trial in range(place.count):
        out = place.folder / f"out{trial}"

        def kill(process: subprocess.Popen[bytes], out: Path = out) -> None:
            if place.rng.random() < 0.7:  # once outputs come
                while process.poll() is None and not list(out.glob("*.jpg")):
                    time.sleep(0.005)
            time.sleep(float(place.rng.uniform(0, 0.5)))
            with contextlib.suppress(ProcessLookupError):
                process.kill()

        dead = translate(source, "-o", out, "-m", place.model, during=kill)
        there = list(out.glob("*.jpg")) if out.exists() else []
        broken = [p.name for p in there if read_picture(p).pixels.shape != (90, 120, 3)]
        amid += 0 < len(there) < 30
        ended = translate(source, "-o", out, "-m", place.model)
        done, skipped = ended.count("done"), ended.count("skipped")
        seen.judge(
            f"trial {trial}",
            *dead.wrong,
            *_whole(ended, out),
            _unless(not broken, f"broken after the kill: {broken}"),
            _unless(
                (done, skipped) == (30 - len(there), len(there)), f"{done} done, {skipped} not"
            ),
            _unless(ended.code == 0, f"exit {ended.code}"),
        )
        shutil.rmtree(out)
    seen.figure = f"{amid} kills amid the outputs"
    return seen


def interrupted(place: Place) -> Seen:
    """SIGINT or SIGTERM at a random moment, also while the command loads: it ends within 10 s with
    130 or 143, nothing left over, and the same command does the rest."""
    seen = Seen()
    source = place.inside("in")
    for number in range(30):
        photo(source / f"{number}.jpg", 120, 90, number)
    slowest = 0.0
    for trial in range(place.count):
        out = place.folder / f"out{trial}"
        sign = (signal.SIGINT, signal.SIGTERM)[trial % 2]
        taken = [0.0]

        def send(
            process: subprocess.Popen[bytes], sign: int = sign, taken: list[float] = taken
        ) -> None:
            time.sleep(float(place.rng.uniform(0.5, 3)))
            taken[0] = time.monotonic()
            process.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            taken[0] = time.monotonic() - taken[0]

        first = translate(source, "-o", out, "-m", place.model, during=send)
        slowest = max(slowest, taken[0])
        over = first.rows and first.rows[-1].get("done") == 30
        codes = (130,) if sign == signal.SIGINT else (143, -15)
        ended = translate(source, "-o", out, "-m", place.model)
        there = ended.count("done") + ended.count("skipped")
        seen.judge(
            f"trial {trial}",
            *first.wrong,
            *_whole(ended, out),
            _unless(first.code in codes or bool(over and first.code == 0), f"exit {first.code}"),
            _unless(taken[0] <= _within(place, 10), f"{taken[0]:.1f} s"),
            _unless(ended.code == 0 and there == 30, "the rest was not done"),
        )
        shutil.rmtree(out)
    seen.figure = f"slowest end {slowest:.1f} s"
    return seen


NAMES = (
    b"a.jpg", b"a.png", b"A.jpg", b"a.jpeg", b"a.png.gif", b"a.gif", b"b.tif", b"%s%n.png",
    b"[red]x[bold].png", b"red].png", b"line\nbreak.png", b"esc\x1b[31m.png", b"tab\t.png", b" .png", b"-o.png",
    b"--help.png", b"{stem}.png", b"CON.png", b"a:b.png", b"trailing..png", b"'quote\".png",
    "\u00e4.png".encode(), "a\u0308.png".encode(), "\u00c4.png".encode(), "\u202egnp.png".encode(),
    "\U0001f600.png".encode(), "stra\u00dfe.png".encode(), b"STRASSE.png",
    b"\xff\xfe.png", b"caf\xe9.png", b"l" * 251 + b".png", b"l" * 251 + b".gif",
    "\u00e4".encode() * 125 + b"x.png", "\u00e4".encode() * 125 + b"x.gif",
)  # fmt: skip
LOCALES = (
    {"LC_ALL": "C"},
    {"LC_ALL": "C.UTF-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
)


def names(place: Place) -> Seen:
    """Names that meet, that are no text, that a printer may take for markup, under several
    locales: one output for each input, and the printer survives."""
    seen = Seen()
    source = os.fsencode(place.inside("in"))
    good, bad = 0, 0
    for number, name in enumerate(NAMES):
        with open(place.folder / "one", "wb") as file:
            kind = "GIF" if name.endswith(b"gif") else "PNG"
            Image.new("RGB", (5, 4), (number, 0, 0)).save(file, format=kind)
        for folder in (source, source + b"/a.png", source + b"/odd\xff\n[b]", source + b"/x["):
            os.makedirs(folder, exist_ok=True)
            with contextlib.suppress(IsADirectoryError):
                shutil.copyfile(place.folder / "one", folder + b"/" + name)
                good += 1
        with open(source + b"/odd\xff\n[b]/bad" + name[:200], "wb") as file:
            file.write(b"nothing")
        bad += os.path.splitext(name[:200])[1] != b""
    runs = [
        (env, more, way) for env in LOCALES for more in ((), ("--format", "png")) for way in (1, 0)
    ]
    for number, (env, more, as_json) in enumerate(runs[: place.count]):
        out = place.folder / f"out{number}"
        ended = translate(source, "-o", out, "-m", place.model, *more, env=env, json=bool(as_json))
        wrong = [*ended.wrong, *left_over(out)]
        if as_json:
            targets = [row["output"] for row in ended.pictures if row["status"] == "done"]
            wrong += [] if len(targets) == good == len(set(targets)) else [f"{len(targets)} done"]
            wrong += [] if ended.count("failed") == bad else [f"{ended.count('failed')} failed"]
        else:
            failures = sum(line.startswith(b"failed: ") for line in ended.errors.splitlines())
            wrong += [] if failures == bad else [f"{failures} lines of failures"]
        there = sum(
            len(files) for top, _, files in os.walk(os.fsencode(out)) if b".img2img" not in top
        )
        wrong += [] if there == good else [f"{there} outputs for {good} pictures"]
        seen.judge(
            f"{env} {more} json={as_json}", *wrong, _unless(ended.code == 1, str(ended.code))
        )
    seen.figure = f"{good} names each"
    return seen


def odd_files(place: Place) -> Seen:
    """Links, loops, FIFOs, devices, folders named like pictures, unreadable files and folders:
    each is visited at most once and listed."""
    seen = Seen()
    source = place.inside("in")
    photo(source / "good.png", 9, 9, 0)
    photo(source / "folder.png" / "inside.png", 9, 9, 1)
    photo(source / "locked.png", 9, 9, 2)
    photo(source / "locked" / "x.png", 9, 9, 3)
    outside = place.inside("outside")
    photo(outside / "far.png", 9, 9, 4)
    os.mkfifo(source / "fifo.png")
    for name, to in (("link.png", "good.png"), ("dead.png", "none"), ("loop", "."), ("self.png", "self.png"),
                     ("up", ".."), ("far", str(outside)), ("null.png", "/dev/null")):  # fmt: skip
        (source / name).symlink_to(to)
    os.link(source / "good.png", source / "same.png")
    expected = {
        "good.png": "done",
        "folder.png/inside.png": "done",
        "same.png": "done",
        "fifo.png": "ignored",
    }
    expected |= dict.fromkeys(
        ("link.png", "dead.png", "loop", "self.png", "up", "far", "null.png"), "ignored"
    )
    with contextlib.suppress(OSError):
        os.mknod(source / "device.png", 0o600 | 0o060000, os.makedev(7, 250))
        expected["device.png"] = "ignored"
    drop = without_override()
    os.chmod(source / "locked.png", 0)
    os.chmod(source / "locked", 0)
    try:
        ended = translate(source, "-o", place.folder / "out", "-m", place.model, before=drop)
        reported = {str(Path(r["input"]).relative_to(source)): r["status"] for r in ended.pictures}
        expected |= {"locked.png": "failed", "locked": "ignored"}
        for name in sorted(expected | reported):
            right = reported.get(name) == expected.get(name)
            seen.judge(name, _unless(right, f"{reported.get(name)}, not {expected.get(name)}"))
        seen.judge(
            "the job", *_whole(ended, place.folder / "out"), _unless(ended.code == 1, "exit")
        )
        out = place.folder / "followed"
        ended = translate(source, "-o", out, "-m", place.model, "--follow-links", before=drop)
        read = [os.path.realpath(r["input"]) for r in ended.pictures if r["status"] == "done"]
        seen.judge(
            "--follow-links", *_whole(ended, out), _unless(len(set(read)) == len(read), "twice"),
            _unless(str(outside.resolve() / "far.png") in read, "the linked folder was not entered"),
        )  # fmt: skip
    finally:
        os.chmod(source / "locked", 0o700)
    return seen


def outputs(place: Place) -> Seen:
    """Output folders that cannot be: the input itself, inside it, a file, read-only; refused
    before anything is written. A disk full at some picture: exit 4. Nothing that was there is
    destroyed."""
    seen = Seen()
    source, out = place.inside("in"), place.folder / "out"
    for number in range(12):
        photo(source / f"{number:02}.png", 30, 20, number)
    (place.folder / "file").write_text("mine")
    locked = place.inside("locked")
    photo(locked / "00.png", 7, 7, 0)
    os.chmod(locked, 0o500)
    (place.folder / "link").symlink_to("in")
    before = _digests(place.folder)
    drop = without_override()
    for target, code in (
        (source, 2), (source / "out", 2), (place.folder / "link", 2), (source / ".." / "in", 2),
        (place.folder / "file", 2), (place.folder / "file" / "x", 4), (locked, 4), (locked / "x", 4),
    ):  # fmt: skip
        ended = translate(source, "-o", target, "-m", place.model, "--overwrite", before=drop)
        lines = ended.errors.decode(errors="replace").splitlines()
        seen.judge(
            f"-o {target}", *ended.wrong, _unless(ended.code == code, f"exit {ended.code}"),
            _unless(len(lines) == 1, f"{lines}"), _unless(_digests(place.folder) == before, "changed"),
        )  # fmt: skip
    os.chmod(locked, 0o700)
    for trial in range(place.count):
        shutil.rmtree(out, ignore_errors=True)
        _full_disk(place, seen, source, out, trial)
    return seen


def _full_disk(place: Place, seen: Seen, source: Path, out: Path, trial: int) -> None:
    """Outputs of an earlier job are replaced by larger ones until the disk is full."""
    out.mkdir()
    mounted = trial % 2 == 0 and LINUX and os.getuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", f"size={int(place.rng.integers(16, 40)) * 4}k", "img2img", out],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        first = translate(source, "-o", out, "-m", place.model)
        old = _digests(out)
        # At least five, 29 kB each: fewer may fit the largest of these disks.
        for number in range(int(place.rng.integers(0, 8)), 12):
            noise = np.random.default_rng(number).integers(0, 256, (99, 99, 3), np.uint8)
            Image.fromarray(noise).save(source / f"{number:02}.png")
        limit = None if mounted else _small_files(20_000)
        ended = translate(source, "-o", out, "-m", place.model, before=limit)
        lines = [x for x in ended.errors.splitlines() if x.startswith(b"img2img: ")]
        replaced = {Path(r["output"]).name for r in ended.pictures if r["status"] == "done"}
        kept = [
            n for n, d in _digests(out).items() if n in old and n not in replaced and d != old[n]
        ]
        # A picture may be written and the job end before its event is told; it is whole then.
        torn = [n for n in kept if not _is_picture(out / n)]
        gone = [n for n in old if n.endswith(".png") and not (out / n).exists()]
        seen.judge(
            f"disk full, trial {trial}{' (tmpfs)' if mounted else ' (limit)'}",
            *first.wrong, *ended.wrong, *left_over(out),
            _unless(ended.code == 4 and len(lines) == 1 and b"disk full" in lines[0],
                    f"exit {ended.code} {ended.errors[-300:]!r}"),
            _unless(not torn and not gone, f"destroyed: {torn} {gone}"),
        )  # fmt: skip
    finally:
        if mounted:
            subprocess.call(["umount", out])
    for number in range(12):
        photo(source / f"{number:02}.png", 30, 20, number)


def _small_files(size: int) -> Callable[[], None]:
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _is_picture(path: Path) -> bool:
    try:
        return read_picture(path).pixels.size > 0
    except Exception:
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".img2img" not in path.parts
    }


def conversions(place: Place) -> Seen:
    """Modes, depths, profiles, orientations, frames: compared with references by
    `tests/test_pictures.py`, which is run here."""
    seen = Seen()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_pictures.py"],
        capture_output=True, text=True,
    )  # fmt: skip
    last = (done.stdout.strip().splitlines() or [""])[-1]
    seen.judge("tests/test_pictures.py", _unless(done.returncode == 0, last))
    seen.figure = last
    return seen


def sizes(place: Place) -> Seen:
    """Sizes from 1x1 to a line of many pixels, odd ones too: the output has the input's size."""
    seen = Seen()
    source = place.inside("in")
    longest = 60000 if place.count > 20 else 3000
    wanted = [(1, 1), (1, 2), (3, 1), (1, longest), (longest, 1), (255, 257), (31, 33), (17, 64)]
    for _ in range(place.count):
        width, height = map(int, place.rng.integers(1, 130, 2))
        wanted.append((width, height))
    for number, (width, height) in enumerate(wanted):
        photo(source / f"{number:03}.png", width, height, number)
    models = [place.model]
    if place.count > 20:
        models += [find_model(name, (".onnx",), None) for name in shipped()]
    peak = 0
    for model in models:
        out = place.folder / f"out-{model.stem}"
        info = open_runner(model, "cpu", "onnxruntime").info
        domain = ["--domain", info.domains[0]] if info.domains else []
        ended = translate(source, "-o", out, "-m", model, *domain, look=True)
        peak = max(peak, ended.peak)
        reported = {
            Path(r["input"]).name: (r.get("width"), r.get("height")) for r in ended.pictures
        }
        for number, size in enumerate(wanted):
            got, due = reported.get(f"{number:03}.png"), tuple(info.scale * side for side in size)
            seen.judge(f"{model.stem} {size}", _unless(got == due, f"{got}"))
        seen.judge(f"{model.stem}: the job", *_whole(ended, out), _unless(ended.code == 0, "exit"))
    seen.figure = f"longest {longest}, {len(models)} models, {peak / 1e6:.0f} MB"
    return seen


def truncated(place: Place) -> Seen:
    """Truncated pictures: refused, or what is decoded is the whole; with --salvage decoded and
    marked."""
    seen = Seen()
    source = place.inside("in")
    whole = {}
    for number in range(place.count):
        trial = hostile.truncated(np.random.default_rng([place.seed, number]))
        path = source / f"{number:05}{trial.name}"
        path.write_bytes(trial.data)
        whole[path.name] = trial.whole
    photo(source / "good.png", 9, 9, 0)
    taken = {}
    for salvage in (False, True):
        out = place.folder / f"out{salvage}"
        more = ["--salvage"] if salvage else []
        ended = translate(source, "-o", out, "-m", place.model, *more)
        for row in ended.pictures:
            name = Path(row["input"]).name
            if name not in whole:
                continue
            wrong = None
            if row["status"] == "done":
                marked = bool(row.get("salvaged")) and any("salvaged" in n for n in row["notes"])
                wrong = _cut_silently(source / name, whole[name], marked)
                (source / f"whole{name}").unlink(missing_ok=True)
            seen.judge(
                f"{name} salvage={salvage}",
                wrong,
                _unless(bool(row.get("reason")) or row["status"] == "done", "no reason"),
            )
        seen.judge(f"salvage={salvage}", *_whole(ended, out), _unless(ended.code in (0, 1), "exit"),
                   _unless(len(ended.pictures) == place.count + 1, "not one line each"))  # fmt: skip
        taken[salvage] = ended.count("done") - 1
    seen.judge("--salvage takes more", _unless(taken[True] >= taken[False], f"{taken}"))
    seen.figure = f"taken {taken[False]}, with --salvage {taken[True]}"
    return seen


def many(place: Place) -> Seen:
    """Very many inputs: memory and handles stay flat.

    What is held is counted exactly between one third and the end of a few hundred pictures. The
    slope of memory is judged from `SLOPE` pictures on: its standard error is about
    S / (L * sqrt(n / 12)) for n looks over L pictures and steps of S bytes of the allocator, which
    is 70 bytes a picture for 3 MB over 13 000, and tens of thousands for a few hundred.
    """
    seen = Seen()
    source = place.folder / "in"
    write_pictures(source, place.count, 8)
    few = place.inside("few")
    for path in sorted(source.rglob("*.png"))[:COUNTED]:
        shutil.copyfile(path, few / path.name)
    number = len(list(few.iterdir()))
    where = [few, "-o", place.folder / "counted", "-m", place.model]
    for text in growth(where, number // 3, number, place.folder) if LINUX else []:
        seen.judge("counts", text)
    seen.judge("counted", None)
    seen.figure = f"counts flat over {number - number // 3} pictures" if not seen.wrong else ""
    if place.count < SLOPE:
        return seen
    rise = slope(
        [source, "-o", place.folder / "out", "-m", place.model], max(1, place.count // 200)
    )
    seen.judge("pictures", _unless(rise.pictures == place.count, f"{rise.pictures}"))
    allowed = GROWTH + SETTLING / place.count
    seen.judge("memory", _unless(rise.bytes < allowed, f"{rise.bytes:.0f} bytes a picture"))
    seen.judge("handles", _unless(rise.handles < 0.001, f"{rise.handles:.4f} a picture"))
    seen.figure += (
        f"; {rise.bytes:.0f} bytes and {rise.handles:.5f} handles a picture, {rise.memory / 1e6:.0f} MB, "
        f"{rise.pictures / rise.seconds:.0f} pictures/s"
    )
    return seen


COUNTED = 600  # pictures of a job in which what is held is counted
SLOPE = 5000  # pictures from which on a slope of memory means something
SETTLING = 6e6  # bytes that an allocator takes at the start, whatever comes after
GROWTH = 3000.0  # bytes a picture: 300 MB for 100 000; see docs/explanation/log.md


@dataclass(frozen=True)
class Row:
    """A row of the table: what is done `full` times, or `few` times in CI."""

    run: Callable[[Place], Seen]
    required: str
    few: int
    full: int


ROWS: dict[str, Row] = {
    "hostile": Row(hostile_corpus, "good done, bad listed, lines = inputs, memory bounded", 84, 2000),
    "bombs": Row(bombs, "refused in 1 s or ended by the time-out", 9, 90),
    "decoders": Row(decoders_killed, "only that file, tried once more", 2, 40),
    "killed": Row(killed, "absent or whole; exactly the rest", 2, 200),
    "interrupted": Row(interrupted, "130 or 143 within 10 s; exactly the rest", 2, 40),
    "names": Row(names, "injective, no crash of the printer", 3, 16),
    "odd": Row(odd_files, "each visited at most once, listed", 1, 1),
    "outputs": Row(outputs, "refused or handled, nothing destroyed", 1, 24),
    "conversions": Row(conversions, "documented conversion", 0, 1),
    "sizes": Row(sizes, "output size = input size times the model's scale", 4, 40),
    "truncated": Row(truncated, "refused; --salvage marks it", 24, 1000),
    "many": Row(many, "flat memory and handles", 600, 20000),
}  # fmt: skip


def all_rows() -> dict[str, Row]:
    """The rows of translating and, where they can be tried, of training and serving."""
    if os.name != "posix":
        return ROWS
    from tests import servingfaults, trainingfaults

    return ROWS | trainingfaults.ROWS | servingfaults.ROWS


def run_row(name: str, model: Path, count: int, seed: int = 0) -> Seen:
    """Run one row with `count` trials in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return all_rows()[name].run(Place(Path(folder), model, count, seed))


def small_model(folder: Path) -> Path:
    """A random model of a few thousand parameters, as ONNX."""
    from img2img.exporting.onnx import export_onnx
    from img2img.model_format.checkpoint import save_model
    from tests.conftest import info_of, small_generator

    generator = small_generator()
    save_model(folder / "small.safetensors", generator, info_of(generator))
    export_onnx(folder / "small.safetensors", folder / "small.onnx")
    return folder / "small.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    from tests import servingfaults, trainingfaults

    rows = all_rows()
    groups = {
        "translating": [*ROWS],
        "training": [*trainingfaults.ROWS],
        "serving": [*servingfaults.ROWS],
    }
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", default=["translating"],
        help=f"translating, training, serving, or of {', '.join(rows)}",
    )  # fmt: skip
    parser.add_argument("--count", type=int, help="trials of each row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wanted = [name for given in options.rows for name in groups.get(given, [given])]
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        parser.error(f"unknown row {unknown[0]}; known: {', '.join(rows)}")
    bad = False
    warnings.simplefilter("ignore")  # of Pillow, about the pictures that are damaged on purpose
    with tempfile.TemporaryDirectory() as folder:
        model = small_model(Path(folder))
        print(f"{'row':12} {'trials':>6}  {'required':58} seen", flush=True)
        for name in wanted:
            row = rows[name]
            seen = run_row(name, model, options.count or row.full, options.seed)
            print(f"{name:12} {seen.trials:6}  {row.required:58} {seen.words}", flush=True)
            for text in seen.wrong[:20]:
                print(f"    WRONG {text}", flush=True)
            bad = bad or bool(seen.wrong)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

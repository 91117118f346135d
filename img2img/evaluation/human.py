"""Real or fake, as people judge it: HYPE (arXiv 1904.01121), a page that asks and a score.

HYPE_infinity shows each picture without a limit; its score is the share of wrong answers. HYPE_time
shows it for 100 to 1000 ms, longer after a wrong answer and shorter after a right one; its score is
the exposure at which the answers settle.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from img2img._version import __version__
from img2img.errors import DataError, EnvironmentFault, UsageError, describe_os_error
from img2img.images import on_white, read_picture
from img2img.images.values import to_8_bits
from img2img.metrics.intervals import wilson
from img2img.system.atomic import write_atomic
from img2img.system.pages import asset, fill, head, shown_name, shown_text

# Longer sides in pixels, the largest first: the first with which the page stays within MAX_BYTES.
SIDES = (512, 448, 384, 320, 256, 192)
MAX_BYTES = 30_000_000
MAX_COUNT = 600  # four blocks of the paper
QUALITY = 92
_BLOCK = 8192  # bytes; embedded files are padded to multiples of it

# The staircase of HYPE_time, in ms. A step up three times a step down holds 75 % right answers
# (Kaernbach 1991, Perception & Psychophysics 49), which the paper aims at.
START, LEAST, MOST, DOWN, UP = 500, 100, 1000, 10, 30

FORMAT = "img2img human evaluation"
_PROTOCOLS = {"timed": "HYPE_time", "unlimited": "HYPE_infinity"}
Mode = Literal["timed", "unlimited"]


@dataclass(frozen=True)
class HumanScore:
    """What one person's answers amount to.

    Attributes:
        mode: `timed` (HYPE_time) or `unlimited` (HYPE_infinity).
        seed: of the page.
        page: digest of the page's pictures; answers to the same page have the same.
        reals, fakes: how many of each were judged.
        real_errors: reals taken for fake.
        fake_errors: fakes taken for real.
        threshold_ms: the exposure shown most often (the median of these where several tie), 100 to
            1000 ms, higher is better for the fakes; None without a limit.
    """

    mode: Mode
    seed: int
    page: str
    reals: int
    fakes: int
    real_errors: int
    fake_errors: int
    threshold_ms: float | None

    @property
    def protocol(self) -> str:
        """`HYPE_time` or `HYPE_infinity`."""
        return _PROTOCOLS[self.mode]

    @property
    def error_rate(self) -> float:
        """Share of wrong answers, 0..1: the score of HYPE_infinity. At 0.5 the fakes cannot be told
        from the reals."""
        return (self.real_errors + self.fake_errors) / (self.reals + self.fakes)

    @property
    def real_error_rate(self) -> float:
        """Share of the reals taken for fake, 0..1."""
        return self.real_errors / self.reals

    @property
    def fake_error_rate(self) -> float:
        """Share of the fakes taken for real, 0..1."""
        return self.fake_errors / self.fakes

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `error_rate`."""
        return wilson(self.real_errors + self.fake_errors, self.reals + self.fakes)


def write_human_page(
    reals: Sequence[Path],
    fakes: Sequence[Path],
    out: Path,
    count: int,
    seed: int = 0,
    *,
    title: str,
) -> Path:
    """Write one self-contained HTML page that asks of `count` pictures whether they are real.

    Half of them are drawn from `reals`, half from `fakes`, and shuffled, all by `seed`. Those
    chosen are reduced to one longer side, the smallest among them and at most 512 pixels, and saved
    alike, so that neither size nor compression tells them apart; the page has no names of files.
    Returns `out`.

    Raises:
        UsageError: `count` is odd, below 2 or above `MAX_COUNT`, there are too few pictures, a file
            is on both sides, or `out` is no `.html` file in an existing folder.
        PictureError: a chosen picture cannot be read.
        EnvironmentFault: the page cannot be written.
    """
    _check(reals, fakes, out, count)
    # Not for secrets: the same seed gives the same page.
    dice = random.Random(seed)
    chosen = [(path, False) for path in dice.sample(list(reals), count // 2)]
    chosen += [(path, True) for path in dice.sample(list(fakes), count // 2)]
    dice.shuffle(chosen)
    images = [_reduced(path) for path, _ in chosen]
    side, files = _embedded(images)
    marks = [_mark(dice, fake) for _, fake in chosen]
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()
    settings = {
        "format": FORMAT,
        "title": shown_name(title),
        "page": digest[:12],
        "seed": seed,
        "side": side,
        "protocols": _PROTOCOLS,
        "staircase": {"start": START, "least": LEAST, "most": MOST, "down": DOWN, "up": UP},
        "pictures": [
            [mark, base64.b64encode(data).decode()] for mark, data in zip(marks, files, strict=True)
        ],
    }
    page = _page(title, settings, count).encode()
    try:
        write_atomic(out, page)
    except OSError as error:
        raise EnvironmentFault(f"{out}: not written: {describe_os_error(error)}") from None
    return out


def score_answers(path: Path) -> HumanScore:
    """The score of the answers that the page saved as JSON, recomputed.

    Raises:
        DataError: the file cannot be read or holds no complete answers.
    """
    try:
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {describe_os_error(error)}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: is not JSON; give a file that the page saved") from None
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise DataError(f"{path}: contains no answers; give a file that the page saved")
    if saved.get("version") != 1:
        raise DataError(f"{path}: of version {saved.get('version')!r}; this img2img reads 1")
    try:
        return _score(saved)
    except _Unfit as error:
        raise DataError(f"{path}: damaged: {error}; save the answers again") from None


class _Unfit(Exception):
    """What is wrong with saved answers, in words."""


def _score(saved: Mapping[str, object]) -> HumanScore:
    mode, seed, page, answers = (saved.get(name) for name in ("mode", "seed", "page", "answers"))
    if mode not in ("timed", "unlimited"):
        raise _Unfit(f"mode {mode!r} is neither 'timed' nor 'unlimited'")
    if type(seed) is not int or not isinstance(page, str):
        raise _Unfit("seed or page is missing")
    if not isinstance(answers, list) or len(answers) != saved.get("count"):
        raise _Unfit("answers are missing")
    judged = {"real": 0, "fake": 0}
    wrong = {"real": 0, "fake": 0}
    exposures: list[float] = []
    for number, answer in enumerate(answers, 1):
        if not isinstance(answer, dict):
            raise _Unfit(f"answer {number} is not an object")
        truth, given = answer.get("truth"), answer.get("answer")
        if truth not in ("real", "fake") or given not in ("real", "fake"):
            raise _Unfit(f"answer {number} is neither real nor fake")
        judged[truth] += 1
        wrong[truth] += truth != given
        if mode == "timed":
            exposure = answer.get("exposure_ms")
            if not isinstance(exposure, int | float) or not LEAST <= exposure <= MOST:
                raise _Unfit(f"the exposure of answer {number} is not {LEAST} to {MOST} ms")
            exposures.append(exposure)
    if not judged["real"] or not judged["fake"]:
        raise _Unfit("answers to both reals and fakes are needed")
    modes = statistics.multimode(exposures)
    threshold = statistics.median(modes) if modes else None
    return HumanScore(
        mode, seed, page, judged["real"], judged["fake"], wrong["real"], wrong["fake"], threshold
    )


def _check(reals: Sequence[Path], fakes: Sequence[Path], out: Path, count: int) -> None:
    if count < 2 or count % 2:
        raise UsageError(f"{count} pictures: half are real and half fake; give an even number")
    if count > MAX_COUNT:
        raise UsageError(
            f"{count} pictures are more than one person can judge; give at most {MAX_COUNT}"
        )
    for kind, paths in (("real", reals), ("fake", fakes)):
        if len(paths) < count // 2:
            raise UsageError(
                f"{count} pictures need {count // 2} {kind} ones, and there are {len(paths)}; "
                f"give more, or ask for at most {2 * min(len(reals), len(fakes))}"
            )
    both = {path.resolve() for path in reals} & {path.resolve() for path in fakes}
    if both:
        raise UsageError(
            f"{min(both)}: is among both the real and the fake pictures; give other folders"
        )
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: the page needs the suffix .html")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: no such folder")


def _reduced(path: Path) -> Image.Image:
    """RGB, the longer side at most the largest of `SIDES`."""
    pixels = to_8_bits(on_white(read_picture(path)))
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, 2)
    return _fitted(Image.fromarray(np.ascontiguousarray(pixels)), SIDES[0])


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _embedded(images: Sequence[Image.Image]) -> tuple[int, list[bytes]]:
    """The longer side that all get, and their files."""
    common = min(max(image.size) for image in images)
    sides = sorted({min(side, common) for side in SIDES}, reverse=True)
    files: list[bytes] = []
    for side in sides:
        files = [_jpeg(_fitted(image, side)) for image in images]
        if sum(len(data) for data in files) * 4 / 3 <= MAX_BYTES:
            break
    return side, files


def _jpeg(image: Image.Image) -> bytes:
    """Padded behind its end, where decoders do not read, so that lengths tell little."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling=0)
    data = file.getvalue()
    return data + bytes(-len(data) % _BLOCK)


def _mark(dice: random.Random, fake: bool) -> int:
    """32 bits whose parity says whether a picture is fake: a look at the source does not."""
    mark = dice.getrandbits(31) << 1
    return mark | ((mark.bit_count() + fake) % 2)


def _page(title: str, settings: Mapping[str, object], count: int) -> str:
    style = asset("look.css") + asset("human.css")
    script = asset("human.js")
    values = {
        "title": shown_text(title),
        "head": head(shown_text(title), style, script),
        "script": script,
        "settings": json.dumps(settings).replace("<", "\\u003c"),
        "count": str(count),
        "version": __version__,
    }
    return fill(asset("human.html"), values)

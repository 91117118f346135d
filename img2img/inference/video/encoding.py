"""Frames into files: the codecs, and a segment of a clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from img2img.errors import (
    EnvironmentFault,
    PictureError,
    UsageError,
    describe_os_error,
    first_line,
    proposal,
)
from img2img.images import Pixels
from img2img.inference.video.reading import Clip, pyav, scaling
from img2img.system.cpu import cores, flags

if TYPE_CHECKING:
    from av import VideoFrame

_THREADS = 4  # at most, that encode
_GOP = 250  # frames between two from which a player can start, at most

# Suffix of a clip that is written -> the container, as FFmpeg calls it.
CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
}  # fmt: skip


@dataclass(frozen=True)
class Codec:
    """A codec that is written.

    Attributes:
        encoder: of FFmpeg.
        options: of a quality of 1 to 100.
        pixels, deep: its pixel formats for 8 and for 10 bits; an empty one is not written.
        even: whether the sides must be even.
        containers: where it is written.
    """

    encoder: str
    options: Callable[[int], dict[str, str]]
    pixels: str
    deep: str
    even: bool
    containers: tuple[str, ...]


def _crf(quality: int, most: int) -> str:
    """Constant rate factor of an encoder whose coarsest is `most`: a third of it for 95, which can
    hardly be told from the source, half of that for 100, and nearly all of it for 1."""
    part = 0.33 - (quality - 95) * 0.033 if quality > 95 else 0.33 + (95 - quality) * 0.006
    return str(round(most * part))


def _repeatable() -> dict[str, str]:
    """libx264 with AVX-512, beside a network's threads, wrote other bytes of the same frames in one
    clip of 25 (its macroblock tree; docs/explanation/log.md, 2026-11-28); with AVX2 in none."""
    return {"x264-params": "asm=AVX2"} if "avx512f" in (flags() or ()) else {}


# Without B-frames, so that packets stand in the order of the frames and segments can be joined.
CODECS: Mapping[str, Codec] = {
    "h264": Codec(
        "libx264",
        lambda q: {"preset": "veryfast", "crf": _crf(q, 51), "bf": "0"} | _repeatable(),
        "yuv420p",
        "yuv420p10le",
        True,
        ("mp4", "mov", "matroska"),
    ),
    "hevc": Codec(
        "libx265",
        lambda q: {
            "preset": "superfast",
            "crf": _crf(q, 51),
            "x265-params": f"log-level=none:bframes=0:pools={min(_THREADS, cores())}",
        },
        "yuv420p",
        "yuv420p10le",
        True,
        ("mp4", "mov", "matroska"),
    ),
    "vp9": Codec(
        "libvpx-vp9",
        lambda q: {
            "deadline": "realtime", "cpu-used": "6", "row-mt": "1", "b": "0", "crf": _crf(q, 63),
        },
        "yuv420p",
        "",
        False,
        ("webm", "matroska", "mp4"),
    ),
    "av1": Codec(
        "libsvtav1",
        lambda q: {"preset": "10", "crf": _crf(q, 63)},
        "yuv420p",
        "yuv420p10le",
        False,
        ("webm", "matroska", "mp4"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Coding:
    """How a clip is written: the codec, its pixel format, the size of the frames in pixels, the
    quality, and notes about what that changes."""

    codec: Codec
    pixels: str
    width: int
    height: int
    quality: int
    notes: tuple[str, ...] = ()


def check_codec(name: str | None, container: str) -> None:
    """Raise UsageError for a codec that is unknown, or not for the container; EnvironmentFault for
    one whose encoder is not available."""
    if name is None:
        return
    if name not in CODECS:
        raise UsageError(f"`codec` {name}: is not written.{proposal(name, CODECS)}")
    if container not in CODECS[name].containers:
        fit = [n for n, codec in CODECS.items() if container in codec.containers]
        raise UsageError(f"`codec` {name}: cannot be stored in {container}; use {' or '.join(fit)}")
    if not _is_here(CODECS[name]):
        raise EnvironmentFault(
            f"`codec` {name}: this PyAV was built without {CODECS[name].encoder}; leave `codec` out"
        )


def coding_for(clip: Clip, container: str, name: str | None, quality: int, scale: int) -> Coding:
    """How the translation of `clip` is written into `container`; `name` chooses the codec. Raises
    EnvironmentFault if no encoder is available."""
    deep = clip.depth == 16
    if name is None:
        # Eight bits play everywhere as H.264, ten hardly anywhere: those are HEVC's and AV1's.
        order = ("hevc", "av1", "h264", "vp9") if deep else ("h264", "vp9", "av1", "hevc")
        fit = [n for n in order if container in CODECS[n].containers and _is_here(CODECS[n])]
        fit = [n for n in fit if CODECS[n].deep] if deep else fit
        if not fit:
            raise EnvironmentFault(f"this PyAV has no supported encoder for {container}")
        name = fit[0]
    codec = CODECS[name]
    notes = []
    pixels = codec.deep if deep else codec.pixels
    if not pixels:
        pixels = codec.pixels
        notes.append(f"its 10 bits are reduced to 8, the bit depth of {name} here")
    width, height = scale * clip.width, scale * clip.height
    if codec.even and (width % 2 or height % 2):
        whole = width + width % 2, height + height % 2
        notes.append(
            f"{width}x{height} becomes {whole[0]}x{whole[1]}: {name} needs even sides, so the "
            f"last row or column is duplicated; `codec` av1 keeps the size"
        )
        width, height = whole
    return Coding(codec, pixels, width, height, quality, tuple(notes))


def _is_here(codec: Codec) -> bool:
    return codec.encoder in pyav().codec.codecs_available


class Segment:
    """A file of encoded frames that begins with a key frame, in a container whose time stamps are
    exact (NUT). Raises PictureError where the encoder refuses, EnvironmentFault where nothing can
    be written."""

    def __init__(self, path: Path, clip: Clip, coding: Coding):
        av = pyav()
        os.environ.setdefault("SVT_LOG", "1")  # its errors alone
        self._path, self._clip, self._coding, self._av = path, clip, coding, av
        self._container: Any = None
        with self._said():
            self._container = av.open(str(path), "w", format="nut")
            self._stream = self._container.add_stream(
                coding.codec.encoder, rate=clip.rate, options=coding.codec.options(coding.quality)
            )
            context = self._stream.codec_context
            context.width, context.height = coding.width, coding.height
            context.pix_fmt = coding.pixels
            context.time_base = clip.time_base
            context.gop_size = _GOP
            context.thread_count = min(_THREADS, cores())
            context.sample_aspect_ratio = clip.aspect
            colour = clip.colour
            context.colorspace, context.color_range = colour.matrix, colour.range
            context.color_primaries, context.color_trc = colour.primaries, colour.transfer

    def add(self, pixels: Pixels, pts: int) -> None:
        """A frame, uint8 or uint16 RGB or grey, whose time stamp is `pts` in the clip's time
        base."""
        with self._said():
            frame = self._frame(pixels)
            frame.pts, frame.time_base = pts, self._clip.time_base
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode what is left and finish the file."""
        with self._said():
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def discard(self) -> None:
        """Close it without more ado: the file is thrown away."""
        if self._container is not None:
            self._container.close()

    def _frame(self, pixels: Pixels) -> VideoFrame:
        coding, colour = self._coding, self._clip.colour
        pixels = even(pixels, coding.width, coding.height)
        form = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
        rgb = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), form)
        return self._av.video.reformatter.VideoReformatter().reformat(
            rgb,
            format=coding.pixels,
            dst_colorspace=colour.software,
            src_color_range=2,
            dst_color_range=colour.range,
            interpolation=scaling(),
            threads=1,
        )

    def _said(self) -> Refusals:
        coding = self._coding
        what = f"{coding.codec.encoder} cannot write frames of {coding.width}x{coding.height}"
        return Refusals(self._path, what)


class Refusals:
    """What FFmpeg refuses while `path` is written, as our own errors: EnvironmentFault for a
    full or read-only disk, else PictureError, which says `what`."""

    def __init__(self, path: Path, what: str):
        self._path, self._what = path, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise EnvironmentFault(f"{self._path}: {describe_os_error(error)}") from None
        if isinstance(error, pyav().error.FFmpegError):
            reason = getattr(error, "strerror", None) or first_line(error)
            raise PictureError(f"{self._what}: {reason}") from None


def even(pixels: Pixels, width: int, height: int) -> Pixels:
    """(H, W, 1 or 3) -> (height, width, 3): the last row and column repeated, grey as RGB."""
    h, w, channels = pixels.shape
    if (h, w) != (height, width):
        pixels = np.pad(pixels, ((0, height - h), (0, width - w), (0, 0)), mode="edge")
    return np.repeat(pixels, 3, axis=2) if channels == 1 else pixels


def exactly(pts: int, base: Fraction, wanted: Fraction) -> int:
    """A time stamp of one time base in another, to the nearest."""
    return round(pts * base / wanted)

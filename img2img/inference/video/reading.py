"""Clips: what a file says of itself, and its frames, one after the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, SupportsBytes, cast

import numpy as np

from img2img.errors import MissingExtra, PictureError, describe_os_error, first_line
from img2img.images import Pixels
from img2img.images.folders import CLIPS
from img2img.images.guard import most_pixels
from img2img.system.cpu import cores

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

_ALSO = frozenset((".ts",))  # a transport stream, or TypeScript: a clip where it is named
_THREADS = 4  # at most, that decode
_MISSING = Fraction(1, 2)  # seconds by which a clip may end earlier than it says
_UNSPECIFIED = 2  # of a colour matrix, primaries or transfer curve (ITU-T H.273)
_BT709, _BT601 = 1, 6
_LIMITED, _FULL = 1, 2
_SD_HEIGHT = 576  # up to here players take an unspecified matrix for BT.601
_HDR = {16: "PQ", 18: "HLG"}


def is_clip_name(name: str | Path) -> bool:
    """True for a name with the suffix of a video clip."""
    return Path(name).suffix.lower() in CLIPS | _ALSO


def pyav() -> ModuleType:
    """PyAV, with FFmpeg's own messages silenced: what matters of them is an error or a note.
    Raises MissingExtra."""
    try:
        import av
    except ImportError:
        raise MissingExtra("translating a video clip", "video") from None
    av.logging.set_level(None)
    return av


def scaling() -> int:
    """How colours are converted: chroma interpolated, sums rounded."""
    flags = pyav().video.reformatter.Interpolation
    return flags.BICUBIC | flags.FULL_CHR_H_INT | flags.ACCURATE_RND


@dataclass(frozen=True)
class Colour:
    """How Y'CbCr stands for RGB, as numbers of ITU-T H.273, and the range of the values: 1 limited,
    2 full."""

    matrix: int
    range: int
    primaries: int
    transfer: int

    @property
    def software(self) -> int:
        """The matrix by the number that the conversion takes."""
        return {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}.get(self.matrix, 5)


@dataclass(frozen=True)
class Clip:
    """What a clip says of itself.

    Attributes:
        path: the file.
        width, height: of the frames in pixels, upright.
        turn: (transposed, mirrored, upside down): what makes a stored frame upright.
        depth: 8, or 16 where the frames have more than 8 bits for each channel.
        time_base: seconds of one unit of the frames' time stamps.
        rate: frames for each second, about.
        aspect: width of a pixel by its height, upright.
        colour: how its colours are stored.
        end: second at which it says that its last stream ends; None where it does not.
        begins: second of the container's clock that is the clip's start: not 0 in streams that were
            recorded from a broadcast.
        expected: number of frames, by what the file says; 0: unknown.
        sounds: how many streams of sound it has.
        notes: what is not kept, in words.
    """

    path: Path
    width: int
    height: int
    turn: tuple[bool, bool, bool]
    depth: int
    time_base: Fraction
    rate: Fraction
    aspect: Fraction
    colour: Colour
    end: Fraction | None
    begins: Fraction
    expected: int
    sounds: int
    notes: tuple[str, ...] = ()


@dataclass
class Frame:
    """A decoded frame: its number from 0, time stamp in units of the clip's `time_base`, how long
    it says that it is shown (0: unknown), and `raw`, as PyAV has it."""

    index: int
    pts: int
    duration: int
    raw: VideoFrame
    clip: Clip

    def pixels(self) -> Pixels:
        """Upright RGB: uint8 (H, W, 3), or uint16 where the clip has more than 8 bits."""
        clip, deep = self.clip, self.clip.depth == 16
        size = (clip.height, clip.width) if clip.turn[0] else (clip.width, clip.height)
        made = _converted(self.raw, clip.colour, "rgb48le" if deep else "rgb24", *size)
        pixels: Pixels = made.to_ndarray()
        return np.ascontiguousarray(upright(pixels, clip.turn))

    def thumbnail(self) -> Pixels:
        """uint8 RGB (36, 64, 3), not upright, to compare shots by."""
        return _converted(self.raw, self.clip.colour, "rgb24", 64, 36, "AREA").to_ndarray()


def _converted(
    raw: VideoFrame, colour: Colour, format: str, width: int, height: int, how: str = ""
) -> VideoFrame:
    from av.video.reformatter import VideoReformatter

    planar = raw.format.is_rgb or raw.format.name.startswith(("gray", "mono", "pal"))
    return VideoReformatter().reformat(
        raw,
        width=width,
        height=height,
        format=format,
        src_colorspace=None if planar else colour.software,
        src_color_range=None if planar else colour.range,
        dst_color_range=_FULL,
        interpolation=how or scaling(),
        threads=1,
    )


def upright(pixels: Pixels, turn: tuple[bool, bool, bool]) -> Pixels:
    """A view of (H, W, 3), turned as `Clip.turn` says."""
    transposed, mirrored, upside_down = turn
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    pixels = pixels[:, ::-1] if mirrored else pixels
    return pixels[::-1] if upside_down else pixels


class Reader:
    """An open clip.

    Attributes:
        clip: what it says of itself.
        lost_from: the second from which on something could not be decoded; None: nothing so far.
        resumed: frames followed what could not be decoded.

    Raises PictureError for a file that cannot be read or holds no video stream, MissingExtra.
    """

    def __init__(self, path: Path):
        av = pyav()
        self._errors = av.error.FFmpegError
        try:
            self._container = av.open(str(path))
        except self._errors as error:
            raise PictureError(_why_not(path, error)) from None
        except OSError as error:
            raise PictureError(describe_os_error(error)) from None
        try:
            self._stream = _video_of(self._container)
            self._base = _base_of(self._stream)
            self._stream.thread_type = "AUTO"
            self._stream.thread_count = min(_THREADS, cores())
            self.lost_from: Fraction | None = None
            self.resumed = False
            self._reached = Fraction(0)  # the end of the last frame
            self._last: tuple[int, int] | None = None  # time stamp and duration of the last frame
            self._packets_end = Fraction(0)
            self._frames = self._all()
            self._first = next(self._frames, None)
            if self._first is None:
                raise PictureError("none of its frames can be decoded")
            self.clip = _describe(path, self._container, self._stream, self._first[1])
        except BaseException:
            self._container.close()
            raise
        if self.clip.width * self.clip.height > most_pixels():
            self.close()
            raise PictureError(
                f"frames of {self.clip.width}x{self.clip.height} are larger than the memory here "
                "allows"
            )

    def frames(self) -> Iterator[Frame]:
        """The frames in the order in which they are shown; to be called once. What cannot be
        decoded is left out, and `lost_from` says so."""
        assert self._first is not None
        first, self._first = self._first, None
        for index, (pts, raw) in enumerate(chain([first], self._frames)):
            yield Frame(index, pts, raw.duration or 0, raw, self.clip)
        self._look_at_the_end()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _all(self) -> Iterator[tuple[int, VideoFrame]]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except self._errors:
                self._lose()
                return
            if packet is None:
                return
            self._note_end(packet)
            if packet.stream.index != self._stream.index:
                continue
            if packet.is_corrupt:
                self._lose()
                continue
            try:
                decoded = packet.decode()
            except self._errors as error:
                if not isinstance(error, EOFError):
                    self._lose()
                continue
            for raw in decoded:
                if raw.is_corrupt:
                    self._lose()
                else:
                    yield self._stamped(raw), raw

    def _stamped(self, raw: VideoFrame) -> int:
        """Its time stamp, later than that of the frame before."""
        step = raw.duration or self._usual()
        pts = raw.pts
        if self._last is not None:
            before, length = self._last
            pts = before + length if pts is None else pts
            pts = max(pts, before + 1)  # two frames of one time cannot be written
        pts = pts or 0
        self._last = pts, step
        self._reached = (pts + step) * self._base
        self.resumed = self.lost_from is not None
        return pts

    def _usual(self) -> int:
        """How long one frame is shown at the average rate, in units of the time base."""
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        return max(1, round(1 / (rate * self._base)))

    def _lose(self) -> None:
        if self.lost_from is None:
            self.lost_from = self._reached
            self.resumed = False

    def _note_end(self, packet: Packet) -> None:
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None and packet.time_base and not packet.is_corrupt:
            end = (time + (packet.duration or 0)) * packet.time_base
            self._packets_end = max(self._packets_end, end)

    def _look_at_the_end(self) -> None:
        """A file that ends before its streams do was cut off."""
        end, stream = self.clip.end, self._stream
        if end is not None and max(self._packets_end, self._reached) < end - _MISSING:
            self._lose()
        elif stream.duration is not None:
            own = (stream.duration + (stream.start_time or 0)) * self._base
            if self._reached < own - _MISSING:
                self._lose()


def _video_of(container: InputContainer) -> VideoStream:
    """The video stream that players show; cover pictures are none."""
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise PictureError("contains no video stream")
    marked = [s for s in streams if s.disposition & s.disposition.default]
    stream = (marked or streams)[0]
    if stream.codec_context is None:
        raise PictureError("no decoder is available for its video stream")
    return stream


def _base_of(stream: VideoStream) -> Fraction:
    """Seconds of one unit of its time stamps."""
    if stream.time_base is None:
        raise PictureError("its video stream has no time base")
    return stream.time_base


def _describe(path: Path, container: InputContainer, stream: VideoStream, raw: VideoFrame) -> Clip:
    notes: list[str] = []
    base, turn = _base_of(stream), _turn(raw, notes)
    width, height = (raw.height, raw.width) if turn[0] else (raw.width, raw.height)
    depth = max(part.bits for part in raw.format.components)
    colour = _colour(raw)
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    end = None
    if container.duration is not None:
        end = Fraction(container.duration + max(container.start_time or 0, 0), 10**6)
    length = Fraction(0) if end is None else end
    if stream.duration is not None:
        length = stream.duration * base
    if colour.transfer in _HDR:
        notes.append(
            f"HDR ({_HDR[colour.transfer]}): the model sees the stored values, which are "
            f"brighter in the shadows than those it was trained on"
        )
    if raw.interlaced_frame:
        notes.append("interlaced: translated as it is stored; deinterlace it first for clean edges")
    if raw.format.name.startswith(("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya")):
        notes.append("its transparency is not kept")
    others = {s.type for s in container.streams if s.type not in ("video", "audio")}
    if others & {"subtitle"}:
        notes.append("its subtitles are not kept")
    return Clip(
        path, width, height, turn, 16 if depth > 8 else 8, base, rate,
        1 / aspect if turn[0] else aspect, colour, end,
        _begins(container), stream.frames or round(length * rate), len(container.streams.audio),
        tuple(notes),
    )  # fmt: skip


def _begins(container: InputContainer) -> Fraction:
    if container.format.name in ("mpeg", "mpegts") and container.start_time is not None:
        return Fraction(container.start_time, 10**6)
    return Fraction(0)


def _colour(raw: VideoFrame) -> Colour:
    matrix = raw.colorspace
    if matrix in (0, _UNSPECIFIED):  # 0 is RGB, which is written as what players take for it
        matrix = _BT601 if raw.height <= _SD_HEIGHT else _BT709
    full = raw.color_range == _FULL or raw.format.name.startswith("yuvj")
    return Colour(matrix, _FULL if full else _LIMITED, raw.color_primaries, raw.color_trc)


def _turn(raw: VideoFrame, notes: list[str]) -> tuple[bool, bool, bool]:
    """Of the display matrix (ISO/IEC 14496-12, 6.2.2): a stored (x, y) is shown at
    (a * x + c * y, b * x + d * y)."""
    side = cast("Mapping[str, SupportsBytes]", raw.side_data)  # PyAV's types know one kind only
    with suppress(KeyError):
        a, b, _, c, d = struct.unpack_from("=5i", bytes(side["DISPLAYMATRIX"]))
        if b == c == 0 and a and d:
            return False, a < 0, d < 0
        if a == d == 0 and b and c:
            return True, c < 0, b < 0
        notes.append(
            "rotated by an angle that is not a multiple of 90 degrees: written as it is stored"
        )
    return False, False, False


def _why_not(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return describe_os_error(error)
    try:
        if path.stat().st_size == 0:
            return "an empty file"
    except OSError as fault:
        return describe_os_error(fault)
    return f"not a video clip, or damaged at its start ({first_line(error)})"

"""Segments and the sound of the source become one clip."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from img2img.errors import PictureError, first_line
from img2img.images.values import MetadataChoice
from img2img.inference.video.encoding import Refusals, exactly
from img2img.inference.video.reading import Clip, pyav

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoStream
    from av.container import InputContainer, OutputContainer

_OWN = ("major_brand", "minor_version", "compatible_brands", "encoder")  # of the old file itself
_PLACE = ("location", "gps", "xyz")
# The index stands in front, for players that read while they load. The start of a stream is kept
# in units of the movie's time scale, which are milliseconds where nothing is said.
_MP4 = {"movflags": "+faststart"}

_OTHER = "a finished segment is damaged; all segments were discarded: run the same command again"


class Mismatch(PictureError):
    """The segments are not those of the clip."""


@dataclass(frozen=True)
class Joined:
    """What the join reports: notes about what became of the sound, in words."""

    notes: tuple[str, ...]


def join(
    segments: Sequence[Path],
    clip: Clip,
    target: Path,
    container: str,
    times: Sequence[int],
    end: int,
    metadata: MetadataChoice,
    should_stop: Callable[[], bool] = lambda: False,
) -> Joined | None:
    """Write `target` from the encoded `segments`, whose packets are copied, and the sound of
    `clip`, which is copied where the container holds its codec and re-encoded otherwise.

    Args:
        times: the time stamp of each frame, in units of the clip's time base.
        end: that at which the last one ends.
        metadata: `keep`, `no-gps` or `strip` title, date, place and chapters.
        should_stop: asked between packets.

    Returns None when `should_stop` said so. Raises PictureError where the container refuses, and
    EnvironmentFault where nothing can be written.
    """
    av = pyav()
    with ExitStack() as stack, Refusals(target, f"{container} cannot hold it"):
        source = stack.enter_context(av.open(str(clip.path)))
        options = {}
        if container in ("mp4", "mov"):
            options = _MP4 | {"movie_timescale": str(clip.time_base.denominator)}
        out = av.open(str(target), "w", format=container, container_options=options)
        stack.enter_context(out)
        if metadata != "strip":
            _copy_metadata(source, out, metadata == "no-gps")
        with av.open(str(segments[0]), format="nut") as first:
            video = out.add_stream_from_template(first.streams.video[0], opaque=True)
            video.time_base = clip.time_base
            if container in ("mp4", "mov") and video.codec_context.name == "hevc":
                video.codec_context.codec_tag = (
                    "hvc1"  # the name under which Apple's players take it
                )
        notes: list[str] = []
        sounds = [
            made
            for stream in source.streams.audio
            if (made := _Sound.of(stream, out, container, notes)) is not None
        ]
        streams = [_frames(segments, clip, video, times, end)]
        if sounds:
            streams.append(_sound(source, sounds, clip))
        out.start_encoding()
        for _, packet in heapq.merge(*streams, key=lambda row: row[0]):
            if should_stop():
                return None
            out.mux_one(packet)
    return Joined(tuple(dict.fromkeys([*notes, *(n for s in sounds for n in s.notes)])))


Timed = tuple[Fraction, "Packet"]


def _frames(
    segments: Sequence[Path], clip: Clip, video: VideoStream, times: Sequence[int], end: int
) -> Iterator[Timed]:
    """The packets of the segments, each with the time and the length of its frame."""
    number, shift = 0, exactly_units(clip.begins, clip.time_base)
    for path in segments:
        with pyav().open(str(path), format="nut") as container:
            for packet in container.demux(video=0):
                if packet.size == 0:
                    continue
                stamp = exactly(packet.pts, packet.time_base, clip.time_base)
                if number >= len(times) or stamp != times[number]:
                    raise Mismatch(_OTHER)
                follows = times[number + 1] if number + 1 < len(times) else end
                packet.stream = video
                packet.time_base = clip.time_base
                packet.pts = packet.dts = stamp - shift
                packet.duration = follows - stamp
                number += 1
                yield packet.pts * clip.time_base, packet
    if number != len(times):
        raise Mismatch(_OTHER)


def exactly_units(seconds: Fraction, base: Fraction) -> int:
    """Seconds in units of a time base, to the nearest."""
    return round(seconds / base)


class _Sound:
    """One stream of sound: copied, or re-encoded."""

    def __init__(self, stream: AudioStream, target: AudioStream, coded: bool):
        self.stream, self.target, self.coded = stream, target, coded
        self.notes: list[str] = []
        self.broken = False

    @staticmethod
    def of(
        stream: AudioStream, out: OutputContainer, container: str, notes: list[str]
    ) -> _Sound | None:
        context = stream.codec_context
        name = "unknown" if context is None else context.name
        errors = (pyav().error.FFmpegError, ValueError, LookupError)
        if context is not None and context.codec.canonical_name in out.supported_codecs:
            with suppress(*errors):
                target = out.add_stream_from_template(stream, opaque=True)
                target.time_base = stream.time_base
                target.metadata.update(stream.metadata)
                return _Sound(stream, target, coded=False)
        wanted: Literal["libopus", "aac"] = "libopus" if container == "webm" else "aac"
        try:
            rate = 48000 if container == "webm" else context.sample_rate
            target = out.add_stream(wanted, rate=rate, layout=context.layout.name)
        except (*errors, AttributeError) as error:
            notes.append(f"its sound ({name}) is not kept: {first_line(error)}")
            return None
        notes.append(f"its sound ({name}) is re-encoded as {wanted.removeprefix('lib')}")
        return _Sound(stream, target, coded=True)

    def packets(self, packet: Packet[AudioStream]) -> Iterator[Packet]:
        """What one packet of the source becomes; the last one of a stream is empty."""
        if not self.coded:
            if packet.size and packet.dts is not None and not packet.is_corrupt:
                packet.stream = self.target
                yield packet
            return
        try:
            frames = packet.decode()
        except pyav().error.FFmpegError:
            self._break()
            frames = []
        for frame in frames:
            yield from self.target.encode(frame)
        if not packet.size:
            yield from self.target.encode(None)

    def _break(self) -> None:
        if not self.broken:
            self.broken = True
            self.notes.append("a part of its sound could not be decoded")


def _sound(source: InputContainer, sounds: Sequence[_Sound], clip: Clip) -> Iterator[Timed]:
    """The packets of all sounds in the order of their time."""
    of = {sound.stream.index: sound for sound in sounds}
    last = Fraction(-(10**6))
    packets = source.demux(tuple(sound.stream for sound in sounds))
    while True:
        try:
            packet = next(packets, None)
        except pyav().error.FFmpegError:  # the file is cut off
            return
        if packet is None:
            return
        for made in of[packet.stream.index].packets(packet):
            base = made.time_base
            if clip.begins:
                shift = exactly_units(clip.begins, base)
                made.pts = None if made.pts is None else made.pts - shift
                made.dts = None if made.dts is None else made.dts - shift
            stamp = made.pts if made.dts is None else made.dts
            last = last if stamp is None else max(last, stamp * base)
            yield last, made


def _copy_metadata(source: InputContainer, out: OutputContainer, without_place: bool) -> None:
    kept = {
        name: value
        for name, value in source.metadata.items()
        if name not in _OWN and not (without_place and any(part in name.lower() for part in _PLACE))
    }
    out.metadata.update(kept)
    if chapters := source.chapters():
        out.set_chapters(chapters)

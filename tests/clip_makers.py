"""Video clips that the tests make for themselves, and what they see in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.inference import TranslateRequest
from img2img.inference.video import (
    ClipEvent,
    ClipsEvent,
    ClipSummary,
    VideoOptions,
    translate_clips,
)

PHOTOS = Path(__file__).resolve().parent.parent / "examples" / "photos"
BASE = Fraction(1, 15360)
STEP = 512  # of it: 30 frames each second
CORNERS = np.zeros((48, 64, 3), np.uint8)
CORNERS[:24, :32], CORNERS[:24, 32:] = (220, 30, 30), (30, 200, 40)
CORNERS[24:, :32], CORNERS[24:, 32:] = (30, 40, 210), (230, 230, 230)


def photo(name: str = "roman-colosseum", width: int = 480) -> NDArray[np.uint8]:
    image = Image.open(PHOTOS / f"{name}.jpg").convert("RGB")
    return np.asarray(image.resize((width, width * image.height // image.width)))


def panning(count: int, size: tuple[int, int] = (96, 64), step: int = 2) -> list[NDArray[np.uint8]]:
    """Frames of (width, height): a camera that pans over a photograph."""
    wide = photo()
    top, (width, height) = wide.shape[0] // 2, size
    return [wide[top : top + height, k * step : k * step + width] for k in range(count)]


def clip(
    path: Path,
    frames: Sequence[NDArray[Any]],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    base: Fraction = BASE,
    sound: str = "",
    rotation: int = 0,
    options: dict[str, str] | None = None,
    context: dict[str, object] | None = None,
    metadata: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Write RGB `frames`, uint8 or uint16, at `times` in units of `base`, with a sine of the codec
    `sound`."""
    import av
    from av.video.reformatter import VideoReformatter

    wanted = context or {}
    with av.open(str(path), "w", container_options=container or {}) as out:
        out.metadata.update(metadata or {})
        more = {"crf": "8", "preset": "ultrafast"} if "libx26" in codec else {"crf": "8", "b": "0"}
        if codec == "libx265":
            more["x265-params"] = "log-level=none"
        stream = out.add_stream(codec, rate=30, options=options or more)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = base
        for name, value in wanted.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        voice = out.add_stream(sound, rate=48000, layout="mono") if sound else None
        for k, rgb in enumerate(frames):
            deep = rgb.dtype == np.uint16
            made = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(rgb), "rgb48le" if deep else "rgb24"
            )
            made = VideoReformatter().reformat(
                made, format=pixels, dst_colorspace=wanted.get("colorspace", 5),
                src_color_range=2, dst_color_range=wanted.get("color_range", 1),
            )  # fmt: skip
            made.pts = times[k] if times else k * STEP
            made.time_base = base
            out.mux(stream.encode(made))
            if voice is not None:
                wave = np.sin(2 * np.pi * 440 * np.arange(k * 1600, (k + 1) * 1600) / 48000) / 4
                frame_of_sound = av.AudioFrame.from_ndarray(wave[None].astype("f4"), "fltp", "mono")
                frame_of_sound.sample_rate, frame_of_sound.pts, frame_of_sound.time_base = (
                    48000,
                    k * 1600,
                    Fraction(1, 48000),
                )
                out.mux(voice.encode(frame_of_sound))
        out.mux(stream.encode(None))
        if voice is not None:
            out.mux(voice.encode(None))
    return path


def coarse(pixels: NDArray[Any]) -> NDArray[Any]:
    """Means of 4x4 pixels: what is left where colours are stored at half the size."""
    height, width = (side // 4 for side in pixels.shape[:2])
    return pixels.reshape(height, 4, width, 4, 3).mean((1, 3))


def apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a.astype(np.float64) - b).mean())


class Seen:
    """What a clip holds: its frames as RGB (uint16 where it has more than 8 bits), their times in
    seconds, its streams."""

    def __init__(self, path: Path):
        import av

        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.base = stream.time_base
            self.codec, self.pixels = stream.codec_context.name, stream.pix_fmt
            self.tag = stream.codec_context.codec_tag
            self.aspect = stream.sample_aspect_ratio
            self.length = stream.duration
            self.metadata = dict(container.metadata)
            frames = list(container.decode(video=0))
            self.times = [frame.pts * self.base for frame in frames]
            self.raw = frames
            self.rotations = {frame.rotation for frame in frames}
            self.colour = (frames[0].colorspace, frames[0].color_range)
        with av.open(str(path)) as container:
            self.sounds = [s.codec_context.name for s in container.streams.audio]
            self.sound = (
                [bytes(p) for p in container.demux(audio=0) if p.size] if self.sounds else []
            )
        with av.open(str(path)) as container:
            self.packets = [
                (p.pts, p.duration, bytes(p)) for p in container.demux(video=0) if p.size
            ]

    def rgb(self, k: int, form: str = "rgb24") -> NDArray[Any]:
        from av.video.reformatter import VideoReformatter

        matrix, span = self.colour
        return (
            VideoReformatter()
            .reformat(
                self.raw[k],
                format=form,
                src_colorspace={1: 1, 9: 9}.get(matrix, 5),
                src_color_range=2 if span == 2 else 1,
                dst_color_range=2,
            )
            .to_ndarray()
        )


def translated(
    source: Path | Sequence[Path],
    out: Path,
    model: Path,
    should_stop: Callable[[], bool] = lambda: False,
    video: VideoOptions | None = None,
    **request: object,
) -> tuple[list[ClipsEvent], ClipSummary]:
    """All events, and the last one."""
    inputs = (source,) if isinstance(source, Path) else tuple(source)
    asked = TranslateRequest(inputs=inputs, out=out, model=model, **request)  # type: ignore[arg-type]
    events = list(translate_clips(asked, video or VideoOptions(), should_stop))
    assert isinstance(events[-1], ClipSummary)
    return events, events[-1]


def ended(events: Sequence[ClipsEvent]) -> ClipEvent:
    """The event of the only clip."""
    (found,) = (event for event in events if isinstance(event, ClipEvent))
    return found

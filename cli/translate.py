"""`img2img translate`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from img2img.cli.console import extra, say, say_json, stop_flag
from img2img.cli.progress import Listener, in_words
from img2img.cli.streams import standard_streams
from img2img.errors import UsageError

if TYPE_CHECKING:
    from img2img.images.values import MetadataChoice
    from img2img.inference import Event, Summary, TranslateRequest
    from img2img.inference.network import TileOption
    from img2img.inference.scale import Cluster
    from img2img.inference.video import VideoOptions

    Translate = Callable[[TranslateRequest, Callable[[], bool]], Iterator[Event]]


def run(
    request: TranslateRequest,
    video: VideoOptions | None,
    json: bool,
    cluster: Cluster | None = None,
) -> None:
    """Run the command; `video`: the inputs are clips; `cluster`: where, if not in this process."""
    if cluster is not None:
        if video is not None:
            raise UsageError("--ray is for pictures; translate video clips without it")
        _on_cluster(request, json, cluster)
        return
    request.check()
    if video is not None:
        from img2img.cli import clips

        clips.run(request, video, json)
        return
    if request.out == "-" and json:
        raise UsageError("--json writes to standard output and cannot be combined with -o -")
    with standard_streams(request) as (inputs, out, publish):
        inner = replace(request, inputs=tuple(inputs), out=out)
        summary, stopped = _translate(inner, json, quiet=request.out == "-")
        if not summary.failed:
            publish()
    # Ctrl-C is how watching is meant to end; a job that it cuts short is interrupted.
    if summary.failed and not (request.watch and stopped):
        raise typer.Exit(1)


def _on_cluster(request: TranslateRequest, json: bool, cluster: Cluster) -> None:
    with extra("scale", "--ray"):
        from img2img.inference.scale import translate_on_ray

        summary, _ = _translate(
            request, json, False, lambda asked, stop: translate_on_ray(asked, cluster, stop)
        )
    if summary.failed:
        raise typer.Exit(1)


def _translate(
    request: TranslateRequest, json: bool, quiet: bool, how: Translate | None = None
) -> tuple[Summary, bool]:
    from img2img.inference import Summary, translate_folder

    summary = Summary()
    with stop_flag() as stop, Listener(json) as listen:
        for event in (how or translate_folder)(request, stop):
            if isinstance(event, Summary):
                summary = event
            else:
                listen(event)
        listen.close()
        if json:
            say_json(summary.row)
        elif not quiet:
            say(in_words(summary, request.out))
        if not (request.watch and stop.number == signal.SIGINT):
            stop.leave()
        return summary, stop()


def video(
    request: TranslateRequest, codec: str | None, temporal_blend: float | None
) -> VideoOptions | None:
    """Of --codec and --temporal-blend; None where the inputs are pictures."""
    from img2img.inference.video import VideoOptions, are_clips

    if not are_clips(request.inputs):
        for name, value in (("--codec", codec), ("--temporal-blend", temporal_blend)):
            if value is not None:
                raise UsageError(f"{name} is for video clips, and no input is a clip")
        return None
    options = VideoOptions(codec=codec)
    return options if temporal_blend is None else replace(options, temporal_blend=temporal_blend)


def metadata(strip_metadata: bool, strip_gps: bool) -> MetadataChoice:
    """Of --strip-metadata and --strip-gps."""
    if strip_metadata and strip_gps:
        raise UsageError("--strip-metadata also removes the location; leave --strip-gps out")
    return "strip" if strip_metadata else "no-gps" if strip_gps else "keep"


def size(text: str | None) -> int | None:
    """Of --size: a long side in pixels, 0 for the picture's own, None for the model's."""
    if text is None or text == "full":
        return None if text is None else 0
    if not text.isascii() or not text.isdigit() or int(text) > 65536:
        raise UsageError(f"--size {text}: give a long side in pixels up to 65536, or full")
    return int(text)


def tile(text: str) -> TileOption:
    """Of --tile: auto, off or a side in pixels."""
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"--tile {text}: give auto, off, or a side in pixels")
    return int(text)


def cluster(ray: str | None, actors: str | None, gpus: float | None) -> Cluster | None:
    """Of --ray, --actors and --gpus; None without --ray."""
    if ray is None:
        if actors is not None or gpus is not None:
            raise UsageError(f"{'--actors' if actors is not None else '--gpus'} needs --ray")
        return None
    from img2img.inference.scale import Cluster

    return Cluster(ray, None if actors is None else _range(actors), gpus or 0.0)


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    if not all(
        part.isascii() and part.isdigit() and len(part) < 7 for part in (least, most or "1")
    ):
        raise UsageError(f"--actors {text}: give a number of models, or MIN-MAX")
    return int(least), int(most or least)

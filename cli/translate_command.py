"""`img2img translate`."""

from __future__ import annotations

from img2img.cli import translate_options as options
from img2img.cli.options import (
    Batch,
    Debug,
    Device,
    Direction,
    Json,
    Layout,
    Precision,
    Quiet,
    Range,
    Runner,
)

EXAMPLES = """
img2img translate photos -o out
img2img translate cat.jpg -o cat-drawn.png -m drawing --strength 0.8
img2img translate 'trip/*.jpg' -o out -m runs/mine --gallery out.html
img2img translate clip.mp4 -o clip-painted.mp4
"""


def translate_command(
    inputs: options.Inputs,
    out: options.Out,
    model: options.Model = None,
    direction: Direction = None,
    domain: options.Domain = None,
    labels: options.Labels = None,
    size: options.Size = None,
    strength: options.Strength = 1.0,
    format: options.Format = None,
    quality: options.Quality = 95,
    name: options.Name = "{stem}",
    overwrite: options.Overwrite = False,
    retry_failed: options.RetryFailed = False,
    watch: options.Watch = False,
    follow_links: options.FollowLinks = False,
    compare: options.Compare = None,
    gallery: options.Gallery = None,
    strip_metadata: options.StripMetadata = False,
    strip_gps: options.StripGps = False,
    salvage: options.Salvage = False,
    max_megapixels: options.MaxMegapixels = None,
    timeout: options.Timeout = 60.0,
    codec: options.Codec = None,
    temporal_blend: options.TemporalBlend = None,
    runner: Runner = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    tile: options.Tile = "auto",
    batch: Batch = None,
    layout: Layout = None,
    range_: Range = None,
    ray: options.Ray = None,
    actors: options.Actors = None,
    gpus: options.Gpus = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Translate pictures: files, folders or globs; or video clips.

    Folders are searched recursively, and OUT gets the same subfolders. Run the same command again
    to translate only what is new or has changed. Clips are given by name, not by their folder.
    """
    from img2img.cli import translate
    from img2img.inference.request import TranslateRequest

    request = TranslateRequest(
        inputs=tuple(inputs), out=out, model=model, direction=direction,
        domains=tuple(domain or ()), labels=labels, runner=runner, device=device,
        precision=precision, tile=translate.tile(tile), format=format, quality=quality,
        name=name, size=translate.size(size), strength=strength, batch=batch,
        overwrite=overwrite, retry_failed=retry_failed, watch=watch, follow_links=follow_links,
        compare=compare, gallery=gallery,
        metadata=translate.metadata(strip_metadata, strip_gps), salvage=salvage,
        max_megapixels=max_megapixels, timeout=timeout, layout=layout, value_range=range_,
    )  # fmt: skip
    clips = translate.video(request, codec, temporal_blend)
    translate.run(request, clips, json, translate.cluster(ray, actors, gpus))

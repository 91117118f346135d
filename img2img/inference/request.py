"""The request for `translate_folder`: everything that the command takes, as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import UsageError
from img2img.images.values import MetadataChoice
from img2img.inference.network import TileOption

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MOST = 10**6


@dataclass(frozen=True, kw_only=True)
class TranslateRequest:
    """Which pictures to translate, with which model, and where the results go.

    Attributes:
        inputs: files, folders (searched recursively) and patterns such as `photos/*.jpg`.
        out: the folder of the outputs; for one picture also a file, whose suffix is the format.
        model: a shipped model's name, a run folder, a .safetensors or an .onnx file; None: the
            default model. `direction` chooses in a run of both directions.
        domains: target domains, for a model of several: a name, `A+B`, or `all`. `labels` is a
            table of the pictures' own attributes, which `domains` then change.
        runner, device, precision: as for `open_runner`.
        size: long side in pixels at which the network works; 0: each picture's own size; None:
            what the model states.
        strength: 1 gives the translation, 0 the source, values in between a blend.
        tile: `auto`, `off` or a side in pixels.
        batch: pictures of one size at once; None chooses by their size.
        format: jpg, png, webp, avif, tiff or bmp; None keeps that of each input.
        quality: 1..100, for JPEG, WebP and AVIF.
        name: template of the outputs' names, of {stem}, {model}, {domain} and {number}.
        overwrite: translate again what is in `out` already.
        retry_failed: try again what failed before, unchanged.
        watch: keep looking for new and changed pictures until stopped.
        follow_links: take linked pictures and enter linked folders.
        compare: folder for sheets of source and output side by side.
        gallery: HTML page of before/after sliders.
        metadata: `keep` EXIF and XMP, `no-gps` without the place, `strip` without any.
        salvage: take what can be decoded of a damaged picture.
        max_megapixels: larger pictures are refused before decoding; None: what the machine's
            memory allows, at most 400.
        timeout: seconds that one picture may take to decode.
        layout, value_range: of an .onnx file made elsewhere (`nchw` or `nhwc`; `-1..1`, `0..1`
            or `0..255`).
    """

    inputs: tuple[str | Path, ...]
    out: str | Path
    model: str | Path | None = None
    direction: str | None = None
    domains: tuple[str, ...] = ()
    labels: Path | None = None
    runner: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    size: int | None = None
    strength: float = 1.0
    tile: TileOption = "auto"
    batch: int | None = None
    format: str | None = None
    quality: int = 95
    name: str = "{stem}"
    overwrite: bool = False
    retry_failed: bool = False
    watch: bool = False
    follow_links: bool = False
    compare: Path | None = None
    gallery: Path | None = None
    metadata: MetadataChoice = "keep"
    salvage: bool = False
    max_megapixels: float | None = None
    timeout: float = 60.0
    layout: str | None = None
    value_range: str | None = None

    def check(self, remote: bool = False) -> None:
        """Raise UsageError for what can be refused before any file is looked at; with `remote`,
        inputs and `out` may be addresses."""
        if isinstance(self.inputs, str | Path) or not self.inputs:
            raise UsageError("inputs: give a tuple of at least one file, folder or pattern")
        texts = [str(text) for text in self.inputs]
        if any(given == "" for given in (*self.inputs, self.model, self.out)):
            raise UsageError("an input, `out` or `model` is an empty name")
        for option, value in (
            ("timeout", self.timeout),
            ("max_megapixels", self.max_megapixels),
        ):
            if value is not None and not value <= _MOST:  # nor nan
                raise UsageError(f"`{option}` {value:g}: at most a million")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"`quality` {self.quality}: needs a number from 1 to 100")
        for text in texts:
            if _is_url(text) and not remote:
                raise UsageError(
                    f"{text}: a URL; pictures are read from files: download it first and give "
                    "the file, or translate it with `ray`"
                )
        if _is_url(self.out) and not remote:
            raise UsageError(
                f"`out` {self.out}: a URL; give a folder or a file of this machine and upload it "
                "then, or translate with `ray`"
            )
        if self.model is not None and _is_url(self.model):
            raise UsageError(
                f"`model` {self.model}: a URL; download the model file first and give it"
            )


def _is_url(given: str | Path) -> bool:
    """True for a text such as https://host/a.jpg; a Path, and a name that exists, is none."""
    return isinstance(given, str) and _URL.match(given) is not None and not Path(given).exists()

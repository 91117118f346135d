"""What the routes call: an uploaded file in, a translated file out. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import queue
import re
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2img._version import __version__
from img2img.errors import PictureError, UsageError, proposal
from img2img.images import HOLDS_16_BITS, Picture, Pixels, Reading, with_pixels
from img2img.images.formats import FORMATS, READ_ONLY, encode_format, sniff
from img2img.images.memory import encode_picture
from img2img.images.values import MetadataChoice
from img2img.inference.budget import Budget, Hold
from img2img.inference.decoders import Decoded, Decoder, Ended, Watch
from img2img.inference.network import Domain, Network
from img2img.inference.output import strangeness
from img2img.inference.pipeline import WRITERS, reader_count
from img2img.inference.translator import Translator
from img2img.model_format.find import default_name, shipped
from img2img.server.folder import UploadFolder
from img2img.server.metrics import Metrics
from img2img.server.queue import STOPS, Batcher, Room
from img2img.server.request import ServeRequest

_SLOTS = 24  # decoded pictures
_BYTES = 192 * 2**20  # of decoded pictures, unless one alone has more
_UPLOADS = 4  # uploads of full size that may lie on the disk at a time
_LIFT = re.compile(r"; `max_megapixels` \d+ lifts it$")  # not by the client
_TYPES = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff",
    "BMP": "image/bmp", "AVIF": "image/avif",
}  # fmt: skip
SUFFIXES = dict(FORMATS.values())


class NoPicture(PictureError):
    """What was uploaded is no picture of a known format."""


@dataclass(frozen=True)
class Wanted:
    """What a client asks for, checked: the network, the domain vector, and how files are read and
    written. `format`: None keeps that of the upload."""

    model: str
    network: Network
    domain: Domain | None
    format: str | None
    quality: int
    metadata: MetadataChoice


@dataclass(frozen=True)
class Answer:
    """A translated file.

    Attributes:
        data: its bytes. `format`: e.g. `JPEG`.
        width, height: in pixels.
        notes: conversions that lost something, and how a picture differs from those that the model
            learned from, in words.
    """

    data: bytes
    format: str
    width: int
    height: int
    notes: tuple[str, ...]

    @property
    def media_type(self) -> str:
        """As HTTP names the format."""
        return _TYPES[self.format]


class Service:
    """The models, the decoding processes, the queue and the threads that encode.

    Raises as `Translator` for a model that cannot be opened.

    Attributes:
        models: opened models by the name under which they are served.
        folder: where uploads lie while they are decoded.
    """

    def __init__(self, request: ServeRequest):
        self.request = request
        self.metrics = _metrics()
        self.models: dict[str, Translator] = {}
        try:
            for given in request.models or (default_name(),):
                self._open(given)
        except BaseException:
            self._close_models()
            raise
        self._folder = UploadFolder()
        self.folder = self._folder.path
        self.room = Room(request.queue, max(_UPLOADS * request.max_bytes, 2**28))
        self.batcher = Batcher()
        self._budget = Budget(_BYTES, _SLOTS)
        count = reader_count(4 * request.queue)
        self._decoders = [Decoder(request.timeout) for _ in range(count)]
        self._free: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            self._free.put(decoder)
        self._watch = Watch(self._decoders)
        self._readers = ThreadPoolExecutor(count, "reader")
        self._writers = ThreadPoolExecutor(WRITERS, "writer")

    def wanted(self, given: dict[str, str]) -> Wanted:
        """The options that a client gave by name, checked. Raises UsageError."""
        unknown = sorted(given.keys() - {*OPTIONS})
        if unknown:
            raise UsageError(f"unknown option '{unknown[0]}'.{proposal(unknown[0], OPTIONS)}")
        name = given.get("model") or next(iter(self.models))
        if name not in self.models:
            raise UsageError(f"no model named '{name}' here.{proposal(name, self.models)}")
        translator = self.models[name]
        format = encode_format(given["format"])[0] if given.get("format") else None
        metadata = given.get("metadata") or "keep"
        if metadata not in ("keep", "no-gps", "strip"):
            raise UsageError(f"metadata {metadata[:40]}: give keep, no-gps or strip")
        quality = _number(given, "quality", 95)
        if not 1 <= quality <= 100 or quality != int(quality):  # nor nan
            raise UsageError(f"`quality` {quality:g}: needs a whole number from 1 to 100")
        network = translator.network(strength=_number(given, "strength", 1.0))
        try:
            domain = translator.vector(given.get("domain") or None)
        except UsageError as error:
            raise UsageError(str(error).replace("`domains`", "`domain`")) from None
        return Wanted(name, network, domain, format, int(quality), metadata)  # type: ignore[arg-type]

    async def translate(self, path: Path, wanted: Wanted) -> Answer:
        """Translate the file at `path`; the answer is what `img2img translate` writes.

        Cancelled, it leaves the queue. Raises PictureError (NoPicture).
        """
        began = time.monotonic()
        try:
            answer = await self._translate(path, wanted)
        except PictureError as error:
            self.metrics.count("img2img_pictures_total", model=wanted.model, status="failed")
            text = _LIFT.sub("", str(error).removeprefix(f"{path}: "))
            raise type(error)(text) from None
        except asyncio.CancelledError:
            self.metrics.count("img2img_pictures_total", model=wanted.model, status="left")
            raise
        self.metrics.count("img2img_pictures_total", model=wanted.model, status="done")
        self.metrics.observe("img2img_seconds", time.monotonic() - began, model=wanted.model)
        return answer

    async def _translate(self, path: Path, wanted: Wanted) -> Answer:
        with open(path, "rb") as file:
            read = sniff(file.read(64))
        if read is None:
            raise NoPicture("not a picture of a known format")
        format = wanted.format or ("PNG" if read in READ_ONLY else read)
        # Read in the depth that will be written, so that values are rounded once.
        deep = format in HOLDS_16_BITS
        reading = Reading(deep=deep, max_pixels=self.request.max_pixels, metadata=wanted.metadata)
        decoded, hold = await self._decode(path, reading, wanted.network.scale)
        try:
            source = decoded.picture
            pixels = await self._run(wanted, source.pixels)
            stripped = wanted.metadata == "strip"
            picture = replace(
                with_pixels(source, pixels),
                format=format,
                software="" if stripped else f"img2img {__version__}, model {self._name(wanted)}",
            )
            loop = asyncio.get_running_loop()
            usual = self.models[wanted.model].info.inputs
            data, strange = await loop.run_in_executor(
                self._writers, _encoded, picture, wanted.quality, source, usual
            )
        finally:
            hold.drop()
        height, width = pixels.shape[:2]
        return Answer(data, format, width, height, (*picture.notes, *strange))

    async def _run(self, wanted: Wanted, pixels: Pixels) -> Pixels:
        task = self.batcher.submit(wanted.network, pixels, wanted.domain)
        try:
            answer, seconds = await asyncio.wrap_future(task.future)
        except asyncio.CancelledError:
            task.drop()
            raise
        self.room.took(seconds)
        return answer

    def _name(self, wanted: Wanted) -> str:
        return self.models[wanted.model].info.name

    async def _decode(self, path: Path, reading: Reading, scale: int) -> tuple[Decoded, Hold]:
        work = self._readers.submit(self._read, path, reading, scale)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            work.add_done_callback(_drop)
            raise

    def _read(self, path: Path, reading: Reading, scale: int) -> tuple[Decoded, Hold]:
        if not self._budget.wait():
            raise PictureError(STOPS)
        decoder = self._free.get()
        try:
            decoded = decoder.read(path, reading)
        except Ended:
            raise PictureError(STOPS) from None
        finally:
            self._free.put(decoder)
        size = (1 + scale**2) * decoded.picture.pixels.nbytes
        if not self._budget.take(size):
            raise PictureError(STOPS)
        return decoded, Hold(self._budget, size, 1)

    def gauges(self) -> list[tuple[str, float]]:
        """The current values, for `Metrics.text`."""
        return [
            ("img2img_accepted_pictures", self.room.pictures),
            ("img2img_waiting_pictures", self.batcher.waiting),
            ("img2img_batches_total", self.batcher.batches),
            ("img2img_batched_pictures_total", self.batcher.pictures),
        ]

    def close(self) -> None:
        """End everything; what is still in work is given up."""
        self._budget.close()
        for decoder in self._decoders:
            decoder.end()
        self.batcher.close()
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()
        self._watch.close()
        self._close_models()
        self._folder.close()

    def _open(self, given: str) -> None:
        # A path says more of this machine than its clients need to know.
        name = stem = given if given in shipped() else Path(given).resolve().stem
        number = 2
        while name in self.models:
            name, number = f"{stem}-{number}", number + 1
        request = self.request
        self.models[name] = Translator(
            given, runner=request.runner, device=request.device, precision=request.precision,
            size=request.size, tile=request.tile, batch=request.batch,
        )  # fmt: skip

    def _close_models(self) -> None:
        for translator in self.models.values():
            translator.close()


OPTIONS = {
    "model": "Name of a model from /v1/models; by default the first one.",
    "domain": "Target domain of a model with several domains: a name, or names joined by +.",
    "strength": "Blend of source (0) and translation (1).",
    "format": "jpg, png, webp, avif, tiff or bmp; by default that of the picture.",
    "quality": "1 to 100, for JPEG, WebP and AVIF; by default 95.",
    "metadata": "keep EXIF and XMP (the default), no-gps or strip.",
}


def _number(given: dict[str, str], name: str, default: float) -> float:
    text = given.get(name)
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"`{name}` {text[:40]}: is not a number") from None


def _encoded(
    picture: Picture, quality: int, source: Picture, usual: Mapping[str, Any]
) -> tuple[bytes, list[str]]:
    """The file of `picture`, and by what its `source` is unlike the model's pictures."""
    return encode_picture(picture, quality), strangeness(source, usual)


def _drop(work: Future[tuple[Decoded, Hold]]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result()[1].drop()


def _metrics() -> Metrics:
    metrics = Metrics()
    for name, text, kind in (
        ("img2img_requests_total", "Answered requests.", "counter"),
        ("img2img_pictures_total", "Pictures by model and outcome.", "counter"),
        ("img2img_seconds", "Seconds from upload to translated file.", "histogram"),
        ("img2img_accepted_pictures", "Pictures accepted and not yet answered.", "gauge"),
        ("img2img_waiting_pictures", "Decoded pictures that wait for a network.", "gauge"),
        ("img2img_batches_total", "Calls of a network.", "counter"),
        ("img2img_batched_pictures_total", "Pictures in these calls.", "counter"),
    ):
        metrics.describe(name, text, kind)  # type: ignore[arg-type]
    return metrics

"""Before and after: side-by-side sheets, and one HTML page of sliders for a whole job."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from img2img._version import __version__
from img2img.errors import EnvironmentFault, PictureError, UsageError, describe_os_error
from img2img.images import Pixels, on_white, read_picture, resize_pixels
from img2img.images.values import to_8_bits
from img2img.system.atomic import atomic_path, sweep_stale
from img2img.system.pages import asset, fill, head
from img2img.system.pages import shown_text as _text

# A sheet of two and the gap stays below the 16383 pixels a side that WebP holds.
MAX_SHEET_SIDE = 8188
GAP = 6
_GREY = 128

# Up to so many pictures, so long is the longer side of what the page holds: a thousand pairs of
# photographs are about 110 MB, which browsers still open in a few seconds.
SIDES = ((1000, 640), (4000, 360))
LEAST_SIDE = 240
QUALITY = 80
_WEBP_METHOD = 2

Status = Literal["translated", "there", "failed"]


def compare_sheet(before: Pixels, after: Pixels) -> Pixels:
    """Source and result side by side: uint8 (H, W, 3), `before` left, a grey gap of `GAP` pixels,
    `after` right.

    Takes uint8 or uint16 (H, W, 1 or 3). Both get the height of `after` and keep their shape; where
    one would be longer than `MAX_SHEET_SIDE` pixels on a side, both are reduced.
    """
    left, right = _rgb(before), _rgb(after)
    height = right.shape[0]
    widths = [max(1, round(p.shape[1] * height / p.shape[0])) for p in (left, right)]
    scale = min(1.0, MAX_SHEET_SIDE / max(height, *widths))
    if scale < 1:
        height = max(1, round(height * scale))
        widths = [max(1, round(width * scale)) for width in widths]
    gap = np.full((height, GAP, 3), _GREY, np.uint8)
    pair = [resize_pixels(p, w, height) for p, w in zip((left, right), widths, strict=True)]
    return np.concatenate([pair[0], gap, pair[1]], 1)


def side_for(count: int) -> int:
    """The longer side in pixels of the pictures in a page of `count` of them."""
    return next((side for most, side in SIDES if count <= most), LEAST_SIDE)


class Gallery:
    """One self-contained HTML page with a before/after slider for each picture.

    Entries are streamed to a temporary file as they come, so memory does not grow with their
    number; `close` publishes the page whole, its entries in the order of their names, and without
    it an older page stays as it was. As a context manager it closes at the end and discards on an
    error. Safe to call from several threads.

    Args:
        path: the page, `.html`.
        about: what the head says, as labels and values: model, settings, licence, time.
        count: how many pictures are expected, which decides their size in the page (`side_for`).
        title: of the page.

    Raises:
        UsageError: `path` has another suffix, is a folder, or its folder is missing.
        EnvironmentFault: it cannot be written (any method).
    """

    def __init__(
        self, path: Path | str, about: Mapping[str, str], count: int = 0, title: str = "img2img"
    ):
        self.path = Path(path)
        self.counts: dict[Status, int] = {"translated": 0, "there": 0, "failed": 0}
        self.side = side_for(count)
        if self.path.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{path}: a gallery needs the suffix .html")
        if self.path.is_dir():
            raise UsageError(f"{path}: is a folder")
        if not self.path.parent.is_dir():
            raise UsageError(f"{self.path.parent}: no such folder")
        sweep_stale(self.path.parent)
        self._head, self._middle, self._foot = _page(title, about)
        self._lock = threading.Lock()
        self._places: list[tuple[list[str], int, int, int]] = []  # name, number, offset, length
        self._end = 0
        with self._writing(), contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._file = stack.enter_context(open(temporary, "w+b"))
            self._stack: contextlib.ExitStack | None = stack.pop_all()

    def add(
        self,
        name: str,
        before: Pixels,
        after: Pixels,
        notes: Sequence[str] = (),
        status: Status = "translated",
    ) -> None:
        """One picture, uint8 or uint16 (H, W, 1 or 3), with its `notes`. Of one that was enlarged
        the middle is shown where the whole would have to be reduced."""
        part = self._middle_of(before.shape[:2], after.shape[:2])
        if part is not None:
            before, after = before[part.before], after[part.after]
            notes = [*notes, part.words]
        height, width = after.shape[:2]
        scale = min(1.0, self.side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shape = f'width="{size[0]}" height="{size[1]}" draggable="false" decoding="async"'
        label = _text(name)
        self._entry(
            name,
            status,
            f'<div class="slider" role="slider" tabindex="0" aria-label="{label}, before and after"'
            ' aria-valuemin="0" aria-valuemax="100" aria-valuenow="50">\n'
            f'<img class="after" loading="lazy" alt="after" {shape} src="{_embedded(after, size)}">'
            f'<img class="before" loading="lazy" alt="before" {shape} '
            f'src="{_embedded(before, size)}"><span class="bar"></span></div>\n'
            f"<figcaption><div><bdi>{label}</bdi>{_lines(notes)}</div>"
            f'<button type="button" aria-label="Enlarge {label}">Enlarge</button></figcaption>',
        )

    def add_files(
        self, source: Path | str, output: Path | str, name: str, notes: Sequence[str] = ()
    ) -> None:
        """A picture that was translated earlier, from its two files. One that cannot be read is
        listed as failed, with the reason."""
        pixels: list[Pixels] = []
        shapes: list[tuple[int, int]] = []
        for what, path in (("source", source), ("result", output)):
            try:
                whole = on_white(read_picture(path))
            except PictureError as error:
                # Pages are handed on: without the path on this machine.
                self.fail(name, f"{what}: {str(error).removeprefix(f'{path}: ')}")
                return
            shapes.append((whole.shape[0], whole.shape[1]))
            enlarged = what == "result" and self._middle_of(*shapes) is not None
            if enlarged:
                pixels[0] = on_white(read_picture(source))
            pixels.append(whole if enlarged else self._small(whole))
        self.add(name, pixels[0], pixels[1], notes, "there")

    def fail(self, name: str, reason: str) -> None:
        """A picture that has no result, and why."""
        self._entry(
            name,
            "failed",
            f"<figcaption><div><bdi>{_text(name)}</bdi>{_lines([reason])}</div></figcaption>",
        )

    def close(self) -> None:
        """Publish the page. Nothing more can be added. After `discard`, nothing happens."""
        if self._stack is None:
            return
        words = {"translated": "translated", "there": "already there", "failed": "failed"}
        summary = [f"{n} {words[status]}" for status, n in self.counts.items() if n]
        counts = (", ".join(summary) or "no picture").encode()
        foot = self._foot.replace(b"{{side}}", str(self.side).encode())
        size = len(self._head) + len(counts) + len(self._middle) + self._end + len(foot)
        foot = foot.replace(b"{{size}}", f"{size / 1e6:.1f} MB".encode())
        try:
            with self._writing(), atomic_path(self.path) as page, open(page, "wb") as file:
                file.write(self._head + counts + self._middle)
                for _, _, place, length in sorted(self._places):
                    self._file.seek(place)
                    file.write(self._file.read(length))
                file.write(foot)
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave no page; an older one stays. After `close`, nothing happens."""
        stack, self._stack = self._stack, None
        if stack is not None:
            with contextlib.suppress(_Discarded), stack:
                raise _Discarded

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _entry(self, name: str, status: Status, inside: str) -> None:
        kind = ' class="failed"' if status == "failed" else ""
        text = f'<figure{kind} data-status="{status}">\n{inside}\n</figure>\n'.encode()
        with self._lock, self._writing():
            self._file.write(text)
            self._places.append((_order(name), len(self._places), self._end, len(text)))
            self._end += len(text)
            self.counts[status] += 1

    def _middle_of(self, before: tuple[int, int], after: tuple[int, int]) -> _Middle | None:
        """Of pictures of these heights and widths the part to show; None for the whole."""
        scale = after[0] // before[0]
        if scale < 2 or after != (scale * before[0], scale * before[1]) or max(after) <= self.side:
            return None
        sides = [min(side, max(1, self.side // scale)) for side in before]
        starts = [(whole - side) // 2 for whole, side in zip(before, sides, strict=True)]
        small, large = (
            tuple(
                slice(by * start, by * (start + side))
                for start, side in zip(starts, sides, strict=True)
            )
            for by in (1, scale)
        )
        height, width = (scale * side for side in sides)
        return _Middle(
            small, large, f"the middle, {width}x{height} of {after[1]}x{after[0]} pixels"
        )

    def _small(self, pixels: Pixels) -> Pixels:
        """Reduced at once, so that only one picture of full size is held at a time."""
        height, width = pixels.shape[:2]
        scale = self.side / max(height, width)
        if scale >= 1:
            return pixels
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.asarray(_reduced(pixels, size))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            words = describe_os_error(error)
            raise EnvironmentFault(f"{self.path}: not written: {words}") from None


@dataclass(frozen=True)
class _Middle:
    """The same part of two pictures, as slices of rows and columns, and what to say of it."""

    before: tuple[slice, ...]
    after: tuple[slice, ...]
    words: str


class _Discarded(Exception):
    """Unwinds the stack of an unfinished page, so that its temporary file is removed."""


def _order(name: str) -> list[str]:
    """Sorts as a listing of the folders does: folder by folder, without regard to case."""
    return [part.casefold() for part in Path(name).parts]


def _rgb(pixels: Pixels) -> Pixels:
    pixels = to_8_bits(pixels)
    return np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels


def _reduced(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(_rgb(pixels)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _embedded(pixels: Pixels, size: tuple[int, int]) -> str:
    data = io.BytesIO()
    _reduced(pixels, size).save(data, "WEBP", quality=QUALITY, method=_WEBP_METHOD)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def _lines(notes: Sequence[str]) -> str:
    return "".join(f"<p>{_text(note)}</p>" for note in notes)


def _page(title: str, about: Mapping[str, str]) -> tuple[bytes, bytes, bytes]:
    """What stands before the counts, from there to the entries, and behind these; in the last part
    `{{size}}` and `{{side}}` are left to fill in."""
    style = asset("look.css") + asset("gallery.css")
    script = asset("slider.js") + asset("gallery.js")
    values = {
        "title": _text(title),
        "about": "".join(
            f"<div><dt>{_text(label)}</dt><dd><bdi>{_text(value)}</bdi></dd></div>"
            for label, value in about.items()
        ),
        "head": head(_text(title), style, script),
        "script": script,
        "version": __version__,
    }
    # Taken apart before it is filled, so that a title may hold such marks.
    top, rest = asset("gallery.html").split("{{counts}}")
    middle, foot = rest.split("{{entries}}")
    first, second, third = (fill(part, values).encode() for part in (top, middle, foot))
    return first, second, third

"""The pictures of the inputs, as a stream: from folders, buckets, archives and single files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import EnvironmentFault, UsageError
from img2img.images import NO_RAW, RAW, is_picture_name, sniff, survey
from img2img.inference.planning import expand
from img2img.system.places import Entry, Place
from img2img.system.refusals import Vanished


@dataclass(frozen=True, slots=True)
class Source:
    """A file of an input: which input, its name below it, its stamp, and why it is left alone."""

    place: int
    name: str
    stamp: str
    ignored: str | None = None


class Inputs:
    """The inputs of a request; listed again each time, and never kept in memory.

    Attributes:
        places: where they are; for a single file its folder.

    Raises UsageError for an input that is not there, that lies in another, or that holds the
    output; EnvironmentFault without rights or connection.
    """

    def __init__(self, inputs: Sequence[str | Path], out: Place, follow_links: bool = False):
        self._follow, self._out = follow_links, out
        self.places: list[Place] = []
        self._names: list[str | None] = []  # of a single file, else None
        for given in inputs:
            if "://" not in str(given) or Path(given).exists():
                for path in expand([given]):
                    self._add(Place(path), path.is_dir())
                continue
            place = Place(str(given))
            self._add(place, place.is_folder())
        self._check()

    def __iter__(self) -> Iterator[Source]:
        """Yield every file of the inputs. Raises EnvironmentFault when a listing breaks off,
        UsageError for a folder without a picture."""
        for number, (place, name) in enumerate(zip(self.places, self._names, strict=True)):
            if name is not None:
                yield self._single(number, place, name)
                continue
            pictures = files = 0
            for source in self._local(number) if place.local else self._remote(number):
                files += 1
                pictures += source.ignored is None
                yield source
            if not pictures:
                others = f" among {files} files" if files else ""
                raise UsageError(
                    f"{place.address}: no picture in this folder{others} "
                    "(jpg, png, webp, avif, heic, tiff, bmp, gif)"
                )

    def _add(self, place: Place, folder: bool) -> None:
        if folder:
            self.places.append(place)
            self._names.append(None)
            return
        parent, _, name = place.address.rpartition("/")
        self.places.append(Place(Path(place.address).parent if place.local else parent))
        self._names.append(Path(place.address).name if place.local else name)

    def _check(self) -> None:
        out = self._out
        for place, name in zip(self.places, self._names, strict=True):
            if name is None and _holds(place, out):
                raise UsageError(
                    f"{out.address}: the output lies in the input folder {place.address} and "
                    "would be read again; use another `out`"
                )
            if name is not None and _holds(place, out) and _holds(out, place):
                raise UsageError(
                    f"{out.address}: the output folder is that of the input {name}; "
                    "use another `out`"
                )
        seen: dict[tuple[str, str, str], None] = {}
        for number, (place, name) in enumerate(zip(self.places, self._names, strict=True)):
            key = (place.scheme, place.root, name or "")
            others = [p for n, p in enumerate(self.places) if n != number and not self._names[n]]
            if key in seen or any(_holds(other, place) for other in others):
                raise UsageError(
                    f"{place.full(name or '')}: given twice, or lies in another input; "
                    "leave one of the two out"
                )
            seen[key] = None

    def _single(self, number: int, place: Place, name: str) -> Source:
        try:
            entry = place.entry(name)
        except Vanished:
            raise UsageError(f"{place.full(name)}: no such file or folder") from None
        raw = Path(name).suffix.lower() in RAW
        return Source(number, name, entry.stamp, NO_RAW if raw else None)

    def _local(self, number: int) -> Iterator[Source]:
        place = self.places[number]
        root = Path(place.address)
        skip = Path(self._out.root).resolve() if self._out.local else None
        for found in survey(root, self._follow, skip=skip):
            name = found.path.relative_to(root).as_posix()
            stamp = ""
            if found.ignored is None:
                try:
                    status = os.stat(found.path)
                    stamp = f"{status.st_size}:{status.st_mtime_ns}"
                except OSError:
                    stamp = "-1:"  # its reader says what is wrong
            yield Source(number, name, stamp, found.ignored)

    def _remote(self, number: int) -> Iterator[Source]:
        place = self.places[number]
        for entry in place.entries():
            *folders, base = entry.name.split("/")
            if any(folder.startswith(".") for folder in folders):
                continue
            yield Source(number, entry.name, entry.stamp, _why_not(place, entry, base))


def _why_not(place: Place, entry: Entry, base: str) -> str | None:
    """As for files of this machine (`survey`)."""
    if base.startswith("."):
        return "hidden"
    suffix = os.path.splitext(base)[1].lower()
    if suffix in RAW:
        return NO_RAW
    if suffix:
        return None if is_picture_name(base) else "not a picture"
    try:
        return None if sniff(place.read(entry.name, 0, 64)) else "not a picture"
    except Vanished:
        return "no longer there"
    except EnvironmentFault as error:
        return str(error)


def _holds(place: Place, other: Place) -> bool:
    """True when `other` is the folder `place` or lies in it."""
    if place.scheme != other.scheme:
        return False
    if place.local:
        mine, its = Path(place.root).resolve(), Path(other.root).resolve()
        return mine == its or mine in its.parents
    if place.scheme not in ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"):
        return place.address == other.address
    return f"{other.root}/".startswith(f"{place.root}/")

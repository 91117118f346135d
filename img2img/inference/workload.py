"""How much there is to do, estimated before a picture is opened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from img2img.inference.jobs import Job

_PIXELS_PER_BYTE = {".jpg": 3.0, ".jpeg": 3.0, ".webp": 5.0, ".avif": 8.0, ".heic": 6.0}
_LOOKED_AT = 1000


def pixels_to_come(jobs: Sequence[Job], size: int) -> int | None:
    """About how many pixels the network will see at the working size `size` (0: each picture's
    own), by the sizes of the files; None where there are no files. It decides only whether a faster
    runner is worth opening."""
    sources = list({job.source: None for job in jobs if job.ignored is None})
    if not sources:
        return None
    some = sources[:: max(1, len(sources) // _LOOKED_AT)]
    most = 0.75 * size**2 if size else float("inf")  # of a picture of 4:3
    found = 0.0
    for source in some:
        with suppress(OSError):
            own = source.stat().st_size * _PIXELS_PER_BYTE.get(source.suffix.lower(), 0.5)
            found += min(own, most)
    return round(found * len(sources) / len(some))

"""Pictures as rows of Arrow tables: what passes from one stage to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from img2img.images import Picture, Pixels

if TYPE_CHECKING:
    import pyarrow as pa

    from img2img.inference.scale.plan import Task

_HEADER = ("exif", "xmp", "icc", "dpi", "format", "software", "salvaged", "notes")


@dataclass
class Row:
    """A task on its way.

    Attributes:
        task: as planned.
        picture: decoded or translated; None where the task has an end.
        about: what the stages found out: `digest` and `of` of the source; where it has an end
            `status`, `reason` and whether to `record` it; `actor` and `seconds`; or a `fault`, for
            which all must stop.
    """

    task: Task
    picture: Picture | None = None
    about: dict[str, Any] = field(default_factory=dict)


def tasks_table(tasks: list[Task]) -> pa.Table:
    """A block of sources."""
    import pyarrow as pa

    return pa.table({"task": pa.array([json.dumps(task) for task in tasks], pa.string())})


def pack(row: Row) -> pa.Table:
    """A table of one row; the pixels are not copied."""
    import pyarrow as pa

    header: dict[str, Any] = {"about": row.about}
    parts: list[Pixels | None] = [None, None]
    if row.picture is not None:
        parts = [row.picture.pixels, row.picture.alpha]
        header["arrays"] = [[a.dtype.str, list(a.shape)] for a in parts if a is not None]
        picture = {name: getattr(row.picture, name) for name in _HEADER}
        header["picture"] = {n: v.hex() if isinstance(v, bytes) else v for n, v in picture.items()}
    columns = {
        "task": pa.array([json.dumps(row.task)], pa.string()),
        "header": pa.array([json.dumps(header)], pa.string()),
    }
    for name, part in zip(("pixels", "alpha"), parts, strict=True):
        columns[name] = _binary(part)
    return pa.table(columns)


def unpack(table: pa.Table) -> Iterator[Row]:
    """The rows of a table of `tasks_table` or `pack`; the pixels are read-only views of it."""
    headed = "header" in table.column_names
    for place in range(len(table)):
        row = Row(json.loads(table["task"][place].as_py()))
        if headed:
            header = json.loads(table["header"][place].as_py())
            row.about = header["about"]
            if "picture" in header:
                row.picture = _picture(header, table, place)
        yield row


def _picture(header: dict[str, Any], table: pa.Table, place: int) -> Picture:
    arrays = []
    for name, (kind, shape) in zip(("pixels", "alpha"), header["arrays"], strict=False):
        data = table[name][place].as_buffer()
        arrays.append(np.frombuffer(data, np.dtype(kind)).reshape(shape))
    given = header["picture"]
    return Picture(
        arrays[0],
        arrays[1] if len(arrays) > 1 else None,
        exif=bytes.fromhex(given["exif"]),
        xmp=bytes.fromhex(given["xmp"]),
        icc=given["icc"],
        dpi=tuple(given["dpi"]) if given["dpi"] else None,
        format=given["format"],
        software=given["software"],
        salvaged=given["salvaged"],
        notes=list(given["notes"]),
    )


def _binary(part: Pixels | None) -> pa.Array:
    import pyarrow as pa

    if part is None:
        return pa.array([None], pa.large_binary())
    data = pa.py_buffer(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
    offsets = pa.py_buffer(np.array([0, data.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])

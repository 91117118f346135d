"""The archive that `torch.save` writes, looked at before torch reads it."""

from __future__ import annotations

import io
import zipfile

from img2img.errors import ModelError


def refuse_compressed(payload: bytes | memoryview) -> None:
    """Raise ModelError for an archive whose records are compressed: `torch.save` stores them, and
    a compressed one may unpack to any size. Raises zipfile.BadZipFile for what is no archive."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        rows = archive.infolist()
    if any(row.compress_type != zipfile.ZIP_STORED for row in rows) or (
        sum(row.file_size for row in rows) > len(payload)
    ):
        raise ModelError("its records are compressed, which a training state never is")

"""Weights as `torch.save` wrote them, read without running anything in the file."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from img2img.errors import ModelError, describe_os_error, first_line
from img2img.model_format.archive import refuse_compressed

_ZIP = b"PK\x03\x04"
_TAR = slice(257, 262), b"ustar"


def read_weights(path: Path | str) -> object:
    """What a file of weights holds: the tensors of a `.safetensors` file, or `unpickle`. Raises
    ModelError, without the path."""
    if Path(path).suffix != ".safetensors":
        return unpickle(path)
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(Path(path).read_bytes())
    except OSError as error:
        raise ModelError(describe_os_error(error)) from None
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"not a safetensors file, or damaged: {first_line(error)}") from None


def unpickle(path: Path | str) -> object:
    """The object in the file, made of plain types only. Raises ModelError, without the path."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(describe_os_error(error)) from None
    if data.startswith(_ZIP):
        _check_archive(data)
    if data[_TAR[0]] == _TAR[1]:
        raise ModelError(
            "in the tar format of the first releases of torch, which cannot be read without "
            "running code; open it with an older torch and save the state_dict() again"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what matters is raised
            content: object = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text advises to load the file unsafely, and runs over many lines.
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({quoted([found[1]])})" if found else ""
        raise ModelError(
            f"holds something other than plain tensors{what}, or is damaged; nothing in it was "
            "run. Save the network's state_dict() with torch.save and give that file"
        ) from None
    except Exception:
        # Anything can come out of a pickle that is none: KeyError, EOFError, RuntimeError, ...
        raise ModelError("not weights saved by torch.save (or damaged)") from None
    # A tensor of a few bytes can claim any size (stride 0), and would take it when copied.
    if _claimed(content, set()) > len(data):
        raise ModelError("its tensors claim to be larger than the file")
    return content


def _claimed(content: object, seen: set[int]) -> int:
    """Bytes of the tensors in nested tables; one table is counted once, however often it stands
    there."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size() if is_plain(content) else 0
    if not isinstance(content, Mapping) or id(content) in seen:
        return 0
    seen.add(id(content))
    return sum(_claimed(value, seen) for value in content.values())


def _check_archive(data: bytes) -> None:
    try:
        refuse_compressed(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # torch.load ignores the CRC that torch.save wrote: a flipped bit would pass unseen.
            damaged = archive.testzip()
    except ModelError:
        raise ModelError("its records are compressed, as torch.save never does") from None
    except Exception:
        raise ModelError("damaged or cut short; fetch it again") from None
    if damaged is not None:
        raise ModelError(f"damaged (the CRC of {quoted([damaged])} does not match); fetch it again")


def is_plain(value: object) -> bool:
    """Whether it is a dense tensor on the CPU that is not quantised."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def quoted(names: Iterable[str]) -> str:
    """The first three names for a message: quoted, since a file may call a tensor anything."""
    names = list(names)
    shown = ", ".join(ascii(name if len(name) <= 60 else name[:57] + "...") for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")

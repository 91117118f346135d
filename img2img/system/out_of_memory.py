"""Tells a memory that does not suffice from other failures of the three runners' libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from img2img.errors import MemoryFault

# As numpy, torch (CPU, CUDA, MPS), oneDNN, onnxruntime (CPU arena, CUDA, cuBLAS, cuDNN) and
# OpenVINO word it; none of them has a class for it that the others know.
_WORDS = (
    "bad_alloc",
    "bad allocation",
    "bad array new length",
    "failed to allocate",
    "failed allocating",
    "can't allocate memory",
    "cannot allocate memory",
    "could not allocate",
    "unable to allocate",
    "not enough memory",
    "out of memory",
    "memory allocation failure",
    "cudaerrormemoryallocation",
    "alloc_failed",
)
# All that oneDNN says where there is no room for its code; with more words it is another error.
_WHOLE = ("could not create a primitive",)


def is_memory_error(error: BaseException) -> bool:
    """True when `error`, of any of the libraries, means that memory did not suffice."""
    words = str(error).lower()
    found = any(word in words for word in _WORDS)
    return isinstance(error, MemoryError) or found or words in _WHOLE


@contextmanager
def memory_faults(shape: tuple[int, ...], where: str) -> Iterator[None]:
    """Turn a memory error inside the block into MemoryFault that names the (N, C, H, W) of what
    was computed and `where` it was; other errors pass."""
    try:
        yield
    except Exception as error:
        if not is_memory_error(error):
            raise
        batch, _, height, width = shape
        many = f"{batch} pictures of " if batch > 1 else ""
        raise MemoryFault(
            f"{many}{width}x{height} {'do' if many else 'does'} not fit in memory ({where})"
        ) from None

"""Asks the NVIDIA driver itself, so that neither torch nor onnxruntime is loaded to learn that
there is no GPU."""

from __future__ import annotations

import ctypes
import sys


def cuda_device_count() -> int:
    """Number of CUDA devices that the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
        return count.value
    except (OSError, AttributeError):
        return 0

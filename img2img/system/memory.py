"""How much memory is free, and how much this process has held, asked of the system itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from pathlib import Path

_UNKNOWN = 2 * 2**30
_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")


def free_memory() -> int:
    """Bytes that this process could still take without swapping: what the machine has free, or
    what its control group leaves; half of all memory, or 2 GiB, if unknown."""
    found = [value for value in (_linux(), _cgroup()) if value is not None]
    if found:
        return min(found)
    if sys.platform == "win32":
        return _windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return _UNKNOWN


def total_memory() -> int:
    """Bytes of memory that the machine has, or that its control group allows where that is less;
    2 GiB if unknown."""
    found = [value for value in (_linux("MemTotal:"), _cgroup_limit()) if value is not None]
    if found:
        return min(found)
    if sys.platform == "win32":
        return _windows(whole=True)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return _UNKNOWN


def _linux(row: str = "MemAvailable:") -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith(row):
                return int(line.split()[1]) * 1024
    return None


def _cgroup(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the control group leaves (version 2 or 1); None where it has no limit. File pages that
    it counts could be dropped, so they are free."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            most = int((root / limit).read_text())
            taken = int((root / used).read_text())
            table = (root / limit).parent / "memory.stat"
            rows = dict(line.split() for line in table.read_text().splitlines())
            return max(most - taken + int(rows.get(cached, 0)), 0)
    return None


def _cgroup_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int((root / limit).read_text())
    return None


def _windows(whole: bool = False) -> int:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("all", "free", "a", "b", "c", "d", "e")),
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - absent where this is checked
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return _UNKNOWN
    return status.all if whole else status.free


def process_peak() -> int:
    """The most bytes that this process has held in memory so far."""
    if sys.platform == "win32":
        return _windows_peak(ctypes.WinDLL("kernel32"))
    # Linux's getrusage also counts what the parent held when it started this process.
    found = _linux_peak() if sys.platform == "linux" else None
    if found is not None:
        return found
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def _linux_peak() -> int | None:
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of psapi.h."""

    _fields_ = [
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
        ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
        ("PagefileUsage", ctypes.c_size_t),
        ("PeakPagefileUsage", ctypes.c_size_t),
    ]


def _windows_peak(kernel32: ctypes.CDLL) -> int:
    kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    ask = kernel32.K32GetProcessMemoryInfo
    ask.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Counters), ctypes.c_uint32]
    counters = _Counters(cb=ctypes.sizeof(_Counters))
    if not ask(kernel32.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        return 0
    return int(counters.PeakWorkingSetSize)

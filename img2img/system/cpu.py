"""What this machine's processor can do, asked without loading a library."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
# Arithmetic on bf16 by the names Linux gives it (x86-64 and ARM), widest first.
_BF16 = (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16"), ("bf16", "ARM BF16"))


_share: int | None = None


def share(count: int | None) -> None:
    """Let this process use at most this many cores, since others run beside it; None: all."""
    global _share
    _share = count


def cores() -> int:
    """Number of cores that this process may use: those it is bound to, and no more than the
    processor time that its container gets (cgroup v2, cpu.max), rounded up, or than its `share`."""
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    return min(bound, _quota() or bound, _share or bound)


def _quota() -> int | None:
    try:
        quota, period = _CPU_MAX.read_text(encoding="ascii").split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no cgroup v2, or "max": no limit
        return None


def flags() -> frozenset[str] | None:
    """The processor's features as Linux names them; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(values.split())
    return None


def bf16_arithmetic() -> str | None:
    """`AMX`, `AVX-512 BF16` or `ARM BF16`; empty where the processor has none of them, so that
    bf16 could only be imitated; None where the system does not tell."""
    there = flags()
    if there is None:
        return None
    return next((words for name, words in _BF16 if name in there), "")


def fp16_arithmetic() -> str | None:
    """As `bf16_arithmetic`, for fp16: `AMX FP16`, `AVX-512 FP16` or `ARM FP16`."""
    there = flags()
    if there is None:
        return None
    known = (("amx_fp16", "AMX FP16"), ("avx512_fp16", "AVX-512 FP16"), ("asimdhp", "ARM FP16"))
    return next((words for name, words in known if name in there), "")

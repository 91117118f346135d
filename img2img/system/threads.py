"""Idle threads sleep instead of spinning.

A thread that waits in a loop for the others keeps a core busy. Where another program needs that
core, the thread that has the work waits for it: with both of two cores busy, a tiny training fell
from 54 steps/s with one thread to 0.34 with two that spin.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

POLICY = "OMP_WAIT_POLICY"
# What tells libgomp, libomp and Intel's OpenMP how long a thread spins; one that is set decides.
_CHOICES = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_idle_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set OpenMP's wait policy to PASSIVE, unless the user has chosen how threads wait.

    OpenMP reads it once, when its library is loaded: this must run before torch is imported.
    Source: OpenMP 5.0, section 6.7; libgomp then spins zero times (GOMP_SPINCOUNT).
    """
    if not any(name in environment for name in _CHOICES):
        environment[POLICY] = "PASSIVE"


def wait_policy(environment: MutableMapping[str, str] = os.environ) -> str:
    """How OpenMP's idle threads wait, as `NAME=VALUE`; empty where nothing is set."""
    return ", ".join(f"{name}={environment[name]}" for name in _CHOICES if name in environment)


def sleeping(options: Any) -> Any:
    """The onnxruntime `SessionOptions`, with idle threads that sleep, and not spin, both within an
    operator and between operators."""
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options

"""Where files are kept that can be had again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """img2img's folder below the cache of this system: `%LOCALAPPDATA%`, `~/Library/Caches`, or
    `$XDG_CACHE_HOME` and `~/.cache` in its absence."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "img2img"
    if sys.platform == "darwin":
        return home / "Library/Caches/img2img"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "img2img"

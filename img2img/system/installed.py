"""How this img2img was installed, and the commands that change the installation.

The distribution is called `img2img-translate`, the import name and the command `img2img`: the
distribution `img2img` on the package index is another project, with the same import name.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "img2img-translate"
_OTHER = "img2img"
_ROOT = Path(__file__).resolve().parent.parent.parent


def hint(extra: str) -> str:
    """The command that adds an extra to this installation: by the tool that made it (pip, pipx or
    uv), for this interpreter, from the same checkout if it came from one."""
    options, source = _source()
    receipt = Path(sys.prefix, "uv-receipt.toml")
    if receipt.is_file():
        # uv recreates a tool's environment, so its extras are named again.
        extras = ",".join(sorted({extra, *_receipt_extras(receipt)}))
        return _line("uv", "tool", "install", "--force", *options, f"{source}[{extras}]")
    return pip("install", *options, f"{source}[{extra}]")


def reinstall(dependencies: bool = False) -> str:
    """The command that installs this very img2img again: from its checkout or file where that is
    still there, else this version by name. With `dependencies`, what it needs and lacks too."""
    options, source = _source()
    archive = _local(_direct_url())
    if source != DISTRIBUTION:
        where = source
    elif archive is not None and archive.is_file():
        where = str(archive)
    else:
        where = f"{DISTRIBUTION}=={_version()}" if _version() else DISTRIBUTION
    how = [] if dependencies else ["--force-reinstall", "--no-deps"]
    return pip("install", *how, *options, where)


def pip(*arguments: str) -> str:
    """A pip command for this interpreter, quoted for the shell of this system."""
    return _line(*_pip(arguments[0]), *arguments[1:])


def uninstall(*names: str) -> str:
    """The command that removes distributions from this environment without asking."""
    command = _pip("uninstall")
    return _line(*command, *([] if command[0] == "uv" else ["-y"]), *names)


def other_project_version() -> str | None:
    """The version of the other project that is called `img2img` in the package index, where it is
    installed too; its files and ours have the same paths."""
    for found in importlib.metadata.distributions(name=_OTHER):
        if not any(point.value == "img2img.cli:main" for point in found.entry_points):
            return found.version
    return None


def _source() -> tuple[list[str], str]:
    """Options of pip and what is installed, without extras. By name, pip takes the installed
    distribution and adds to it, whatever file it came from."""
    note = _direct_url()
    path = _local(note)
    if "dir_info" in note and path is not None and path.is_dir():
        return (["-e"] if note["dir_info"].get("editable") else []), str(path)
    if _version() is None and (_ROOT / "pyproject.toml").is_file():
        return [], str(_ROOT)  # run from a checkout that is not installed
    return [], DISTRIBUTION


def _version() -> str | None:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


def _noted(file: str) -> str:
    # In a checkout, the folder of setuptools' notes is found before the installation.
    texts = (d.read_text(file) for d in importlib.metadata.distributions(name=DISTRIBUTION))
    return next((text for text in texts if text), "")


def _direct_url() -> dict:
    """What PEP 610 notes about an installation that did not come from an index."""
    try:
        note = json.loads(_noted("direct_url.json") or "{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _local(note: dict) -> Path | None:
    parts = urlsplit(str(note.get("url", "")))
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _receipt_extras(receipt: Path) -> list[str]:
    try:
        wanted = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]["requirements"]
        return [e for row in wanted if row["name"] == DISTRIBUTION for e in row.get("extras", [])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _pip(command: str) -> list[str]:
    # PathFinder and not importlib.util: setuptools has a hook that takes a search for `pip` as a
    # sign that pip is running, and gives up its distutils, which torch.compile then misses.
    if Path(sys.prefix, "pipx_metadata.json").is_file():
        return ["pipx", "runpip", Path(sys.prefix).name, command]
    if _noted("INSTALLER").strip() == "uv" or PathFinder.find_spec("pip") is None:
        return ["uv", "pip", command, "--python", sys.executable]
    found = shutil.which("pip")
    # The first pip on the path may belong to another interpreter.
    if found and Path(found).parent == Path(sys.executable).parent:
        return ["pip", command]
    return [sys.executable, "-m", "pip", command]


def _line(*words: str) -> str:
    if os.name != "nt":
        return shlex.join(words)
    return " ".join(w if re.fullmatch(r"[\w.:\\/=@-]+", w) else f'"{w}"' for w in words)

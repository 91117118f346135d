"""onnxruntime-web for an exported page: found in a folder or the cache, or fetched once by npm."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.system.atomic import write_atomic
from img2img.system.cache import cache_folder

# The release that the page is tested with. To move to another: `npm pack onnxruntime-web@VERSION`,
# then the SHA-256 of these files of its dist folder.
VERSION = "1.30.0"
SHA256 = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
_PACKAGE = f"onnxruntime-web@{VERSION}"
_BY_HAND = (
    f"run 'npm pack {_PACKAGE}' on a machine with npm, unpack the file, and give its folder "
    f"package/dist "
    "as `web_runtime`"
)
_BANNER = re.compile(rb"ONNX Runtime Web v([\w.+-]{1,40})")
_SECONDS = 600


@dataclass(frozen=True)
class WebRuntime:
    """The files of onnxruntime-web by name, and their version; `tested` when they are exactly those
    that the page is tested with."""

    version: str
    files: dict[str, bytes]
    tested: bool


def find_runtime(folder: Path | None = None, cache: Path | None = None) -> WebRuntime:
    """onnxruntime-web from `folder` (an unpacked package or its `dist`), else from the cache, else
    fetched by npm into the cache.

    What is cached or fetched must have the known SHA-256; a folder given by hand may hold another
    version, but a file of the known version must be whole.

    Raises:
        UsageError: `folder` does not hold the files.
        EnvironmentFault: npm is absent or cannot fetch it, or a file is not what it should be.
    """
    if folder is not None:
        return _given(folder)
    place = (cache or cache_folder()) / f"onnxruntime-web-{VERSION}"
    try:
        files = {name: (place / name).read_bytes() for name in SHA256}
    except OSError:
        files = {}
    if not files or _wrong(files):
        files = _fetched()
        try:
            place.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                write_atomic(place / name, data)
        except OSError as error:
            raise EnvironmentFault(f"{place}: not written: {describe_os_error(error)}") from None
    return WebRuntime(VERSION, files, tested=True)


def _given(folder: Path) -> WebRuntime:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    for place in (folder, folder / "dist", folder / "package" / "dist"):
        if all((place / name).is_file() for name in SHA256):
            break
    else:
        raise UsageError(
            f"{folder}: is not an unpacked onnxruntime-web package; it needs {', '.join(SHA256)}"
        )
    try:
        files = {name: (place / name).read_bytes() for name in SHA256}
    except OSError as error:
        raise UsageError(f"{folder}: {describe_os_error(error)}") from None
    found = _BANNER.search(files["ort.wasm.min.mjs"][:2000])
    if not found or not files["ort-wasm-simd-threaded.wasm"].startswith(b"\0asm"):
        raise UsageError(f"{folder}: its files are not those of onnxruntime-web")
    version = found[1].decode()
    wrong = _wrong(files)
    if version == VERSION and wrong:
        raise EnvironmentFault(
            f"{place / wrong}: not the file of onnxruntime-web {VERSION} (its SHA-256 differs)"
        )
    return WebRuntime(version, files, tested=not wrong)


def _wrong(files: dict[str, bytes]) -> str | None:
    """The first file that is not the known one."""
    return next(
        (n for n, known in SHA256.items() if hashlib.sha256(files[n]).hexdigest() != known), None
    )


def _fetched() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise EnvironmentFault(
            f"`web` needs onnxruntime-web {VERSION}, and npm is not installed to fetch it; "
            f"{_BY_HAND}"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", _PACKAGE, "--silent", "--ignore-scripts"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentFault(f"npm could not fetch {_PACKAGE}: {error}; {_BY_HAND}") from None
        packed = sorted(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise EnvironmentFault(f"npm could not fetch {_PACKAGE} ({lines[0]}); {_BY_HAND}")
        files = _unpacked(packed[0])
    wrong = _wrong(files)
    if wrong:
        raise EnvironmentFault(
            f"what npm fetched is not onnxruntime-web {VERSION} (the SHA-256 of {wrong} differs)"
        )
    return files


def _unpacked(archive: Path) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(archive) as opened:
            for name in SHA256:
                member = opened.extractfile(f"package/dist/{name}")
                files[name] = member.read() if member else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise EnvironmentFault(f"{archive.name}: cannot be unpacked: {error}") from None
    return files

"""Folders of this machine, of an object store, of a web server or of an archive, by fsspec."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2img.errors import (
    EnvironmentFault,
    MissingExtra,
    UsageError,
    describe_os_error,
    first_line,
    is_environment_fault,
)
from img2img.system.atomic import atomic_path
from img2img.system.refusals import DiskFault, Vanished, refused, vanishing, words_of

# What the drivers of fsspec for these addresses are called; each is a package of its own.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs",
             "abfs": "adlfs", "abfss": "adlfs", "http": "aiohttp", "https": "aiohttp"}  # fmt: skip
_WEB = ("http", "https")
_READ_ONLY = (*_WEB, "zip", "tar")
UNKNOWN = "0:"
"""The stamp of a file of which a listing tells neither size nor mark, as a page of links does."""
_PAGE = 1000  # names in one answer of an object store
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a place: its name below the place, its size in bytes and its stamp.

    The stamp is `size:mark`, where the mark changes with the content: the time of the last change
    in nanoseconds on this machine, the ETag of an object store; it may be empty.
    """

    name: str
    size: int
    stamp: str


class Place:
    """A folder that is read or written, wherever it is.

    Args:
        address: a path of this machine, or an address that fsspec knows: `s3://bucket/folder`,
            `gs://...`, `az://...`, `https://...` (read only), `zip://inside::file.zip` (read only).

    Attributes:
        address: as given, without a slash at its end.
        local: True for a folder of this machine.
        tells_md5: whether the marks of what is written here are MD5; where not, outputs are
            compared by size alone.

    Raises:
        UsageError: no such kind of address.
        MissingExtra, EnvironmentFault: the package that reads it is not installed.
    """

    def __init__(self, address: str | Path):
        self.address = str(address)
        with _installed():
            import fsspec
            from fsspec.core import url_to_fs
        scheme = _scheme(self.address)
        package = _PACKAGES.get(scheme)
        if package and importlib.util.find_spec(package) is None:
            raise EnvironmentFault(
                f"{self.address}: {scheme}:// needs the package {package}: pip install {package}"
            )
        try:
            self.fs, root = url_to_fs(self.address, **_options(scheme))
        except (ValueError, ImportError) as error:
            known = "a folder of this machine, s3://, gs://, az://, https:// or zip://"
            raise UsageError(f"{self.address}: {first_line(error)}; known are {known}") from None
        except Exception as error:
            raise EnvironmentFault(f"{self.address}: {words_of(error)}") from None
        self.root = root.rstrip("/") if root.strip("/") else root
        self.local = isinstance(self.fs, fsspec.implementations.local.LocalFileSystem)
        self.scheme = "file" if self.local else scheme
        self.tells_md5 = True
        if is_address(self.address):
            self.address = self.address.rstrip("/")

    def __reduce__(self) -> tuple[Callable[..., Place], tuple[str, str, bool]]:
        # Connections are made where they are used; a relative path means the folder of its maker.
        return _rebuilt, (self.address, self.root if self.local else "", self.tells_md5)

    @property
    def read_only(self) -> bool:
        """True where nothing can be written, whatever the rights."""
        return self.scheme in _READ_ONLY

    def full(self, name: str) -> str:
        """The address of a file of this place."""
        if not name:
            return self.address
        if self.local and not is_address(self.address):
            return str(Path(self.address) / name)
        head, chain, tail = self.address.partition("::")
        return f"{head}{'' if head.endswith('/') else '/'}{name}{chain}{tail}"

    def path(self, name: str) -> str:
        """The file `name` as the file system of this place knows it."""
        if not name:
            return self.root
        return f"{self.root.rstrip('/')}/{name}" if self.root else name

    def is_folder(self) -> bool:
        """False for a file. Raises UsageError where neither is, EnvironmentFault without rights or
        connection."""
        try:
            if self.scheme in ("s3", "s3a"):
                return self._is_prefix()
            return bool(self.fs.isdir(self.root)) or not self._is_file()
        except Exception as error:
            raise refused(self.address, error) from None

    def entries(self, below: str = "") -> Iterator[Entry]:
        """Yield every file below the folder `below`, as the storage lists them, page by page; what
        was listed is not kept. Nothing where there is no such folder.

        Raises EnvironmentFault when the listing is refused or breaks off.
        """
        root = self.path(below)
        try:
            if self.local:
                yield from self._scan(root, below)
            elif self.scheme in ("s3", "s3a"):
                yield from self._pages(root, below)
            else:
                yield from self._walk(root, below)
        except (FileNotFoundError, NotADirectoryError):
            return
        except EnvironmentFault:
            raise
        except Exception as error:
            words = words_of(error)
            raise EnvironmentFault(f"{self.full(below)}: cannot be listed: {words}") from None

    def entry(self, name: str) -> Entry:
        """What the storage says of the file now. Raises Vanished, EnvironmentFault."""
        if self.local:
            with vanishing(self.full(name)):
                return _of_status(name, os.stat(self.path(name)))
        with vanishing(self.full(name)):
            self.fs.invalidate_cache()
            return _of_info(name, self.fs.info(self.path(name)))

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a file. Raises Vanished, EnvironmentFault."""
        with vanishing(self.full(name)):
            if self.local:
                with open(self.path(name), "rb") as file:
                    file.seek(start or 0)
                    return file.read(-1 if end is None else end - (start or 0))
            data: bytes = self.fs.cat_file(self.path(name), start=start, end=end)
            return data

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole or not at all; returns its stamp. Raises EnvironmentFault."""
        draft = self.draft(name, data)
        try:
            draft.publish()
        except Vanished as error:
            raise EnvironmentFault(f"{error}: {words_of(FileNotFoundError())}") from None
        return draft.stamp

    def draft(self, name: str, data: bytes) -> Draft:
        """A file that is ready to be published; its stamp is known already."""
        return Draft(self, name, data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises EnvironmentFault."""
        with contextlib.suppress(Vanished), vanishing(self.full(name)):
            self.fs.rm_file(self.path(name))

    def download(self, name: str, target: Path) -> None:
        """Copy a file into the file `target` of this machine, piece by piece. Raises Vanished,
        EnvironmentFault; DiskFault where it is this machine's disk that has no room."""
        with vanishing(self.full(name)):
            try:
                self.fs.get_file(self.path(name), str(target))
            except OSError as error:
                if is_environment_fault(error):  # only the disk of this machine says such
                    raise DiskFault(f"{target.parent}: {describe_os_error(error)}") from None
                raise

    def upload(self, source: Path, name: str) -> None:
        """Copy the file `source` of this machine here, piece by piece; it appears whole or not at
        all. Raises Vanished where the bucket is not there, EnvironmentFault."""
        with vanishing(self.full(name)):
            if not self.local:
                self.fs.put_file(str(source), self.path(name))
                return
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)

    def _is_file(self) -> bool:
        if self.fs.isfile(self.root):
            return True
        if self.fs.exists(self.root):
            return False
        raise FileNotFoundError(errno.ENOENT, "no such file or folder")

    def _is_prefix(self) -> bool:
        bucket, _, key = self.root.partition("/")
        prefix = {"Prefix": key + "/"} if key else {}
        if self.fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1, **prefix).get("Contents"):
            return True
        if not key:
            return True
        self.fs.invalidate_cache()
        self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        return False

    def _scan(self, root: str, below: str) -> Iterator[Entry]:
        with os.scandir(root) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
        for entry in found:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._scan(entry.path, name)
                continue
            with contextlib.suppress(FileNotFoundError):
                yield _of_status(name, entry.stat())

    def _pages(self, root: str, below: str) -> Iterator[Entry]:
        bucket, _, key = root.partition("/")
        more: dict[str, Any] = {"Prefix": key + "/"} if key else {}
        cut = len(key) + 1 if key else 0
        while True:
            page = self.fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=_PAGE, **more)
            for row in page.get("Contents", ()):
                name = row["Key"][cut:]
                if name and not name.endswith("/"):
                    info = {"size": row["Size"], "ETag": row.get("ETag", "")}
                    yield _of_info(f"{below}/{name}" if below else name, info)
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _walk(self, root: str, below: str) -> Iterator[Entry]:
        folders = [(root, below)]
        while folders:
            path, name = folders.pop()
            found = sorted(self.fs.ls(path, detail=True), key=lambda info: info["name"])
            for info in found:
                base = str(info["name"]).rstrip("/").rpartition("/")[2]
                inner = f"{name}/{base}" if name else base
                if info["type"] == "directory":
                    folders.append((info["name"], inner))
                elif base and not (self.scheme in _WEB and "?" in base):  # orders of a listing
                    yield _of_info(inner, info)


class Draft:
    """A file that becomes visible by `publish`, whole or not at all.

    Attributes:
        stamp: what the storage will say of it, known before; its mark is empty where only the
            storage decides it.
    """

    def __init__(self, place: Place, name: str, data: bytes):
        self._place, self.name, self._data = place, name, data
        self._temporary: str | None = None
        if not place.local:
            # An object store's ETag is the MD5 of what was put in one piece, without its own keys.
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            self.stamp = f"{len(data)}:{digest if place.tells_md5 else ''}"
            return
        path = Path(place.path(name))
        with vanishing(place.full(name)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / f".i2i-{os.getpid()}-{secrets.token_hex(4)}.tmp"
            try:
                temporary.write_bytes(data)
                self.stamp = _of_status(name, temporary.stat()).stamp
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            self._temporary = str(temporary)

    def publish(self) -> None:
        """Give the file its name. Raises EnvironmentFault."""
        place = self._place
        with vanishing(place.full(self.name)):
            if self._temporary is not None:
                os.replace(self._temporary, place.path(self.name))
                self._temporary = None
                return
            # In one piece, so that it appears at once and its ETag is what was recorded.
            place.fs.pipe_file(
                place.path(self.name), self._data, **_in_one_piece(place.scheme, self._data)
            )

    def discard(self) -> None:
        """Leave nothing. After `publish`, nothing happens."""
        if self._temporary is not None:
            Path(self._temporary).unlink(missing_ok=True)
            self._temporary = None


def _rebuilt(address: str, root: str, tells_md5: bool) -> Place:
    place = Place(address)
    place.root, place.tells_md5 = root or place.root, tells_md5
    return place


def is_address(text: str) -> bool:
    """True for `s3://bucket/folder` and the like, which is no path of this machine."""
    return _ADDRESS.match(text) is not None


def same_stamp(one: str, other: str) -> bool:
    """True when two stamps may be of the same content: equal sizes, and equal marks unless one is
    not known."""
    (size, _, mark), (size_2, _, mark_2) = one.partition(":"), other.partition(":")
    return size == size_2 and (mark == mark_2 or not mark or not mark_2)


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower() if "://" in address else "file"


def _options(scheme: str) -> dict[str, Any]:
    """Nothing is cached: what was listed may be more than the memory holds, and may be old."""
    if scheme in ("s3", "s3a"):
        return {"use_listings_cache": False, "config_kwargs": {"retries": {"max_attempts": 5}}}
    return {} if scheme in ("file", "zip", "tar") else {"use_listings_cache": False}


def _in_one_piece(scheme: str, data: bytes) -> dict[str, Any]:
    return {"chunksize": max(len(data) + 1, 2**20)} if scheme in ("s3", "s3a") else {}


def _of_status(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, f"{status.st_size}:{status.st_mtime_ns}")


def _of_info(name: str, info: dict[str, Any]) -> Entry:
    size = int(info.get("size") or 0)
    digest = info.get("md5Hash")  # of Google's, in base64
    mark = base64.b64decode(digest).hex() if digest else ""
    mark = mark or str(info.get("ETag") or info.get("etag") or "").strip('"')
    if not mark:
        # The time, where the storage tells no digest (archives, some web servers).
        times = ("mtime", "last_modified", "Last-Modified", "date_time")
        mark = str(next((info[name] for name in times if info.get(name)), ""))
    return Entry(name, size, f"{size}:{mark}")


def is_digest(stamp: str) -> str | None:
    """The MD5 that a stamp holds; None where its mark is another one."""
    mark = stamp.partition(":")[2]
    return mark if _MD5.fullmatch(mark) else None


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("img2img"):
            raise
        raise MissingExtra("an address such as s3://", "scale") from None

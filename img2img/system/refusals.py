"""What a storage refuses, in words."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from img2img.errors import EnvironmentFault, UsageError, describe_os_error, first_line

_VANISHED = (errno.ENOENT, errno.ENOTDIR)


class Vanished(Exception):
    """The file is not there (any more)."""


class DiskFault(EnvironmentFault):
    """The disk of this machine is in the way, not the storage."""


def words_of(error: BaseException) -> str:
    """What a storage refused, in a few words."""
    if isinstance(error, PermissionError):
        return "access denied"
    if isinstance(error, FileNotFoundError):
        return "no such file, folder or bucket"
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"
    if name in ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError"):
        return "the storage does not answer; is its address correct?"
    if isinstance(error, OSError) and error.errno is not None:
        return describe_os_error(error)
    return first_line(error)


@contextlib.contextmanager
def vanishing(address: str) -> Iterator[None]:
    """Turn what a storage raises inside into Vanished or EnvironmentFault, named `address`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _VANISHED:
            raise Vanished(address) from None
        raise EnvironmentFault(f"{address}: {words_of(error)}") from None
    except (Vanished, EnvironmentFault):
        raise
    except Exception as error:
        raise EnvironmentFault(f"{address}: {words_of(error)}") from None


def refused(address: str, error: Exception) -> Exception:
    """The error to raise where a place itself cannot be looked at."""
    if isinstance(error, FileNotFoundError):
        return UsageError(f"{address}: no such file, folder or bucket")
    return EnvironmentFault(f"{address}: {words_of(error)}")

"""What a caller can fix, as a tree of exceptions.

    Img2ImgError                 anything below; one line for the user, no traceback
    +- UsageError         (2)    a wrong argument or a wrong combination of arguments
    |  +- ConfigError     (2)    an unknown or impossible setting
    |  |  +- MissingFeatures (2) a network's weights are not found
    |  +- DataError       (2)    a training folder that cannot be learned from
    +- ModelError         (3)    a model file or checkpoint that is refused
    +- EnvironmentFault   (4)    disk full, device absent, package missing
    |  +- MissingExtra    (4)    an optional part of the installation is needed
    |  +- MemoryFault     (4)    not enough memory on the device or the machine
    +- Diverged           (5)    a training produced NaN or Inf
    +- ParityError        (5)    an exported model differs from its source
    +- PictureError       (1)    one picture that cannot be read or written

The number in brackets is the exit code that the command line gives it. A text names an option by
its name in Python, "`size` 64", and a setting of a training with its value, "`load_size=286`",
between backticks; the command line prints them as flags, --size 64 and --set load_size=286.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class Img2ImgError(Exception):
    """Base of every error a user can fix; its text is one line: what, which file, what to do.

    Attributes:
        everywhere: all processes of a training raise it, so only one per machine reports it.
    """

    exit_code = 2
    everywhere = False


class UsageError(Img2ImgError):
    """A wrong argument, or arguments that cannot be combined."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown setting, or a value that is impossible for it."""


class MissingFeatures(ConfigError):
    """The weights of a feature network are not found; says what to install or where to put them."""


class DataError(UsageError):
    """A training folder that cannot be learned from; every problem found is listed at once."""


class ModelError(Img2ImgError):
    """A model file or a checkpoint that is refused: damaged, foreign or contradictory."""

    exit_code = 3


class EnvironmentFault(Img2ImgError):
    """A fault of the environment: disk full, folder not writable, device absent."""

    exit_code = 4


class MissingExtra(EnvironmentFault):
    """A command needs a part of img2img that is not installed; says how to add it."""

    def __init__(self, what: str, extra: str):
        from img2img.system.installed import hint  # what it imports costs 50 ms

        super().__init__(f"{what} needs the '{extra}' extra: {hint(extra)}")
        self.extra = extra


class MemoryFault(EnvironmentFault):
    """Not enough memory on the device or the machine; a smaller amount at a time may fit."""


class Diverged(Img2ImgError):
    """A loss or a gradient became NaN or Inf; the optimizer step was not taken."""

    exit_code = 5


class ParityError(Img2ImgError):
    """An exported model differs from its source; nothing was published."""

    exit_code = 5


class PictureError(Img2ImgError):
    """One picture cannot be read or written; the others are not affected."""

    exit_code = 1


def proposal(wrong: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'? Known: ...` for an unknown name, nearest names first."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"{hint} Known: {', '.join(names) if names else '(none)'}."


def first_line(error: BaseException) -> str:
    """The first line, of at most 200 characters, of what a library reports, or the kind of error
    where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:200]


def describe_os_error(error: BaseException) -> str:
    """Say in words what the system refused (`disk full`, `permission denied`), without a path."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "unexpected pos" in str(error):
        return "disk full"
    if code in (errno.EACCES, errno.EPERM):
        return "permission denied"
    if code == errno.EROFS:
        return "read-only file system"
    if code == errno.ENOENT:
        return "no such file or folder"
    if code in (errno.EMFILE, errno.ENFILE):
        return "too many open files"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_environment_fault(error: BaseException) -> bool:
    """True for a fault that every further file would meet too: disk full, read-only, no handles."""
    return describe_os_error(error) in ("disk full", "read-only file system", "too many open files")

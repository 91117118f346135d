"""The command line: parse, call, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import logging
import os
import sys
import warnings


def main() -> None:
    """Run the command line; the one place where an error becomes a line and an exit code."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> None:
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # Names that are not valid text must not stop a job (lone surrogates, C locale).
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    from img2img.cli.app import app
    from img2img.cli.console import Stopped, one_line
    from img2img.errors import Img2ImgError

    debug = "--debug" in sys.argv
    if not debug:  # Pillow warns of what a result or an error says anyway
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        app(prog_name="img2img")
    except Img2ImgError as error:
        if debug:
            raise
        one_line(f"img2img: {error}")
        sys.exit(error.exit_code)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        one_line(
            f"img2img: unexpected {type(error).__name__}: {error} "
            "(a defect of img2img; --debug shows the traceback)"
        )
        sys.exit(70)


def _open_standard_streams() -> None:
    """Where one was closed, the next file opened would take its number, and with it what libraries
    in C print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)

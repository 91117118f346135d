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
    import typer

    from img2img.cli.app import app
    from img2img.cli.console import PipeClosed, Stopped, one_line
    from img2img.errors import EnvironmentFault, Img2ImgError, describe_os_error

    debug = "--debug" in sys.argv
    if not debug:  # Pillow warns of what a result or an error says anyway
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        code = app(prog_name="img2img", standalone_mode=False)
        print(end="", flush=True)  # here, where a closed pipe is still an error of ours
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        _say_usage(error)
    except Img2ImgError as error:
        if debug:
            raise
        if not error.everywhere or os.environ.get("LOCAL_RANK", "0") == "0":
            one_line(f"img2img: {error}")
        sys.exit(error.exit_code)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except (PipeClosed, BrokenPipeError):
        # Or Python complains once more when it flushes at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        sys.exit(PipeClosed.exit_code)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno is not None:
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            one_line(f"img2img: {where}{describe_os_error(error)}")
            sys.exit(EnvironmentFault.exit_code)
        one_line(
            f"img2img: unexpected {type(error).__name__}: {error} "
            "(a defect of img2img; --debug shows the traceback)"
        )
        sys.exit(70)


def _say_usage(error: Exception) -> None:
    """One line for what the option parser refuses; its text comes from `format_message`."""
    import typer

    from img2img.cli.console import one_line

    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", "img2img")
    text = str(getattr(error, "format_message", error.__str__)()).rstrip(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(text, err=True)  # which takes colours out where no terminal shows them
    else:
        one_line(f"img2img: {text}; see {where} --help")
    sys.exit(2)


def _open_standard_streams() -> None:
    """Where one was closed, the next file opened would take its number, and with it what libraries
    in C print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)

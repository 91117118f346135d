"""`img2img serve`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from img2img.cli.console import escaped, extra, note, say, say_json, stop_flag
from img2img.cli.options import (
    HARDWARE,
    LIMITS,
    Debug,
    Device,
    Json,
    Precision,
    Quiet,
    Runner,
    decode_seconds,
    megapixels,
    model_names,
)

if TYPE_CHECKING:
    from img2img.server.request import ServeRequest
    from img2img.server.running import Ready

EXAMPLES = """
img2img serve
img2img serve painting runs/mine --port 9000
img2img serve drawing --allow-host pictures.example.org
"""


def serve_command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            autocompletion=model_names,
            help="Models to serve: shipped names, run folders or model files. [default: painting]",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; any other needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            envvar="IMG2IMG_TOKEN",
            show_envvar=False,
            help="Token that clients must send. Prefer the variable IMG2IMG_TOKEN: other users "
            "of this machine can see the options of a command.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Host name by which clients reach the server, for example behind a proxy. "
            "Repeatable.",
        ),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=LIMITS,
            help="Maximum number of pictures in the queue; beyond it, the answer is 503 with "
            "Retry-After.",
        ),
    ] = 64,
    max_upload: Annotated[
        float,
        typer.Option(metavar="MB", rich_help_panel=LIMITS, help="Maximum size of a request."),
    ] = 64.0,
    max_pictures: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=LIMITS,
            help="Maximum number of pictures in a request.",
        ),
    ] = 20,
    max_megapixels: Annotated[float | None, megapixels(LIMITS)] = None,
    timeout: Annotated[float, decode_seconds(LIMITS)] = 60.0,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|full",
            help="Long side in pixels at which the network works. [default: set by the model]",
        ),
    ] = None,
    runner: Runner = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=HARDWARE,
            help="Pictures of equal size per batch. [default: depends on their size]",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve models over HTTP: a web page, and an API described at /docs.

    Listens on this machine only, unless --host and a token are given. Ctrl-C stops the server
    after the current requests are answered.
    """
    from img2img.cli.translate import size as size_of

    with extra("serve", "serve"):
        from img2img.server.request import ServeRequest
    request = ServeRequest(
        models=tuple(models or ()), host=host, port=port, token=token,
        allow_hosts=tuple(allow_host or ()), queue=queue, max_upload=max_upload,
        max_pictures=max_pictures, max_megapixels=max_megapixels, timeout=timeout,
        size=size_of(size), runner=runner, device=device, precision=precision, batch=batch,
    )  # fmt: skip
    _run(request, json)


def _run(request: ServeRequest, json: bool) -> None:
    request.check()
    with extra("serve", "serve"):
        import python_multipart  # noqa: F401 - starlette says so only when a form comes

        from img2img.server.running import serve
    from img2img.model_format.find import taken_for_granted

    for model in request.models:
        if granted := taken_for_granted(model, None):
            note(granted)
    with stop_flag() as stop:
        serve(request, lambda ready: _tell(ready, request, json), stop)
        if stop.number != signal.SIGINT:  # Ctrl-C is how serving is meant to end
            stop.leave()


def _tell(ready: Ready, request: ServeRequest, json: bool) -> None:
    if json:
        models = [{"name": name, "runner": runner} for name, runner in ready.models]
        say_json({"event": "ready", "address": ready.address, "models": models})
        return
    for name, runner in ready.models:
        note(f"{escaped(name)}: {runner}")
    say(ready.address)
    if request.token is not None:
        note(f"the page asks for the token, or open {ready.address}/#token=SECRET")
    note(f"API: {ready.address}/docs; press Ctrl-C to stop")

"""`img2img serve`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from img2img.cli import serve_options as options
from img2img.cli.console import escaped, extra, note, say, say_json, stop_flag
from img2img.cli.options import (
    Batch,
    Debug,
    Device,
    Json,
    Precision,
    Quiet,
    Runner,
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
    models: options.Models = None,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    token: options.Token = None,
    allow_host: options.AllowHost = None,
    queue: options.Queue = 64,
    max_upload: options.MaxUpload = 64.0,
    max_pictures: options.MaxPictures = 20,
    max_megapixels: options.MaxMegapixels = None,
    timeout: options.Timeout = 60.0,
    size: options.Size = None,
    runner: Runner = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    batch: Batch = None,
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

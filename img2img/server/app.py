"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from img2img._version import __version__
from img2img.errors import EnvironmentFault, PictureError, UsageError
from img2img.server import page
from img2img.server.answers import Outcome, one, several
from img2img.server.guards import App, Guards, Refused, refusal
from img2img.server.openapi import DESCRIPTION, HEALTH, METRICS, MODELS, TRANSLATE
from img2img.server.queue import Busy
from img2img.server.service import NoPicture, Service, Wanted
from img2img.server.uploads import Upload, Uploads, uploads

_GONE = 499  # nobody reads it


def create_app(service: Service) -> App:
    """The application: routes behind the guards, over an opened service, which stays open."""
    # FastAPI's own pages of the API load scripts from elsewhere.
    app = FastAPI(
        title="img2img", version=__version__, description=DESCRIPTION,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    _add_api(app, service)
    _add_pages(app, service)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(UsageError, _misused)
    app.add_exception_handler(EnvironmentFault, _fault)
    return Guards(app, service.request, service.metrics)


def _add_api(app: FastAPI, service: Service) -> None:
    @app.post("/v1/translate", **TRANSLATE)
    async def translate(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdigit() else service.request.max_bytes
        if size > service.request.max_bytes:
            raise Refused(
                413, f"the request exceeds the limit of {service.request.max_upload:g} MB"
            )
        most = service.request.max_pictures
        with service.room.take(1, size):
            async with uploads(request, service.folder, most) as given:
                wanted = service.wanted({**request.query_params, **given.fields})
                with service.room.take(len(given.files) - 1):
                    return await _unless_gone(request, _translated(request, given, wanted))

    async def _translated(request: Request, given: Uploads, wanted: Wanted) -> Response:
        if len(given.files) == 1:
            upload = given.files[0]
            try:
                answer = await service.translate(upload.path, wanted)
            except PictureError as error:
                raise Refused(415 if isinstance(error, NoPicture) else 422, str(error)) from None
            return one(Outcome(upload.name, answer))
        outcomes = await asyncio.gather(*(_outcome(upload, wanted) for upload in given.files))
        if all(outcome.answer is None for outcome in outcomes):
            raise Refused(422, "; ".join(f"{o.name}: {o.reason}" for o in outcomes))
        mixed = "multipart/mixed" in request.headers.get("accept", "")
        return await asyncio.to_thread(several, outcomes, mixed)

    async def _outcome(upload: Upload, wanted: Wanted) -> Outcome:
        try:
            return Outcome(upload.name, await service.translate(upload.path, wanted))
        except PictureError as error:
            return Outcome(upload.name, None, str(error))

    @app.get("/v1/models", **MODELS)
    async def models() -> Any:
        return [_described(name, service) for name in service.models]

    @app.get("/healthz", **HEALTH)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", **METRICS)
    async def metrics() -> Response:
        text = service.metrics.text(service.gauges())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _add_pages(app: FastAPI, service: Service) -> None:
    parts = page.parts(service)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return _part("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        address = f"{request.url.scheme}://{request.headers['host']}"
        text = page.reference(app.openapi(), address)
        return Response(text, media_type="text/html; charset=utf-8")

    @app.get("/assets/{name}", include_in_schema=False)
    async def assets(name: str) -> Response:
        return _part(name)

    def _part(name: str) -> Response:
        if name not in parts:
            raise Refused(404, "no such page")
        text, kind = parts[name]
        return Response(text, media_type=kind, headers={"Cache-Control": "no-cache"})


def _described(name: str, service: Service) -> dict[str, Any]:
    translator = service.models[name]
    info = translator.info
    return {
        "name": name,
        "direction": info.direction,
        "licence": info.licence,
        "working_size": translator.size,
        "scale": info.scale,
        "domains": list(info.domains),
        "one_hot": info.one_hot,
        "exclusive": [list(group) for group in info.exclusive],
        "relative": info.relative,
        "runner": translator.description,
    }


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The answer, unless the client leaves before: then its pictures leave the queue."""
    async with _background(work) as answer, _background(_gone(request)) as gone:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else Response(status_code=_GONE)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error)


async def _busy(request: Request, error: Exception) -> Response:
    assert isinstance(error, Busy)
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(error.seconds)})


async def _misused(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 400)


async def _fault(request: Request, error: Exception) -> Response:
    logging.getLogger("uvicorn.error").error("img2img: %s", error)
    return JSONResponse({"detail": "the server cannot work at the moment; see its log"}, 500)

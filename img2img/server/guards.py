"""What is refused before a route sees it: foreign hosts and pages, wrong tokens, bodies that are
too long or too slow."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from img2img.server.metrics import Metrics
from img2img.server.request import ServeRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_SAFE = ("GET", "HEAD", "OPTIONS")
_SECRET = ("/v1/", "/metrics")
# A sender that is this slow for longer than a pause is cut off.
LEAST_RATE = 16 * 1024  # bytes a second
_DRAIN = (
    2.0  # seconds for which the body of a refused request is taken, so that it hears the answer
)


class Refused(HTTPException):
    """An answer other than 200; `detail` is one line."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(status, detail, headers)


class Guards:
    """ASGI middleware in front of the routes."""

    def __init__(self, app: App, request: ServeRequest, metrics: Metrics):
        self._app, self._request, self._metrics = app, request, metrics
        names = {"localhost", request.host, *request.allow_hosts}
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = Body(receive, self._request)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
                if not body.complete and scope["method"] not in _SAFE:
                    await body.drain(scope)
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._check(scope)
        except Refused as refused:
            await refusal(refused)(scope, body, answer)
        else:
            await self._app(scope, body, answer)
        finally:
            self._metrics.count("img2img_requests_total", code=str(status))

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = {}
        for key, value in scope["headers"]:
            if key in (b"host", b"origin", b"authorization") and key in headers:
                raise Refused(400, f"the header {key.decode()} was sent twice")
            headers[key] = value
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._known(host):
            raise Refused(
                421, "the Host header is not one of this server's names; `allow_host` adds one"
            )
        self._check_origin(scope, headers, host)
        token = self._request.token
        if token is not None and scope["path"].startswith(_SECRET):
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + token.encode()):
                raise Refused(
                    401,
                    "a token is required in the header Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer"},
                )

    def _known(self, host: str) -> bool:
        """A page elsewhere can make its own name point here (DNS rebinding), but no address."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _check_origin(self, scope: Scope, headers: dict[bytes, bytes], host: str) -> None:
        """A browser says which page asks; one of another server is refused (CSRF)."""
        foreign = headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site")
        origin = headers.get(b"origin")
        if origin is not None:
            foreign = _netloc(origin.decode("latin-1").lower()) != host
        elif scope["method"] in _SAFE:
            return  # a link, or an address that was typed
        if foreign:
            raise Refused(403, "cross-origin request refused")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


class Body:
    """`receive` with limits: raises Refused for a body that is too long, or too slow."""

    def __init__(self, receive: Receive, request: ServeRequest):
        self._receive, self._most, self._pause = receive, request.max_bytes, request.pause
        self._size = 0
        self._began: float | None = None
        self.complete = False

    async def __call__(self) -> Message:
        """The next message."""
        if self.complete:
            return await self._receive()  # which waits until the client is gone
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        due = self._began + self._pause + self._size / LEAST_RATE
        try:
            async with asyncio.timeout(min(self._pause, max(due - now, 0.001))):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "the request was sent too slowly") from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self._size > self._most:
                raise Refused(413, f"the request exceeds the limit of {self._most / 10**6:g} MB")
        else:
            self.complete = True
        return message

    async def drain(self, scope: Scope) -> None:
        """Take what comes, for a while: a client that is refused amid its sending would see a lost
        connection."""
        if any(key == b"expect" for key, _ in scope["headers"]):
            return
        try:
            async with asyncio.timeout(min(_DRAIN, self._pause)):
                while not self.complete:
                    message = await self._receive()
                    self._size += len(message.get("body", b""))
                    self.complete = (
                        not message.get("more_body", False) or self._size > 2 * self._most
                    )
        except TimeoutError:
            pass


def refusal(refused: HTTPException) -> JSONResponse:
    """The answer: `{"detail": ...}`."""
    return JSONResponse({"detail": refused.detail}, refused.status_code, refused.headers)

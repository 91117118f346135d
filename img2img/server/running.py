"""Listening: a socket, uvicorn, slow clients cut off, a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from img2img.errors import EnvironmentFault, describe_os_error
from img2img.server.app import create_app
from img2img.server.request import ServeRequest
from img2img.server.service import Service

_CONNECTIONS = 512  # beside those of the queue; more are not kept open
_IDLE = 5  # seconds that a connection is kept between two requests


@dataclass(frozen=True)
class Ready:
    """The server listens at `address`, such as http://127.0.0.1:8000, with these models: name and
    what runs it."""

    address: str
    models: tuple[tuple[str, str], ...]


def serve(
    request: ServeRequest,
    ready: Callable[[Ready], None] = lambda ready: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until `should_stop`, which is asked ten times a second; requests in work are finished
    first, within `request.grace` seconds. Signals are left to the caller.

    Raises:
        UsageError: an impossible option, or no such model.
        ModelError: a model file is refused.
        EnvironmentFault: the port is taken, the device absent.
    """
    request.check()
    with listening(request.host, request.port) as bound:
        service = Service(request)
        try:
            _run(service, bound, ready, should_stop)
        finally:
            service.close()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Raises EnvironmentFault where it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.create_server(address[:2], family=family)
    except OSError as error:
        words = describe_os_error(error)
        raise EnvironmentFault(
            f"`host` {host} `port` {port}: {words}; choose another `port`, or 0 for a free one"
        ) from None
    with bound:
        yield bound


def address_of(bound: socket.socket, host: str) -> str:
    """The address to type: any address is shown as this machine's name."""
    port = bound.getsockname()[1]
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
    return f"http://{host}:{port}"


def _run(
    service: Service,
    bound: socket.socket,
    ready: Callable[[Ready], None],
    should_stop: Callable[[], bool],
) -> None:
    request = service.request
    app = create_app(service)
    most = request.queue + _CONNECTIONS
    protocol = type("Protocol", (_Impatient,), {"pause": request.pause, "most": most, "idle": {}})
    config = uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", loop="asyncio", access_log=False,
        log_config=None, server_header=False, proxy_headers=False, timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=round(max(1, request.grace)),
    )  # fmt: skip
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    models = tuple((name, t.description) for name, t in service.models.items())
    server = _Server(
        config, should_stop, lambda: ready(Ready(address_of(bound, request.host), models))
    )
    asyncio.run(server.serve(sockets=[bound]))


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, should_stop: Callable[[], bool], ready: Callable[[], None]
    ):
        super().__init__(config)
        self._should_stop, self._ready = should_stop, ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._should_stop()


class _Impatient(H11Protocol):
    """Closes a connection whose client takes too long to send the head of a request, or takes
    nothing of the answer. uvicorn itself waits for both without end; bodies are for `Body`.

    Beyond `most` connections the one that is longest without a request in work makes room, so that
    silent ones shut nobody out; where all have one, the new connection is closed."""

    pause = 10.0
    most = _CONNECTIONS
    idle: ClassVar[dict[_Impatient, None]]  # of one server, the oldest first
    _head: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None
    _left = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            oldest = next(iter(self.idle), self)
            self.idle.pop(oldest, None)
            oldest.transport.abort()
        if not self.transport.is_closing():
            self.idle[self] = None
            self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self.idle.pop(self, None)
            self._stop_head()
        elif self._head is None and not self.transport.is_closing():
            self._await_head()

    def on_response_complete(self) -> None:
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unread:
            self.transport.close()  # a body that nobody reads
        elif self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.idle.pop(self, None)
        self._stop_head()
        self._stop_answer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._left = self.transport.get_write_buffer_size()
        self._answer = self.loop.call_later(self.pause, self._look)

    def resume_writing(self) -> None:
        self._stop_answer()
        super().resume_writing()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.pause, self.transport.close)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _look(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= self._left:
            self.transport.abort()
            return
        self._left = left
        self._answer = self.loop.call_later(self.pause, self._look)

    def _stop_answer(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

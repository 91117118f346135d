"""The request for `serve`: everything that the command takes, as one value."""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass

from img2img.errors import UsageError
from img2img.inference.network import TileOption

TOKEN_VARIABLE = "IMG2IMG_TOKEN"
_TOKEN = re.compile(r"[!-~]{12,200}")  # visible ASCII, as it goes into a header
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MOST = 10**6


@dataclass(frozen=True, kw_only=True)
class ServeRequest:
    """Which models to serve, where, and within which limits.

    Attributes:
        models: shipped names, run folders or model files; empty: the default model.
        host: name or address to listen at. `port`: 0 takes a free one.
        token: what clients must send as `Authorization: Bearer TOKEN`; None only on this machine.
        allow_hosts: further names by which clients reach the server, as behind a proxy.
        queue: pictures that are accepted and not yet answered; more are answered with 503.
        max_upload: megabytes of one request. `max_pictures`: of one request.
        max_megapixels: larger pictures are refused before decoding; None: what the machine's
            memory allows, at most 400.
        timeout: seconds that one picture may take to decode.
        pause: seconds that a client may pause while it sends, or while it takes the answer.
        grace: seconds that requests in work get when the server stops.
        runner, device, precision: as for `open_runner`.
        size, tile, batch: as for `Translator`.
    """

    models: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allow_hosts: tuple[str, ...] = ()
    queue: int = 64
    max_upload: float = 64.0
    max_pictures: int = 20
    max_megapixels: float | None = None
    timeout: float = 60.0
    pause: float = 10.0
    grace: float = 30.0
    runner: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    size: int | None = None
    tile: TileOption = "auto"
    batch: int | None = None

    @property
    def max_bytes(self) -> int:
        """`max_upload` in bytes."""
        return round(self.max_upload * 10**6)

    @property
    def max_pixels(self) -> int | None:
        """`max_megapixels` in pixels."""
        return None if self.max_megapixels is None else round(self.max_megapixels * 10**6)

    def check(self) -> None:
        """Raise UsageError for what can be refused before anything is opened."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"`port` {self.port}: needs a number from 0 to 65535")
        for option in ("max_upload", "max_megapixels", "timeout", "pause", "grace"):
            value = getattr(self, option)
            if value is not None and not 0 < value <= _MOST:  # nor nan
                raise UsageError(f"`{option}` {value:g}: needs more than 0 and at most a million")
        for option in ("queue", "max_pictures"):
            if not 1 <= getattr(self, option) <= 10_000:
                raise UsageError(f"`{option}` {getattr(self, option)}: needs 1 to 10000")
        for name in self.allow_hosts:
            if not _NAME.fullmatch(name):
                raise UsageError(f"`allow_host` {name}: give a host's name without a port")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise UsageError("`token`: needs 12 to 200 visible ASCII characters without spaces")
        if self.token is None and not is_local(self.host):
            raise UsageError(
                f"`host` {self.host}: other machines can reach it, so a token is needed; "
                f"set {TOKEN_VARIABLE} or `token`, for example to {secrets.token_urlsafe(18)}"
            )


def is_local(host: str) -> bool:
    """True for a name or address that only this machine reaches."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

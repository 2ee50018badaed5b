"""Runs the REST application under uvicorn, with limits that uvicorn's HTTP protocol lacks."""

import asyncio
import logging
import socket
import ssl
from contextlib import nullcontext
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cxrflow.serving.logs import Seldom
from cxrflow.serving.settings import ServerConfig

# It warns of each request that it can't parse.
logging.getLogger("uvicorn.error").addFilter(Seldom())

BACKLOG = 2048  # connections that wait to be accepted
_HEAD_BYTES = 64 * 1024  # of a request line and its headers
_KEEP_ALIVE_SECONDS = 75
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class HttpServer:
    """One listening socket; lives on the event loop once `start` has run."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        config: ServerConfig,
        tls: ssl.SSLContext | None,
    ):
        waiting: dict[_Protocol, None] = {}

        class Protocol(_Protocol):
            """Of this server: its limits, and its connections that wait for a head."""

            head_seconds = config.head_seconds
            max_connections = config.max_connections
            without_head = waiting

        self._listener = listener
        self._uvicorn = _Quiet(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self._uvicorn.config.load()
        self._uvicorn.config.ssl = tls
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accepts connections from now on."""
        self._serving = asyncio.ensure_future(self._uvicorn.serve(sockets=[self._listener]))
        while not self._uvicorn.started and not self._serving.done():
            await asyncio.sleep(0.01)

    async def stop(self, seconds: float) -> None:
        """Lets requests under way finish for so long, and closes all connections."""
        self._uvicorn.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._uvicorn.should_exit = True
        if self._serving is not None:
            await self._serving


class _Quiet(uvicorn.Server):
    """uvicorn leaves signals alone; the process decides when to stop."""

    def capture_signals(self) -> Any:
        """No handlers."""
        return nullcontext()


class _Protocol(HttpToolsProtocol):
    """Drops connections whose head is too long, or takes too long; a newcomer takes the place of
    the one that has waited longest."""

    head_seconds: float
    max_connections: int
    without_head: "dict[_Protocol, None]"  # oldest first

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            oldest = next(iter(self.without_head), self)
            oldest.drop()
            if oldest is self:
                return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._have_head()
        super().on_headers_complete()

    def drop(self) -> None:
        """Closes the connection without an answer: there is no whole request to answer."""
        self._have_head()
        if not self.transport.is_closing():
            self.transport.abort()

    def _await_head(self) -> None:
        self.without_head[self] = None
        self._timer = self.loop.call_later(self.head_seconds, self.drop)

    def _have_head(self) -> None:
        self._in_head = False
        self.without_head.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

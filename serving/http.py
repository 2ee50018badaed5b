"""Runs the REST application under uvicorn, with limits that uvicorn's HTTP protocol lacks."""

import asyncio
import logging
import socket
import ssl
from contextlib import nullcontext
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cxrflow.serving.logs import Seldom
from cxrflow.serving.settings import ServerConfig

# It warns of each request that it can't parse.
logging.getLogger("uvicorn.error").addFilter(Seldom())

BACKLOG = 2048  # connections that wait to be accepted
_HEAD_BYTES = 64 * 1024  # of a request line and its headers
_KEEP_ALIVE_SECONDS = 75
_PACE = 16 * 1024  # bytes a second of a body: who sends as many doesn't keep the server waiting
_KEPT = "cxrflow.kept"  # in a request's scope: an HTTP/1.0 client asked to keep the connection
# Closing while a body still comes resets the connection, and its client may lose the answer:
# read on for a while, as nginx's lingering_close does.
_LINGER_SECONDS = 2.0
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
        give_way: dict[_Protocol, float] = {}

        class Protocol(_Protocol):
            """The protocol of this server: its limits, and its connections that give way."""

            head_seconds = config.head_seconds
            max_connections = config.max_connections
            waiting = give_way

        self._listener = listener
        self._uvicorn = _Quiet(
            uvicorn.Config(
                _saying_kept(app),
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


class _Lingering:
    """A transport whose `close` reads on where a request is still coming."""

    lingers = False  # nothing more is written, and what comes is dropped
    ended = False  # the connection is closed

    def __init__(self, transport: asyncio.Transport, protocol: "_Protocol"):
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Nothing more is written."""
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Ends the writing; closes once the client has gone, or after `_LINGER_SECONDS`."""
        if self.lingers:
            return
        if self.ended or not self._protocol.still_coming():
            self._transport.close()
            return
        self.lingers = True
        self._protocol.give_way_in(_LINGER_SECONDS)
        if self._transport.can_write_eof():  # TLS can't
            self._transport.write_eof()
        self._protocol.flow.resume_reading()


class _Protocol(HttpToolsProtocol):
    """Drops connections whose head is too long, or takes too long; where there are too many, a
    newcomer takes the place of the one whose client has kept the server waiting longest."""

    head_seconds: float
    max_connections: int
    # Connections whose next step is the client's, and since when (of the loop's time): to send a
    # head, the rest of a body or another request, to read an answer, or to go.
    waiting: "dict[_Protocol, float]"

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0  # that came since the last whole head
    _header_bytes = 0  # of the request line and headers that are being read
    _in_head = True
    _whole = False  # the last request came to its end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = _Lingering(transport, self)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        if len(self.connections) > self.max_connections:
            slowest = min(self.waiting, key=self.waiting.__getitem__, default=self)
            slowest.drop()
            if slowest is self:
                return
        self.give_way_in(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stay()
        self._lingering.ended = True
        super().connection_lost(exc)

    def still_coming(self) -> bool:
        """A part of a request is here, and not all of it."""
        return not self._whole

    def shutdown(self) -> None:
        """The server stops: who hasn't sent a head gets no answer."""
        if self._in_head and not self._lingering.lingers:
            self.drop()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._lingering.lingers:
            return
        self._whole = False  # until on_message_complete; what is no request has none
        if self._in_head or self.cycle is None or not self.cycle.more_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._header_bytes = True, 0
        if self._timer is None:
            self.give_way_in(self.head_seconds)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._wait()
        if self._header_bytes > _HEAD_BYTES:  # in one piece with the end of the head
            self.app = _refuse_head
        kept = self.parser.get_http_version() == "1.0" and self.parser.should_keep_alive()
        self.scope["state"][_KEPT] = kept
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive or kept  # uvicorn keeps none of HTTP/1.0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self in self.waiting:
            credit = self.waiting[self] + len(body) / _PACE
            self.waiting[self] = min(self.loop.time(), credit)

    def on_message_complete(self) -> None:
        self._whole = True
        self._stay()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self not in self.waiting:  # no other is there
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._whole and not self.cycle.response_complete:
            self._stay()

    def drop(self) -> None:
        """Closes the connection without an answer: there is no whole request to answer."""
        self._stay()
        self.transport.abort()

    def give_way_in(self, seconds: float) -> None:
        """Drops the connection after so long, or earlier for a newcomer."""
        self._wait()
        self._timer = self.loop.call_later(seconds, self.drop)

    def _wait(self) -> None:
        """From now on the next step is the client's."""
        self._stay()
        self.waiting[self] = self.loop.time()

    def _stay(self) -> None:
        """The next step is the server's."""
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _refuse_head(_: Scope, __: Receive, send: Send) -> None:
    """An application that answers 431."""
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _saying_kept(app: ASGIApp) -> ASGIApp:
    """Tells clients of HTTP/1.0 that the connection is kept: without a word they would close it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                if b"connection" not in named:
                    message["headers"] = [*message["headers"], (b"connection", b"keep-alive")]
            await send(message)

        await app(scope, receive, say if scope.get("state", {}).pop(_KEPT, False) else send)

    return answer

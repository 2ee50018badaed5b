"""Reads the bodies of HTTP requests with bounded memory; one client can't keep others out."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import grpc
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from cxrflow.serving.status import StatusError, invalid

_STALLED_SECONDS = 1.0  # a body without a byte for so long gives way to others
_IDLE_SECONDS = 20.0  # and is given up after so long in any case
_LOOK_SECONDS = 0.05
_DISCARDED = 3  # bodies of the largest size that are read of one that is too large


class _Body:
    """One body on its way."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.moved = time.monotonic()  # when the last byte came
        self.waits = False  # for room
        self.dropped = asyncio.Event()


class Bodies:
    """All bodies on their way and of requests under way. Lives on the event loop: no lock."""

    def __init__(self, max_body: int, max_total: int):
        """Bytes of one body, inflated or not, and of all together."""
        self.max_body, self._max_total = max_body, max(max_total, max_body)
        self._held = 0
        self._coming: set[_Body] = set()

    @contextmanager
    def counted(self, body: bytes) -> Iterator[bytes]:
        """Counts a body that was read until its request is answered."""
        self._held += len(body)
        try:
            yield body
        finally:
            self._held -= len(body)

    def give_up(self) -> None:
        """Waits no longer for what is still to come of any body."""
        for body in self._coming:
            body.dropped.set()

    async def read(self, request: Request) -> bytes:
        """The whole body, gzip undone.

        Raises:
            StatusError: it is too large, too slow, or no gzip. Starlette's ClientDisconnect: the
                client has gone.
        """
        body = _Body()
        self._coming.add(body)
        try:
            await self._check_framing(request, body)
            more = True
            while more:
                message = await _next(request, body)
                chunk, more = message.get("body", b""), message.get("more_body", False)
                if body.size + len(chunk) > self.max_body:
                    body.chunks, body.size = [], 0
                    await self._discard(request, body)
                    raise self._too_large()
                await self._make_room(body, len(chunk))
                body.chunks.append(chunk)
                body.size += len(chunk)
                body.moved = time.monotonic()
            encoding = request.headers.get("content-encoding", "identity").strip().lower()
            if encoding not in ("", "identity"):
                await self._inflate(body, encoding)
            return b"".join(body.chunks)
        finally:
            self._coming.discard(body)

    async def _check_framing(self, request: Request, body: _Body) -> None:
        lengths = request.headers.getlist("content-length")
        if lengths and "transfer-encoding" in request.headers:
            raise invalid("Content-Length beside Transfer-Encoding")
        if lengths and int(lengths[0]) > self.max_body:
            await self._discard(request, body)
            raise self._too_large()

    async def _discard(self, request: Request, body: _Body) -> None:
        """Reads on for a while: many clients read no answer before they have sent everything."""
        left, more = _DISCARDED * self.max_body, True
        with contextlib.suppress(StatusError):
            while more and left > 0:
                message = await _next(request, body)
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)

    def _too_large(self) -> StatusError:
        return StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the body has more than {self.max_body} bytes, which is the most that is accepted",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )

    async def _make_room(self, body: _Body, size: int) -> None:
        """Waits until the bytes fit; bodies that don't move give way, the largest first."""
        body.waits = True
        try:
            while self._total() + size > self._max_total:
                in_the_way = self._in_the_way()
                if not in_the_way:
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                largest = max(in_the_way, key=lambda b: b.size)
                largest.dropped.set()
                largest.chunks, largest.size = [], 0
                self._coming.discard(largest)
                if largest is body:
                    raise _too_slow()
            body.moved = time.monotonic()  # waiting wasn't its fault
        finally:
            body.waits = False

    def _in_the_way(self) -> list[_Body]:
        """Bodies whose clients send nothing; where all wait for each other, these."""
        now = time.monotonic()
        moving = [b for b in self._coming if not b.waits]
        stalled = [b for b in moving if now - b.moved > _STALLED_SECONDS]
        return stalled if moving or self._held else list(self._coming)

    def _total(self) -> int:
        return self._held + sum(body.size for body in self._coming)

    async def _inflate(self, body: _Body, encoding: str) -> None:
        """Undoes gzip, once there is room: a few KB can inflate to the largest body."""
        if encoding != "gzip":
            raise StatusError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Content-Encoding {encoding[:40]} is not gzip",
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            )
        packed = b"".join(body.chunks)
        size = min(int.from_bytes(packed[-4:], "little"), self.max_body)  # as a gzip ends
        await self._make_room(body, size)
        body.size += size
        inflater = zlib.decompressobj(wbits=31)
        try:
            found = await asyncio.to_thread(inflater.decompress, packed, size + 1)
        except zlib.error:
            raise invalid("The body is no gzip") from None
        if body.dropped.is_set():
            raise _too_slow()
        if len(found) > self.max_body:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise invalid("The body is no gzip, or is cut short")
        body.chunks = [found]


async def _next(request: Request, body: _Body) -> Message:
    """The next piece of a body."""
    coming = asyncio.ensure_future(request.receive())
    dropped = asyncio.ensure_future(body.dropped.wait())
    try:
        await asyncio.wait(
            {coming, dropped}, timeout=_IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not coming.done() or body.dropped.is_set():
            raise _too_slow()
        message = coming.result()
    finally:
        coming.cancel()
        dropped.cancel()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def _too_slow() -> StatusError:
    return StatusError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the body came too slowly",
        HTTPStatus.REQUEST_TIMEOUT,
    )

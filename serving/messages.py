"""Reads the messages of gRPC requests with bounded memory, as `bodies` does over HTTP.

gRPC's Python library has no memory quota. A request's handler is called before its message is read,
and what isn't read yet waits at the client, but for the connection's window.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from cxrflow.serving.memory import LARGE_MESSAGE
from cxrflow.serving.status import StatusError, invalid


@dataclass
class _Connection:
    """One client's connection, while it has requests."""

    turns: asyncio.Semaphore  # to send a message
    requests: int = 0


class Messages:
    """All messages on their way and of requests under way. Lives on the event loop: no lock."""

    def __init__(self, at_once: int, max_total: int, max_message: int):
        """`at_once` messages of a connection are read, the others wait for their turn.

        Args:
            at_once: of one connection.
            max_total: bytes of all messages whose requests are under way.
            max_message: bytes of the largest one, which always fits.
        """
        self._at_once, self._max_total = at_once, max(max_total, max_message)
        self._held = 0
        self.large_ended = False  # a large one, since the server last gave memory back
        self._connections: dict[str, _Connection] = {}

    async def read(
        self, read: Callable[[], Awaitable[bytes | object]], peer: str, deadline: float
    ) -> bytes:
        """A request's only message.

        Args:
            read: the context's. Not the iterator that gRPC gives: it holds itself, and with it the
                message until Python looks for cycles.
            peer: address and port of the client's end.
            deadline: of time.monotonic.

        Raises:
            StatusError: DEADLINE_EXCEEDED, it hasn't come by then; INVALID_ARGUMENT, there is none.
        """
        connection = self._connections.setdefault(
            peer, _Connection(asyncio.Semaphore(self._at_once))
        )
        connection.requests += 1
        try:
            left = deadline - time.monotonic()
            message = await asyncio.wait_for(_first(read, connection.turns), left)
        except asyncio.TimeoutError:
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the message came too slowly"
            ) from None
        finally:
            connection.requests -= 1
            if not connection.requests:
                del self._connections[peer]
        if not isinstance(message, bytes):  # gRPC's EOF
            raise invalid("The request has no message")
        return message

    @contextmanager
    def counted(self, size: int) -> Iterator[None]:
        """Counts a message of so many bytes until its request is answered.

        Raises StatusError UNAVAILABLE if those under way leave no room for it.
        """
        if self._held + size > self._max_total:
            raise StatusError(
                grpc.StatusCode.UNAVAILABLE,
                f"requests under way hold {self._held} bytes already; try again",
            )
        self._held += size
        try:
            yield
        finally:
            self._held -= size
            self.large_ended |= size >= LARGE_MESSAGE


async def _first(
    read: Callable[[], Awaitable[bytes | object]], turns: asyncio.Semaphore
) -> bytes | object:
    async with turns:
        return await read()

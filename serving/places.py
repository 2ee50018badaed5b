"""How many predictions may be under way at once. Lives on the event loop: no lock."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from cxrflow.serving.status import StatusError

# What TF Serving says when its batching queue is full.
FULL = "The batch scheduling queue to which this task was submitted is full"


class Places:
    """A fixed number of places; whoever finds none is refused before an image is looked at."""

    def __init__(self, most: int, refusal_pause: float):
        """`refusal_pause`: seconds that a refusal waits, so that refused clients can't use up the
        processor by asking again at once."""
        self._free, self._pause = most, refusal_pause

    @property
    def is_full(self) -> bool:
        """Whether the next one is refused."""
        return self._free <= 0

    async def require(self) -> None:
        """Raises StatusError UNAVAILABLE, after the pause, if there is no place."""
        if self.is_full:
            await asyncio.sleep(self._pause)
            if self.is_full:
                raise StatusError(grpc.StatusCode.UNAVAILABLE, FULL)

    @contextmanager
    def take(self) -> Iterator[None]:
        """A place until the block ends; call `require` before, without awaiting in between."""
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

"""The event loop that all requests arrive on, in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An asyncio event loop that runs to the process's end, beside the models' threads."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._work, name="front", daemon=True).start()

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and waits for it; from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@cache
def front() -> LoopThread:
    """The process's only one: gRPC's poller loses events where several loops come and go."""
    return LoopThread()

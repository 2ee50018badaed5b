"""Work that becomes due: now, or after a pause that grows with each failure."""

import heapq
import itertools
import random
import threading
import time
from typing import Generic, TypeVar

from cxrflow.serving.gateway.settings import RetryConfig

T = TypeVar("T")


class Later(Generic[T]):
    """A queue from which each job is taken when its time has come, by one of several threads."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: T, delay: float = 0.0) -> None:
        """Adds a job that is due in `delay` seconds."""
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + delay, next(self._numbers), job))
            self._changed.notify()

    def get(self) -> T | None:
        """The next job, once it is due; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)
        return None

    def close(self) -> None:
        """Lets everybody who waits go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._heap)


def pause(attempts: int, config: RetryConfig) -> float:
    """Seconds before the next attempt after so many failures, give or take a tenth."""
    grown = config.pause * 2.0 ** min(max(attempts - 1, 0), 30)
    return min(grown, config.max_pause) * random.uniform(0.9, 1.1)

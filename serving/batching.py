"""Requests that wait together run together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import numpy as np

from cxrflow.serving.settings import BatchingConfig
from cxrflow.serving.status import StatusError

Arrays = dict[str, np.ndarray]
Run = Callable[[str, Arrays, Sequence[str]], Arrays]  # signature, inputs, outputs


@dataclass(eq=False)
class Task:
    """One request in the queue. Requests with the same `key` can share a run."""

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    deadline: float  # of time.monotonic
    batchable: bool
    future: "Future[Arrays]" = field(default_factory=Future)
    queued: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        shapes = tuple((name, self.inputs[name].shape[1:]) for name in sorted(self.inputs))
        self.key = (self.batchable, self.signature, self.outputs, shapes)
        self.rows = len(next(iter(self.inputs.values()))) if self.batchable else 1


class Batcher:
    """A queue and the threads that run it."""

    def __init__(
        self, run: Run, config: BatchingConfig, observe: Callable[[int, float], None] | None = None
    ):
        """`observe` is told the rows of each batch and how long its first request waited, s."""
        self._run, self._config, self._observe = run, config, observe
        self._queue: deque[Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batching-{i}", daemon=True)
            for i in range(config.threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def submit(self, task: Task) -> "Future[Arrays]":
        """Puts a request in the queue. Raises StatusError UNAVAILABLE if that is full."""
        with self._changed:
            if len(self._queue) >= self._config.max_queue:
                self._drop_dead()
            if len(self._queue) >= self._config.max_queue or self._closed:
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            self._queue.append(task)
            self._changed.notify()
        return task.future

    def close(self) -> None:
        """Runs what is queued, then ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            if self._observe:
                waited = time.monotonic() - batch[0].queued
                self._observe(sum(task.rows for task in batch), waited)
            self._answer(batch)
            del batch  # else an idle thread would hold the last images

    def _next(self) -> list[Task]:
        """Waits for a batch; empty when closed and done."""
        with self._changed:
            while True:
                self._drop_dead()
                if self._queue:
                    full_at = self._queue[0].queued + self._config.timeout_ms / 1000
                    wait = full_at - time.monotonic()
                    if wait > 0 and not self._closed and not self._is_full():
                        self._changed.wait(wait)
                    elif batch := self._take():
                        return batch
                elif self._closed:
                    return []
                else:
                    self._changed.wait()

    def _drop_dead(self) -> None:
        """Removes requests whose client has gone or whose deadline has passed."""
        now = time.monotonic()
        dead = [task for task in self._queue if task.deadline <= now or task.future.cancelled()]
        for task in dead:
            self._queue.remove(task)
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(expired())

    def _alike(self) -> list[Task]:
        """The oldest request and those that can join it, oldest first."""
        first, *others = self._queue
        batch, rows = [first], first.rows
        for task in others if first.batchable else ():
            if task.key == first.key and rows + task.rows <= self._config.max_batch_size:
                batch.append(task)
                rows += task.rows
        return batch

    def _is_full(self) -> bool:
        batch = self._alike()
        rows = sum(task.rows for task in batch)
        return not batch[0].batchable or rows >= self._config.max_batch_size

    def _take(self) -> list[Task]:
        batch = self._alike()
        for task in batch:
            self._queue.remove(task)
        return [task for task in batch if task.future.set_running_or_notify_cancel()]

    def _answer(self, batch: list[Task]) -> None:
        first = batch[0]
        if len(batch) == 1:
            self._answer_one(first)
            return
        inputs = {
            name: np.concatenate([task.inputs[name] for task in batch]) for name in first.inputs
        }
        try:
            outputs = self._run(first.signature, inputs, first.outputs)
        except Exception:  # one bad image must not fail the others
            for task in batch:
                self._answer_one(task)
            return
        start = 0
        for task in batch:
            end = start + task.rows
            task.future.set_result({name: value[start:end] for name, value in outputs.items()})
            start = end

    def _answer_one(self, task: Task) -> None:
        try:
            task.future.set_result(self._run(task.signature, task.inputs, task.outputs))
        except Exception as error:
            task.future.set_exception(error)


def expired() -> StatusError:
    """The deadline passed before there was an answer."""
    return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded")
